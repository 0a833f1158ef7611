"""Volumes for tests: `driver()` is each time another process that looks after the same volumes, `held` is a guest."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from cloudcore.blockdev.files import FileVolumes
from cloudcore.blockdev.lvm import LvmVolumes, Places
from cloudcore.blockdev.simulated import SimulatedVolumes


def in_thread(work: Any) -> Deferred[Any]:
    return deferToThreadPool(reactor, reactor.getThreadPool(), work)


class FileRig:
    def __init__(self, home: Path) -> None:
        self.home = home

    def driver(self) -> FileVolumes:
        return FileVolumes(reactor, self.home / "volumes", in_thread)

    @contextmanager
    def held(self, driver: Any, volume: str) -> Iterator[None]:
        with writing(self.home / "volumes" / volume / "disk.qcow2", "qcow2"):
            yield


class LvmRig:
    """LVM's programs are fakes over plain files: they need neither root nor device-mapper."""

    def __init__(self, home: Path, pool: str = "") -> None:
        self.home, self._pool = home, pool
        programs = home / "lvm" / "bin"
        programs.mkdir(parents=True)
        for name in ("lvcreate", "lvremove", "lvextend", "lvrename", "lvchange", "lvs", "vgs", "blkdiscard"):
            (programs / name).symlink_to(Path(__file__).with_name("fake_lvm.py"))

    def driver(self) -> LvmVolumes:
        where = Places(self.home / "locks", self.home / "lvm" / "bin", self.home / "lvm" / "dev")
        return LvmVolumes(reactor, "guests", in_thread, where, self._pool)

    @contextmanager
    def held(self, driver: Any, volume: str) -> Iterator[None]:
        device = self.home / "lvm" / "dev" / "guests" / volume
        mark = device.with_name(volume + "#open")
        mark.touch()
        with writing(device, "raw"):
            yield
        mark.unlink()


class SimulatedRig:
    def __init__(self, home: Path) -> None:
        self.home = home

    def driver(self) -> SimulatedVolumes:
        return SimulatedVolumes(self.home / "volumes")

    @contextmanager
    def held(self, driver: SimulatedVolumes, volume: str) -> Iterator[None]:
        driver.held.add(volume)
        yield
        driver.held.discard(volume)


@contextmanager
def writing(disk: Path, format: str) -> Iterator[None]:
    """Somebody has the disk open as a guest has it."""
    guest = subprocess.Popen(["qemu-io", "-f", format, str(disk)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert guest.stdin is not None and guest.stdout is not None
    try:
        guest.stdin.write(b"length\n")
        guest.stdin.flush()
        while not guest.stdout.readline().strip():
            pass
        yield
    finally:
        guest.kill()
        guest.communicate()
