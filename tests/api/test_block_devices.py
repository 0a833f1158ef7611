"""What lists of block device mappings come to, before the database is asked."""

from __future__ import annotations

from typing import Any

import pytest

from cloudcore.api.block_devices import OF_SNAPSHOT, AskedEbs, BlockDevice, overridden
from cloudcore.domain.images import Mapping
from cloudcore.errors import CloudError, Code

ROOT = Mapping("/dev/sda1", "snap-00000000000000001", 8, "gp3", True, 4000, 200)
DATA = Mapping("/dev/sdf", "snap-00000000000000002", 3, delete_on_termination=False)


def asked(device: str | None, **ebs: Any) -> BlockDevice:
    return BlockDevice(device, AskedEbs(**ebs))


def test_an_image_alone_is_as_it_is() -> None:
    assert overridden([ROOT, DATA], []) == (ROOT, DATA)


def test_what_is_not_said_stays() -> None:
    (root, data) = overridden([ROOT, DATA], [asked("/dev/sda1", VolumeSize=9), BlockDevice("/dev/sdf")])
    assert root == Mapping("/dev/sda1", ROOT.snapshot, 9, "gp3", True, 4000, 200)
    assert data == DATA


def test_another_type_forgets_the_speed_of_the_one_before() -> None:
    (root,) = overridden([ROOT], [asked("/dev/sda1", VolumeType="io1", Iops=300, DeleteOnTermination=False)])
    assert root == Mapping("/dev/sda1", ROOT.snapshot, 8, "io1", False, 300, None)


def test_another_snapshot_brings_its_own_size() -> None:
    other = "snap-00000000000000003"
    assert overridden([ROOT, DATA], [asked("/dev/sdf", SnapshotId=other)])[1].size_gib == OF_SNAPSHOT
    assert overridden([ROOT, DATA], [asked("/dev/sdf", SnapshotId=other, VolumeSize=5)])[1].size_gib == 5
    assert overridden([ROOT, DATA], [asked("/dev/sdf", SnapshotId=DATA.snapshot)])[1] == DATA


def test_what_comes_new_follows_the_images_own_and_ends_with_its_instance() -> None:
    made = overridden([ROOT], [asked("/dev/sdg", VolumeSize=1), asked("sdh", SnapshotId="snap-1")])
    assert made == (ROOT, Mapping("/dev/sdg", None, 1), Mapping("sdh", "snap-1", OF_SNAPSHOT))


def test_a_device_is_left_out_by_name_or_is_no_volume() -> None:
    given = [BlockDevice("/dev/sdf", NoDevice=""), BlockDevice("/dev/sdx", NoDevice="true"),
             BlockDevice("/dev/sdb", VirtualName="ephemeral0")]  # fmt: skip
    assert overridden([ROOT, DATA], given) == (ROOT, Mapping("/dev/sdb", None, 0, virtual="ephemeral0"))
    assert overridden([ROOT, DATA], [BlockDevice("/dev/sdf", VirtualName="ephemeral0")])[1].virtual == "ephemeral0"


@pytest.mark.parametrize(("given", "code"), [
    ([asked(None, VolumeSize=1)], Code.MISSING_PARAMETER),
    ([asked("/dev/sdg")], Code.MISSING_PARAMETER),
    ([BlockDevice("/dev/sdg")], Code.MISSING_PARAMETER),
    ([asked("/dev/disk", VolumeSize=1)], Code.BLOCK_DEVICE_MAPPING),
    ([asked("/dev/sdg", VolumeSize=1), BlockDevice("/dev/sdg", NoDevice="")], Code.BLOCK_DEVICE_MAPPING),
    ([BlockDevice("/dev/sda1", NoDevice="")], Code.BLOCK_DEVICE_MAPPING),
    ([BlockDevice("/dev/sda1", VirtualName="ephemeral1")], Code.BLOCK_DEVICE_MAPPING),
    ([BlockDevice("/dev/sdg", VirtualName="ephemeral24")], Code.BLOCK_DEVICE_MAPPING),
    ([BlockDevice("/dev/sdg", AskedEbs(VolumeSize=1), VirtualName="ephemeral0")], Code.BLOCK_DEVICE_MAPPING),
    ([asked("/dev/sdg", VolumeSize=0)], Code.BAD_VALUE),
    ([asked(f"/dev/xvd{a}{b}", VolumeSize=1) for a in "ab" for b in "abcdefghijklm"], Code.ATTACHMENT_LIMIT),
])  # fmt: skip
def test_what_it_may_not_say(given: list[BlockDevice], code: Code) -> None:
    with pytest.raises(CloudError) as refused:
        overridden([ROOT], given)
    assert refused.value.code is code
