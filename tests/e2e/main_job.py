"""The main job, step by step, against whatever cloud it is given: the all-in-one, or one process per daemon."""

from __future__ import annotations

import os
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.e2e.clouds import Cloud, until

USER_DATA = "#!/bin/sh\necho hello-from-user-data\n"
BOOTED = 150  # seconds for a tiny guest on a busy machine


def register_tiny(cloud: Cloud, tiny: Path, bucket: str) -> str:
    return register(cloud, tiny, bucket, "tiny")


def register(cloud: Cloud, file: Path, bucket: str, description: str) -> str:
    """Uploads by plain boto3 (multipart, as the file is large enough) and registers; the image's id."""
    s3, ec2 = cloud.client("s3"), cloud.client("ec2")
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "us-east-2"})
    s3.upload_file(str(file), bucket, file.name)
    location = f"{bucket}/{file.name}"
    image = ec2.register_image(Name=bucket, ImageLocation=location, Description=description)["ImageId"]
    ec2.get_waiter("image_available").wait(ImageIds=[image])
    return image


def make_key(cloud: Cloud, name: str, directory: Path) -> Path:
    path = directory / f"{name}.pem"
    pair = cloud.client("ec2").create_key_pair(KeyName=name, KeyType="ed25519")
    path.touch(mode=0o600)
    path.write_text(pair["KeyMaterial"])
    return path


def console(ec2: Any, instance: str) -> str:
    return str(ec2.get_console_output(InstanceId=instance, Latest=True).get("Output") or "")


def wait_for_words(ec2: Any, instance: str, words: str, times: int = 1, seconds: float = BOOTED) -> str:
    def heard() -> str | None:
        text = console(ec2, instance)
        return text if text.count(words) >= times else None

    try:
        return str(until(heard, f"{times} × {words!r} on the console of {instance}", seconds, 0.5))
    except AssertionError as late:
        raise AssertionError(f"{late}\n{console(ec2, instance)[-3000:]}") from None


def wait_running(ec2: Any, instances: list[str]) -> None:
    ec2.get_waiter("instance_running").wait(InstanceIds=instances, WaiterConfig={"Delay": 1, "MaxAttempts": 120})


def describe(ec2: Any, instance: str) -> dict[str, Any]:
    return ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]


def http_answer(address: str, timeout: float = 2) -> str | None:
    """The body of http://address/, None when the port does not answer."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{address}/", timeout=timeout) as answer:
            return answer.read().decode().strip()
    except (urllib.error.URLError, OSError):
        return None


def reaches(address: str, port: int, timeout: float = 1.5) -> bool:
    try:
        with socket.create_connection((address, port), timeout):
            return True
    except OSError:
        return False


def ssh(address: str, key: Path, command: str, user: str = "root", stdin: str = "") -> str:
    argv = ["ssh", "-i", str(key), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
            "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "LogLevel=ERROR",
            f"{user}@{address}", command]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, timeout=180, input=stdin,
                          env={"PATH": os.environ["PATH"], "HOME": str(key.parent)})  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def first_light(cloud: Cloud, tiny: Path, directory: Path) -> str:
    """Key pair, image, launch, metadata, address, security group, reboot, stop, start, terminate. The instance's id."""
    ec2 = cloud.client("ec2")
    key = make_key(cloud, "first", directory)
    image = register_tiny(cloud, tiny, "first-light")
    group = ec2.create_security_group(GroupName="web", Description="first light")["GroupId"]
    made = ec2.run_instances(
        ImageId=image, InstanceType="t3.nano", MinCount=1, MaxCount=1, KeyName="first", UserData=USER_DATA,
        SecurityGroupIds=[group], ClientToken="first-light-1",
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "one"}]}],
    )["Instances"][0]  # fmt: skip
    instance = made["InstanceId"]
    assert made["State"]["Name"] == "pending"
    wait_running(ec2, [instance])
    text = wait_for_words(ec2, instance, " login")
    for words in (f"instance-id {instance} token=yes", "key ssh-ed25519 ", "hello-from-user-data"):
        assert words in text, f"no {words!r} in {text}"
    seen = describe(ec2, instance)
    assert seen["Tags"] == [{"Key": "Name", "Value": "one"}]
    address = seen["PrivateIpAddress"]

    assert not reaches(address, 80), "a group without rules lets nothing in"
    web = [{"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
           for port in (80, 22)]  # fmt: skip
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=web)
    assert until(lambda: http_answer(address), "port 80 open", 20) == instance
    assert ssh(address, key, "hostname") == seen["PrivateDnsName"].split(".")[0]
    assert not reaches(address, 7), "only what is authorised"
    ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=web[:1])
    until(lambda: not reaches(address, 80), "port 80 shut", 20)
    assert reaches(address, 22)

    ec2.reboot_instances(InstanceIds=[instance])
    assert "reboot: Power down" in wait_for_words(ec2, instance, "data boots=2"), "asked first, not reset"
    wait_for_words(ec2, instance, " login", times=2)
    assert describe(ec2, instance)["State"]["Name"] == "running"

    ec2.stop_instances(InstanceIds=[instance])
    ec2.get_waiter("instance_stopped").wait(InstanceIds=[instance], WaiterConfig={"Delay": 1, "MaxAttempts": 90})
    until(lambda: not reaches(address, 22), "a stopped guest answers nothing", 10)
    ec2.start_instances(InstanceIds=[instance])
    wait_running(ec2, [instance])
    wait_for_words(ec2, instance, "data boots=3")
    until(lambda: reaches(address, 22), "ssh after start", BOOTED)
    assert describe(ec2, instance)["PrivateIpAddress"] == address

    ec2.terminate_instances(InstanceIds=[instance])
    ec2.get_waiter("instance_terminated").wait(InstanceIds=[instance], WaiterConfig={"Delay": 1, "MaxAttempts": 90})
    return instance


def ten_at_once(cloud: Cloud, image: str) -> list[str]:
    """Ten instances by one call: ten addresses, each guest told who it is. Their ids, all terminated."""
    ec2 = cloud.client("ec2")
    made = ec2.run_instances(ImageId=image, InstanceType="t3.nano", MinCount=10, MaxCount=10)["Instances"]
    ids = [one["InstanceId"] for one in made]
    assert len(set(ids)) == 10
    wait_running(ec2, ids)
    seen = [one for page in ec2.describe_instances(InstanceIds=ids)["Reservations"] for one in page["Instances"]]
    assert len({one["PrivateIpAddress"] for one in seen}) == 10
    for instance in ids:
        text = wait_for_words(ec2, instance, " login")
        assert f"instance-id {instance} " in text, text
    ec2.terminate_instances(InstanceIds=ids)
    ec2.get_waiter("instance_terminated").wait(InstanceIds=ids, WaiterConfig={"Delay": 1, "MaxAttempts": 120})
    return ids
