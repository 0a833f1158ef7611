"""Volumes, snapshots and images of instances with real guests: what one guest wrote, another reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.e2e import main_job, remains
from tests.e2e.clouds import Cloud, environment, until

pytestmark = pytest.mark.timeout(1200)
ZONE = "us-east-2a"
SOON = {"Delay": 1, "MaxAttempts": 120}
BLOCKS = 2 * 1024 * 1024  # of 512 bytes in a GiB


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    made = Cloud(tmp_path_factory.mktemp("volumes") / "state", environment(9))
    try:
        made.up("libvirt")
        yield made
    finally:
        made.remove()


class Guests:
    """Two tiny guests that ssh reaches, and what one does with them."""

    def __init__(self, cloud: Cloud, directory: Path) -> None:
        self.cloud, self.ec2 = cloud, cloud.client("ec2")
        cloud.run("image", "build-tiny", "--output", str(directory / "tiny"))
        self.image = main_job.register_tiny(cloud, next((directory / "tiny").rglob("tiny.raw")), "volumes")
        self.key = main_job.make_key(cloud, "volumes", directory)
        self.group = self.ec2.create_security_group(GroupName="ssh", Description="ssh")["GroupId"]
        self.ec2.authorize_security_group_ingress(GroupId=self.group, IpProtocol="tcp", FromPort=22, ToPort=22,
                                                  CidrIp="0.0.0.0/0")  # fmt: skip

    def launch(self, count: int = 1, **more: Any) -> list[str]:
        asked = {"ImageId": self.image, "InstanceType": "t3.nano", "KeyName": "volumes",
                 "SecurityGroupIds": [self.group]} | more  # fmt: skip
        made = self.ec2.run_instances(MinCount=count, MaxCount=count, **asked)["Instances"]
        ids = [one["InstanceId"] for one in made]
        main_job.wait_running(self.ec2, ids)
        for instance in ids:
            main_job.wait_for_words(self.ec2, instance, " login")
        return ids

    def sh(self, instance: str, command: str) -> str:
        return main_job.ssh(main_job.describe(self.ec2, instance)["PrivateIpAddress"], self.key, command)

    def disk(self, instance: str, volume: str) -> str:
        """The name in the guest of the disk with the volume's serial, once it is there."""
        serial = volume.replace("-", "")
        look = f"grep -l {serial} /sys/block/vd*/serial || true"
        shown = until(lambda: self.sh(instance, look), f"{volume} there", 30)
        return str(re.search(r"/sys/block/(vd\w+)/", shown)[1])  # type: ignore[index]

    def gone(self, instance: str, volume: str) -> None:
        serial = volume.replace("-", "")
        until(lambda: not self.sh(instance, f"grep -l {serial} /sys/block/vd*/serial || true"), f"{volume} gone", 30)

    def write(self, instance: str, disk: str, text: str, block: int = 0) -> None:
        self.sh(instance, f"echo {text} | dd of=/dev/{disk} bs=512 seek={block} conv=sync,notrunc 2>/dev/null; sync")

    def read(self, instance: str, disk: str, block: int = 0) -> str:
        return self.sh(instance, f"dd if=/dev/{disk} bs=512 skip={block} count=1 2>/dev/null | tr -d '\\000'")

    def wait(self, waiter: str, **asked: Any) -> None:
        self.ec2.get_waiter(waiter).wait(WaiterConfig=SOON, **asked)

    def attach(self, volume: str, instance: str, device: str) -> str:
        self.ec2.attach_volume(VolumeId=volume, InstanceId=instance, Device=device)
        self.wait("volume_in_use", VolumeIds=[volume])
        until(lambda: self.attachment(volume)["State"] == "attached", f"{volume} attached", 60)
        return self.disk(instance, volume)

    def detach(self, volume: str) -> None:
        assert self.ec2.detach_volume(VolumeId=volume)["State"] in ("detaching", "detached")
        self.wait("volume_available", VolumeIds=[volume])

    def attachment(self, volume: str) -> dict[str, Any]:
        return dict(self.ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]["Attachments"][0])

    def snapshot(self, volume: str) -> str:
        id = str(self.ec2.create_snapshot(VolumeId=volume, Description="of a test")["SnapshotId"])
        self.wait("snapshot_completed", SnapshotIds=[id])
        return id


