"""Copies of the volumes of a running guest, all of one moment, on their way into the object store.

Without `reboot` the guest goes on: the hypervisor copies what its disks held at one moment into scratch files of the
guest's directory, which are then made deltas over the volumes' last snapshots. With it the guest is shut down, its
volumes are copied at rest, and it is started again while the copies are stored. Its journal entry is open again before
that, so that a crash in the middle starts it as after any other.

Who asks for a batch again shares the work, and for a while its result; a crash forgets both, and the next asking begins
anew: what is stored is named by what it holds.
"""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import shutil
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.logger import Logger
from twisted.python.failure import Failure

from cloudcore.blockdev.driver import BaseLayer, BlockDriver
from cloudcore.blockdev.files import copied_size
from cloudcore.compute.failpoints import Failpoint
from cloudcore.compute.journal import Entry, Journal
from cloudcore.compute.patience import first_of
from cloudcore.compute.volumes import GIB, ImageCache
from cloudcore.domain.ids import well_formed
from cloudcore.errors import CloudError, Code
from cloudcore.journal.lines import InThread
from cloudcore.rpc.compute import MadeSnapshot, SnapshotPart, SnapshotWork, WantedCopies
from cloudcore.virt.driver import LiveCopies, VirtDriver

log = Logger()

WAIT = 4.0  # seconds an asker waits for the end
KEPT = 3600.0  # seconds a result is remembered
TRIES = 5
PASSING = frozenset({Code.NO_HYPERVISOR, Code.UNAVAILABLE, Code.VOLUME_IN_USE})  # the next asking may succeed


class SnapshotStore(Protocol):
    """Puts finished files into the object store."""

    def store(self, path: str, part: SnapshotPart) -> Deferred[MadeSnapshot]:
        """The qcow2 at `path`, whole or over the content that its header names, to `part.location`."""


class Slimming(Protocol):
    """Makes of whole copies what is worth storing."""

    def slim(self, whole: str, target: str, parent: BaseLayer | None) -> Deferred[None]:
        """A compressed qcow2 of all that `whole` (qcow2, nothing below it) holds, or of what differs from `parent`."""

    def room(self, directory: str) -> Deferred[int]:
        """Bytes that copies may take there."""


class CopyTools(Protocol):
    """Of converging.Tools, what this needs."""

    @property
    def clock(self) -> Any: ...
    @property
    def driver(self) -> VirtDriver: ...
    @property
    def live_copies(self) -> LiveCopies: ...
    @property
    def images(self) -> ImageCache: ...
    @property
    def volumes(self) -> BlockDriver: ...
    @property
    def snapshots(self) -> SnapshotStore: ...
    @property
    def slimming(self) -> Slimming: ...
    @property
    def directory(self) -> Path: ...
    @property
    def in_thread(self) -> InThread: ...
    @property
    def failpoint(self) -> Failpoint: ...
    @property
    def power_button(self) -> float: ...


class Holds(Protocol):
    """Who else acts on guests: converging.Convergence."""

    def busy(self, instance: str) -> bool: ...
    def hold(self, instance: str) -> None: ...
    def release(self, instance: str) -> None: ...


@dataclass
class Batch:
    request: WantedCopies
    tries: int = 0
    progress: int = 0
    done: SnapshotWork | None = None
    ended: float = 0.0
    running: Deferred[None] | None = None
    interrupted: bool = False
    waiting: list[Deferred[None]] = field(default_factory=list)


