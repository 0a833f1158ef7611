"""Volumes, snapshots and images of instances with real guests: what one guest wrote, another reads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from botocore.exceptions import ClientError

from tests.e2e import main_job, remains
from tests.e2e.clouds import Cloud, environment, until
from tests.e2e.guests import BLOCKS, Guests

pytestmark = pytest.mark.timeout(1200)
ZONE = "us-east-2a"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    made = Cloud(tmp_path_factory.mktemp("volumes") / "state", environment(9))
    try:
        made.up("libvirt")
        yield made
    finally:
        made.remove()


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