@pytest.fixture(scope="module")
def guests(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Guests:
    return Guests(cloud, tmp_path_factory.mktemp("guests"))


@pytest.fixture(scope="module")
def two(guests: Guests) -> list[str]:
    return guests.launch(2)


def test_what_one_guest_wrote_another_reads(guests: Guests, two: list[str]) -> None:
    """A volume comes, is written to, goes, comes to another guest; grows there; and its snapshots are other volumes."""
    ec2, (one, other) = guests.ec2, two
    volume = ec2.create_volume(AvailabilityZone=ZONE, Size=1, VolumeType="gp3")["VolumeId"]
    guests.wait("volume_available", VolumeIds=[volume])
    disk = guests.attach(volume, one, "/dev/sdf")
    assert guests.attachment(volume)["Device"] == "/dev/sdf"
    assert guests.sh(one, f"cat /sys/block/{disk}/size") == str(BLOCKS)
    with pytest.raises(ClientError, match="VolumeInUse"):
        ec2.attach_volume(VolumeId=volume, InstanceId=other, Device="/dev/sdf")
    guests.write(one, disk, "written-by-one")
    guests.detach(volume)
    guests.gone(one, volume)

    disk = guests.attach(volume, other, "/dev/sdf")
    assert guests.read(other, disk) == "written-by-one"
    first = guests.snapshot(volume)
    guests.write(other, disk, "written-by-other", block=1)
    second = guests.snapshot(volume)
    ec2.modify_volume(VolumeId=volume, Size=2)
    until(lambda: guests.sh(other, f"cat /sys/block/{disk}/size") == str(2 * BLOCKS), "the guest sees it grow", 60)
    until(lambda: ec2.describe_volumes_modifications(VolumeIds=[volume])["VolumesModifications"][0]["ModificationState"]
          == "completed", "the modification is complete", 30)  # fmt: skip
    assert ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]["Size"] == 2

    for snapshot, block_one in ((first, ""), (second, "written-by-other")):
        copy = ec2.create_volume(AvailabilityZone=ZONE, SnapshotId=snapshot)["VolumeId"]
        guests.wait("volume_available", VolumeIds=[copy])
        there = guests.attach(copy, one, "/dev/sdg")
        assert guests.read(one, there) == "written-by-one"
        assert guests.read(one, there, block=1) == block_one
        guests.detach(copy)
        ec2.delete_volume(VolumeId=copy)
        guests.wait("volume_deleted", VolumeIds=[copy])
        ec2.delete_snapshot(SnapshotId=snapshot)
    guests.detach(volume)
    ec2.delete_volume(VolumeId=volume)
    guests.wait("volume_deleted", VolumeIds=[volume])
    assert not (guests.cloud.state / "volumes" / volume).exists()


def test_an_image_of_an_instance_boots(guests: Guests, two: list[str]) -> None:
    """Without a reboot the guest goes on; with one it is shut down and comes again. What it wrote is in the image."""
    ec2, one = guests.ec2, two[0]
    guests.sh(one, "echo before > /data/file; sync")
    boots = main_job.console(ec2, one).count(" login")
    image = ec2.create_image(InstanceId=one, Name="running", NoReboot=True)["ImageId"]
    guests.wait("image_available", ImageIds=[image])
    assert main_job.console(ec2, one).count(" login") == boots
    guests.sh(one, "echo after > /data/file; sync")
    rebooted = ec2.create_image(InstanceId=one, Name="rebooted")["ImageId"]
    guests.wait("image_available", ImageIds=[rebooted])
    main_job.wait_for_words(ec2, one, " login", times=boots + 1)
    assert main_job.describe(ec2, one)["State"]["Name"] == "running"

    for id, words in ((image, "before"), (rebooted, "after")):
        (made,) = guests.launch(ImageId=id)
        assert guests.sh(made, "cat /data/file") == words
        ec2.terminate_instances(InstanceIds=[made])
        guests.wait("instance_terminated", InstanceIds=[made])
        ec2.deregister_image(ImageId=id, DeleteAssociatedSnapshots=True)
    assert [one["SnapshotId"] for one in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
            if "CreateImage" in one["Description"]] == []  # fmt: skip


