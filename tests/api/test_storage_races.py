"""What is asked of volumes, snapshots and images while something else becomes of them: from the api to the hosts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.api.test_volumes_conducted import ZONE, Conducted, launched
from tests.conductor.wishes import at_rest
from tests.conductor.world import PROJECT


@pytest.fixture
def cloud() -> Iterator[Conducted]:
    made = Conducted()
    yield made
    made.world.stop()


def usage(cloud: Conducted) -> dict[str, int]:
    return {name: used for name, (used, _) in cloud.world.store.run(lambda b: b.quotas.usage(PROJECT)).items() if used}


def created(cloud: Conducted, seconds: float = 5, **asked: Any) -> str:
    return cloud.ask("CreateVolume", seconds=seconds, AvailabilityZone=ZONE, **asked).text(".//volumeId")


def data(size: int = 2, number: int = 1, **more: Any) -> dict[str, Any]:
    mark = f"BlockDeviceMapping.{number}"
    return {f"{mark}.DeviceName": f"/dev/sd{'efgh'[number]}", f"{mark}.Ebs.VolumeSize": size,
            **{f"{mark}.Ebs.{name}": value for name, value in more.items()}}  # fmt: skip


def test_a_copied_image_tells_nothing_of_the_volume_that_it_was_made_of(cloud: Conducted) -> None:
    one, _ = launched(cloud)
    image = cloud.ask("CreateImage", seconds=8, InstanceId=one, Name="made").text("imageId")
    copy = cloud.ask("CopyImage", SourceImageId=image, SourceRegion="us-east-2", Name="copy").text("imageId")
    snapshot = cloud.ask("DescribeImages", **{"ImageId.1": copy}).text(".//snapshotId")
    assert cloud.ask("DescribeSnapshots", **{"SnapshotId.1": snapshot}).text(".//volumeId") == "vol-ffffffff"


def test_no_image_has_a_volume_that_is_smaller_than_its_snapshot(cloud: Conducted) -> None:
    one, _ = launched(cloud, **data(5))
    mark = "BlockDeviceMapping.1"
    asked = {"InstanceId": one, "Name": "made", f"{mark}.DeviceName": "/dev/sdf", f"{mark}.Ebs.VolumeSize": 4}
    assert cloud.house.ask("CreateImage", **asked).code == "InvalidBlockDeviceMapping"
    image = cloud.ask("CreateImage", seconds=8, **{**asked, f"{mark}.Ebs.VolumeSize": 6}).text("imageId")
    shown = cloud.ask("DescribeImages", **{"ImageId.1": image})
    assert (shown.text(".//imageState"), shown.texts(".//volumeSize")[1]) == ("available", "6")


def test_what_is_being_detached_outlives_its_instance(cloud: Conducted) -> None:
    one, (_, extra) = launched(cloud, **data(DeleteOnTermination="true"))
    for host in cloud.world.hosts:
        host.keeps.add(extra)
    cloud.ask("DetachVolume", seconds=2, VolumeId=extra)
    assert cloud.volume(extra, ".//attachmentSet/item/status") == "detaching"
    cloud.ask("TerminateInstances", seconds=10, **{"InstanceId.1": one})
    assert cloud.volume(extra) == "available"
    cloud.ask("DeleteVolume", seconds=5, VolumeId=extra)
    at_rest(cloud.world)
    assert usage(cloud) == {}


def test_an_image_asked_for_before_the_end_is_complete_after_it(cloud: Conducted) -> None:
    one, _ = launched(cloud, **data())
    image = cloud.ask("CreateImage", InstanceId=one, Name="last").text("imageId")
    cloud.ask("TerminateInstances", seconds=20, **{"InstanceId.1": one})
    assert cloud.ask("DescribeImages", **{"ImageId.1": image}).text(".//imageState") == "available"
    assert usage(cloud) == {"snapshots": 2}
    cloud.ask("DeregisterImage", seconds=10, ImageId=image, DeleteAssociatedSnapshots="true")
    at_rest(cloud.world)
    assert usage(cloud) == {}


def test_a_snapshot_deleted_while_a_volume_is_made_of_it(cloud: Conducted) -> None:
    blank = created(cloud, Size=2)
    snapshot = cloud.ask("CreateSnapshot", seconds=8, VolumeId=blank).text(".//snapshotId")
    copy = cloud.ask("CopySnapshot", SourceSnapshotId=snapshot, SourceRegion="us-east-2").text(".//snapshotId")
    volume = created(cloud, 0, SnapshotId=snapshot)
    for one in (snapshot, copy):
        cloud.ask("DeleteSnapshot", SnapshotId=one)
    cloud.world.run(8)
    assert cloud.volume(volume) == "available"
    for one in (blank, volume):
        cloud.ask("DeleteVolume", seconds=6, VolumeId=one)
    at_rest(cloud.world)
    assert usage(cloud) == {}


def test_a_volume_deleted_while_it_is_copied_and_its_snapshot_too(cloud: Conducted) -> None:
    blank = created(cloud, Size=2)
    first = cloud.ask("CreateSnapshot", VolumeId=blank).text(".//snapshotId")
    second = cloud.ask("CreateSnapshot", VolumeId=blank).text(".//snapshotId")
    cloud.ask("DeleteVolume", VolumeId=blank)
    cloud.ask("DeleteSnapshot", SnapshotId=first)
    cloud.world.run(20)
    assert cloud.ask("DescribeSnapshots", **{"SnapshotId.1": second}).text(".//status") == "completed"
    cloud.ask("DeleteSnapshot", seconds=8, SnapshotId=second)
    at_rest(cloud.world)
    assert usage(cloud) == {}


def test_an_image_deregistered_while_something_starts_from_it(cloud: Conducted) -> None:
    one, _ = launched(cloud)
    image = cloud.ask("CreateImage", seconds=8, InstanceId=one, Name="made").text("imageId")
    launch = {"ImageId": image, "MinCount": 1, "MaxCount": 1, "InstanceType": "t3.nano"}
    other = cloud.ask("RunInstances", **launch).text(".//instanceId")
    cloud.ask("DeregisterImage", ImageId=image, DeleteAssociatedSnapshots="true")
    cloud.world.run(8)
    assert cloud.ask("DescribeInstances", **{"InstanceId.1": other}).text(".//instanceState/name") == "running"
    cloud.ask("StopInstances", seconds=8, **{"InstanceId.1": other})
    cloud.ask("StartInstances", seconds=8, **{"InstanceId.1": other})
    assert cloud.ask("DescribeInstances", **{"InstanceId.1": other}).text(".//instanceState/name") == "running"
    cloud.ask("TerminateInstances", seconds=15, **{"InstanceId.1": one, "InstanceId.2": other})
    at_rest(cloud.world)
    assert usage(cloud) == {}


def test_a_volume_grows_while_it_leaves(cloud: Conducted) -> None:
    one, _ = launched(cloud)
    volume = created(cloud, Size=2)
    cloud.ask("AttachVolume", seconds=5, VolumeId=volume, InstanceId=one, Device="/dev/sdf")
    cloud.ask("DetachVolume", VolumeId=volume)
    cloud.ask("ModifyVolume", VolumeId=volume, Size=7)
    cloud.world.run(20)
    assert (cloud.volume(volume), cloud.volume(volume, ".//size")) == ("available", "7")
    cloud.ask("ModifyVolume", VolumeId=volume, Size=9)
    cloud.ask("DeleteVolume", seconds=10, VolumeId=volume)
    cloud.ask("TerminateInstances", seconds=15, **{"InstanceId.1": one})
    at_rest(cloud.world)
    assert usage(cloud) == {}


def test_a_launch_that_is_ended_at_once_gives_everything_back(cloud: Conducted) -> None:
    answer = cloud.ask("RunInstances", ImageId="ami-00000000000000001", MinCount=1, MaxCount=1, InstanceType="t3.nano",
                       **data(DeleteOnTermination="true"))  # fmt: skip
    cloud.ask("TerminateInstances", seconds=15, **{"InstanceId.1": answer.text(".//instanceId")})
    at_rest(cloud.world)
    assert usage(cloud) == {}


def test_a_rehearsal_takes_no_quota(cloud: Conducted) -> None:
    volume = created(cloud, Size=1)
    before = usage(cloud)
    for action, asked in (
        ("CreateVolume", {"AvailabilityZone": ZONE, "Size": 3}),
        ("CreateSnapshot", {"VolumeId": volume}),
        ("ModifyVolume", {"VolumeId": volume, "Size": 4}),
        ("RunInstances", {"ImageId": "ami-00000000000000001", "MinCount": 1, "MaxCount": 1, **data()}),
        ("ImportSnapshot", {"DiskContainer.UserBucket.S3Bucket": "bucket", "DiskContainer.UserBucket.S3Key": "key"}),
    ):
        assert cloud.house.ask(action, DryRun="true", **asked).code == "DryRunOperation", action
    assert usage(cloud) == before


def test_a_cancelled_import_gives_its_quota_back_once(cloud: Conducted) -> None:
    asked = {"DiskContainer.UserBucket.S3Bucket": "bucket", "DiskContainer.UserBucket.S3Key": "key"}
    kept = cloud.ask("ImportSnapshot", seconds=5, **asked).text(".//importTaskId")
    task = cloud.ask("ImportSnapshot", **asked).text(".//importTaskId")
    cloud.ask("CancelImportTask", ImportTaskId=task)
    assert cloud.house.ask("CancelImportTask", ImportTaskId=task).code == "IncorrectState"
    assert cloud.house.ask("CancelImportTask", ImportTaskId=kept).code == "IncorrectState"
    cloud.world.run(10)
    assert usage(cloud) == {"snapshots": 1}
    at_rest(cloud.world)
