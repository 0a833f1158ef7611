"""An elastic address and a real guest: it answers there, its groups decide, and it stops with its association."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.e2e import main_job, remains
from tests.e2e.clouds import Cloud, environment, until

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    made = Cloud(tmp_path_factory.mktemp("elastic") / "state", environment(5))
    made.up("libvirt")
    yield made
    made.remove()


def elastic_address(cloud: Cloud, image: str) -> None:
    """Allocate, associate, call the guest by it; the control plane dies and comes back; stop and start; disassociate;
    terminate; release."""
    ec2 = cloud.client("ec2")
    web = [{"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    group = ec2.create_security_group(GroupName="elastic", Description="elastic")["GroupId"]
    made = ec2.run_instances(ImageId=image, InstanceType="t3.nano", MinCount=1, MaxCount=1, SecurityGroupIds=[group])
    instance = made["Instances"][0]["InstanceId"]
    main_job.wait_running(ec2, [instance])
    main_job.wait_for_words(ec2, instance, " login")
    first, second = (ec2.allocate_address(Domain="vpc") for _ in range(2))
    assert first["PublicIp"] != second["PublicIp"]
    address = first["PublicIp"]
    ec2.associate_address(AllocationId=first["AllocationId"], InstanceId=instance)
    assert main_job.describe(ec2, instance)["PublicIpAddress"] == address
    until(lambda: f"{address}/32" in remains.run("ip", "-br", "-4", "addr"), "the host answers for it", 20)
    assert not main_job.reaches(address, 80), "a group without rules lets nothing in"
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=web)
    assert until(lambda: main_job.http_answer(address), "http by the elastic address", 30) == instance

    cloud.kill()
    assert main_job.http_answer(address) == instance, "the kernel leads it there, not we"
    cloud.up("libvirt")
    ec2 = cloud.client("ec2")
    assert until(lambda: main_job.http_answer(address), "after the restart", 30) == instance

    ec2.stop_instances(InstanceIds=[instance])
    ec2.get_waiter("instance_stopped").wait(InstanceIds=[instance], WaiterConfig={"Delay": 1, "MaxAttempts": 90})
    assert main_job.describe(ec2, instance)["PublicIpAddress"] == address
    ec2.start_instances(InstanceIds=[instance])
    main_job.wait_running(ec2, [instance])
    answer = until(lambda: main_job.http_answer(address), "after stop and start", main_job.BOOTED)
    assert answer == instance

    (shown,) = ec2.describe_addresses(Filters=[{"Name": "instance-id", "Values": [instance]}])["Addresses"]
    ec2.disassociate_address(AssociationId=shown["AssociationId"])
    until(lambda: main_job.http_answer(address) != instance, "it leads to the guest no more", 20)
    assert f"{address}/32" not in remains.run("ip", "-br", "-4", "addr")
    assert main_job.http_answer(shown["PrivateIpAddress"]) == instance

    ec2.associate_address(AllocationId=second["AllocationId"], InstanceId=instance)
    until(lambda: main_job.http_answer(second["PublicIp"]), "by the other one", 20)
    assert refused(ec2, second["AllocationId"]) == "InvalidIPAddress.InUse"
    ec2.terminate_instances(InstanceIds=[instance])
    ec2.get_waiter("instance_terminated").wait(InstanceIds=[instance], WaiterConfig={"Delay": 1, "MaxAttempts": 90})
    assert "AssociationId" not in ec2.describe_addresses(PublicIps=[second["PublicIp"]])["Addresses"][0]
    until(lambda: f"{second['PublicIp']}/32" not in remains.run("ip", "-br", "-4", "addr"), "gone with its guest", 20)
    for one in (first, second):
        ec2.release_address(AllocationId=one["AllocationId"])
    assert ec2.describe_addresses()["Addresses"] == []


def refused(ec2: Any, allocation: str) -> str:
    with pytest.raises(ClientError) as caught:
        ec2.release_address(AllocationId=allocation)
    return str(caught.value.response["Error"]["Code"])


def test_an_elastic_address_leads_to_a_real_guest(cloud: Cloud, tmp_path: Path) -> None:
    cloud.run("image", "build-tiny", "--output", str(tmp_path))
    image = main_job.register_tiny(cloud, next(tmp_path.rglob("tiny.raw")), "elastic")
    elastic_address(cloud, image)
