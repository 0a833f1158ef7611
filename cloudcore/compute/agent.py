"""The compute agent of one host: rpc/compute.py above, a VirtDriver below.

It is told what should be (`ensure`, journaled before it is answered) and looks at what is: every SWEEP seconds, and
soon after the hypervisor says that something happened. It deletes a guest only where its journal says absent, at a
generation not below the guest's; a guest with our mark of which the journal knows nothing is reported and left alone,
and when many guests that were gone turn up again it touches none of them (R6, F25): then not they are wrong, but what
we know.

Stopping the service leaves every guest running.
"""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from cloudcore.compute import screens
from cloudcore.compute.converging import Convergence, Tools
from cloudcore.compute.copies import Copies
from cloudcore.compute.disks import GuestDisks, Hands
from cloudcore.compute.facts import FactSender
from cloudcore.compute.journal import Entry, Journal, settle
from cloudcore.compute.volumes import GuestVolumes, check, merged
from cloudcore.domain.ids import well_formed
from cloudcore.errors import CloudError, Code
from cloudcore.rpc.compute import (
    ConsoleText,
    DiskWork,
    Done,
    GuestSummary,
    InstanceName,
    Nothing,
    Presence,
    Screenshot,
    SnapshotWork,
    Taken,
    WantedCopies,
    WantedDisks,
    WantedGuest,
    WantedScreenshot,
)
from cloudcore.rpc.conductor import FactSink, GuestFact, Heartbeat
from cloudcore.virt.driver import Guest
from cloudcore.virt.screens import screens_of

log = Logger()

SWEEP = 10.0  # seconds (R6)
SOON = 0.2  # seconds after an event; events come in bursts
HEARTBEAT = 10.0
RAISED_LEAST, RAISED_SHARE = 10, 0.05  # how many guests that were gone may turn up again and still be removed
POWERS = ("running", "stopped", "absent")
CHANGES = {"launched": "started", "halted": "stopped", "crashed": "crashed", "stopped": "stopped", "failed": "failed",
           "gone": "gone"}  # fmt: skip
STATES = {"": "working", "launched": "running", "halted": "stopped", "crashed": "stopped", "stopped": "stopped",
          "failed": "failed", "gone": "absent"}  # fmt: skip
BY_ITSELF = "the guest was shut down inside"
CRASHED = "the guest's virtual machine ended unexpectedly"


@dataclass(frozen=True, slots=True)
class Seat:
    """Which host this is, and how often it says so (seconds)."""

    host: str
    cell: str = "cell1"
    zone: str = "nova"
    heartbeat: float = HEARTBEAT


