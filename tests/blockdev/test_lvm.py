"""What is special to logical volumes: others' data, others' volumes, thin pools, a crash while one grows."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudcore.errors import CloudError, Code
from tests.blockdev.rigs import LvmRig

VOLUME, GIB = "vol-0123456789abcdef0", 2**30


async def test_what_others_left_in_its_extents_is_not_seen(tmp_path: Path) -> None:
    driver = LvmRig(tmp_path).driver()
    await driver.make(VOLUME, GIB, ())
    await driver.grow(VOLUME, 2 * GIB)
    device = tmp_path / "lvm" / "dev" / "guests" / VOLUME
    with device.open("rb") as file:
        for offset in (0, GIB):
            file.seek(offset)
            assert not any(file.read(2**24))


async def test_growing_that_was_cut_off_is_made_whole(tmp_path: Path) -> None:
    rig = LvmRig(tmp_path)
    driver = rig.driver()
    await driver.make(VOLUME, GIB, ())
    zero = tmp_path / "lvm" / "bin" / "blkdiscard"
    zero.rename(tmp_path / "aside")
    with pytest.raises(CloudError):
        await driver.grow(VOLUME, 2 * GIB)
    (tmp_path / "aside").rename(zero)
    await rig.driver().grow(VOLUME, 2 * GIB)
    with (tmp_path / "lvm" / "dev" / "guests" / VOLUME).open("rb") as file:
        file.seek(GIB)
        assert not any(file.read(2**24))
    assert (tmp_path / "lvm" / "dev" / "guests" / f"{VOLUME}#tags").read_text() == "cloudcore"


async def test_one_that_was_half_made_is_made_anew(tmp_path: Path) -> None:
    rig = LvmRig(tmp_path)
    zero = tmp_path / "lvm" / "bin" / "blkdiscard"
    zero.rename(tmp_path / "aside")
    with pytest.raises(CloudError):
        await rig.driver().make(VOLUME, GIB, ())
    (tmp_path / "aside").rename(zero)
    half = tmp_path / "lvm" / "dev" / "guests" / f"new.{VOLUME}"
    half.write_bytes(b"half")
    half.with_name(half.name + "#tags").write_text("cloudcore")
    driver = rig.driver()
    assert await driver.present() == {}
    await driver.make(VOLUME, GIB, ())
    assert await driver.present() == {VOLUME: GIB} and not half.exists()


async def test_volumes_of_others_are_not_ours(tmp_path: Path) -> None:
    driver = LvmRig(tmp_path).driver()
    group = tmp_path / "lvm" / "dev" / "guests"
    group.mkdir(parents=True)
    (group / VOLUME).write_bytes(b"theirs")
    (group / f"{VOLUME}#tags").write_text("")
    assert await driver.present() == {} and await driver.opened(VOLUME) is None
    await driver.remove(VOLUME)
    assert (group / VOLUME).read_bytes() == b"theirs"


async def test_a_group_that_is_full_and_a_volume_in_use_are_said_so(tmp_path: Path) -> None:
    rig = LvmRig(tmp_path)
    driver = rig.driver()
    with pytest.raises(CloudError) as problem:
        await driver.make(VOLUME, 2**46, ())
    assert problem.value.code is Code.CAPACITY
    await driver.make(VOLUME, GIB, ())
    with rig.held(driver, VOLUME), pytest.raises(CloudError) as problem:
        await driver.remove(VOLUME)
    assert problem.value.code is Code.VOLUME_IN_USE


async def test_a_thin_pool_says_what_it_has_left(tmp_path: Path) -> None:
    driver = LvmRig(tmp_path, "pool").driver()
    group = tmp_path / "lvm" / "dev" / "guests"
    group.mkdir(parents=True)
    with pytest.raises(CloudError, match="no thin pool"):
        await driver.free()
    (group / "pool").write_bytes(bytes(1000))
    (group / "pool#thin").touch()
    assert await driver.free() == 900
    (group / "pool#thin").write_text("-")
    for refused in (driver.free(), driver.make(VOLUME, GIB, ())):
        with pytest.raises(CloudError, match="does not zero"):
            await refused
    (group / "pool#thin").write_text("z")
    await driver.make(VOLUME, GIB, ())
    await driver.grow(VOLUME, 2 * GIB)
    assert await driver.present() == {VOLUME: 2 * GIB}


async def test_the_end_of_a_cloud_leaves_nothing_of_ours(tmp_path: Path) -> None:
    """Not even what was never finished."""
    driver = LvmRig(tmp_path).driver()
    await driver.make(VOLUME, GIB, ())
    group = tmp_path / "lvm" / "dev" / "guests"
    for name, tag in (("new.vol-0123456789abcdef1", "cloudcore"), ("root", "")):
        (group / name).write_bytes(b"half")
        (group / f"{name}#tags").write_text(tag)
    await driver.clear()
    assert sorted(path.name for path in group.iterdir()) == ["root", "root#tags"]
