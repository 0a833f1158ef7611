"""Clients branch on error codes, so each that they are known to tell apart is met in a conversation of tests/wire/.

The list is data. What of it cannot come from us stands in NEVER with the reason; what comes only with an action that is
not offered yet, in WITH_ACTIONS, where it may not stay once the action is offered.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from cloudcore.api import codes
from cloudcore.api.catalogue import ACTIONS
from tests.api.test_wire_tables import TABLES

CODES = json.loads((Path(__file__).parents[1] / "data" / "error-codes.json").read_text())
LISTED = {code for group in CODES.values() for code in group}

NEVER = {
    "InvalidClientTokenId": "an unknown key and a wrong secret are answered alike: SignatureDoesNotMatch",
    "InvalidSecurityGroupID.NotFound": "waiters and Terraform wait for InvalidGroup.NotFound, by id too",
    "InvalidElasticIpID.NotFound": "an allocation that is not there is InvalidAllocationID.NotFound",
    "InvalidDhcpOptionsID.NotFound": "the other spelling, InvalidDhcpOptionID.NotFound, is ours",
    "InvalidInternetGateway.NotFound": "by id it is InvalidInternetGatewayID.NotFound; only a waiter spells it so",
    "MaxIOPSLimitExceeded": "a volume's IOPS are no quota here",
}
# What makes it possible: any of these actions.
WITH_ACTIONS = {
    "InvalidAttachmentID.NotFound": ("AttachNetworkInterface", "DetachNetworkInterface"),
    "InvalidVolumeID.Malformed": ("CreateVolume",),
    "InvalidSnapshotID.Malformed": ("CreateSnapshot",),
    "IncorrectState": ("CreateVolume", "AssociateIamInstanceProfile"),
    "VolumeInUse": ("AttachVolume",),
    "InvalidVolume.ZoneMismatch": ("AttachVolume",),
    "VolumeLimitExceeded": ("CreateVolume",),
    "SnapshotLimitExceeded": ("CreateSnapshot",),
    "InvalidAMIID.Unavailable": ("CreateImage", "CopyImage"),
    "VpcLimitExceeded": ("CreateVpc",),
    "Gateway.NotAttached": ("DetachInternetGateway",),
    "RouteAlreadyExists": ("CreateRoute",),
    "InvalidRoute.NotFound": ("CreateRoute", "DeleteRoute"),
    "NatGatewayNotFound": ("DescribeNatGateways",),
    "InvalidNetworkAclEntry.NotFound": ("DeleteNetworkAclEntry",),
    "InvalidServiceName": ("CreateVpcEndpoint",),
    "InvalidPlacementGroup.Unknown": ("DescribePlacementGroups",),
    "InvalidLaunchTemplateName.AlreadyExistsException": ("CreateLaunchTemplate",),
    "InvalidLaunchTemplateId.NotFound": ("DescribeLaunchTemplates",),
    "InvalidLaunchTemplateId.VersionNotFound": ("DescribeLaunchTemplateVersions",),
    "InvalidLaunchTemplateName.NotFoundException": ("DescribeLaunchTemplates",),
}
# Of the catalogue, beyond the list, but of kinds whose actions are not offered yet.
CATALOGUED_WITH = {
    "UnknownVolumeType": ("CreateVolume",),
    "InvalidAttachment.NotFound": ("DetachVolume",),
    "InvalidVolumeModification.NotFound": ("DescribeVolumesModifications",),
    "InvalidSnapshot.InUse": ("DeleteSnapshot",),
    "InvalidConversionTaskId.Malformed": ("DescribeImportImageTasks",),
    "InvalidConversionTaskId": ("DescribeImportImageTasks",),
}


def met() -> set[str]:
    """Every code that a step of a table expects."""
    tables = [tomllib.loads(path.read_text()) for path in TABLES.glob("*.toml")]
    return {step["code"] for table in tables for case in table["case"] for step in case["step"] if "code" in step}


def test_every_listed_code_is_met_in_a_conversation() -> None:
    assert sorted(LISTED - met() - NEVER.keys() - WITH_ACTIONS.keys()) == []


@pytest.mark.parametrize("table", [WITH_ACTIONS, CATALOGUED_WITH], ids=["listed", "catalogued"])
def test_what_waits_for_an_action_waits_no_longer_than_that(table: dict[str, tuple[str, ...]]) -> None:
    offered = ACTIONS["ec2"].keys()
    assert {code: actions for code, actions in table.items() if offered & set(actions) and code not in met()} == {}


def test_the_exceptions_are_of_the_list_and_are_exceptions() -> None:
    assert sorted((NEVER.keys() | WITH_ACTIONS.keys()) - LISTED) == []
    assert sorted(NEVER.keys() & met()) == []


def test_every_code_that_we_emit_is_met_in_a_conversation() -> None:
    """Both catalogues, whole."""
    emitted = set(codes.EC2.values()) | {code for code, _ in codes.QUERY.values()}
    assert sorted(emitted - met() - WITH_ACTIONS.keys() - CATALOGUED_WITH.keys()) == []
