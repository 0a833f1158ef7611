"""The agent with everything real below it: private libvirtd, QEMU, qemu-img, the host's image cache."""

import hashlib
import os
import signal
from functools import partial
from pathlib import Path

import pytest
from twisted.internet import reactor
from twisted.internet.defer import succeed

from cloudcore.blockdev.files import FileVolumes
from cloudcore.blockdev.slimming import FileSlimming
from cloudcore.compute.agent import ComputeAgent, Seat
from cloudcore.compute.converging import Tools
from cloudcore.compute.failpoints import none
from cloudcore.compute.journal import Journal
from cloudcore.daemon.hosting import Layered
from cloudcore.domain.ids import guest_uuid
from cloudcore.errors import CloudError, Code
from cloudcore.images.cache import HostImageCache
from cloudcore.images.fetching import copy_file
from cloudcore.rpc.compute import ImageSource, InstanceName, WantedGuest
from cloudcore.virt.domain_xml import Machine
from cloudcore.virt.libvirt_driver import LibvirtDriver
from cloudcore.virt.private_libvirtd import PrivateLibvirtd
from tests.compute.hosts import Bucket, MemoryConductor, Servers, name
from tests.virt.rigs import SECTOR, in_thread, may_run_guests, until

DISK = SECTOR.ljust(2**20, b"\0")


class Folder:
    """Objects from a directory of this machine."""

    def __init__(self, directory):
        self._directory = directory

    async def get(self, location, sink, limit, owner=None):
        return await copy_file(in_thread, self._directory / location, sink)


class Node:
    def __init__(self, state: Path, power_button=0.3):
        self.state, self.conductor, self.bucket = state, MemoryConductor(), Bucket()
        self.power_button = power_button
        (state / "bucket").mkdir(exist_ok=True)
        (state / "bucket/disk").write_bytes(DISK)
        self.libvirtd = PrivateLibvirtd(reactor, state)

    async def start(self):
        await self.libvirtd.ensure()
        self.driver = LibvirtDriver(reactor, self.libvirtd, Machine("qemu"))
        cache = HostImageCache(self.state / "image-cache", Folder(self.state), in_thread)
        self.volumes = FileVolumes(reactor, self.libvirtd.volumes, in_thread)
        disks = self.driver.disks
        tools = Tools(reactor, self.driver, disks, disks, Layered(cache), self.volumes, Servers(), self.bucket,
                      FileSlimming(reactor, in_thread), self.libvirtd.instances, self.libvirtd.identity, in_thread,
                      none, power_button=self.power_button)  # fmt: skip
        self.agent = ComputeAgent(Seat("h1"), tools, Journal(self.state / "compute.journal", in_thread), self.conductor,
                                  lambda heartbeat: succeed(None))  # fmt: skip
        self.agent.startService()

    async def stop(self):
        await self.agent.stopService()
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


def wanted(number, generation, power="running", **changes):
    source = {"id": "ami-1", "location": "bucket/disk", "sha256": hashlib.sha256(DISK).hexdigest(), "size": len(DISK),
              "format": "raw", "virtual_size": len(DISK)}  # fmt: skip
    return WantedGuest(name(number), generation, power, guest_uuid(name(number)), 1, 80, 1,
                       ImageSource(**{**source, **changes}))  # fmt: skip


@pytest.mark.deadline(120)
@pytest.mark.skipif(not may_run_guests(), reason="needs root and libvirtd")
async def test_a_host_lives_through_a_day(tmp_path):
    node = Node(tmp_path)
    await node.start()
    try:
        await node.agent.ensure(wanted(1, 1))
        await node.agent.ensure(wanted(2, 1))
        await node.agent.ensure(wanted(3, 1, sha256="ab" * 32))
        await node.told(1, 1, "started")
        await node.told(2, 1, "started")
        await node.told(3, 1, "failed")
        assert (await node.agent.console(InstanceName(name(1)))).timestamp > 0

        (qemu,) = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()
                   and f"guest={name(2)}," in command(entry)]  # fmt: skip
        os.kill(qemu, signal.SIGKILL)
        await node.told(2, 1, "crashed")

        os.kill(node.libvirtd.pid(), signal.SIGKILL)  # the hypervisor ends with all guests, and the agent lives
        await until(partial(node.runs, 1, True), 40)
        assert await node.runs(2, False)

        await node.stop()  # the agent is started anew: nothing happens to guests
        node.conductor.facts.clear()
        await node.start()
        await node.told(1, 1, "started")
        await node.told(2, 1, "crashed")

        await node.stop()  # the machine is "rebooted": what ran runs again, what had ended has ended
        await node.libvirtd.stop()
        node.conductor.facts.clear()
        await node.start()
        await node.told(1, 1, "started")
        await node.told(2, 1, "crashed")
        running = {guest.instance: guest.running for guest in await node.driver.guests()}
        assert running == {name(1): True, name(2): False}

        await node.agent.ensure(WantedGuest(name(1), 2, "stopped"))
        await node.told(1, 2, "stopped")
        for number in (1, 2, 3):
            await node.agent.ensure(WantedGuest(name(number), 3, "absent"))
            await node.told(number, 3, "gone")
        assert await node.driver.guests() == []
        assert list(node.libvirtd.instances.iterdir()) == []
        assert await node.volumes.present() == {}
        with pytest.raises(CloudError) as problem:
            await node.agent.console(InstanceName(name(1)))
        assert problem.value.code is Code.INSTANCE_UNKNOWN
    finally:
        await node.stop()
        await node.libvirtd.stop()


def command(entry):
    try:
        return (entry / "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""
