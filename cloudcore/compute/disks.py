"""Gives guests the disks they are wanted to have, and takes the others, while they run.

The list of a guest lies in the journal beside all else that is wanted of it; the greater revision counts. A guest that
does not run is defined with its list when it starts, so that nothing is done for it before but to see that its volumes
are there and large enough. One that runs is compared, volume by volume, with what it has: now when it is told, after
each start of the agent, and whenever a sweep sees a difference.

A disk that cannot be given for PATIENCE seconds is given up until a greater revision comes. One that the guest does not
let go of is asked for again and again: nobody can take it by force, and while the guest has it, it writes to it.
"""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from cloudcore.blockdev.driver import BlockDriver
from cloudcore.compute.failpoints import Failpoint
from cloudcore.compute.journal import Entry, Journal
from cloudcore.compute.patience import first_of
from cloudcore.compute.volumes import GIB, GuestVolumes, check
from cloudcore.domain.ids import well_formed
from cloudcore.errors import CloudError, Code
from cloudcore.rpc.compute import DiskProblem, DiskWork, WantedDisk, WantedDisks
from cloudcore.virt.driver import Guest, VolumeAttachment

log = Logger()

WAIT = 4.0  # seconds an asker waits for the guest to have its disks
PATIENCE = 30.0  # seconds a disk is tried
LET_GO = 4.0  # seconds a guest is asked to let go of one disk before the others have their turn
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
AT_REST = ("stopped", "halted", "crashed", "failed")  # outcomes of the journal
PERMANENT = frozenset({Code.DISK_LOST, Code.BAD_VALUE, Code.NOT_PERMITTED, Code.NOT_AUTHORISED})
WAITING = frozenset({Code.VOLUME_IN_USE, Code.NO_HYPERVISOR})  # over by itself, however long it takes
REMOTE = "a volume of another host does not grow while a guest has it"


@dataclass
class Doing:
    """What is under way for one guest, and what was given up: {volume: reason}, {volume: since when it is tried}."""

    revision: int = -1
    given_up: dict[str, str] = field(default_factory=dict)
    tried: dict[str, float] = field(default_factory=dict)
    running: Deferred[None] | None = None
    again: bool = False
    later: Any = None
    pause: float = FIRST_PAUSE
    seen: bool = False  # compared since this agent started
    waiting: list[Deferred[None]] = field(default_factory=list)


class Hands:
    """What acts: VolumeAttachment on guests, GuestVolumes and BlockDriver on volumes. `busy(instance)`: somebody else
    acts on that guest."""

    def __init__(
        self, attachment: VolumeAttachment, opening: GuestVolumes, volumes: BlockDriver, failpoint: Failpoint,
        busy: Callable[[str], bool],
    ) -> None:  # fmt: skip
        self.attachment, self.opening, self.volumes = attachment, opening, volumes
        self.failpoint, self.busy = failpoint, busy


