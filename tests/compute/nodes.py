"""A host for tests with everything real below the agent: private libvirtd, QEMU, qemu-img, the host's image cache."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import succeed

from cloudcore.blockdev.files import FileVolumes
from cloudcore.blockdev.remote import RemoteVolumes
from cloudcore.blockdev.slimming import FileSlimming
from cloudcore.compute.agent import ComputeAgent, Seat
from cloudcore.compute.converging import Tools
from cloudcore.compute.failpoints import none
from cloudcore.compute.journal import Journal
from cloudcore.errors import CloudError
from cloudcore.images.cache import HostImageCache
from cloudcore.images.fetching import copy_file
from cloudcore.virt.domain_xml import Machine
from cloudcore.virt.libvirt_driver import LibvirtDriver
from cloudcore.virt.private_libvirtd import PrivateLibvirtd, qemu_user
from tests.compute.hosts import Bucket, MemoryConductor, name
from tests.virt.rigs import in_thread, until


class Folder:
    """Objects from a directory of this machine."""

    def __init__(self, directory):
        self._directory = directory

    async def get(self, location, sink, limit, owner=None):
        return await copy_file(in_thread, self._directory / location, sink)


class Node:
    """`disk` is the object bucket/disk."""

    def __init__(self, state: Path, disk: bytes, power_button: float = 0.3):
        self.state, self.conductor, self.bucket = state, MemoryConductor(), Shelf(state / "shelf")
        self.power_button = power_button
        (state / "bucket").mkdir(exist_ok=True)
        (state / "bucket/disk").write_bytes(disk)
        self.libvirtd = PrivateLibvirtd(reactor, state)

    async def start(self):
        await self.libvirtd.ensure()
        self.driver = LibvirtDriver(reactor, self.libvirtd, Machine("qemu"))
        cache = HostImageCache(self.state / "image-cache", Folder(self.state), in_thread)
        self.volumes = FileVolumes(reactor, self.libvirtd.volumes, in_thread)
        self.remotes = RemoteVolumes(reactor, self.state / "remotes", in_thread, qemu_user()[0])
        disks = self.driver.disks
        tools = Tools(reactor, self.driver, disks, disks, cache, self.volumes, self.remotes, self.bucket,
                      FileSlimming(reactor, in_thread), self.libvirtd.instances, self.libvirtd.identity, in_thread,
                      none, power_button=self.power_button)  # fmt: skip
        self.agent = ComputeAgent(Seat("h1"), tools, Journal(self.state / "compute.journal", in_thread), self.conductor,
                                  lambda heartbeat: succeed(None))  # fmt: skip
        self.agent.startService()

    async def stop(self):
        await self.agent.stopService()
        await self.remotes.leave()
        await self.driver.close()

    async def told(self, number, generation, change):
        await until(partial(self._told, name(number), (generation, change)), 40)

    async def runs(self, number, running):
        try:
            guests = await self.driver.guests()
        except CloudError:  # the hypervisor has just ended
            return False
        return [guest.running for guest in guests if guest.instance == name(number)] == [running]

    async def _told(self, instance, fact):
        return self.conductor.last(instance) == fact


class Shelf(Bucket):
    """Keeps what is stored, by snapshot."""

    def __init__(self, directory: Path):
        super().__init__()
        self._directory = directory

    def store(self, path, part):
        self._directory.mkdir(exist_ok=True)
        shutil.copyfile(path, self.file(part.snapshot))
        return super().store(path, part)

    def file(self, snapshot: str) -> Path:
        return self._directory / snapshot
