"""The volume service of a host over simulated volumes, a shelf for an object store, and servers that only pretend."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, fail, gatherResults, succeed
from twisted.internet.task import Clock

from cloudcore.blockdev import files
from cloudcore.blockdev.driver import BaseLayer
from cloudcore.blockdev.serving import SimulatedServers
from cloudcore.blockdev.simulated import SimulatedVolumes
from cloudcore.errors import CloudError, Code
from cloudcore.rpc.compute import DiskSource, Layer, MadeSnapshot, SnapshotPart
from cloudcore.rpc.volume import Everything, WantedExport, WantedSnapshots, WantedVolume, Work
from cloudcore.volume import journal as journals
from cloudcore.volume.failpoints import FAILPOINTS, none
from cloudcore.volume.journal import Journal
from cloudcore.volume.service import VolumeService
from cloudcore.volume.tools import Tools

VOLUME, OTHER = "vol-0123456789abcdef0", "vol-0123456789abcdef1"
SNAPSHOT, ANOTHER = "snap-0123456789abcdef0", "snap-0123456789abcdef1"
GUEST, STRANGER = "i-0123456789abcdef0", "i-0123456789abcdef1"
GIB = 2**30
SOURCE = DiskSource(Layer("cloudcore-snapshots/x", "ab" * 32, 1000, "qcow2", 2 * GIB))


class Killed(BaseException):
    """What a failpoint does in earnest: nothing after it happens."""


class Contents:
    """Image cache and object store. `held` keeps an asker waiting, `problem` is what he hears."""

    def __init__(self) -> None:
        self.stored: list[str] = []
        self.problem: CloudError | None = None
        self.held: Deferred[None] | None = None

    def layers(self, source: DiskSource) -> Deferred[tuple[BaseLayer, ...]]:
        found = tuple(BaseLayer(f"/cache/{layer.sha256}", layer.sha256, layer.format, layer.virtual_size)
                      for layer in (source.top, *source.below))  # fmt: skip
        if self.problem is not None:
            return fail(self.problem)
        return self.held.addCallback(lambda nothing: found) if self.held else succeed(found)  # type: ignore[return-value]

    def store(self, path: str, part: SnapshotPart) -> Deferred[MadeSnapshot]:
        if self.problem is not None:
            return fail(self.problem)
        assert Path(path).stat().st_size > 0
        self.stored.append(part.snapshot)
        below = part.parent.top.sha256 if part.parent else ""
        return succeed(MadeSnapshot(part.snapshot, part.location, "cd" * 32, 1, "qcow2", GIB, below))


class Host:
    """`start()` is each time another process of the same host."""

    def __init__(self, home: Path) -> None:
        self.home, self.clock = home, Clock()
        self.clock.advance(1_000_000)
        self.contents, self.servers = Contents(), SimulatedServers()
        self.volumes = SimulatedVolumes(home / "volumes", faults=self._fault)
        self.faults: dict[str, CloudError] = {}
        self.killed_at = ""
        self.service: Any = None

    def _fault(self, verb: str, volume: str) -> None:
        if verb in self.faults:
            raise self.faults[verb]

    def _failpoint(self, name: str) -> None:
        assert name in FAILPOINTS
        if name == self.killed_at:
            raise Killed

    async def start(self) -> VolumeService:
        tools = Tools(self.clock, self.volumes, self.contents, self.contents, self.servers, self.home / "scratch",
                      now, self._failpoint, "192.0.2.1", 10809)  # fmt: skip
        self.service = VolumeService(tools, Journal(self.home / "journal", now))
        await self.service.startService()
        return self.service

    async def again(self) -> VolumeService:
        await self.service.stopService()
        return await self.start()


def now(work: Any) -> Deferred[Any]:
    try:
        return succeed(work())
    except Exception:  # noqa: BLE001 - as a thread hands it over
        return fail()


@pytest_twisted.async_yield_fixture
async def host(tmp_path: Path) -> Any:
    made = Host(tmp_path)
    yield made
    if made.service is not None:
        await made.service.stopService()


def present(generation: int = 1, size: int = 1, source: DiskSource | None = None, volume: str = VOLUME) -> WantedVolume:
    return WantedVolume(volume, generation, "present", size, source)


def absent(generation: int = 2, volume: str = VOLUME) -> WantedVolume:
    return WantedVolume(volume, generation, "absent")


async def sizes(service: VolumeService) -> dict[str, int]:
    return {each.volume: each.size // GIB for each in (await service.present(Everything())).volumes}


async def refused(awaited: Any) -> Code:
    with pytest.raises(CloudError) as problem:
        await awaited
    return problem.value.code


# -- making -----------------------------------------------------------------------------------------------------------


async def test_a_volume_is_made_grown_and_removed(host: Host) -> None:
    service = await host.start()
    for _ in range(2):
        assert await service.ensure(present(source=SOURCE)) == Work("ready")
    assert await sizes(service) == {VOLUME: 2}  # as large as what it is made from
    assert await service.ensure(present(2, 5)) == Work("ready")
    assert await sizes(service) == {VOLUME: 5}
    for _ in range(2):
        assert await service.ensure(absent(3)) == Work("ready")
    assert await sizes(service) == {}


async def test_what_is_late_changes_nothing(host: Host) -> None:
    service = await host.start()
    await service.ensure(present())
    await service.ensure(present(3, 4))
    assert await service.ensure(absent(2)) == Work("outdated")
    await service.ensure(absent(3))
    for late in (present(3), present(2), present(1)):
        assert await service.ensure(late) == Work("outdated")
    service = await host.again()
    assert await service.ensure(present(3)) == Work("outdated")
    assert await sizes(service) == {}


async def test_a_tombstone_is_forgotten_after_a_day(host: Host) -> None:
    service = await host.start()
    await service.ensure(present())
    await service.ensure(absent())
    host.clock.advance(journals.TOMBSTONE - 10)
    assert await (await host.again()).ensure(present()) == Work("outdated")
    host.clock.advance(20)
    assert await (await host.again()).ensure(present()) == Work("ready")


async def test_work_goes_on_while_nobody_waits_and_is_shared(host: Host) -> None:
    service = await host.start()
    host.contents.held = Deferred()
    asked = [service.ensure(present(source=SOURCE)) for _ in range(3)]
    host.clock.advance(3)
    assert await gatherResults(asked) == [Work("working")] * 3
    asking = service.ensure(present(source=SOURCE))
    host.contents.held.callback(None)
    assert await asking == Work("ready")


async def test_a_removal_overtakes_what_is_being_made(host: Host) -> None:
    service = await host.start()
    host.contents.held = Deferred()
    first, then = service.ensure(present(source=SOURCE)), service.ensure(absent())
    host.contents.held.callback(None)
    assert await then == Work("ready")
    assert (await first).state in ("working", "outdated")
    assert await sizes(service) == {}


async def test_one_that_was_lost_is_not_made_again(host: Host) -> None:
    service = await host.start()
    await service.ensure(present())
    await host.volumes.remove(VOLUME)
    work = await service.ensure(present(2, 2))
    assert work.state == "failed" and "missing" in work.reason
    assert await service.ensure(absent(3)) == Work("ready")


async def test_one_that_a_launch_made_and_that_was_lost_is_not_made_again_either(host: Host) -> None:
    """We hear of it only when it is to grow."""
    service = await host.start()
    work = await service.ensure(present(2, 2, SOURCE))
    assert work.state == "failed" and "missing" in work.reason
    await host.volumes.make(OTHER, GIB, ())
    assert await service.ensure(present(2, 2, volume=OTHER)) == Work("ready")
    assert await sizes(service) == {OTHER: 2}


async def test_what_cannot_be_is_failed_at_once(host: Host) -> None:
    service = await host.start()
    host.contents.problem = CloudError(Code.IMAGE_INVALID, "not what was registered")
    assert await service.ensure(present(source=SOURCE)) == Work("failed", "not what was registered")
    host.contents.problem = None
    assert (await service.ensure(present(source=SOURCE))).state == "failed"  # as was said
    assert await service.ensure(present(2, source=SOURCE)) == Work("ready")


async def test_what_may_pass_is_tried_again_with_each_asking(host: Host) -> None:
    service = await host.start()
    host.contents.problem = CloudError(Code.UNAVAILABLE, "away")
    for _ in range(10):
        assert await service.ensure(present(source=SOURCE)) == Work("working", "away")
    host.contents.problem = None
    assert await service.ensure(present(source=SOURCE)) == Work("ready")
    host.faults["grow"] = CloudError(Code.PROGRAM_FAILED, "broken")
    states = [(await service.ensure(present(2, 9))).state for _ in range(6)]
    assert states == ["working"] * 4 + ["failed"] * 2


async def test_a_removal_is_tried_for_ever(host: Host) -> None:
    service = await host.start()
    await service.ensure(present())
    host.faults["remove"] = CloudError(Code.PROGRAM_FAILED, "broken")
    assert {(await service.ensure(absent())).state for _ in range(10)} <= {"working", "failed"}
    del host.faults["remove"]
    assert await service.ensure(absent()) == Work("ready")


@pytest.mark.parametrize("point", ["volume.layers", "volume.made", "volume.grown", "volume.removed"])
@pytest.mark.logs_failures(1)
async def test_a_crash_anywhere_is_cured_by_asking_again(tmp_path: Path, point: str) -> None:
    host = Host(tmp_path)
    for wanted, there in ((present(1, 3, SOURCE), {VOLUME: 3}), (absent(2), {})):
        service = await host.start()
        host.killed_at = point
        met = (point == "volume.removed") is (wanted.presence == "absent")
        assert await service.ensure(wanted) == Work("working" if met else "ready")
        host.killed_at = ""
        service = await host.start()
        assert await service.ensure(wanted) == Work("ready")
        assert await sizes(service) == there
        await service.stopService()


async def test_a_crash_right_after_the_journal_is_cured_likewise(host: Host) -> None:
    service = await host.start()
    host.killed_at = "volume.journaled"
    with pytest.raises(Killed):
        await service.ensure(present())
    host.killed_at = ""
    service = await host.start()
    assert await service.ensure(present()) == Work("ready")


@pytest.mark.parametrize("bad", [
    present(volume="vol-../x"), present(volume="snap-0123456789abcdef0"), present(size=0), absent(volume=""),
    replace(present(), presence="half"),
])  # fmt: skip
async def test_what_is_no_volume_is_refused(host: Host, bad: WantedVolume) -> None:
    service = await host.start()
    assert await refused(service.ensure(bad)) in (Code.VOLUME_MALFORMED, Code.BAD_VALUE)


# -- copies -----------------------------------------------------------------------------------------------------------


def a_batch(*pairs: tuple[str, str], parent: DiskSource | None = None) -> WantedSnapshots:
    pairs = pairs or ((SNAPSHOT, VOLUME),)
    return WantedSnapshots(pairs[0][0], tuple(
        SnapshotPart(snapshot, volume, f"cloudcore-snapshots/{snapshot}", parent) for snapshot, volume in pairs))


async def test_volumes_are_copied_one_after_the_other(host: Host) -> None:
    service = await host.start()
    await service.ensure(present())
    await service.ensure(present(volume=OTHER))
    batch = a_batch((SNAPSHOT, VOLUME), (ANOTHER, OTHER), parent=SOURCE)
    for _ in range(2):
        work = await service.copy(batch)
        assert (work.state, work.progress, [made.snapshot for made in work.made]) == ("ready", 100, [SNAPSHOT, ANOTHER])
    assert work.made[0].below == SOURCE.top.sha256
    assert host.contents.stored == [SNAPSHOT, ANOTHER]  # each once
    assert list((host.home / "scratch").iterdir()) == []


async def test_what_a_guest_holds_is_copied_elsewhere(host: Host) -> None:
    service = await host.start()
    await service.ensure(present())
    host.volumes.held.add(VOLUME)
    for _ in range(2):
        assert (await service.copy(a_batch())).state == "elsewhere"
    host.volumes.held.clear()
    assert (await service.copy(a_batch())).state == "ready"


async def test_a_store_that_is_away_is_waited_for(host: Host) -> None:
    service = await host.start()
    await service.ensure(present())
    host.contents.problem = CloudError(Code.UNAVAILABLE, "away")
    assert (await service.copy(a_batch())).state == "working"
    host.contents.problem = None
    assert (await service.copy(a_batch())).state == "ready"


async def test_a_copy_that_cannot_be_is_failed(host: Host) -> None:
    service = await host.start()
    work = await service.copy(a_batch())
    assert work.state == "failed" and VOLUME in work.reason
    assert (await service.copy(a_batch())).state == "failed"


async def test_no_copy_is_begun_that_would_fill_the_disk(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the volumes themselves lie."""
    service = await host.start()
    await service.ensure(present())
    monkeypatch.setattr(files, "RESERVE", 2**60)
    work = await service.copy(a_batch())
    assert work.state == "failed" and "no room" in work.reason
    assert host.contents.stored == [] and list((host.home / "scratch").iterdir()) == []