def test_volumes_of_a_launch_and_what_outlives_it(guests: Guests) -> None:
    """Block device mappings at launch: a larger root, a blank volume; a root that is kept serves another instance."""
    ec2 = guests.ec2
    mappings = [
        {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 2, "DeleteOnTermination": False}},
        {"DeviceName": "/dev/sdh", "Ebs": {"VolumeSize": 1, "VolumeType": "gp3"}},
    ]
    (made,) = guests.launch(BlockDeviceMappings=mappings)
    shown = {one["DeviceName"]: one["Ebs"] for one in main_job.describe(ec2, made)["BlockDeviceMappings"]}
    assert {name: one["Status"] for name, one in shown.items()} == {"/dev/sda1": "attached", "/dev/sdh": "attached"}
    root, data = shown["/dev/sda1"]["VolumeId"], shown["/dev/sdh"]["VolumeId"]
    assert guests.sh(made, "cat /sys/block/vda/size") == str(2 * BLOCKS)
    assert guests.disk(made, data) == "vdb"
    guests.sh(made, "echo kept > /data/kept; sync")
    ec2.modify_instance_attribute(InstanceId=made, DisableApiTermination={"Value": True})
    with pytest.raises(ClientError, match="OperationNotPermitted"):
        ec2.terminate_instances(InstanceIds=[made])
    ec2.modify_instance_attribute(InstanceId=made, DisableApiTermination={"Value": False})
    ec2.terminate_instances(InstanceIds=[made])
    guests.wait("instance_terminated", InstanceIds=[made])
    guests.wait("volume_available", VolumeIds=[root])
    guests.wait("volume_deleted", VolumeIds=[data])

    (snapshot,) = [guests.snapshot(root)]
    image = ec2.register_image(
        Name="of a snapshot", Architecture="x86_64", RootDeviceName="/dev/sda1", VirtualizationType="hvm",
        BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": snapshot}}])["ImageId"]  # fmt: skip
    (again,) = guests.launch(ImageId=image)
    assert guests.sh(again, "cat /data/kept") == "kept"
    ec2.terminate_instances(InstanceIds=[again])
    guests.wait("instance_terminated", InstanceIds=[again])
    with pytest.raises(ClientError, match=r"InvalidSnapshot\.InUse"):
        ec2.delete_snapshot(SnapshotId=snapshot)
    ec2.deregister_image(ImageId=image)
    ec2.delete_snapshot(SnapshotId=snapshot)
    ec2.delete_volume(VolumeId=root)
    guests.wait("volume_deleted", VolumeIds=[root])


def test_an_object_is_imported_and_boots(guests: Guests) -> None:
    ec2 = guests.ec2
    bucket = {"S3Bucket": "volumes", "S3Key": "tiny.raw"}
    task = ec2.import_image(DiskContainers=[{"Format": "raw", "UserBucket": bucket}])["ImportTaskId"]

    def imported() -> str | None:
        (shown,) = ec2.describe_import_image_tasks(ImportTaskIds=[task])["ImportImageTasks"]
        assert shown["Status"] in ("active", "completed"), shown
        return shown.get("ImageId") if shown["Status"] == "completed" else None

    image = until(imported, "the image is imported", 60)
    guests.cloud.client("s3").delete_object(Bucket=bucket["S3Bucket"], Key=bucket["S3Key"])
    (made,) = guests.launch(ImageId=image)
    ec2.terminate_instances(InstanceIds=[made])
    guests.wait("instance_terminated", InstanceIds=[made])


def test_nothing_is_left(guests: Guests, two: list[str]) -> None:
    """The volumes of guests that have ended are gone with their files."""
    ec2, cloud = guests.ec2, guests.cloud
    ec2.terminate_instances(InstanceIds=two)
    guests.wait("instance_terminated", InstanceIds=two)
    until(lambda: ec2.describe_volumes()["Volumes"] == [], "no volume is left", 60)
    table = cloud.environment["CLOUDCORE_NETWORK__TABLE"]
    until(lambda: not remains.of(two, cloud.state, table), "nothing is left", 20)
    assert list((cloud.state / "volumes").glob("vol-*")) == []
