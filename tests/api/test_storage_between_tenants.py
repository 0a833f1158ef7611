"""What one account shares with another, and takes back: nobody's bytes are kept from their owner, and nobody learns of
anybody else's volumes, images or friends."""

from __future__ import annotations

from typing import Any

from tests.api.conftest import ALICE, BOB, House

THIRD = "333333333333"
DEVICE = "BlockDeviceMapping.{}.DeviceName"
SOURCE = "BlockDeviceMapping.{}.Ebs.SnapshotId"


def registered(house: House, name: str, who: str = "alice", **more: Any) -> str:
    answer = house.ask("RegisterImage", who, Name=name, **more)
    assert answer.status == 200, answer
    return answer.text("imageId")


def snapshot_of(house: House, image: str, who: str = "alice") -> str:
    return house.ask("DescribeImages", who, **{"ImageId.1": image}).text(".//snapshotId")


def shared_snapshot(house: House) -> str:
    """Alice's, that Bob and a third may use."""
    own = snapshot_of(house, registered(house, "own", ImageLocation="bucket/own"))
    copy = house.ask("CopySnapshot", SourceSnapshotId=own, SourceRegion="us-east-2").text("snapshotId")
    for number, who in ((1, BOB), (2, THIRD)):
        house.ask("ModifySnapshotAttribute", SnapshotId=copy, **{f"CreateVolumePermission.Add.{number}.UserId": who})
    return copy


def of_shared(house: House, snapshot: str) -> str:
    """Bob's image: its root and its data disk are Alice's snapshot."""
    disks = {DEVICE.format(1): "/dev/sda1", SOURCE.format(1): snapshot,
             DEVICE.format(2): "/dev/sdf", SOURCE.format(2): snapshot}  # fmt: skip
    return registered(house, "bobs", "bob", RootDeviceName="/dev/sda1", **disks)


def run(house: House, image: str) -> Any:
    return house.ask("RunInstances", "bob", ImageId=image, MinCount=1, MaxCount=1)


def test_an_image_of_another_account_keeps_no_snapshot_from_its_owner(house: House) -> None:
    shared = shared_snapshot(house)
    image = of_shared(house, shared)
    assert run(house, image).status == 200
    gone = house.ask("DeleteSnapshot", SnapshotId=shared)
    assert gone.status == 200, gone
    assert run(house, image).code == "InvalidAMIID.Unavailable"
    copied = house.ask("CopyImage", "bob", SourceImageId=image, SourceRegion="us-east-2", Name="twice")
    assert copied.code == "InvalidAMIID.Unavailable"
    assert house.ask("DeregisterImage", "bob", ImageId=image).status == 200


def test_who_lost_a_snapshot_starts_nothing_from_it_any_more(house: House) -> None:
    shared = shared_snapshot(house)
    image = of_shared(house, shared)
    house.ask("ResetSnapshotAttribute", SnapshotId=shared, Attribute="createVolumePermission")
    assert run(house, image).code == "InvalidAMIID.Unavailable"
    copied = house.ask("CopyImage", "bob", SourceImageId=image, SourceRegion="us-east-2", Name="twice")
    assert copied.code == "InvalidAMIID.Unavailable"


def test_whoever_may_start_from_an_image_needs_none_of_its_snapshots(house: House) -> None:
    image = registered(house, "lent", ImageLocation="bucket/own")
    house.ask("ModifyImageAttribute", ImageId=image, **{"LaunchPermission.Add.1.UserId": BOB})
    snapshot = snapshot_of(house, image, "bob")
    assert house.ask("DescribeSnapshots", "bob", **{"SnapshotId.1": snapshot}).code == "InvalidSnapshot.NotFound"
    assert run(house, image).status == 200
    house.ask("ResetImageAttribute", ImageId=image, Attribute="launchPermission")
    assert run(house, image).code == "InvalidAMIID.NotFound"


def test_with_whom_else_a_snapshot_is_shared_only_its_owner_learns(house: House) -> None:
    shared = shared_snapshot(house)
    for who, seen in (("alice", [shared]), ("bob", [])):
        found = house.ask("DescribeSnapshots", who, **{"RestorableBy.1": THIRD})
        assert found.texts(".//snapshotId") == seen, who
    assert house.ask("DescribeSnapshots", "bob", **{"RestorableBy.1": "self"}).texts(".//snapshotId") == [shared]
    assert house.ask("DescribeSnapshots", "bob", **{"RestorableBy.1": ALICE}).texts(".//snapshotId") == [shared]


def test_a_snapshot_is_shared_with_no_more_than_a_thousand_accounts(house: House) -> None:
    shared = shared_snapshot(house)
    for first in (0, 400):
        users = {f"UserId.{number}": f"{first + number:012d}" for number in range(1, 401)}
        assert modified(house, shared, users) is None
    users = {f"UserId.{number}": f"{800 + number:012d}" for number in range(1, 200)}
    assert modified(house, shared, users) == "InvalidParameterValue"
    users.popitem()
    assert modified(house, shared, users) is None


def modified(house: House, snapshot: str, users: dict[str, str]) -> str | None:
    return house.ask("ModifySnapshotAttribute", SnapshotId=snapshot, OperationType="add", **users).code