async def test_copies_of_a_run_that_was_killed_go_and_are_made_anew(host: Host) -> None:
    service = await host.start()
    await service.ensure(present())
    assert (await service.copy(a_batch())).state == "ready"
    (host.home / "scratch" / "leftover").mkdir()
    service = await host.again()
    assert list((host.home / "scratch").iterdir()) == []
    assert (await service.copy(a_batch())).state == "ready"
    assert host.contents.stored == [SNAPSHOT, SNAPSHOT]


# -- exports ----------------------------------------------------------------------------------------------------------


async def test_a_volume_is_served_to_one_guest_with_a_key_of_its_own(host: Host) -> None:
    service = await host.start()
    await service.ensure(present())
    first = await service.export(WantedExport(VOLUME, 1, GUEST))
    assert first.state == "ready" and first.remote is not None
    assert (first.remote.address, first.remote.port, first.remote.identity) == ("192.0.2.1", 10809, GUEST)
    assert await service.export(WantedExport(VOLUME, 1, GUEST)) == first
    assert await service.export(WantedExport(VOLUME, 2, GUEST)) == first
    assert (await service.export(WantedExport(VOLUME, 1, ""))).state == "outdated"
    await service.ensure(present(volume=OTHER))
    second = await service.export(WantedExport(OTHER, 1, GUEST))
    assert second.remote and second.remote.port == 10810 and second.remote.key != first.remote.key
    other = await service.export(WantedExport(VOLUME, 3, STRANGER))
    assert other.remote and other.remote.key != first.remote.key and other.remote.identity == STRANGER


