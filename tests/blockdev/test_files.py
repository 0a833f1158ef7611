"""What is special to volumes in files: leftovers of a crash, other users, another file system."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

import pytest
from twisted.internet import reactor

from cloudcore.blockdev import empty_qcow2, files
from cloudcore.blockdev.copying import place
from cloudcore.blockdev.driver import BaseLayer
from cloudcore.blockdev.slimming import FileSlimming
from cloudcore.domain.image_header import HEAD, TAIL, judge
from cloudcore.errors import CloudError, Code
from tests.blockdev.rigs import FileRig, in_thread

GIB = 2**30
VOLUME = "vol-0123456789abcdef0"


async def test_leftovers_of_a_crash_go_and_work_under_way_stays(tmp_path: Path) -> None:
    rig = FileRig(tmp_path)
    for name in (".aside-dead", ".aside-alive"):
        (tmp_path / "volumes" / name).mkdir(parents=True)
    held = os.open(tmp_path / "volumes" / ".aside-alive", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    assert await rig.driver().present() == {}
    assert [path.name for path in (tmp_path / "volumes").iterdir()] == [".aside-alive"]
    os.close(held)


async def test_a_volume_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    driver = FileRig(tmp_path).driver()
    absent = BaseLayer(str(tmp_path / "absent"), "ab" * 32, "qcow2", GIB)
    with pytest.raises(CloudError) as problem:
        await driver.make(VOLUME, GIB, (absent,))
    assert problem.value.code is Code.PROGRAM_FAILED
    assert list((tmp_path / "volumes").iterdir()) == []


async def test_a_full_disk_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "RESERVE", 2**60)
    with pytest.raises(CloudError) as problem:
        await FileRig(tmp_path).driver().make(VOLUME, GIB, ())
    assert problem.value.code is Code.CAPACITY


async def test_others_may_pass_through_but_not_read(tmp_path: Path) -> None:
    await FileRig(tmp_path).driver().make(VOLUME, GIB, ())
    home = tmp_path / "volumes" / VOLUME
    assert [path.stat().st_mode & 0o777 for path in (home.parent, home, home / "disk.qcow2")] == [0o711, 0o711, 0o600]


ESCAPED = 'json:{"driver":"raw","file":{"driver":"file","filename":"\\u002fetc\\u002fpasswd"}}'


@pytest.mark.parametrize("named", ["/etc/passwd", ESCAPED, "nbd:localhost:10809", "..", "disk.qcow2", "ab" * 31])
async def test_a_chain_that_is_not_ours_is_not_followed(tmp_path: Path, named: str) -> None:
    """Whoever gets out of a QEMU may write the header of its disks; root's tools obey none of it."""
    driver = FileRig(tmp_path).driver()
    await driver.make(VOLUME, GIB, ())
    empty_qcow2.write(tmp_path / "volumes" / VOLUME / "disk.qcow2", GIB, (named, "raw"))
    for doing in (
        lambda: driver.opened(VOLUME), lambda: driver.grow(VOLUME, 2 * GIB),
        lambda: driver.copy(VOLUME, str(tmp_path / "copy"), None),
    ):  # fmt: skip
        with pytest.raises(CloudError, match="not of our making"):
            await doing()
    assert not (tmp_path / "copy").exists()


async def test_data_in_another_file_is_not_followed(tmp_path: Path) -> None:
    driver = FileRig(tmp_path).driver()
    await driver.make(VOLUME, GIB, ())
    disk = tmp_path / "volumes" / VOLUME / "disk.qcow2"
    disk.unlink()
    (tmp_path / "secret").write_bytes(b"secret".ljust(2**20, b"\0"))
    kept = f"data_file={tmp_path / 'secret'},data_file_raw=on"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-o", kept, disk, "1M"], check=True)  # noqa: ASYNC221
    for doing in (
        lambda: driver.opened(VOLUME), lambda: driver.copy(VOLUME, str(tmp_path / "copy"), None),
        lambda: FileSlimming(reactor, in_thread).slim(str(disk), str(tmp_path / "copy"), None),
    ):  # fmt: skip
        with pytest.raises(CloudError, match="not of our making"):
            await doing()


async def test_a_whole_copy_lies_over_nothing(tmp_path: Path) -> None:
    (tmp_path / ("ab" * 32)).write_bytes(b"secret".ljust(2**20, b"\0"))
    whole = tmp_path / "whole"
    empty_qcow2.write(whole, GIB, ("ab" * 32, "raw"))
    with pytest.raises(CloudError, match="no whole copy"):
        await FileSlimming(reactor, in_thread).slim(str(whole), str(tmp_path / "copy"), None)


def test_where_no_link_can_be_made_a_copy_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On disk before anybody relies on it, and as readable for QEMU's user, whatever the umask."""
    (tmp_path / "layer").write_bytes(b"content")
    (tmp_path / "layer").chmod(0o644)
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    umask = os.umask(0o077)
    other = Path("/dev/shm")  # noqa: S108 - another file system
    name = other / f"cloudcore-test-{os.getpid()}"
    try:
        place(tmp_path / "layer", name)
        assert name.read_bytes() == b"content"
        assert name.stat().st_mode & 0o777 == 0o644 and synced == [name.stat().st_ino]
    finally:
        os.umask(umask)
        name.unlink(missing_ok=True)


@pytest.mark.parametrize("size", [GIB, 16 * 2**40])
@pytest.mark.parametrize("base", [None, "below"])
def test_an_empty_qcow2_is_a_true_one(tmp_path: Path, size: int, base: str | None) -> None:
    below, disk = tmp_path / "below", tmp_path / "disk"
    empty_qcow2.write(below, GIB)
    empty_qcow2.write(disk, size, (base, "qcow2") if base else None)
    subprocess.run(["qemu-img", "check", "-q", "-f", "qcow2", disk], check=True)
    data = disk.read_bytes()
    assert judge(data[:HEAD], data[-TAIL:], len(data), base or "").virtual_size == size
