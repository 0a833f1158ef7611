"""Real disks come, grow, are copied and go while the tiny guest runs, which tells of each on its console."""

import hashlib
import os
import subprocess
from dataclasses import replace

import pytest
from twisted.internet import reactor

from cloudcore.blockdev.files import FileVolumes
from cloudcore.blockdev.serving import Export, NbdServers
from cloudcore.domain.ids import guest_uuid
from cloudcore.domain.image_header import HEAD, backing_of
from cloudcore.domain.volumes import serial
from cloudcore.rpc.compute import (
    DiskSource,
    InstanceName,
    Layer,
    RemoteDisk,
    SnapshotPart,
    WantedCopies,
    WantedDisk,
    WantedDisks,
    WantedGuest,
)
from cloudcore.virt.tiny_image import build
from tests.compute.hosts import GIB, name, volume
from tests.compute.nodes import Node
from tests.ports import free_port
from tests.virt.rigs import in_thread, may_run_guests, until


def sectors(gib):
    return gib * GIB // 512


class Case:
    def __init__(self, node, image):
        self.node, self.sha256 = node, hashlib.sha256(image).hexdigest()
        source = DiskSource(Layer("bucket/disk", self.sha256, len(image), "raw", len(image)))
        self.root = WantedDisk(volume(1), "/dev/sda1", 1, make=True, source=source)
        self.source, self.revision, self.seen = source, 1, 0

    def guest(self, generation, power="running"):
        return WantedGuest(name(1), generation, power, guest_uuid(name(1)), 1, 96, disks=(self.root,),
                           disk_revision=1)  # fmt: skip

    async def disks(self, *more, state="ready"):
        """The list is the root and these; the answer, once it is `state`."""
        self.revision += 1
        request, told = WantedDisks(name(1), self.revision, (self.root, *more)), []

        async def reached():
            told.append(await self.node.agent.disks(request))
            return told[-1].state == state

        await until(reached, 60)
        assert told[-1].problems == ()
        return told[-1]

    async def copy(self, batch, reboot=False, parent=None):
        parts = tuple(SnapshotPart(f"snap-{batch + number:017x}", volume(number), f"bucket/{number}",
                                   parent if number == 1 else None) for number in (1, 2))  # fmt: skip
        request, told = WantedCopies(name(1), f"batch-{batch}", parts, reboot), []

        async def made():
            told.append(await self.node.agent.copy(request))
            return told[-1].state != "working"

        await until(made, 90)
        assert told[-1].state == "ready", told[-1].reason
        return [self.node.bucket.file(part.snapshot) for part in parts]

    async def says(self, words, seconds=60):
        """From here on; what was said before does not count."""

        async def said():
            return words in (await self.console())[self.seen :]

        await until(said, seconds)

    async def console(self):
        return (await self.node.agent.console(InstanceName(name(1)))).output.decode(errors="replace")

    async def from_now(self):
        self.seen = len(await self.console())


async def served(node, servers):
    """A volume of "another host": over loopback, by TLS with a key of its own."""
    elsewhere = FileVolumes(reactor, node.state / "elsewhere", in_thread)
    await elsewhere.make(volume(4), GIB, ())
    export = Export(volume(4), "127.0.0.1", free_port(), name(1), os.urandom(32).hex())
    await servers.serve(export, await elsewhere.opened(volume(4)))
    remote = RemoteDisk(export.address, export.port, volume(4), export.identity, export.key)
    return WantedDisk(volume(4), "/dev/sdr", 1, remote=remote)


def qemu_img(*arguments):
    return subprocess.run(["qemu-img", *arguments], check=True, capture_output=True, text=True).stdout  # noqa: S603, S607


@pytest.mark.deadline(300)
@pytest.mark.skipif(not may_run_guests(), reason="needs root and libvirtd")
async def test_disks_of_a_tiny_guest(tmp_path):
    image = (await build(reactor, tmp_path / "tiny")).read_bytes()
    node = Node(tmp_path, image, power_button=30.0)
    await node.start()
    case, servers = Case(node, image), NbdServers(reactor, tmp_path / "exports", in_thread)
    try:
        tmp_path.chmod(0o700)
        await node.agent.ensure(case.guest(1))
        await node.told(1, 1, "started")
        await node.volumes.make(volume(2), GIB, ())
        await node.volumes.make(volume(3), GIB, ())

        second, third = (WantedDisk(volume(number), "/dev/sdf", 1) for number in (2, 3))
        await case.disks(third)  # it is plugged and taken while the guest boots, which must not end with it for ever
        work = await case.disks(second)
        assert set(work.attached) == {volume(1), volume(2)}
        await case.says(" login")
        await case.from_now()
        await case.disks(second, third)
        await case.says(f"={sectors(1)}:{serial(volume(3))}")

        await case.from_now()
        await case.disks(second, replace(third, size_gib=2))
        await case.says(f"={sectors(2)}:{serial(volume(3))}")
        await case.from_now()
        await case.disks(second)
        await case.says("blk remove")
        assert await node.volumes.present() == {volume(1): GIB, volume(2): GIB, volume(3): 2 * GIB}

        root, data = await case.copy(10, parent=case.source)  # a delta over the image, and a whole one
        assert backing_of(root.read_bytes()[:HEAD]) == (case.sha256, "raw")
        assert backing_of(data.read_bytes()[:HEAD]) is None
        assert "boots=2" not in await case.console()

        await case.from_now()
        root, _ = await case.copy(20, reboot=True)
        await case.says("Power down", 5)
        assert "virtual size: 1 GiB" in qemu_img("info", str(root))
        await case.says("boots=2")
        await case.says(" login")
        assert [fact for fact in node.conductor.facts if fact[0] == name(1)] == [(name(1), 1, "started")]

        await case.from_now()
        far = await served(node, servers)
        await case.disks(second, far)
        await case.says(f"={sectors(1)}:{serial(volume(4))}")

        await node.stop()  # another agent finds what is there, and only that
        await node.start()
        assert set((await case.disks(second, far)).attached) == {volume(1), volume(2), volume(4)}
        assert await node.remotes.present() == {volume(4)}
        assert set((await case.disks(second)).attached) == {volume(1), volume(2)}
        assert await node.remotes.present() == frozenset()
        await node.agent.ensure(WantedGuest(name(1), 2, "absent"))
        await node.told(1, 2, "gone")
        assert set(await node.volumes.present()) == {volume(1), volume(2), volume(3)}
    finally:
        await servers.end(volume(4))
        await node.stop()
        await node.remotes.close_all()
        await node.libvirtd.stop()
