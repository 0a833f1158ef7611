"""Every waiter of boto3's that has its operation here: to success on a simulated cloud, and failure.

The list is botocore's own: a waiter whose operation comes to be offered must find its recipe here. A recipe makes what
is waited for and gives the arguments of `wait`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import WaiterError
from botocore.loaders import Loader
from botocore.waiter import WaiterModel

from cloudcore.api.catalogue import ACTIONS
from tests.e2e.clouds import until
from tests.e2e.conftest import Simulated

pytestmark = pytest.mark.timeout(300)
Wait = dict[str, Any]
Recipe = Callable[[Simulated], Wait]
PATIENCE = {"Delay": 0.25, "MaxAttempts": 120}
HASTE = {"Delay": 0.05, "MaxAttempts": 2}


def name() -> str:
    return f"w-{uuid4().hex[:8]}"


def launched(cloud: Simulated) -> Wait:
    return {"InstanceIds": cloud.launch()}


def running(cloud: Simulated) -> str:
    (instance,) = cloud.launch()
    cloud.client("ec2").get_waiter("instance_running").wait(InstanceIds=[instance], WaiterConfig=PATIENCE)
    return instance


def stopping(cloud: Simulated) -> Wait:
    instances = [running(cloud)]
    cloud.client("ec2").stop_instances(InstanceIds=instances)
    return {"InstanceIds": instances}


def stopping_while_pending(cloud: Simulated) -> Wait:
    instances = cloud.launch()
    cloud.client("ec2").stop_instances(InstanceIds=instances)
    return {"InstanceIds": instances}


def terminating(cloud: Simulated) -> Wait:
    instances = [running(cloud)]
    cloud.terminate(instances)
    return {"InstanceIds": instances}


def a_key(cloud: Simulated) -> Wait:
    return {"KeyNames": [cloud.client("ec2").create_key_pair(KeyName=name(), KeyType="ed25519")["KeyName"]]}


def a_group(cloud: Simulated) -> Wait:
    return {"GroupIds": [cloud.client("ec2").create_security_group(GroupName=name(), Description="d")["GroupId"]]}


def the_default(operation: str, result: str, id: str, parameter: str) -> Recipe:
    """What every account has from its first day."""

    def recipe(cloud: Simulated) -> Wait:
        return {parameter: [getattr(cloud.client("ec2"), operation)()[result][0][id]]}

    return recipe


def a_free_interface(cloud: Simulated) -> Wait:
    ec2 = cloud.client("ec2")
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    made = ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
    return {"NetworkInterfaceIds": [made]}


def a_volume(cloud: Simulated) -> str:
    ec2 = cloud.client("ec2")
    zone = ec2.describe_availability_zones()["AvailabilityZones"][0]["ZoneName"]
    return str(ec2.create_volume(AvailabilityZone=zone, Size=1)["VolumeId"])


def a_ready_volume(cloud: Simulated) -> str:
    volume = a_volume(cloud)
    cloud.client("ec2").get_waiter("volume_available").wait(VolumeIds=[volume], WaiterConfig=PATIENCE)
    return volume


def attaching(cloud: Simulated) -> Wait:
    volume, instance = a_ready_volume(cloud), running(cloud)
    cloud.client("ec2").attach_volume(VolumeId=volume, InstanceId=instance, Device="/dev/sdf")
    return {"VolumeIds": [volume]}


def deleting(cloud: Simulated) -> Wait:
    volume = a_ready_volume(cloud)
    cloud.client("ec2").delete_volume(VolumeId=volume)
    return {"VolumeIds": [volume]}


def a_snapshot(cloud: Simulated) -> Wait:
    return {"SnapshotIds": [cloud.client("ec2").create_snapshot(VolumeId=a_ready_volume(cloud))["SnapshotId"]]}


def an_image_of_an_instance(cloud: Simulated) -> Wait:
    return {"ImageIds": [cloud.client("ec2").create_image(InstanceId=running(cloud), Name=name())["ImageId"]]}


def an_image(cloud: Simulated) -> Wait:
    return an_image_of_an_instance(cloud) if "CreateImage" in ACTIONS["ec2"] else {"ImageIds": [cloud.image]}


def an_import(cloud: Simulated) -> Wait:
    bucket, _, key = cloud.location.partition("/")
    disk = {"Format": "RAW", "UserBucket": {"S3Bucket": bucket, "S3Key": key}}
    return {"ImportTaskIds": [cloud.client("ec2").import_snapshot(DiskContainer=disk)["ImportTaskId"]]}


def not_there(parameter: str, id: str) -> Recipe:
    return lambda cloud: {parameter: [id]}


SUCCESS: dict[str, Recipe] = {
    "InstanceExists": launched,
    "InstanceRunning": launched,
    "InstanceStatusOk": launched,
    "SystemStatusOk": launched,
    "InstanceStopped": stopping,
    "InstanceTerminated": terminating,
    "ImageExists": an_image,
    "ImageAvailable": an_image,
    "KeyPairExists": a_key,
    "SecurityGroupExists": a_group,
    "VpcExists": the_default("describe_vpcs", "Vpcs", "VpcId", "VpcIds"),
    "VpcAvailable": the_default("describe_vpcs", "Vpcs", "VpcId", "VpcIds"),
    "SubnetAvailable": the_default("describe_subnets", "Subnets", "SubnetId", "SubnetIds"),
    "InternetGatewayExists": the_default("describe_internet_gateways", "InternetGateways", "InternetGatewayId",
                                         "InternetGatewayIds"),
    "NetworkInterfaceAvailable": a_free_interface,
    "VolumeAvailable": lambda cloud: {"VolumeIds": [a_volume(cloud)]},
    "VolumeInUse": attaching,
    "VolumeDeleted": deleting,
    "SnapshotCompleted": a_snapshot,
    "SnapshotImported": an_import,
    "VpcPeeringConnectionDeleted": not_there("VpcPeeringConnectionIds", "pcx-0123456789abcdef0"),
}  # fmt: skip
# A recipe that needs more than the waiter's own operation.
NEEDS = {"NetworkInterfaceAvailable": "CreateNetworkInterface", "VolumeAvailable": "CreateVolume",
         "VolumeInUse": "AttachVolume", "VolumeDeleted": "DeleteVolume", "SnapshotCompleted": "CreateSnapshot",
         "SnapshotImported": "ImportSnapshot"}  # fmt: skip
NEVER = {
    "PasswordDataAvailable": "no guest is Windows, so that there never is a password",
    "CustomerGatewayAvailable": "there are none", "ExportTaskCancelled": "there are none",
    "ExportTaskCompleted": "there are none", "SpotInstanceRequestFulfilled": "there are none",
    "VpnConnectionAvailable": "there are none", "VpnConnectionDeleted": "there are none",
    "VpcPeeringConnectionExists": "there are none",
}  # fmt: skip
FAILURE: dict[str, tuple[Recipe, str]] = {
    "InstanceExists": (not_there("InstanceIds", "i-0123456789abcdef0"), "Max attempts exceeded"),
    "InstanceRunning": (terminating, "terminal failure state"),
    "InstanceStopped": (terminating, "terminal failure state"),
    "InstanceTerminated": (not_there("InstanceIds", "i-0123456789abcdef0"), "InvalidInstanceID.NotFound"),
    "ImageExists": (not_there("ImageIds", "ami-0123456789abcdef0"), "Max attempts exceeded"),
    "ImageAvailable": (not_there("ImageIds", "ami-0123456789abcdef0"), "InvalidAMIID.NotFound"),
    "KeyPairExists": (not_there("KeyNames", "nobody"), "Max attempts exceeded"),
    "SecurityGroupExists": (not_there("GroupIds", "sg-0123456789abcdef0"), "Max attempts exceeded"),
    "VpcExists": (not_there("VpcIds", "vpc-0123456789abcdef0"), "Max attempts exceeded"),
    "VpcAvailable": (not_there("VpcIds", "vpc-0123456789abcdef0"), "InvalidVpcID.NotFound"),
    "SubnetAvailable": (not_there("SubnetIds", "subnet-0123456789abcdef0"), "InvalidSubnetID.NotFound"),
    "NetworkInterfaceAvailable": (not_there("NetworkInterfaceIds", "eni-0123456789abcdef0"),
                                  "terminal failure state"),
    "VolumeAvailable": (not_there("VolumeIds", "vol-0123456789abcdef0"), "InvalidVolume.NotFound"),
    "VolumeInUse": (not_there("VolumeIds", "vol-0123456789abcdef0"), "InvalidVolume.NotFound"),
    "SnapshotCompleted": (not_there("SnapshotIds", "snap-0123456789abcdef0"), "InvalidSnapshot.NotFound"),
}  # fmt: skip

MODEL = Loader().load_service_model("ec2", "waiters-2")
OFFERED = [one for one in WaiterModel(MODEL).waiter_names if MODEL["waiters"][one]["operation"] in ACTIONS["ec2"]]
POSSIBLE = [one for one in OFFERED if one not in NEVER and NEEDS.get(one, "RunInstances") in ACTIONS["ec2"]]


def snake(waiter: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in waiter).lstrip("_")


def test_every_waiter_whose_operation_is_offered_has_its_recipe() -> None:
    assert sorted(set(OFFERED) - SUCCESS.keys() - NEVER.keys()) == []


@pytest.mark.parametrize("waiter", POSSIBLE)
def test_a_waiter_succeeds(simulated: Simulated, waiter: str) -> None:
    asked = SUCCESS[waiter](simulated)
    simulated.client("ec2").get_waiter(snake(waiter)).wait(**asked, WaiterConfig=PATIENCE)
    simulated.terminate(asked.get("InstanceIds", []))


@pytest.mark.parametrize("waiter", [one for one in FAILURE if one in OFFERED])
def test_a_waiter_fails_at_once_and_with_a_reason(simulated: Simulated, waiter: str) -> None:
    recipe, reason = FAILURE[waiter]
    asked, ec2 = recipe(simulated), simulated.client("ec2")
    patience = HASTE if reason.startswith("Max") else PATIENCE
    began = time.monotonic()
    with pytest.raises(WaiterError) as failed:
        ec2.get_waiter(snake(waiter)).wait(**asked, WaiterConfig=patience)
    assert reason in str(failed.value)
    assert time.monotonic() - began < 10


def test_stopping_what_is_still_pending_satisfies_the_waiter(simulated: Simulated) -> None:
    asked = stopping_while_pending(simulated)
    simulated.client("ec2").get_waiter("instance_stopped").wait(**asked, WaiterConfig=PATIENCE)
    simulated.terminate(asked["InstanceIds"])


def test_started_again_it_never_looks_as_if_it_stopped(simulated: Simulated) -> None:
    ec2, asked = simulated.client("ec2"), stopping(simulated)
    ec2.get_waiter("instance_stopped").wait(**asked, WaiterConfig=PATIENCE)
    ec2.start_instances(**asked)
    ec2.get_waiter("instance_running").wait(**asked, WaiterConfig=PATIENCE)
    simulated.terminate(asked["InstanceIds"])


def test_iams_waiters(simulated: Simulated) -> None:
    iam, role = simulated.admin("iam"), name()
    trust = ('{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", '
             '"Principal": {"Service": "ec2.amazonaws.com"}}]}')  # fmt: skip
    iam.get_waiter("user_exists").wait(UserName="admin", WaiterConfig=PATIENCE)
    iam.create_role(RoleName=role, AssumeRolePolicyDocument=trust)
    iam.get_waiter("role_exists").wait(RoleName=role, WaiterConfig=PATIENCE)
    if "CreateInstanceProfile" in ACTIONS["iam"]:
        iam.create_instance_profile(InstanceProfileName=role)
        iam.get_waiter("instance_profile_exists").wait(InstanceProfileName=role, WaiterConfig=PATIENCE)
        iam.delete_instance_profile(InstanceProfileName=role)
    iam.delete_role(RoleName=role)
    until(lambda: role not in [one["RoleName"] for one in iam.list_roles()["Roles"]], f"{role} is gone", 5)