async def test_what_is_served_to_nobody_is_not_served(host: Host) -> None:
    service = await host.start()
    await service.ensure(present())
    first = await service.export(WantedExport(VOLUME, 1, GUEST))
    nobody = await service.export(WantedExport(VOLUME, 2))
    assert (nobody.state, nobody.remote, host.servers.served) == ("ready", None, {})
    assert (await service.export(WantedExport(VOLUME, 1, GUEST))).state == "outdated"
    again = await service.export(WantedExport(VOLUME, 3, GUEST))
    assert again.remote and first.remote and again.remote.key != first.remote.key


async def test_port_and_key_outlive_a_crash(host: Host) -> None:
    service = await host.start()
    await service.ensure(present())
    first = await service.export(WantedExport(VOLUME, 1, GUEST))
    host.servers = SimulatedServers()  # the machine went down
    service = await host.again()
    assert host.servers.served[VOLUME].key == (first.remote and first.remote.key)
    assert await service.export(WantedExport(VOLUME, 1, GUEST)) == first


async def test_a_volume_that_goes_is_served_no_more(host: Host) -> None:
    service = await host.start()
    await service.ensure(present())
    await service.export(WantedExport(VOLUME, 1, GUEST))
    await service.ensure(absent())
    assert host.servers.served == {}
    work = await service.export(WantedExport(VOLUME, 2, GUEST))
    assert work.state == "failed" and work.remote is None
    await host.again()
    assert host.servers.served == {}


async def test_keys_are_nobody_elses(host: Host) -> None:
    service = await host.start()
    await service.ensure(present())
    exported = await service.export(WantedExport(VOLUME, 1, GUEST))
    assert exported.remote and exported.remote.key not in repr(exported)
    assert (host.home / "journal").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("bad", [
    WantedExport("vol-x", 1, GUEST), WantedExport(VOLUME, 1, "i-x\n"), WantedExport("", 1),
])  # fmt: skip
async def test_what_cannot_be_served_is_refused(host: Host, bad: WantedExport) -> None:
    service = await host.start()
    assert await refused(service.export(bad)) in (Code.VOLUME_MALFORMED, Code.BAD_VALUE)


def test_the_failpoint_of_every_day_does_nothing() -> None:
    none("volume.made")
