"""Every paginator of boto3's that has its operation here, over a cloud with 23 of what can be made: in pages of 5 each
comes once, and the pages together are what the whole list is. The list is botocore's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.loaders import Loader

from cloudcore.api.catalogue import ACTIONS
from tests.e2e.clouds import until
from tests.e2e.conftest import Simulated

pytestmark = pytest.mark.timeout(300)
MANY, SIZE = 23, 5
TRUST = json.dumps({"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]})  # fmt: skip
PAGES = {service: Loader().load_service_model(service, "paginators-1")["pagination"] for service in ("ec2", "iam")}
OFFERED = [(service, name) for service in PAGES for name in sorted(PAGES[service]) if name in ACTIONS[service]]

# What must be asked beside the page; {group} and the like are what the fixture made.
ASKED: dict[str, dict[str, Any]] = {
    "DescribeInstanceStatus": {"IncludeAllInstances": True},
    "DescribeImages": {"Owners": ["self"]},
    "DescribeSnapshots": {"OwnerIds": ["self"]},
    "DescribeSecurityGroupRules": {"Filters": [{"Name": "group-id", "Values": ["{group}"]}]},
    "DescribeAddressesAttribute": {"Attribute": "domain-name"},
    "ListAttachedRolePolicies": {"RoleName": "page-0"},
    "ListRolePolicies": {"RoleName": "page-0"},
    "ListRoleTags": {"RoleName": "page-0"},
    "ListInstanceProfilesForRole": {"RoleName": "page-0"},
    "ListInstanceProfileTags": {"InstanceProfileName": "page-0"},
    "ListAccessKeys": {},
}
# Of these there are so many; of all others as many as there happen to be, perhaps none.
ENOUGH = {"DescribeInstances", "DescribeInstanceStatus", "DescribeSecurityGroups", "DescribeSecurityGroupRules",
          "DescribeTags", "DescribeNetworkInterfaces", "DescribeImages", "DescribeVolumes", "DescribeSnapshots",
          "DescribeIamInstanceProfileAssociations", "ListRoles", "ListInstanceProfiles", "ListRolePolicies",
          "ListRoleTags", "ListInstanceProfileTags"}  # fmt: skip
MADE_BY = {"DescribeVolumes": ("CreateVolume", "volumes"), "DescribeSnapshots": ("CreateSnapshot", "snapshots")}
REFUSED = {"DescribeInstanceCreditSpecifications": "no type is burstable"}


@pytest.fixture(scope="module")
def made(simulated: Simulated) -> Iterator[dict[str, str]]:
    ec2, iam = simulated.client("ec2"), simulated.admin("iam")
    profiles = "CreateInstanceProfile" in ACTIONS["iam"]
    with_profile = {"IamInstanceProfile": {"Name": "page-0"}} if profiles else {}
    for number in range(MANY):
        tags = [{"Key": f"k{n}", "Value": "v"} for n in range(MANY)] if number == 0 else []
        iam.create_role(RoleName=f"page-{number}", AssumeRolePolicyDocument=TRUST, Tags=tags)
        policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
        iam.put_role_policy(RoleName="page-0", PolicyName=f"p{number}", PolicyDocument=json.dumps(policy))
        if profiles:
            iam.create_instance_profile(InstanceProfileName=f"page-{number}", Tags=tags)
            iam.add_role_to_instance_profile(InstanceProfileName=f"page-{number}", RoleName="page-0")
    instances = [one for _ in range(MANY) for one in simulated.launch(**with_profile)]  # a reservation each
    group = ""
    for number in range(MANY):
        group = ec2.create_security_group(GroupName=f"page-{number}", Description="d")["GroupId"]
        ec2.create_tags(Resources=[group], Tags=[{"Key": "page", "Value": str(number)}])
        ec2.register_image(Name=f"page-{number}", ImageLocation=simulated.location)
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[
        {"IpProtocol": "tcp", "FromPort": number, "ToPort": number, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}
        for number in range(1, MANY + 1)])  # fmt: skip
    ec2.get_waiter("instance_running").wait(InstanceIds=instances, WaiterConfig={"Delay": 0.5, "MaxAttempts": 120})
    yield {"group": group}
    simulated.terminate(instances)


@pytest.fixture(scope="module")
def volumes(simulated: Simulated) -> list[str]:
    ec2 = simulated.client("ec2")
    zone = ec2.describe_availability_zones()["AvailabilityZones"][0]["ZoneName"]
    return [ec2.create_volume(AvailabilityZone=zone, Size=1)["VolumeId"] for _ in range(MANY)]


@pytest.fixture(scope="module")
def snapshots(simulated: Simulated, volumes: list[str]) -> list[str]:
    ec2 = simulated.client("ec2")
    ec2.get_waiter("volume_available").wait(VolumeIds=volumes, WaiterConfig={"Delay": 0.5, "MaxAttempts": 120})
    return [ec2.create_snapshot(VolumeId=one)["SnapshotId"] for one in volumes]


def test_what_is_asked_beside_is_of_paginators() -> None:
    names = {name for service in PAGES for name in PAGES[service]}
    assert ASKED.keys() | ENOUGH | REFUSED.keys() <= names


@pytest.mark.parametrize(("service", "name"), [one for one in OFFERED if one[1] not in REFUSED])
def test_pages_of_five_show_each_thing_once(
    simulated: Simulated, made: dict[str, str], service: str, name: str, request: pytest.FixtureRequest
) -> None:
    maker, fixture = MADE_BY.get(name, (name, "made"))
    if maker in ACTIONS[service]:
        request.getfixturevalue(fixture)
    client = simulated.client("ec2") if service == "ec2" else simulated.admin("iam")
    operation = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
    asked = filled(ASKED.get(name, {}), made)
    key = PAGES[service][name]["result_key"]
    key = key if isinstance(key, str) else key[0]

    def same() -> bool:  # what is being made elsewhere may come in between
        pages = [page[key] for page in client.get_paginator(operation).paginate(**asked, PaginationConfig={
            "PageSize": SIZE})]  # fmt: skip
        assert all(len(page) <= SIZE for page in pages), [len(page) for page in pages]
        shown = [identity(key, one) for page in pages for one in page]
        assert len(shown) == len(set(shown)), "twice"
        whole = [identity(key, one) for one in getattr(client, operation)(**asked)[key]]
        assert not (name in ENOUGH and maker in ACTIONS[service]) or len(whole) >= MANY, len(whole)
        return sorted(shown) == sorted(whole)

    until(same, f"the pages of {name} are its list", 10)


def filled(asked: Any, made: dict[str, str]) -> Any:
    if isinstance(asked, dict):
        return {name: filled(value, made) for name, value in asked.items()}
    if isinstance(asked, list):
        return [filled(value, made) for value in asked]
    return asked.format(**made) if isinstance(asked, str) else asked


IDS = {"Reservations": "ReservationId", "InstanceStatuses": "InstanceId", "Volumes": "VolumeId", "Images": "ImageId",
       "Snapshots": "SnapshotId", "NetworkInterfaces": "NetworkInterfaceId", "Roles": "RoleName",
       "InstanceProfiles": "InstanceProfileName", "IamInstanceProfileAssociations": "AssociationId"}  # fmt: skip


def identity(key: str, one: Any) -> str:
    """States change between two looks; who it is does not."""
    return str(one[IDS[key]]) if key in IDS else json.dumps(one, sort_keys=True, default=str)
