"""The volume service with everything real below it: qemu-img, qemu-nbd, nbdkit, an object store, the image cache."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater

from cloudcore.blockdev.files import FileVolumes
from cloudcore.blockdev.remote import RemoteVolumes
from cloudcore.blockdev.serving import NbdServers
from cloudcore.images.cache import HostImageCache
from cloudcore.images.contents import ContentStore
from cloudcore.images.objects import ObjectStore
from cloudcore.process.running import run
from cloudcore.process.supervising import Remembered
from cloudcore.rpc.compute import DiskSource, Layer, MadeSnapshot, SnapshotPart
from cloudcore.rpc.volume import WantedExport, WantedSnapshots, WantedVolume
from cloudcore.signing.signer import Signer
from cloudcore.volume.failpoints import none
from cloudcore.volume.journal import Journal
from cloudcore.volume.service import VolumeService
from cloudcore.volume.tools import Tools
from tests.blockdev.rigs import in_thread
from tests.contracts.test_block_driver import read, write
from tests.objectstore.conftest import keys, start
from tests.ports import free_port

FIRST, SECOND = "vol-0123456789abcdef0", "vol-0123456789abcdef1"
GUEST = "i-0123456789abcdef0"
MIB = 2**20


class Host:
    def __init__(self, home: Path, objects: ObjectStore) -> None:
        self.home, self.objects, self.port = home, objects, free_port()
        self.volumes = FileVolumes(reactor, home / "volumes", in_thread)
        self.servers = NbdServers(reactor, home / "exports", in_thread)
        self.remotes = RemoteVolumes(reactor, home / "r", in_thread)

    async def start(self) -> VolumeService:
        tools = Tools(
            reactor, self.volumes, HostImageCache(self.home / "images", self.objects, in_thread),
            ContentStore(self.objects, in_thread), self.servers, self.home / "copies", in_thread, none, "127.0.0.1",
            self.port,
        )  # fmt: skip
        self.service = VolumeService(tools, Journal(self.home / "journal", in_thread))
        await self.service.startService()
        return self.service

    async def file(self, volume: str) -> str:
        opened = await self.volumes.opened(volume)
        assert opened is not None
        return opened.path


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Any:
    started = start(tmp_path_factory.mktemp("store"))
    yield started
    started.stop()


@pytest_twisted.async_yield_fixture
async def host(running: Any, tmp_path: Path) -> Any:
    objects = ObjectStore(reactor, running.url(), Signer(*keys("keeper"), "us-east-2", "s3"), in_thread)
    made = Host(tmp_path, objects)
    await made.start()
    yield made
    await made.service.stopService()
    await made.remotes.close_all()
    await made.servers.end_all()
    await objects.close()


async def settled(ask: Any) -> Any:
    """Asks until it is no longer being worked on."""
    for _ in range(20):
        answer = await ask()
        if answer.state != "working":
            return answer
        await deferLater(reactor, 0.2, lambda: None)
    return answer


def layer(made: MadeSnapshot) -> Layer:
    return Layer(made.location, made.sha256, made.size, made.format, made.virtual_size)


async def snapshot(host: Host, number: int, parent: DiskSource | None) -> MadeSnapshot:
    name = f"snap-0123456789abcdef{number}"
    part = SnapshotPart(name, FIRST, f"cloudcore-snapshots/{name}", parent)
    work = await settled(lambda: host.service.copy(WantedSnapshots(name, (part,))))
    assert work.state == "ready", work
    return work.made[0]


@pytest.mark.deadline(120)
async def test_snapshots_lie_over_one_another_and_become_volumes(host: Host, tmp_path: Path) -> None:
    ensure = host.service.ensure
    assert (await settled(lambda: ensure(WantedVolume(FIRST, 1, "present", 1)))).state == "ready"
    sources: list[DiskSource] = []
    chain: tuple[Layer, ...] = ()
    for number, offset in enumerate((0, 2 * MIB, MIB)):
        write(await host.file(FIRST), "qcow2", {offset: bytes([number + 1]) * MIB})
        made = await snapshot(host, number, sources[-1] if sources else None)
        assert made.size < MIB and made.below == (chain[0].sha256 if chain else "")
        sources.append(DiskSource(layer(made), chain))
        chain = (layer(made), *chain)
    wanted = WantedVolume(SECOND, 1, "present", 3, sources[-1])
    assert (await settled(lambda: ensure(wanted))).state == "ready"
    assert await host.volumes.present() == {FIRST: 2**30, SECOND: 3 * 2**30}
    first, second = read(await host.file(FIRST), "qcow2", tmp_path), read(await host.file(SECOND), "qcow2", tmp_path)
    assert first == second and first[:: MIB][:3] == b"\x01\x03\x02"
    for volume in (FIRST, SECOND):
        assert (await settled(lambda volume=volume: ensure(WantedVolume(volume, 2, "absent")))).state == "ready"
    assert await host.volumes.present() == {}


@pytest.mark.deadline(60)
async def test_a_server_that_dies_comes_back_where_it_was(host: Host) -> None:
    """Also under the service that follows the one that began it."""
    await settled(lambda: host.service.ensure(WantedVolume(FIRST, 1, "present", 1)))
    write(await host.file(FIRST), "qcow2", {0: b"\x5a" * MIB})
    exported = await settled(lambda: host.service.export(WantedExport(FIRST, 1, GUEST)))
    assert exported.state == "ready", exported
    path = await host.remotes.open(FIRST, exported.remote)
    for restarted in (False, True):
        if restarted:
            await host.service.stopService()
            await host.start()
            assert await settled(lambda: host.service.export(WantedExport(FIRST, 1, GUEST))) == exported
        known = Remembered.read(host.home / "exports" / FIRST / "pid")
        assert known is not None
        os.kill(known.pid, signal.SIGKILL)
        argv = ["qemu-io", "-f", "raw", "-c", "read -P 0x5a 0 1M", f"nbd+unix:///?socket={path}"]
        for _ in range(20):
            done = await run(reactor, argv, timeout=30)
            if done.status == 0:
                break
            await deferLater(reactor, 0.5, lambda: None)  # a connection that begins meanwhile is refused
        assert done.status == 0, done
    copying = WantedSnapshots("snap-0123456789abcdef9", (
        SnapshotPart("snap-0123456789abcdef9", FIRST, "cloudcore-snapshots/x"),))  # fmt: skip
    assert (await settled(lambda: host.service.copy(copying))).state == "elsewhere"  # the guest's host copies it
    nobody = await settled(lambda: host.service.export(WantedExport(FIRST, 2)))
    assert nobody.state == "ready" and not (host.home / "exports" / FIRST).exists()
    assert (await settled(lambda: host.service.copy(copying))).state == "ready"
