"""What the tables of tests/wire cannot say of volumes and snapshots: rows, operations, audit, plain boto3."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from twisted.internet.threads import deferToThread

from cloudcore.domain.instances import Event
from cloudcore.domain.volumes import AttachmentState, Content, Snapshot, SnapshotState, VolumeState
from cloudcore.store.instances import LostRace
from cloudcore.store.schema import audit, operations
from tests.api.conftest import ALICE, BOB, IMAGE, PUBLIC_IMAGE, START
from tests.api.test_front_door import IMAGE as DOOR_IMAGE
from tests.api.test_front_door import Door, opened, refused

ZONE = "us-east-2a"


def begun(house: Any) -> list[tuple[str, str, int]]:
    """(kind, subject, generation) of every operation, in order."""
    chosen = sa.select(operations.c.kind, operations.c.subject, operations.c.generation)
    return house.works(lambda books: [tuple(row) for row in books._connection.execute(chosen)])


def a_volume(house: Any, **asked: Any) -> str:
    id = house.ask("CreateVolume", **{"AvailabilityZone": ZONE, "Size": 2} | asked).text(".//volumeId")
    house.settled()
    return id


def running(house: Any, address: str = "10.0.0.9", **asked: Any) -> str:
    (one,) = house.run(Placement__AvailabilityZone=ZONE, **asked)
    house.moved(one, Event.GUEST_STARTED, "h1", address)
    house.settled()
    return one


# -- what is written --------------------------------------------------------------------------------------------------


def test_a_launch_writes_a_root_volume_for_each_instance(house: Any) -> None:
    ids = house.run(MaxCount=3)

    def rows(books: Any) -> list[Any]:
        held = books.attachments.of_instances(ids)
        return [(one, books.volumes.find(one.volume)) for id in ids for one in held[id]]

    found = house.works(rows)
    assert [one.instance for one, _ in found] == ids
    for attachment, volume in found:
        assert (attachment.root, attachment.state, attachment.device) == (True, AttachmentState.ATTACHING, "/dev/sda1")
        assert attachment.delete_on_termination
        assert (volume.state, volume.host, volume.size_gib, volume.project) == (VolumeState.CREATING, None, 1, ALICE)
    assert house.works(lambda books: books.quotas.usage(ALICE))["volumes"] == (3, 500)
    assert house.works(lambda books: books.quotas.usage(ALICE))["volume-gigabytes"][0] == 3
    assert [kind for kind, _, _ in begun(house)] == ["launch"] * 3


def test_a_root_disk_is_as_large_as_its_type_wants_and_smaller_where_that_is_asked(house: Any) -> None:
    def root(**asked: Any) -> str:
        (one,) = house.run(InstanceType="t3.small", **asked)
        found = house.ask("DescribeVolumes", **{"Filter.1.Name": "attachment.instance-id", "Filter.1.Value.1": one})
        return found.text(".//size")

    device = {"BlockDeviceMapping.1.DeviceName": "/dev/sda1"}
    assert root() == "8"
    assert root(**device, **{"BlockDeviceMapping.1.Ebs.VolumeSize": 2}) == "2"
    assert root(**device, **{"BlockDeviceMapping.1.Ebs.VolumeType": "gp3"}) == "8"


def test_a_root_disk_begins_with_the_content_of_its_image_whoever_launches_it(house: Any) -> None:
    def furnish(books: Any) -> None:
        books.contents.put(Content("c" * 64, "b/k", 1, "raw", 1 << 30))
        books._connection.execute(sa.text(f"UPDATE images SET content = '{'c' * 64}'"))

    house.works(furnish)
    for who, image in (("alice", IMAGE), ("alice", PUBLIC_IMAGE)):
        made = house.ask("RunInstances", who, ImageId=image, MinCount=1, MaxCount=1)
        volume = made.text(".//ebs/volumeId")
        assert house.works(lambda books, volume=volume: books.volumes.find(volume).content) == "c" * 64


def test_the_snapshots_of_a_public_image_serve_whoever_launches_it_and_nobody_else(house: Any) -> None:
    mine = "snap-00000000000000001"

    def furnish(books: Any) -> None:
        books.contents.put(Content("c" * 64, "b/k", 1, "raw", 1 << 30))
        books.snapshots.insert([Snapshot(mine, BOB, "vol-ffffffff", 3, SnapshotState.COMPLETED, START, mine,
                                         content="c" * 64)])  # fmt: skip
        mappings = json.dumps([
            {"device": device, "snapshot": of, "size_gib": size}
            for device, of, size in (("/dev/sda1", mine, 5), ("/dev/sdb", mine, 3), ("/dev/sdc", None, 4))])
        books._connection.execute(sa.text("UPDATE images SET mappings = :m WHERE id = :i"),
                                  {"m": mappings, "i": PUBLIC_IMAGE})  # fmt: skip

    house.works(furnish)
    asked = {"ImageId": PUBLIC_IMAGE, "MinCount": 1, "MaxCount": 1}
    made = house.ask("RunInstances", **asked)
    assert made.texts(".//deviceName") == ["/dev/sda1", "/dev/sdb", "/dev/sdc"]
    assert sorted(house.ask("DescribeVolumes").texts(".//size")) == ["3", "4", "5"]
    without = {"BlockDeviceMapping.1.DeviceName": "/dev/sdb", "BlockDeviceMapping.1.NoDevice": ""}
    assert house.ask("RunInstances", **asked, **without).texts(".//deviceName") == ["/dev/sda1", "/dev/sdc"]
    small = {"BlockDeviceMapping.1.DeviceName": "/dev/sda1", "BlockDeviceMapping.1.Ebs.VolumeSize": 2}
    assert house.ask("RunInstances", **asked, **small).code == "InvalidBlockDeviceMapping"
    least = {"BlockDeviceMapping.1.DeviceName": "/dev/sda1", "BlockDeviceMapping.1.Ebs.VolumeSize": 3}
    assert house.ask("RunInstances", **asked, **least).status == 200
    assert house.ask("CreateVolume", AvailabilityZone=ZONE, SnapshotId=mine).code == "InvalidSnapshot.NotFound"
    other = {"BlockDeviceMapping.1.DeviceName": "/dev/sdd", "BlockDeviceMapping.1.Ebs.SnapshotId": mine}
    assert house.ask("RunInstances", **asked, **other).code == "InvalidSnapshot.NotFound"


def test_each_change_is_an_operation_and_is_hinted(house: Any) -> None:
    one = running(house)
    volume = a_volume(house)
    house.ask("AttachVolume", VolumeId=volume, InstanceId=one, Device="/dev/sdf")
    house.settled()
    house.ask("DetachVolume", VolumeId=volume)
    house.ask("DetachVolume", VolumeId=volume)
    house.settled()
    house.ask("ModifyVolume", VolumeId=volume, Size=3)
    house.settled()
    house.ask("ModifyVolume", VolumeId=volume, VolumeType="gp3")
    snapshot = house.ask("CreateSnapshot", VolumeId=volume).text(".//snapshotId")
    house.settled()
    house.ask("DeleteVolume", VolumeId=volume)
    made = begun(house)
    assert made == [("launch", one, 1), ("create-volume", volume, 1), ("redisk", one, 2), ("grow-volume", volume, 2),
                    ("snapshot", snapshot, 1), ("delete-volume", volume, 3)], "both redisks wait for one telling"
    assert len(house.beyond.hints) == len(made) + 1


def test_a_snapshot_says_in_which_running_guest_its_volume_is(house: Any) -> None:
    one = running(house)
    root = house.ask("DescribeInstances", **{"InstanceId.1": one}).text(".//ebs/volumeId")
    alone = a_volume(house)
    ids = [house.ask("CreateSnapshot", VolumeId=volume).text(".//snapshotId") for volume in (root, alone)]
    found = house.works(lambda books: [books.snapshots.find(id) for id in ids])
    assert [(snapshot.instance, snapshot.batch) for snapshot in found] == [(one, ids[0]), (None, ids[1])]


def test_the_snapshots_of_one_moment_are_one_batch_and_one_operation(house: Any) -> None:
    one = running(house, **{"BlockDeviceMapping.1.DeviceName": "/dev/sdf", "BlockDeviceMapping.1.Ebs.VolumeSize": 1})
    before = len(begun(house))
    ids = house.ask("CreateSnapshots", **{"InstanceSpecification.InstanceId": one}).texts(".//snapshotId")
    found = house.works(lambda books: [books.snapshots.find(id) for id in ids])
    assert {snapshot.batch for snapshot in found} == {ids[0]}
    assert begun(house)[before:] == [("snapshot", ids[0], 1)]
    assert house.works(lambda books: books.quotas.usage(ALICE))["snapshots"][0] == 2


def test_a_forced_detachment_is_written_as_such(house: Any) -> None:
    one, volume = running(house), a_volume(house)
    house.ask("AttachVolume", VolumeId=volume, InstanceId=one, Device="sdf")
    for force, written in (("false", False), ("true", True)):
        house.ask("DetachVolume", VolumeId=volume, Force=force)
        assert house.works(lambda books: books.attachments.of_volume(volume)).forced is written


def test_a_guest_that_does_not_let_go_shows_as_busy(house: Any) -> None:
    one, volume = running(house), a_volume(house)
    house.ask("AttachVolume", VolumeId=volume, InstanceId=one, Device="/dev/sdf")
    house.settled()

    def shown() -> str:
        return house.ask("DescribeVolumes", **{"VolumeId.1": volume}).text(".//attachmentSet/item/status")

    house.ask("DetachVolume", VolumeId=volume)
    house.clock.advance(59)
    assert shown() == "detaching"
    house.clock.advance(2)
    assert shown() == "busy"
    assert house.ask("DetachVolume", VolumeId=volume, Force="true").status == 200
    assert shown() == "busy"
    house.settled()
    assert shown() == ""


def test_a_snapshot_that_was_deleted_while_it_was_copied_is_nobodys(house: Any) -> None:
    snapshot = house.ask("CreateSnapshot", VolumeId=a_volume(house)).text(".//snapshotId")
    for given in ({"CreateVolumePermission.Add.1.Group": "all"}, {"CreateVolumePermission.Add.1.UserId": BOB}):
        house.ask("ModifySnapshotAttribute", SnapshotId=snapshot, **given)
    assert house.ask("DescribeSnapshots", "bob").texts(".//snapshotId") == [snapshot]
    house.ask("DeleteSnapshot", SnapshotId=snapshot)
    assert house.ask("DescribeSnapshots", "bob").texts(".//snapshotId") == []


def test_what_is_refused_leaves_nothing_behind(house: Any) -> None:
    one, volume = running(house), a_volume(house)
    house.ask("AttachVolume", VolumeId=volume, InstanceId=one, Device="/dev/sdf")
    other = a_volume(house)
    before = len(begun(house)), house.works(lambda books: books.quotas.usage(ALICE))
    assert house.ask("AttachVolume", VolumeId=other, InstanceId=one, Device="/dev/sdf").code == "InvalidParameterValue"
    assert house.ask("CreateSnapshot", VolumeId=other, DryRun="true").code == "DryRunOperation"
    assert house.ask("DeleteVolume", VolumeId=other, DryRun="true").code == "DryRunOperation"
    assert house.ask("ModifyVolume", VolumeId=other, Size=99999).code == "InvalidParameterValue"
    assert (len(begun(house)), house.works(lambda books: books.quotas.usage(ALICE))) == before
    found = house.ask("DescribeVolumes", **{"VolumeId.1": other})
    assert found.text(".//volumeSet/item/status") == "available"


def test_a_content_goes_with_the_last_snapshot_of_it(house: Any) -> None:
    volume = a_volume(house)
    first = house.ask("CreateSnapshot", VolumeId=volume).text(".//snapshotId")
    house.settled()

    def filled(books: Any) -> None:
        books.contents.put(Content("d" * 64, "b/d", 1, "qcow2", 1 << 30))
        books.snapshots.change(first, content="d" * 64)

    house.works(filled)
    copy = house.ask("CopySnapshot", SourceSnapshotId=first, SourceRegion="us-east-2").text(".//snapshotId")
    house.ask("DeleteSnapshot", SnapshotId=first)
    assert "discard" not in [kind for kind, _, _ in begun(house)]
    house.ask("DeleteSnapshot", SnapshotId=copy)
    assert begun(house)[-1] == ("discard", "d" * 64, 1)


def test_every_change_is_audited(house: Any) -> None:
    volume = a_volume(house)
    house.ask("ModifyVolumeAttribute", VolumeId=volume, AutoEnableIO__Value="true")
    house.ask("DeleteVolume", VolumeId=volume)
    chosen = sa.select(audit.c.action).order_by(audit.c.id)
    actions = house.works(lambda books: list(books._connection.execute(chosen).scalars()))
    assert actions == ["ec2:CreateVolume", "ec2:ModifyVolumeAttribute", "ec2:DeleteVolume"]


def test_a_failed_volume_is_shown_impaired_and_can_be_removed(house: Any) -> None:
    id = house.ask("CreateVolume", AvailabilityZone=ZONE, Size=1).text(".//volumeId")

    def failed(books: Any) -> None:
        books._connection.execute(sa.text("UPDATE volumes SET state = 'error'"))

    house.works(failed)
    assert house.ask("DescribeVolumes").text(".//volumeSet/item/status") == "error"
    assert house.ask("DescribeVolumeStatus").text(".//volumeStatus/status") == "impaired"
    assert house.ask("AttachVolume", VolumeId=id, InstanceId=running(house), Device="/dev/sdf").code == "IncorrectState"
    assert house.ask("DeleteVolume", VolumeId=id).status == 200


def test_describes_of_volumes_ask_as_often_for_many_as_for_one(house: Any) -> None:
    def statements(action: str) -> int:
        seen: list[str] = []

        def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
            seen.append(statement)

        sa.event.listen(sa.Engine, "before_cursor_execute", note)
        try:
            assert house.ask(action).status == 200
        finally:
            sa.event.remove(sa.Engine, "before_cursor_execute", note)
        return len(seen)

    running(house)
    few = [statements(action) for action in ("DescribeVolumes", "DescribeInstances", "DescribeSnapshots")]
    for _ in range(3):
        house.ask("CreateSnapshot", VolumeId=a_volume(house))
    running(house, "10.0.0.10")
    assert [statements(action) for action in ("DescribeVolumes", "DescribeInstances")] == few[:2]


def test_what_names_a_content_that_has_gone_meanwhile_is_tried_again(house: Any) -> None:
    """The database refuses it; the next try reads what is there now."""

    def insert(books: Any) -> None:
        id = "snap-00000000000000009"
        books.snapshots.insert([Snapshot(id, ALICE, "vol-ffffffff", 1, SnapshotState.COMPLETED, START, id,
                                         content="e" * 64)])  # fmt: skip

    with pytest.raises(LostRace):
        house.works(insert)


# -- clients ----------------------------------------------------------------------------------------------------------


@pytest.mark.deadline(60)
async def test_boto3_goes_through_the_life_of_a_volume(tmp_path: Path) -> None:
    def life(door: Door) -> None:
        ec2, quick = door.client("ec2"), {"Delay": 1, "MaxAttempts": 5}
        zone = ec2.describe_availability_zones()["AvailabilityZones"][0]["ZoneName"]
        launched = ec2.run_instances(
            ImageId=DOOR_IMAGE, MinCount=1, MaxCount=1, InstanceType="t3.nano", Placement={"AvailabilityZone": zone},
            BlockDeviceMappings=[{"DeviceName": "/dev/sdb", "Ebs": {"VolumeSize": 1, "VolumeType": "gp3"}},
                                 {"DeviceName": "/dev/sdc", "NoDevice": ""}])["Instances"][0]  # fmt: skip
        instance = launched["InstanceId"]
        ec2.get_waiter("instance_running").wait(InstanceIds=[instance], WaiterConfig=quick)
        made = ec2.create_volume(AvailabilityZone=zone, Size=2, TagSpecifications=[
            {"ResourceType": "volume", "Tags": [{"Key": "Name", "Value": "data"}]}])  # fmt: skip
        volume = made["VolumeId"]
        assert (made["SnapshotId"], made["State"]) == ("", "creating")
        ec2.get_waiter("volume_available").wait(VolumeIds=[volume], WaiterConfig=quick)
        attached = ec2.attach_volume(VolumeId=volume, InstanceId=instance, Device="/dev/sdf")
        assert attached["State"] == "attaching"
        ec2.get_waiter("volume_in_use").wait(VolumeIds=[volume], WaiterConfig=quick)
        (one,) = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"]
        assert [each["DeviceName"] for each in one["BlockDeviceMappings"]] == ["/dev/sda1", "/dev/sdb", "/dev/sdf"]
        refused("VolumeInUse", ec2.delete_volume, VolumeId=volume)
        snapshot = ec2.create_snapshot(VolumeId=volume, Description="d")["SnapshotId"]
        ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[snapshot], WaiterConfig=quick)
        ec2.modify_volume(VolumeId=volume, Size=4)
        ended = [{"Name": "modification-state", "Values": ["completed"]}]
        while not (found := ec2.describe_volumes_modifications(Filters=ended)["VolumesModifications"]):
            pass
        assert [(one["VolumeId"], one["TargetSize"], one["Progress"]) for one in found] == [(volume, 4, 100)]
        copy = ec2.copy_snapshot(SourceSnapshotId=snapshot, SourceRegion="us-east-2")["SnapshotId"]
        restored = ec2.create_volume(AvailabilityZone=zone, SnapshotId=copy)
        assert (restored["Size"], restored["SnapshotId"]) == (2, copy)
        ec2.detach_volume(VolumeId=volume)
        ec2.get_waiter("volume_available").wait(VolumeIds=[volume, restored["VolumeId"]], WaiterConfig=quick)
        ec2.delete_volume(VolumeId=volume)
        ec2.get_waiter("volume_deleted").wait(VolumeIds=[volume], WaiterConfig=quick)
        ec2.modify_snapshot_attribute(SnapshotId=copy, Attribute="createVolumePermission", OperationType="add",
                                      GroupNames=["all"])  # fmt: skip
        read = ec2.describe_snapshot_attribute(SnapshotId=copy, Attribute="createVolumePermission")
        assert read["CreateVolumePermissions"] == [{"Group": "all"}]
        for pages, key in (("describe_volumes", "Volumes"), ("describe_snapshots", "Snapshots"),
                           ("describe_volume_status", "VolumeStatuses"),
                           ("describe_volumes_modifications", "VolumesModifications")):  # fmt: skip
            found = [one for page in ec2.get_paginator(pages).paginate(PaginationConfig={"PageSize": 5})
                     for one in page[key]]  # fmt: skip
            assert found or pages == "describe_volumes_modifications"  # its volume is gone
        for id in (snapshot, copy):
            ec2.delete_snapshot(SnapshotId=id)
        refused("InvalidSnapshot.NotFound", ec2.describe_snapshots, SnapshotIds=[snapshot])
        ec2.terminate_instances(InstanceIds=[instance])
        ec2.get_waiter("instance_terminated").wait(InstanceIds=[instance], WaiterConfig=quick)

    await opened(tmp_path, lambda door: deferToThread(life, door))
