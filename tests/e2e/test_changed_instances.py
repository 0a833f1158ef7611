"""What one changes of an instance is what its guest meets: metadata options and groups while it runs, type and user
data at its next start."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.e2e import main_job
from tests.e2e.clouds import Cloud, environment, until

pytestmark = pytest.mark.timeout(900)
READ = "wget -q -O - http://169.254.169.254/latest/meta-data/{} 2>/dev/null || echo refused"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    made = Cloud(tmp_path_factory.mktemp("changed") / "state", environment(4))
    made.up("libvirt")
    yield made
    made.remove()


def waits(ec2: Any, waiter: str, instance: str) -> None:
    ec2.get_waiter(waiter).wait(InstanceIds=[instance], WaiterConfig={"Delay": 1, "MaxAttempts": 120})


def test_a_changed_instance_is_another_guest(cloud: Cloud, tmp_path: Path) -> None:
    ec2, place = cloud.client("ec2"), tmp_path / "tiny"
    cloud.run("image", "build-tiny", "--output", str(place))
    image = main_job.register_tiny(cloud, next(place.rglob("tiny.raw")), "changed")
    key = main_job.make_key(cloud, "changed", tmp_path)
    opened, shut = (ec2.create_security_group(GroupName=name, Description=name)["GroupId"] for name in ("open", "shut"))
    ec2.authorize_security_group_ingress(GroupId=opened, IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp="0.0.0.0/0")
    instance = ec2.run_instances(
        ImageId=image, InstanceType="t3.nano", MinCount=1, MaxCount=1, KeyName="changed", SecurityGroupIds=[opened],
        UserData="#!/bin/sh\necho first-user-data\n")["Instances"][0]["InstanceId"]  # fmt: skip
    waits(ec2, "instance_running", instance)
    text = main_job.wait_for_words(ec2, instance, " login")
    assert "cpus=1" in text
    assert "first-user-data" in text
    address = main_job.describe(ec2, instance)["PrivateIpAddress"]
    shown = ec2.get_console_screenshot(InstanceId=instance, WakeUp=True)["ImageData"]
    with Image.open(BytesIO(base64.b64decode(shown))) as screen:
        assert screen.format == "JPEG"
        assert screen.convert("L").getextrema()[1] > 128, "something is written on it"
    ec2.modify_instance_attribute(InstanceId=instance, SourceDestCheck={"Value": False})
    assert main_job.describe(ec2, instance)["SourceDestCheck"] is False

    def read(path: str) -> str:
        return main_job.ssh(address, key, READ.format(path))

    assert read("instance-id") == instance
    ec2.create_tags(Resources=[instance], Tags=[{"Key": "role", "Value": "web"}])
    ec2.modify_instance_metadata_options(InstanceId=instance, InstanceMetadataTags="enabled")
    until(lambda: read("tags/instance/role") == "web", "the guest reads its tag", 20)
    ec2.modify_instance_metadata_options(InstanceId=instance, HttpTokens="required")
    until(lambda: read("instance-id") == "refused", "the guest needs a token", 20)
    assert main_job.describe(ec2, instance)["MetadataOptions"]["State"] == "applied"

    ec2.modify_instance_attribute(InstanceId=instance, Groups=[shut])
    until(lambda: not main_job.reaches(address, 22), "the new group lets nothing in", 20)
    ec2.modify_instance_attribute(InstanceId=instance, Groups=[shut, opened])
    until(lambda: main_job.reaches(address, 22), "the old group is back", 20)

    ec2.stop_instances(InstanceIds=[instance])
    waits(ec2, "instance_stopped", instance)
    ec2.modify_instance_attribute(InstanceId=instance, InstanceType={"Value": "t3.medium"})
    ec2.modify_instance_attribute(InstanceId=instance, UserData={"Value": b"#!/bin/sh\necho second-user-data\n"})
    ec2.start_instances(InstanceIds=[instance])
    waits(ec2, "instance_running", instance)
    text = main_job.wait_for_words(ec2, instance, "second-user-data")
    assert "cpus=2" in text
    ec2.terminate_instances(InstanceIds=[instance])
    waits(ec2, "instance_terminated", instance)


def test_the_ec2_port_serves_s3_too(cloud: Cloud) -> None:
    cloud.exports["AWS_ENDPOINT_URL_S3"] = cloud.exports["AWS_ENDPOINT_URL_EC2"]
    assert "changed" in [one["Name"] for one in cloud.client("s3").list_buckets()["Buckets"]]