class Copies:
    def __init__(self, tools: CopyTools, journal: Journal, guests: Holds) -> None:
        self._tools, self._journal, self._guests = tools, journal, guests
        self._batches: dict[str, Batch] = {}
        self._turns: dict[str, DeferredLock] = {}

    def sweep(self) -> Deferred[None]:
        """At the start of the agent: copies of a run that was killed go; they are made anew where still wanted."""
        return self._tools.in_thread(lambda: _cleared(self._tools.directory))

    def copy(self, request: WantedCopies) -> Deferred[SnapshotWork]:
        return Deferred.fromCoroutine(self._asked(request))

    def interrupt(self, instance: str) -> None:
        """The guest is wanted otherwise: what was shut down for a copy is not kept waiting."""
        for batch in list(self._batches.values()):
            if batch.request.instance == instance and batch.request.reboot and batch.running is not None:
                batch.interrupted = True
                batch.running.cancel()

    def stop(self) -> None:
        for batch in list(self._batches.values()):
            if batch.running is not None:
                batch.running.cancel()

    async def _asked(self, request: WantedCopies) -> SnapshotWork:
        check(request)
        now = self._tools.clock.seconds()
        for name in [name for name, old in self._batches.items() if not old.running and old.ended < now - KEPT]:
            del self._batches[name]
        batch = self._batches.get(request.batch)
        if batch is None or (batch.running is None and batch.done is None):
            place = self._place(request)
            if place != "here":
                return SnapshotWork(place)
            batch = self._batches.setdefault(request.batch, Batch(request))
            self._begin(batch)
        if batch.done is None and batch.running is not None:
            waiting: Deferred[None] = Deferred()
            batch.waiting.append(waiting)
            await first_of(self._tools.clock, waiting, WAIT)
        return batch.done or SnapshotWork("working", batch.progress)

    def _place(self, request: WantedCopies) -> str:
        """here, elsewhere, or working: not now, but perhaps soon."""
        entry = self._journal.get(request.instance)
        volumes = {part.volume for part in request.parts}
        if entry is None or not volumes <= {disk.volume for disk in entry.wanted.disks}:
            return "elsewhere"
        if entry.outcome == "launched":
            return "working" if self._guests.busy(request.instance) else "here"
        return "working" if not entry.outcome and entry.wanted.power != "absent" else "elsewhere"

    def _begin(self, batch: Batch) -> None:
        batch.tries += 1
        batch.running = Deferred()  # it may end at once
        running = Deferred.fromCoroutine(self._run(batch))
        running.addErrback(self._surprised, batch.request.instance)
        if batch.running is not None:
            batch.running = running

    async def _run(self, batch: Batch) -> None:
        instance = batch.request.instance
        turn = self._turns.setdefault(instance, DeferredLock())
        try:
            await turn.acquire()
            try:
                made = await self._made(batch, self._tools.directory / instance / "copies")
            finally:
                turn.release()
                if not turn.locked:
                    self._turns.pop(instance, None)
            batch.done = SnapshotWork("ready", 100, made)
        except CancelledError:
            if not batch.interrupted:
                raise
        except (CloudError, OSError) as problem:
            await self._failed(batch, problem)
        finally:
            batch.running, batch.ended = None, self._tools.clock.seconds()
            waiting, batch.waiting = batch.waiting, []
            for one in waiting:
                if not one.called:
                    one.callback(None)

    async def _made(self, batch: Batch, home: Path) -> tuple[MadeSnapshot, ...]:
        await self._tools.in_thread(lambda: _swept(home))
        made = await (self._at_rest if self._rests(batch.request) else self._alive)(batch, home)
        await self._tools.in_thread(lambda: shutil.rmtree(home, ignore_errors=True))
        return made

    async def _failed(self, batch: Batch, problem: Exception) -> None:
        """Where the guest has ended meanwhile, and where another try may succeed, the next asking decides."""
        log.warn("volumes of {instance} are not copied: {problem}", instance=batch.request.instance, problem=problem)
        entry = self._journal.get(batch.request.instance)
        lost = isinstance(problem, FileNotFoundError)  # a parent, thrown out of the cache meanwhile
        passing = lost or (isinstance(problem, CloudError) and problem.code in PASSING)
        if not passing and await self._ended(batch.request.instance):
            batch.tries, passing = batch.tries - 1, True  # by itself; the next sweep says so, and who copies it then
        if not (passing and batch.tries < TRIES) and entry is not None and entry.outcome == "launched":
            batch.done = SnapshotWork("failed", reason=str(problem))

    async def _ended(self, instance: str) -> bool:
        try:
            return not any(guest.instance == instance and guest.running for guest in await self._tools.driver.guests())
        except CloudError:  # the hypervisor is away: that ends too
            return True

    def _surprised(self, failure: Failure, instance: str) -> None:
        if not failure.check(CancelledError):
            log.failure("volumes of {instance} could not be copied", failure, instance=instance)

    def _rests(self, request: WantedCopies) -> bool:
        """Volumes of other hosts cannot be copied at rest from here: their guest keeps running then."""
        entry = self._journal.get(request.instance)
        remote = {disk.volume for disk in entry.wanted.disks if disk.remote is not None} if entry else set()
        return request.reboot and not any(part.volume in remote for part in request.parts)

    async def _alive(self, batch: Batch, home: Path) -> tuple[MadeSnapshot, ...]:
        tools, parts = self._tools, batch.request.parts
        wholes = {part.volume: str(home / f"{part.snapshot}.whole") for part in parts}

        def heard(percent: int) -> None:
            batch.progress = percent // 2

        await self._check_room(batch.request)
        await tools.live_copies.copy(batch.request.instance, wholes, heard)
        tools.failpoint("compute.copied")
        made = []
        for number, part in enumerate(parts):
            file, whole = str(home / part.snapshot), wholes[part.volume]
            await tools.slimming.slim(whole, file, await self._parent(part))
            await tools.in_thread(Path(whole).unlink)
            made.append(await self._stored(batch, file, part))
            batch.progress = 50 + 50 * (number + 1) // len(parts)
        return tuple(made)

    async def _check_room(self, request: WantedCopies) -> None:
        """A full disk would stop the guests of this host: rather no copy than that."""
        entry, needed = self._journal.get(request.instance), 0
        copied = {part.volume for part in request.parts}
        for disk in entry.wanted.disks if entry is not None else ():
            if disk.volume in copied:
                opened = await self._tools.volumes.opened(disk.volume) if disk.remote is None else None
                needed += await self._tools.in_thread(partial(copied_size, opened, disk.size_gib * GIB))
        if needed > await self._tools.slimming.room(str(self._tools.directory)):
            raise CloudError(Code.CAPACITY, f"no room for {needed} bytes of copies")

    async def _at_rest(self, batch: Batch, home: Path) -> tuple[MadeSnapshot, ...]:
        instance, parts = batch.request.instance, batch.request.parts
        await self._check_room(batch.request)
        parents = [await self._parent(part) for part in parts]  # while the guest still runs
        entry = self._running(instance)
        self._guests.hold(instance)
        try:
            await self._rested(batch, replace(entry, outcome="", ran=True), parents, home)
        except CancelledError:
            if batch.interrupted:
                self._guests.release(instance)
            raise
        except BaseException:
            self._guests.release(instance)
            raise
        self._guests.release(instance)
        made = []
        for number, part in enumerate(parts):
            made.append(await self._stored(batch, str(home / part.snapshot), part))
            batch.progress = 50 + 50 * (number + 1) // len(parts)
        return tuple(made)

    async def _rested(self, batch: Batch, entry: Entry, parents: list[BaseLayer | None], home: Path) -> None:
        tools, parts = self._tools, batch.request.parts
        await self._journal.put(entry)
        tools.failpoint("compute.shutting")
        await tools.driver.stop(batch.request.instance, tools.power_button)
        tools.failpoint("compute.shut")
        for number, (part, parent) in enumerate(zip(parts, parents, strict=True)):
            await tools.volumes.copy(part.volume, str(home / part.snapshot), parent)
            batch.progress = 50 * (number + 1) // len(parts)
        tools.failpoint("compute.copied")

    def _running(self, instance: str) -> Entry:
        entry = self._journal.get(instance)
        if entry is None or entry.outcome != "launched" or self._guests.busy(instance):
            raise CloudError(Code.VOLUME_IN_USE, f"{instance} is being changed")
        return entry

    async def _parent(self, part: SnapshotPart) -> BaseLayer | None:
        return (await self._tools.images.layers(part.parent))[0] if part.parent is not None else None

    async def _stored(self, batch: Batch, file: str, part: SnapshotPart) -> MadeSnapshot:
        made = await self._tools.snapshots.store(file, part)
        self._tools.failpoint("compute.stored")
        await self._tools.in_thread(lambda: Path(file).unlink(missing_ok=True))
        return made


def check(request: WantedCopies) -> None:
    """Ids become paths."""
    for part in request.parts:
        if not well_formed("snapshot", part.snapshot) or not well_formed("volume", part.volume):
            raise CloudError(Code.BAD_VALUE, f"no copy of {part.volume!r} as {part.snapshot!r}")
    if not well_formed("instance", request.instance) or not request.parts:
        raise CloudError(Code.BAD_VALUE, f"nothing of {request.instance!r} to copy")


def _cleared(directory: Path) -> None:
    for home in directory.glob("*/copies"):
        shutil.rmtree(home, ignore_errors=True)


def _swept(home: Path) -> None:
    """Scratch files of a run that was killed go. QEMU's user may pass through."""
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    home.chmod(0o711)