class GuestDisks:
    """`relaunch(instance)` has a launch that is under way look at the journal again."""

    def __init__(self, clock: Any, journal: Journal, hands: Hands, relaunch: Callable[[str], None]) -> None:
        self._clock, self._journal, self._hands, self._relaunch = clock, journal, hands, relaunch
        self._doing: dict[str, Doing] = {}
        self._stopped = False

    def disks(self, request: WantedDisks) -> Deferred[DiskWork]:
        return Deferred.fromCoroutine(self._asked(request))

    async def reopen(self) -> None:
        """At the start of the agent: guests that run wait for the servers of their remote volumes."""
        for instance, entry in self._journal.entries():
            for disk in entry.wanted.disks if entry.outcome == "launched" else ():
                if disk.remote is not None:
                    try:
                        await self._hands.opening.open(disk)
                    except CloudError as problem:
                        log.warn("{volume} of {instance} is not open: {problem}", volume=disk.volume,
                                 instance=instance, problem=problem)  # fmt: skip

    async def tidy(self, guests: Iterable[Guest]) -> None:
        """A sweep saw these guests: volumes of other hosts that none of them has, and none shall have, are closed."""
        needed = {volume for guest in guests for volume in guest.disks}
        for _, entry in self._journal.entries():
            needed.update(disk.volume for disk in entry.wanted.disks)
        try:
            await self._hands.opening.tidy(needed)
        except (CloudError, OSError) as problem:
            log.warn("servers of remote volumes that nobody needs are left: {problem}", problem=problem)

    def look(self, entry: Entry, has: tuple[str, ...]) -> None:
        """A sweep saw the guest run with these volumes."""
        doing = self._of(entry)
        wanted = {disk.volume for disk in entry.wanted.disks} - doing.given_up.keys()
        if entry.wanted.disks and (not doing.seen or set(has) - doing.given_up.keys() != wanted):
            doing.seen = True
            self._kick(entry.wanted.instance)

    def forget(self, instance: str) -> None:
        doing = self._doing.pop(instance, None)
        if doing is not None and doing.later is not None:
            doing.later.cancel()

    def stop(self) -> None:
        self._stopped = True
        for doing in self._doing.values():
            if doing.later is not None:
                doing.later.cancel()
                doing.later = None
            if doing.running is not None:
                doing.running.cancel()

    # -- being asked

    async def _asked(self, request: WantedDisks) -> DiskWork:
        if not well_formed("instance", request.instance):
            raise CloudError(Code.INSTANCE_MALFORMED, f"{request.instance!r} is not an instance id")
        check(request.disks)
        instance, entry = request.instance, self._journal.get(request.instance)
        if entry is None or entry.wanted.power == "absent":
            return DiskWork("unknown", 0)
        known = entry.wanted.disk_revision
        if request.revision < known:
            return DiskWork("outdated", known)
        if request.revision > known:
            wanted = replace(entry.wanted, disks=request.disks, disk_revision=request.revision)
            await self._journal.put(replace(entry, wanted=wanted))
            self._hands.failpoint("compute.disks")
            self._relaunch(instance)
        self._kick(instance)
        doing = self._doing.get(instance)
        if doing is not None and (doing.running is not None or doing.later is not None):
            waiting: Deferred[None] = Deferred()
            doing.waiting.append(waiting)
            await first_of(self._clock, waiting, WAIT)
        return await self._work(instance, request.revision)

    async def _work(self, instance: str, revision: int) -> DiskWork:
        entry = self._journal.get(instance)
        if entry is None or entry.wanted.power == "absent":
            return DiskWork("unknown", 0)
        if entry.wanted.disk_revision > revision:
            return DiskWork("outdated", entry.wanted.disk_revision)
        doing = self._of(entry)
        problems = tuple(DiskProblem(volume, reason) for volume, reason in doing.given_up.items())
        settled = doing.running is None and doing.later is None
        if entry.outcome in AT_REST:
            attached = tuple(disk.volume for disk in entry.wanted.disks if disk.volume not in doing.given_up)
        elif entry.outcome == "launched":
            try:
                attached = tuple(await self._hands.attachment.disks(instance))
            except CloudError:
                return DiskWork("working", revision, (), problems)
            wanted = {disk.volume for disk in entry.wanted.disks}
            settled = settled and wanted - doing.given_up.keys() <= set(attached) <= wanted
        else:
            return DiskWork("working", revision, (), problems)
        return DiskWork("ready" if settled else "working", revision, attached, problems)

    def _of(self, entry: Entry) -> Doing:
        """What was given up is tried again when another list has come."""
        doing = self._doing.setdefault(entry.wanted.instance, Doing())
        if doing.revision != entry.wanted.disk_revision:
            doing.revision, doing.given_up, doing.tried = entry.wanted.disk_revision, {}, {}
            doing.pause = FIRST_PAUSE
        return doing

    # -- acting

    def _kick(self, instance: str) -> None:
        entry = self._journal.get(instance)
        if self._stopped or entry is None:
            return
        doing = self._of(entry)
        if doing.later is not None:
            doing.later.cancel()
            doing.later = None
        if doing.running is not None:
            doing.again = True
            return
        doing.running = Deferred()  # it may end at once
        running = Deferred.fromCoroutine(self._run(instance, doing))
        running.addErrback(self._surprised, instance)
        if doing.running is not None:
            doing.running = running

    async def _run(self, instance: str, doing: Doing) -> None:
        done = False
        try:
            doing.again = True
            while doing.again and not self._stopped:
                doing.again = False
                done = await self._settled(instance)
        finally:
            doing.running = None
            if not done and not self._stopped and self._doing.get(instance) is doing:
                doing.later = self._clock.callLater(doing.pause, self._retry, instance, doing)
                doing.pause = min(2 * doing.pause, LONGEST_PAUSE)
            else:
                doing.pause = FIRST_PAUSE
                waiting, doing.waiting = doing.waiting, []
                for one in waiting:
                    if not one.called:
                        one.callback(None)

    def _retry(self, instance: str, doing: Doing) -> None:
        doing.later = None
        self._kick(instance)

    async def _settled(self, instance: str) -> bool:
        """True when nothing is left to do for now."""
        entry = self._journal.get(instance)
        if entry is None or not entry.wanted.disks:
            return True
        try:
            if entry.outcome in AT_REST:
                return await self._rested(entry)
            if entry.outcome == "launched" and not self._hands.busy(instance):
                return await self._plugged(entry)
        except CancelledError:
            raise
        except CloudError as problem:
            log.warn("the disks of {instance}: {problem}", instance=instance, problem=problem)
            return False
        return True  # it is being started or stopped: the next sweep sees what it has

    async def _rested(self, entry: Entry) -> bool:
        done = True
        for disk in entry.wanted.disks:
            if disk.remote is None and not (disk.make and not entry.ran):
                done &= await self._tried(entry, disk, self._there)
        return done

    async def _there(self, entry: Entry, disk: WantedDisk) -> None:
        await self._hands.opening.open(disk, grow=True)

    async def _plugged(self, entry: Entry) -> bool:
        instance, hands = entry.wanted.instance, self._hands
        has = await hands.attachment.disks(instance)
        done = True
        for disk in entry.wanted.disks:
            if disk.volume not in has:
                done &= await self._tried(entry, disk, self._attach)
            elif has[disk.volume] < disk.size_gib * GIB:
                done &= await self._tried(entry, disk, self._grow)
        for volume in has.keys() - {disk.volume for disk in entry.wanted.disks}:
            if not self._still(entry):
                return False
            if await hands.attachment.detach(instance, volume, LET_GO):
                hands.failpoint("compute.detached")
                await hands.opening.let_go(volume)
            else:
                log.warn("{instance} does not let go of {volume}", instance=instance, volume=volume)
                done = False
        return done

    async def _attach(self, entry: Entry, disk: WantedDisk) -> None:
        """A copy that reads the volume has to end first."""
        opened = await self._hands.opening.open(disk, grow=True)
        if self._still(entry):
            await self._hands.attachment.attach(entry.wanted.instance, opened)
            self._hands.failpoint("compute.attached")

    async def _grow(self, entry: Entry, disk: WantedDisk) -> None:
        if disk.remote is not None:
            raise CloudError(Code.BAD_VALUE, REMOTE)
        await self._hands.attachment.resize(entry.wanted.instance, disk.volume, disk.size_gib * GIB)
        self._hands.failpoint("compute.grown")

    async def _tried(self, entry: Entry, disk: WantedDisk, act: Callable[[Entry, WantedDisk], Any]) -> bool:
        """True when it is done, or given up."""
        doing, now = self._of(entry), self._clock.seconds()
        if disk.volume in doing.given_up:
            return True
        if not self._still(entry):
            return False
        try:
            await act(entry, disk)
        except (CloudError, OSError) as problem:
            code = problem.code if isinstance(problem, CloudError) else None
            if code in WAITING:
                doing.tried.pop(disk.volume, None)
                return False
            first = doing.tried.setdefault(disk.volume, now)
            if code not in PERMANENT and self._clock.seconds() - first < PATIENCE:
                return False
            log.warn("{volume} for {instance} is given up: {problem}", volume=disk.volume,
                     instance=entry.wanted.instance, problem=problem)  # fmt: skip
            doing.given_up[disk.volume] = str(problem)
            if act == self._attach:
                await self._hands.opening.close([disk])
            return True
        doing.tried.pop(disk.volume, None)
        return self._still(entry)

    def _still(self, entry: Entry) -> bool:
        return self._journal.get(entry.wanted.instance) == entry

    def _surprised(self, failure: Failure, instance: str) -> None:
        if not failure.check(CancelledError):
            log.failure("the disks of {instance} could not be brought to what is wanted", failure, instance=instance)
