"""What every BlockDriver does: the one of files, the one of a volume group, and the one that only pretends."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import gatherResults

from cloudcore.blockdev.driver import BaseLayer, BlockDriver
from cloudcore.domain.image_header import HEAD, TAIL, backing_of, judge
from cloudcore.errors import CloudError, Code
from tests.blockdev.rigs import FileRig, LvmRig, SimulatedRig

VOLUME, OTHER = "vol-0123456789abcdef0", "vol-0123456789abcdef1"
GIB, MIB = 2**30, 2**20


@pytest.fixture(params=[FileRig, LvmRig, SimulatedRig], ids=lambda rig: rig.__name__)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return request.param(tmp_path)


def a_layer(rig: Any, marks: dict[int, bytes], below: BaseLayer | None = None, size: int = GIB) -> BaseLayer:
    """A content of the image cache that holds `marks` ({offset: bytes})."""
    cache = rig.home / "cache"
    cache.mkdir(exist_ok=True)
    draft = cache / "draft"
    over = ["-b", below.sha256, "-F", below.format] if below else []
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *over, draft, str(size)], check=True)
    write(draft, "qcow2", marks)
    sha256 = hashlib.sha256(draft.read_bytes()).hexdigest()
    draft.rename(cache / sha256)
    return BaseLayer(str(cache / sha256), sha256, "qcow2", size)


def write(disk: Path | str, format: str, marks: dict[int, bytes]) -> None:
    commands = [("-c", f"write -P {data[0]} {offset} {len(data)}") for offset, data in marks.items()]
    if commands:
        subprocess.run(["qemu-io", "-f", format, *(word for each in commands for word in each), str(disk)], check=True,
                       stdout=subprocess.DEVNULL)  # fmt: skip


def read(disk: Path | str, format: str, scratch: Path) -> bytes:
    """The first 8 MiB that a guest sees."""
    raw = scratch / "seen"
    raw.unlink(missing_ok=True)
    subprocess.run(["qemu-img", "dd", "-f", format, "-O", "raw", "bs=1M", "count=8", f"if={disk}", f"of={raw}"],
                   check=True)  # fmt: skip
    return raw.read_bytes()


def refused(path: Path, below: str = "") -> Any:
    data = path.read_bytes()
    return judge(data[:HEAD], data[-TAIL:], len(data), below)


async def failure(awaited: Any) -> Code:
    with pytest.raises(CloudError) as problem:
        await awaited
    return problem.value.code


async def test_a_volume_is_made_seen_and_removed(rig: Any) -> None:
    driver: BlockDriver = rig.driver()
    assert await driver.present() == {}
    assert await driver.opened(VOLUME) is None
    for _ in range(2):
        await driver.make(VOLUME, 3 * GIB, ())
    assert await driver.present() == {VOLUME: 3 * GIB}
    assert await rig.driver().present() == {VOLUME: 3 * GIB}  # another process sees the same
    there = await driver.opened(VOLUME)
    assert there is not None and Path(there.path).exists() and there.backing == ()
    for _ in range(2):
        await driver.remove(VOLUME)
    assert await driver.present() == {} and await driver.opened(VOLUME) is None


async def test_one_that_is_there_stays_as_it_is(rig: Any) -> None:
    driver = rig.driver()
    await driver.make(VOLUME, GIB, ())
    await driver.make(VOLUME, 5 * GIB, ())
    assert await driver.present() == {VOLUME: GIB}


async def test_sizes_are_whole_gib_and_at_least_that_of_the_layer(rig: Any) -> None:
    driver = rig.driver()
    await driver.make(VOLUME, GIB + 1, ())
    await driver.make(OTHER, GIB, (a_layer(rig, {}, size=2 * GIB + 512),))
    assert await driver.present() == {VOLUME: 2 * GIB, OTHER: 3 * GIB}


async def test_it_grows_and_never_shrinks(rig: Any) -> None:
    driver = rig.driver()
    await driver.make(VOLUME, 2 * GIB, ())
    for size in (4 * GIB, 4 * GIB, GIB):
        await driver.grow(VOLUME, size)
    assert await driver.present() == {VOLUME: 4 * GIB}
    assert await failure(driver.grow(OTHER, GIB)) is Code.VOLUME_UNKNOWN


async def test_names_that_lead_elsewhere_are_refused(rig: Any) -> None:
    driver = rig.driver()
    for name in ("../vol-1", "", "-vol", ".hidden", "vol/1", "vol-1\n"):
        assert await failure(driver.make(name, GIB, ())) is Code.VOLUME_MALFORMED
        assert await failure(driver.remove(name)) is Code.VOLUME_MALFORMED


async def test_all_at_once_is_one_after_the_other(rig: Any) -> None:
    driver, same = rig.driver(), rig.driver()
    await gatherResults([each.make(VOLUME, GIB, ()) for each in (driver, same, driver)])
    assert await driver.present() == {VOLUME: GIB}
    await gatherResults([driver.remove(VOLUME), same.remove(VOLUME), driver.make(VOLUME, GIB, ())])
    assert set(await driver.present()) <= {VOLUME}


async def test_there_is_room_and_it_is_bytes(rig: Any) -> None:
    assert await rig.driver().free() > GIB


async def test_a_copy_is_a_whole_content(rig: Any) -> None:
    driver, target = rig.driver(), rig.home / "copy"
    await driver.make(VOLUME, GIB, ())
    await driver.copy(VOLUME, str(target), None)
    assert refused(target).virtual_size == GIB
    assert [path.name for path in rig.home.iterdir() if path.name.startswith("copy")] == ["copy"]
    assert await failure(driver.copy(OTHER, str(rig.home / "none"), None)) is Code.VOLUME_UNKNOWN
    assert not (rig.home / "none").exists()


async def test_a_delta_names_its_parent_and_no_other(rig: Any) -> None:
    driver, target = rig.driver(), rig.home / "copy"
    parent = a_layer(rig, {0: b"\x11" * MIB})
    await driver.make(VOLUME, GIB, (parent,))
    await driver.copy(VOLUME, str(target), parent)
    assert refused(target, parent.sha256).virtual_size == GIB
    assert backing_of(target.read_bytes()) == (parent.sha256, "qcow2")
    assert target.stat().st_size < MIB
    with pytest.raises(CloudError):
        refused(target)


async def test_a_guest_that_writes_keeps_others_away(rig: Any) -> None:
    driver, target = rig.driver(), rig.home / "copy"
    await driver.make(VOLUME, GIB, ())
    with rig.held(driver, VOLUME):
        assert await failure(driver.copy(VOLUME, str(target), None)) is Code.VOLUME_IN_USE
        assert await failure(driver.grow(VOLUME, 2 * GIB)) is Code.VOLUME_IN_USE
    assert not target.exists()
    await driver.copy(VOLUME, str(target), None)


# -- with bytes -------------------------------------------------------------------------------------------------------


@pytest.fixture(params=[FileRig, LvmRig], ids=lambda rig: rig.__name__)
def real(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return request.param(tmp_path)


async def test_a_volume_begins_with_its_layers(real: Any) -> None:
    driver = real.driver()
    below = a_layer(real, {0: b"\x11" * MIB, 2 * MIB: b"\x22" * MIB})
    top = a_layer(real, {2 * MIB: b"\x33" * MIB}, below, 2 * GIB)
    await driver.make(VOLUME, 2 * GIB, (top, below))
    there = await driver.opened(VOLUME)
    for layer in (top, below):
        Path(layer.path).unlink()  # the cache threw them away
    seen = read(there.path, there.format, real.home)
    assert seen[:MIB] == b"\x11" * MIB and seen[2 * MIB : 3 * MIB] == b"\x33" * MIB
    assert not any(seen[3 * MIB :])
    assert all(Path(path).exists() and format == "qcow2" for path, format in there.backing)
    assert there.block or [Path(path).name for path, _ in there.backing] == [top.sha256, below.sha256]


async def test_what_was_on_the_disk_before_is_not_seen(real: Any) -> None:
    driver = real.driver()
    await driver.make(VOLUME, GIB, ())
    there = await driver.opened(VOLUME)
    write(there.path, there.format, {0: b"\x77" * 4 * MIB})
    await driver.remove(VOLUME)
    await driver.make(OTHER, GIB, ())
    there = await driver.opened(OTHER)
    assert not any(read(there.path, there.format, real.home))


@pytest.mark.deadline(60)
async def test_snapshot_after_snapshot_holds_what_changed(real: Any) -> None:
    """Over the image, over the first snapshot, and after the volume has grown."""
    driver = real.driver()
    image = a_layer(real, {0: os.urandom(1)[:1] * 4 * MIB})
    await driver.make(VOLUME, GIB, (image,))
    there = await driver.opened(VOLUME)
    layers, marks = [image], [{MIB: b"\x44" * MIB}, {2 * MIB: b"\x55" * 65536}, {MIB: b"\0" * 65536}]
    for number, changed in enumerate(marks):
        write(there.path, there.format, changed)
        target = real.home / f"copy{number}"
        await driver.copy(VOLUME, str(target), layers[-1])
        assert target.stat().st_size < MIB
        refused(target, layers[-1].sha256)
        sha256 = hashlib.sha256(target.read_bytes()).hexdigest()
        kept = target.rename(real.home / "cache" / sha256)
        assert read(kept, "qcow2", real.home) == read(there.path, there.format, real.home)
        layers.append(BaseLayer(str(kept), sha256, "qcow2", GIB * (number + 1)))
        await driver.grow(VOLUME, GIB * (number + 2))
    await driver.make(OTHER, GIB, tuple(reversed(layers)))
    again = await driver.opened(OTHER)
    assert read(again.path, again.format, real.home) == read(there.path, there.format, real.home)
    whole = real.home / "whole"
    await driver.copy(OTHER, str(whole), None)
    refused(whole)
    assert read(whole, "qcow2", real.home) == read(there.path, there.format, real.home)
