"""Hypervisors for tests: one that pretends, and one that really runs QEMU below a private libvirtd.

The real one boots a sector that writes a line to its serial port and halts: a guest in 0.3 s even by emulation.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from cloudcore.blockdev.driver import BaseLayer, BlockDriver
from cloudcore.blockdev.files import FileVolumes
from cloudcore.blockdev.simulated import SimulatedVolumes
from cloudcore.domain.ids import guest_uuid, mac_address
from cloudcore.virt.domain_xml import Machine
from cloudcore.virt.driver import GuestDisk, GuestSpec
from cloudcore.virt.libvirt_driver import LibvirtDriver
from cloudcore.virt.private_libvirtd import PrivateLibvirtd
from cloudcore.virt.simulated import Pace, SimulatedDriver
from cloudcore.virt.simulated_world import World

SECTOR = (
    bytes.fromhex(
        "31c0 8ed8"  # xor ax, ax; mov ds, ax
        "be157c baf803"  # mov si, text; mov dx, 0x3f8      the first serial port
        "ac 84c0 7403 ee ebf8"  # next: lodsb; test al, al; jz done; out dx, al; jmp next
        "f4 ebfd"  # done: hlt; jmp done
    )
    + b"TINY 0.01 login\r\n\0"
).ljust(510, b"\0") + b"\x55\xaa"


def in_thread(work: Callable[[], Any]) -> Deferred[Any]:
    return deferToThreadPool(reactor, reactor.getThreadPool(), work)


def pause(seconds: float) -> Deferred[None]:
    waiting: Deferred[None] = Deferred(lambda cancelled: call.cancel())
    call = reactor.callLater(seconds, waiting.callback, None)
    return waiting


async def until(holds: Callable[[], Any], seconds: float = 15.0) -> None:
    """Waits until the asynchronous condition holds; the caller's deadline is the last resort."""
    end = reactor.seconds() + seconds
    while not await holds():
        assert reactor.seconds() < end, f"not within {seconds} s"
        await pause(0.1)


def name(number: int) -> str:
    return f"i-{number:017x}"


def volume(number: int) -> str:
    return f"vol-{number:017x}"


@dataclass
class Rig:
    """A hypervisor and what is needed to give it guests. `again` is another driver of the same hypervisor."""

    instances: Path
    volumes: BlockDriver
    again: Callable[[], LibvirtDriver | SimulatedDriver]
    virt_type: str

    def __post_init__(self) -> None:
        self.driver = self.again()

    async def spec(self, number: int, generation: int = 1, image: bytes = SECTOR.ljust(2**20, b"\0")) -> GuestSpec:
        """A guest ready to be defined: its directory and disk are there."""
        home = self.instances / name(number)
        home.mkdir(exist_ok=True)
        home.chmod(0o711)
        digest = hashlib.sha256(image).hexdigest()
        base = self.instances / digest
        if not base.exists():
            base.write_bytes(image)
            base.chmod(0o644)
        disk = await self.disk(volume(number), (BaseLayer(str(base), digest, "raw", len(image)),))
        instance = name(number)
        return GuestSpec(instance, generation, 1, guest_uuid(instance), 1, 80, (disk,), str(home),
                         mac_address(instance), "", 1450)  # fmt: skip

    async def disk(self, volume: str, layers: tuple[BaseLayer, ...] = ()) -> GuestDisk:
        await self.volumes.make(volume, 2**30, layers)
        opened = await self.volumes.opened(volume)
        assert opened is not None
        return GuestDisk(volume, opened.path, opened.format, "block" if opened.block else "file", opened.backing)

    async def guest(self, number: int, generation: int = 1, **image: bytes) -> str:
        """One that runs."""
        await self.driver.define(await self.spec(number, generation, **image))
        await self.driver.start(name(number))
        return name(number)

    async def state(self, instance: str) -> tuple[int, bool] | None:
        for guest in await self.driver.guests():
            if guest.instance == instance:
                return guest.generation, guest.running
        return None

    async def close(self) -> None:
        for guest in await self.driver.guests():
            await self.driver.remove(guest.instance)
        await self.driver.close()


def simulated_rig(directory: Path) -> Rig:
    instances = directory / "instances"
    instances.mkdir()
    world = World()
    pace = Pace(boot=0.1, shutdown=0.05)
    chance = random.Random(7)  # noqa: S311
    volumes = SimulatedVolumes(directory / "volumes")
    return Rig(instances, volumes, lambda: SimulatedDriver(reactor, chance, world, pace), "simulated")


def libvirt_rig(host: PrivateLibvirtd, bridge: str = "ccbr0") -> Rig:
    machine = Machine("qemu", bridge)
    volumes = FileVolumes(reactor, host.volumes, in_thread)
    return Rig(host.instances, volumes, lambda: LibvirtDriver(reactor, host, machine), "qemu")


def may_run_guests() -> bool:
    return os.geteuid() == 0 and Path("/usr/sbin/libvirtd").exists()
