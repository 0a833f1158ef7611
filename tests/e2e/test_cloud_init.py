"""Debian's own cloud-init, as Debian ships it, in a real Debian guest: it must find EC2 by itself and be content."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import debian_guest, guest_metadata, main_job, remains
from tests.e2e.clouds import Cloud, environment, until

BOOTED = 600  # seconds: 80 on an idle machine without KVM
USER_DATA = """\
#cloud-config
write_files:
- path: /etc/from-user-data
  permissions: '0640'
  content: written by cloud-init
runcmd:
- date +%s.%N >> /var/lib/runs-of-user-data
- echo user-data-was-run
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(debian_guest.PATIENCE + 2 * BOOTED)]


@dataclass
class Guest:
    id: str
    described: dict[str, Any]
    public_key: str
    run: Callable[..., str]  # run(command, stdin="") in the guest, as user debian; its output

    def root(self, command: str) -> str:
        return self.run(f"sudo -n {command}")


@pytest.fixture(scope="module")
def debian() -> Path:
    return debian_guest.image()


@pytest.fixture(scope="module")
def cloud(debian: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    made = Cloud(tmp_path_factory.mktemp("debian") / "state", environment(7))
    try:
        made.up("libvirt")
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="module")
def guest(cloud: Cloud, debian: Path, tmp_path_factory: pytest.TempPathFactory) -> Guest:
    """Launched as anybody would launch an official image, with tokens required; cloud-init has finished."""
    ec2, place = cloud.client("ec2"), tmp_path_factory.mktemp("keys")
    image = main_job.register(cloud, debian, "debian", "Debian with cloud-init")
    key = main_job.make_key(cloud, "mine", place)
    group = ec2.create_security_group(GroupName="ssh", Description="ssh")["GroupId"]
    ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[ssh])
    made = ec2.run_instances(
        ImageId=image, InstanceType="t3.micro", MinCount=1, MaxCount=1, KeyName="mine", UserData=USER_DATA,
        SecurityGroupIds=[group], MetadataOptions={"HttpTokens": "required"},
        BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 4}}],
    )["Instances"][0]["InstanceId"]  # fmt: skip
    main_job.wait_running(ec2, [made])
    main_job.wait_for_words(ec2, made, "user-data-was-run", seconds=BOOTED)
    described = main_job.describe(ec2, made)

    def run(command: str, stdin: str = "") -> str:
        return main_job.ssh(described["PrivateIpAddress"], key, command, user="debian", stdin=stdin)

    until(lambda: ended(run("cloud-init status || true")), "cloud-init has ended", 120, 2)
    (pair,) = ec2.describe_key_pairs(KeyNames=["mine"], IncludePublicKey=True)["KeyPairs"]
    return Guest(made, described, pair["PublicKey"].strip(), run)


def ended(status: str) -> bool:
    return status.strip() in ("status: done", "status: error")


def test_cloud_init_finds_ec2_by_itself(guest: Guest) -> None:
    found = guest.run("cat /run/cloud-init/ds-identify.log")
    assert "no datasource_list found, using default" in found
    assert "Found single datasource: Ec2" in found
    assert guest.run("cat /run/cloud-init/cloud-id") == "aws"


def test_cloud_init_ends_without_error_or_warning_or_second_attempt(guest: Guest) -> None:
    assert guest.run("cloud-init status") == "status: done"
    result = json.loads(guest.run("cat /run/cloud-init/result.json"))["v1"]
    assert result == {"datasource": "DataSourceEc2Local", "errors": []}
    log = guest.root("cat /var/log/cloud-init.log").splitlines()
    assert not [line for line in log if "WARNING" in line or "ERROR" in line or "Traceback" in line]
    asked = [line for line in log if "Read from http://169.254.169.254/" in line]
    assert len(asked) > 30
    assert all("(200, " in line and line.endswith("after 1 attempts") for line in asked), asked
    assert "/latest/api/token" in asked[0]


def test_the_guest_is_named_by_its_metadata(guest: Guest) -> None:
    assert guest.run("hostname -f") == guest.described["PrivateDnsName"]
    assert guest.run("hostname") == guest.described["PrivateDnsName"].split(".")[0]


def test_the_key_pair_lets_its_owner_in(guest: Guest) -> None:
    """That ssh works, every test here shows; this, that there is no other key, and none but a warning for root."""
    assert guest.run("cat .ssh/authorized_keys") == guest.public_key
    assert 'command="echo \'Please login as the user' in guest.root("cat /root/.ssh/authorized_keys")
    assert guest.run("whoami") == "debian"


def test_cloud_init_knows_the_instance(guest: Guest) -> None:
    known = json.loads(guest.run("cloud-init query --all"))["v1"]
    here = guest.described["Placement"]["AvailabilityZone"]
    assert (known["instance_id"], known["availability_zone"], known["region"]) == (guest.id, here, here[:-1])
    assert (known["cloud_name"], known["platform"]) == ("aws", "ec2")
    assert known["local_hostname"] == guest.described["PrivateDnsName"].split(".")[0]


def test_the_root_file_system_grows_to_the_disk(guest: Guest) -> None:
    size = int(guest.run("df --output=size -B1M /").split()[-1])
    assert size > 3500, "4 GiB were asked for, of which the image fills a sixth"


def test_every_leaf_that_is_listed_can_be_read(guest: Guest) -> None:
    script = Path(guest_metadata.__file__).read_text()
    seen = json.loads(guest.run("python3 -", stdin=script))
    assert seen["without a token"] == 401
    assert seen["refused"] == {}
    assert seen["read"]["meta-data/instance-id"] == guest.id
    assert seen["read"]["user-data"] == USER_DATA
    identity = json.loads(seen["read"]["dynamic/instance-identity/document"])
    assert identity["instanceId"] == guest.id


def test_user_data_is_executed_once_however_often_cloud_init_starts(guest: Guest) -> None:
    """All stages again, as a second boot would run them: the metadata is asked anew, and tells of the same instance."""
    assert guest.root("stat -c %a:%U /etc/from-user-data") == "640:root"
    assert guest.root("cat /etc/from-user-data") == "written by cloud-init"
    before = guest.root("cat /var/lib/runs-of-user-data")
    assert len(before.splitlines()) == 1
    for stage in ("init --local", "init", "modules --mode=config", "modules --mode=final"):
        guest.root(f"cloud-init {stage}")
    assert guest.root("cat /var/lib/runs-of-user-data") == before
    assert guest.run("ls /var/lib/cloud/instances").split() == [guest.id]


def test_nothing_is_left_of_it(cloud: Cloud, guest: Guest) -> None:
    ec2 = cloud.client("ec2")
    ec2.terminate_instances(InstanceIds=[guest.id])
    ec2.get_waiter("instance_terminated").wait(InstanceIds=[guest.id], WaiterConfig={"Delay": 1, "MaxAttempts": 90})
    table = cloud.environment["CLOUDCORE_NETWORK__TABLE"]
    until(lambda: not remains.of([guest.id], cloud.state, table), "nothing left", 20)
