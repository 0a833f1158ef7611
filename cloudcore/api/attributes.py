"""DescribeInstanceAttribute: one attribute at a time, from one table. How they are modified: attribute_changes.py."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cloudcore.api import owned
from cloudcore.api.calls import Call
from cloudcore.api.instance_views import ROOT_DEVICE
from cloudcore.api.registry import Action, Ignored
from cloudcore.domain.instances import Instance
from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books


@dataclass(frozen=True, slots=True)
class DescribeInstanceAttribute:
    InstanceId: str
    Attribute: str


@dataclass(frozen=True, slots=True)
class DescribeInstanceCreditSpecifications:
    InstanceIds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GetInstanceUefiData:
    InstanceId: str


Shown = tuple[str, Callable[[Instance], Any]]


def _value(of: Callable[[Instance], Any]) -> Callable[[Instance], Any]:
    """None is an attribute without a value: an empty element."""
    return lambda instance: {"Value": of(instance)}


ATTRIBUTES: Mapping[str, Shown] = {
    "blockDeviceMapping": ("BlockDeviceMappings", lambda instance: []),
    "disableApiStop": ("DisableApiStop", _value(lambda instance: instance.stop_protected)),
    "disableApiTermination": ("DisableApiTermination", _value(lambda instance: instance.protected)),
    "ebsOptimized": ("EbsOptimized", _value(lambda instance: False)),
    "enaSupport": ("EnaSupport", _value(lambda instance: True)),
    "enclaveOptions": ("EnclaveOptions", lambda instance: {"Enabled": False}),
    "instanceInitiatedShutdownBehavior": (
        "InstanceInitiatedShutdownBehavior", _value(lambda instance: instance.shutdown_behaviour)),
    "instanceType": ("InstanceType", _value(lambda instance: instance.instance_type)),
    "kernel": ("KernelId", _value(lambda instance: None)),
    "productCodes": ("ProductCodes", lambda instance: []),
    "ramdisk": ("RamdiskId", _value(lambda instance: None)),
    "rootDeviceName": ("RootDeviceName", _value(lambda instance: ROOT_DEVICE)),
    "sourceDestCheck": ("SourceDestCheck", _value(lambda instance: instance.source_dest_check)),
    "sriovNetSupport": ("SriovNetSupport", _value(lambda instance: None)),
    "userData": ("UserData", _value(
        lambda instance: base64.b64encode(instance.user_data).decode() if instance.user_data else None)),
}  # fmt: skip


async def describe_instance_attribute(call: Call, asked: DescribeInstanceAttribute) -> Mapping[str, Any] | None:
    if asked.Attribute != "groupSet" and asked.Attribute not in ATTRIBUTES:
        raise CloudError(Code.BAD_VALUE, f"Invalid value '{asked.Attribute}' for Attribute")
    return await call.look(_describe, call, asked)


def _describe(books: Books, call: Call, asked: DescribeInstanceAttribute) -> Mapping[str, Any]:
    instance = owned.one(books, call, asked.InstanceId)
    if asked.Attribute == "groupSet":
        names = books.groups.own_names(call.project, books.instances.groups_of(instance.id))
        return {"InstanceId": instance.id, "Groups": [{"GroupId": id, "GroupName": names[id]} for id in sorted(names)]}
    member, value = ATTRIBUTES[asked.Attribute]
    return {"InstanceId": instance.id, member: value(instance)}


async def describe_credit_specifications(
    call: Call, asked: DescribeInstanceCreditSpecifications
) -> Mapping[str, Any] | None:
    """Terraform asks only where a type says that it is burstable, and then forgives this answer alone."""
    raise CloudError(Code.UNSUPPORTED, "No instance type here is burstable: instances have no CPU credits")


async def get_instance_uefi_data(call: Call, asked: GetInstanceUefiData) -> Mapping[str, Any] | None:
    raise CloudError(Code.UNSUPPORTED, "Instances boot by their BIOS: they have no UEFI variables")


ACTIONS = {
    "DescribeInstanceAttribute": Action(describe_instance_attribute, DescribeInstanceAttribute),
    "DescribeInstanceCreditSpecifications": Action(
        describe_credit_specifications, DescribeInstanceCreditSpecifications,
        {name: Ignored("there is nothing to select from") for name in ("Filters", "MaxResults", "NextToken")},
    ),
    "GetInstanceUefiData": Action(get_instance_uefi_data, GetInstanceUefiData),
}  # fmt: skip