class ComputeAgent(Service):
    """Serves rpc/compute.py's Compute. `tell` publishes a Heartbeat; `sink` is the conductor's FactSink (a client)."""

    def __init__(
        self, seat: Seat, tools: Tools, journal: Journal, sink: FactSink, tell: Callable[[Heartbeat], Deferred[None]]
    ) -> None:
        self._seat, self._tools, self._journal, self._publish = seat, tools, journal, tell
        self._clock = tools.clock
        self._screens = screens_of(tools.driver)
        self._convergence = Convergence(tools, journal, self._tell)
        volumes = GuestVolumes(tools.images, tools.volumes, tools.remotes, tools.failpoint)
        hands = Hands(tools.attachment, volumes, tools.volumes, tools.failpoint, self._convergence.busy)
        self._disks = GuestDisks(tools.clock, journal, hands, self._convergence.kick)
        self._copies = Copies(tools, journal, self._convergence)
        self._facts = FactSender(tools.clock, sink, seat.host, self._acknowledged, tools.failpoint)
        self._loops = [
            (self._loop(self._sweep_quietly), SWEEP),
            (self._loop(self._beat), seat.heartbeat),
        ]
        self._soon: Any = None
        self._sweeping: Deferred[None] | None = None
        self._sweep_again = False
        self._unknown: dict[str, tuple[int, bool]] = {}
        self._hypervisor = True

    # -- the service

    def startService(self) -> None:
        super().startService()
        Deferred.fromCoroutine(self._begin()).addErrback(self._cannot_begin)

    async def _begin(self) -> None:
        await self._journal.open(self._clock.seconds())
        await self._copies.sweep()
        await self._disks.reopen()
        if not self.running:
            return
        self._facts.epoch = self._journal.epoch
        self._tools.driver.watch(self._changed)
        self._facts.start()
        for instance, entry in self._journal.entries():
            if entry.outcome not in ("", "launched") and not entry.settled:
                self._tell(entry)
            self._convergence.kick(instance)
        for loop, seconds in self._loops:
            loop.start(seconds, now=True)

    def _cannot_begin(self, failure: Failure) -> None:
        log.critical("the journal of this host cannot be used: {problem}", problem=failure.value)

    def stopService(self) -> Deferred[None]:
        super().stopService()
        for loop, _ in self._loops:
            if loop.running:
                loop.stop()
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        if self._sweeping is not None:
            self._sweeping.cancel()
        self._facts.stop()
        self._copies.stop()
        self._disks.stop()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._convergence.stop()
        await self._journal.close()

    # -- the contract

    def ensure(self, request: WantedGuest) -> Deferred[Taken]:
        return Deferred.fromCoroutine(self._ensure(request))

    def reboot(self, request: InstanceName) -> Deferred[Done]:
        return Deferred.fromCoroutine(self._reboot(request.instance))

    def console(self, request: InstanceName) -> Deferred[ConsoleText]:
        return Deferred.fromCoroutine(self._console(request.instance))

    def screenshot(self, request: WantedScreenshot) -> Deferred[Screenshot]:
        return Deferred.fromCoroutine(self._screenshot(request))

    def present(self, request: Nothing) -> Deferred[Presence]:
        return Deferred.fromCoroutine(self._present())

    def disks(self, request: WantedDisks) -> Deferred[DiskWork]:
        return self._disks.disks(request)

    def copy(self, request: WantedCopies) -> Deferred[SnapshotWork]:
        return self._copies.copy(request)

    async def _ensure(self, wanted: WantedGuest) -> Taken:
        _check(wanted)
        known = self._journal.get(wanted.instance)
        if known is not None and known.wanted.power != "absent" and wanted.disk_revision > known.wanted.disk_revision:
            newer = replace(known.wanted, disks=wanted.disks, disk_revision=wanted.disk_revision)
            await self._journal.put(replace(known, wanted=newer))
            known = self._journal.get(wanted.instance)
        wanted = merged(wanted, known.wanted if known is not None else None)
        if known is not None and wanted.generation < known.wanted.generation:
            return Taken(known.wanted.generation)
        if known is not None and wanted.generation == known.wanted.generation and (
            known.wanted.power == "absent" or wanted.power != "absent"
        ):  # the same again: perhaps our fact was lost
            await self._journal.put(known)
            if known.outcome:
                self._facts.forget(wanted.instance)
                self._tell(known)
            self._convergence.kick(wanted.instance)
            return Taken(known.wanted.generation)
        await self._journal.put(Entry(wanted, ran=known is not None and known.ran))
        self._tools.failpoint("compute.journaled")
        self._unknown.pop(wanted.instance, None)
        self._copies.interrupt(wanted.instance)
        self._convergence.kick(wanted.instance)
        return Taken(wanted.generation)

    async def _reboot(self, instance: str) -> Done:
        entry = self._guest(instance)
        if self._convergence.held(instance):  # it is down for a copy of its volumes, and starts again after that
            return Done()
        if entry.outcome != "launched":
            raise CloudError(Code.INSTANCE_STATE, f"{instance} does not run")
        try:
            await self._tools.driver.reboot(instance, self._tools.reboot_button)
        except CloudError as problem:
            if problem.code is Code.PROGRAM_FAILED:
                raise CloudError(Code.INSTANCE_STATE, problem.text) from problem
            raise
        return Done()

    async def _console(self, instance: str) -> ConsoleText:
        self._guest(instance)
        output = await self._tools.driver.console(instance)
        written = await self._tools.in_thread(lambda: self._last_written(instance))
        return ConsoleText(output, written)

    async def _screenshot(self, request: WantedScreenshot) -> Screenshot:
        return await screens.taken(self._screens, self._guest(request.instance), request.wake, self._clock)

    def _last_written(self, instance: str) -> float:
        try:
            return (self._tools.directory / instance / "console.log").stat().st_mtime
        except OSError:
            return self._clock.seconds()

    async def _present(self) -> Presence:
        known = [
            GuestSummary(instance, entry.wanted.generation, STATES[entry.outcome])
            for instance, entry in self._journal.entries()
            if not entry.settled
        ]
        unknown = [
            GuestSummary(instance, generation, "running" if running else "stopped")
            for instance, (generation, running) in self._unknown.items()
        ]
        return Presence(self._journal.epoch, (*known, *unknown))

    def _guest(self, instance: str) -> Entry:
        entry = self._journal.get(instance)
        if entry is None or entry.wanted.power == "absent":
            raise CloudError(Code.INSTANCE_UNKNOWN, f"{instance} is not on this host")
        return entry

    # -- facts and heartbeats

    def _tell(self, entry: Entry) -> None:
        wanted = entry.wanted
        self._facts.tell(wanted.instance, wanted.generation, CHANGES[entry.outcome], entry.reason)

    def _acknowledged(self, fact: GuestFact) -> None:
        entry = self._journal.get(fact.instance)
        if fact.change == "gone" and entry is not None and entry.wanted.generation == fact.generation:
            saved = self._journal.put(settle(entry, self._clock.seconds()))
            saved.addErrback(lambda failure: None)  # told again after a restart; the journal has said why
            self._convergence.forget(fact.instance)
            self._disks.forget(fact.instance)
            self._facts.forget(fact.instance)

    async def _beat(self) -> None:
        """A host whose hypervisor is away says nothing: nobody should be placed here."""
        if not self._hypervisor:
            return
        try:
            capacity = await self._tools.driver.capacity()
            guests = sum(entry.outcome == "launched" for _, entry in self._journal.entries())
            await self._publish(Heartbeat(
                host=self._seat.host, epoch=self._journal.epoch, cell=self._seat.cell, zone=self._seat.zone,
                vcpus=capacity.vcpus, memory_mib=capacity.memory_mib, disk_gib=capacity.disk_gib,
                virt_type=capacity.virt_type, guests=guests, options=("screens",) if self._screens else (),
            ))  # fmt: skip
        except CancelledError:
            raise
        except Exception as problem:  # the bus or the hypervisor is away: the next one may pass
            log.warn("no heartbeat: {problem!r}", problem=problem)

    # -- looking at what is

    def _loop(self, work: Callable[[], Any]) -> LoopingCall:
        loop = LoopingCall(lambda: Deferred.fromCoroutine(work()))
        loop.clock = self._clock
        return loop

    def _changed(self, instance: str) -> None:
        """An event. What we are doing ourselves needs no second look; a burst needs one."""
        if self.running and self._soon is None and not self._convergence.busy(instance):
            self._soon = self._clock.callLater(SOON, self._look)

    def _look(self) -> None:
        self._soon = None
        Deferred.fromCoroutine(self._sweep_quietly())

    async def _sweep_quietly(self) -> None:
        if self._sweeping is not None:
            self._sweep_again = True
            return
        self._sweep_again = True
        while self._sweep_again and self.running:
            self._sweep_again = False
            self._sweeping = Deferred.fromCoroutine(self.sweep())
            try:
                await self._sweeping
                self._hypervisor = True
            except CancelledError:
                return
            except CloudError as problem:
                self._hypervisor = problem.code is not Code.NO_HYPERVISOR
                log.warn("the guests could not be listed: {problem}", problem=problem)
            finally:
                self._sweeping = None

    async def sweep(self) -> None:
        """Compares the journal with the hypervisor's list and mends what differs."""
        act = self._convergence.acts
        guests, boot = await self._listed()
        now = self._clock.seconds()
        self._convergence.observed = observed = {guest.instance: guest for guest in guests}
        self._journal.expire(now)
        raised = []
        for instance, entry in self._journal.entries():
            if self._convergence.touched_since(instance, act) or self._journal.get(instance) is not entry:
                continue
            guest = observed.get(instance)
            if entry.outcome == "gone":
                raised += [entry] if guest is not None else []
            else:
                await self._compare(entry, guest or Guest(instance, 0, False), boot)
        await self._lay_down(raised)
        await self._disks.tidy(guests)
        self._note_unknown({
            instance: (guest.generation, guest.running)
            for instance, guest in observed.items()
            if self._journal.get(instance) is None
        })  # fmt: skip

    async def _listed(self) -> tuple[list[Guest], str]:
        """The guests, and the boot under which they were all seen: a guest that ended with its hypervisor did not end
        by itself."""
        boot, tries = self._tools.boot(), 3
        for _ in range(tries):
            guests = await self._tools.driver.guests()
            before, boot = boot, self._tools.boot()
            if before == boot:
                return guests, boot
        raise CloudError(Code.NO_HYPERVISOR, "the hypervisor is started again and again")

    async def _compare(self, entry: Entry, guest: Guest, boot: str) -> None:
        running = guest.running
        match entry.outcome:
            case "":
                self._convergence.kick(entry.wanted.instance)
            case "launched" if not running and entry.boot == boot and guest.shut_down:
                await self._convergence.end(entry, "halted", BY_ITSELF)
            case "launched" if not running and entry.boot == boot:
                await self._convergence.end(entry, "crashed", CRASHED)
            case "launched" if not running or guest.generation != entry.wanted.generation:  # the host was rebooted
                await self._redo(entry)  # under it, or it carries the mark of an older generation
            case "launched" if entry.boot != boot:
                await self._convergence.end(entry, "launched", boot=boot)
            case "launched":
                self._tell(entry)
                self._disks.look(entry, guest.disks)
            case "stopped" if running:  # started behind our back
                await self._redo(entry)
            case "halted" | "crashed" | "failed" if running:  # its end was told and stands
                await self._tools.driver.stop(entry.wanted.instance, 0)

    async def _redo(self, entry: Entry) -> None:
        await self._journal.put(replace(entry, outcome=""))
        self._convergence.kick(entry.wanted.instance)

    async def _lay_down(self, raised: list[Entry]) -> None:
        """Guests that were gone and are here again. A few are removed again; many mean that the hypervisor's state or
        our journal comes from another time, and then nothing is."""
        if len(raised) > max(RAISED_LEAST, RAISED_SHARE * len(self._journal)):
            log.error("{count} guests that were gone are back: none is removed", count=len(raised))
            return
        for entry in raised:
            await self._redo(replace(entry, settled=0.0))

    def _note_unknown(self, unknown: dict[str, tuple[int, bool]]) -> None:
        for instance in unknown.keys() - self._unknown.keys():
            log.warn("{instance} carries our mark, but the journal does not know it: left alone", instance=instance)
        self._unknown = unknown


def _check(wanted: WantedGuest) -> None:
    if not well_formed("instance", wanted.instance):  # it becomes a path
        raise CloudError(Code.INSTANCE_MALFORMED, f"{wanted.instance!r} is not an instance id")
    check(wanted.disks)
    if wanted.power not in POWERS:
        raise CloudError(Code.BAD_VALUE, f"power {wanted.power!r} is none of {', '.join(POWERS)}")
    if wanted.power == "running" and not (wanted.uuid and wanted.vcpus > 0 and wanted.memory_mib > 0):
        raise CloudError(Code.BAD_VALUE, f"{wanted.instance} is wanted running without uuid, vcpus or memory")
