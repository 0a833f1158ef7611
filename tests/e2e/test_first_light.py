"""The main job on a detached all-in-one: plain boto3 outside, real guests inside (QEMU, libvirt, dnsmasq, nftables)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import main_job, remains
from tests.e2e.clouds import Cloud, environment, until

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    made = Cloud(tmp_path_factory.mktemp("light") / "state", environment(1))
    made.up("libvirt")
    yield made
    made.remove()


@pytest.fixture(scope="module")
def tiny(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("tiny")
    cloud.run("image", "build-tiny", "--output", str(place))
    return next(place.rglob("tiny.raw"))


def left(cloud: Cloud, instances: list[str]) -> list[str]:
    table = cloud.environment["CLOUDCORE_NETWORK__TABLE"]
    with sqlite3.connect(f"file:{cloud.state / 'cloudcore.sqlite'}?mode=ro", uri=True) as books:
        rows = books.execute("SELECT instance FROM allocations UNION SELECT instance FROM addresses "
                             "WHERE instance IS NOT NULL").fetchall()  # fmt: skip
    return remains.of(instances, cloud.state, table) + [f"row of {one}" for one, in rows if one in instances]


def test_the_main_job_by_plain_boto3(cloud: Cloud, tiny: Path, tmp_path: Path) -> None:
    instance = main_job.first_light(cloud, tiny, tmp_path)
    until(lambda: not left(cloud, [instance]), f"nothing left of {instance}: {left(cloud, [instance])}", 20)


def test_ten_instances_at_once_have_ten_addresses(cloud: Cloud) -> None:
    image = cloud.client("ec2").describe_images(Owners=["self"])["Images"][0]["ImageId"]
    instances = main_job.ten_at_once(cloud, image)
    until(lambda: not left(cloud, instances), f"nothing left: {left(cloud, instances)}", 30)


def test_guests_outlive_the_control_plane_and_are_found_again(cloud: Cloud) -> None:
    ec2 = cloud.client("ec2")
    image = ec2.describe_images(Owners=["self"])["Images"][0]["ImageId"]
    made = ec2.run_instances(ImageId=image, InstanceType="t3.nano", MinCount=1, MaxCount=1)["Instances"]
    instance = made[0]["InstanceId"]
    main_job.wait_running(ec2, [instance])
    main_job.wait_for_words(ec2, instance, " login")
    cloud.kill()
    assert instance in remains.run("ps", "-eo", "args"), "the guest does not notice"
    cloud.up("libvirt")
    ec2 = cloud.client("ec2")
    assert main_job.describe(ec2, instance)["State"]["Name"] == "running"
    assert "boots=2" not in main_job.console(ec2, instance)
    cloud.down("keep")
    assert instance in remains.run("ps", "-eo", "args")
    cloud.up("libvirt")
    ec2 = cloud.client("ec2")
    ec2.terminate_instances(InstanceIds=[instance])
    ec2.get_waiter("instance_terminated").wait(InstanceIds=[instance], WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    until(lambda: not left(cloud, [instance]), f"nothing left: {left(cloud, [instance])}", 20)
