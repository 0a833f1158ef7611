"""Makes one guest as it is wanted, whatever was done before: the only place that acts on a guest.

Each guest converges by itself and one step at a time; a change of mind (a higher generation) is noticed before every
effect. Every effect may be repeated, so a crash anywhere is cured by coming here again. What ended a generation goes
into the journal and up as a fact:

* running: contents, volumes, definition, start -> `started`. A guest that was powered off inside afterwards is
  `stopped`, one whose QEMU ended otherwise has `crashed`; both stay so until a higher generation says otherwise: a
  guest that dies at once would be started for ever. After a reboot of the host (another `boot`) it is started again.
  Volumes are made once: where one of a guest that has run is missing, the launch fails, for a fresh one would hide the
  loss.
* stopped: power button, then power off -> `stopped`; the volumes stay.
* absent: undefined, then its directory removed -> `gone`; the volumes stay.

A launch that cannot succeed is `failed` at once; one that might is tried again for PATIENCE seconds.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from cloudcore.blockdev.driver import BlockDriver
from cloudcore.compute.copies import Slimming, SnapshotStore
from cloudcore.compute.failpoints import Failpoint
from cloudcore.compute.journal import Entry, Journal
from cloudcore.compute.volumes import GuestVolumes, ImageCache, Remotes
from cloudcore.errors import CloudError, Code
from cloudcore.journal.lines import InThread
from cloudcore.rpc.compute import WantedGuest
from cloudcore.virt.driver import Guest, GuestDisk, GuestSpec, LiveCopies, VirtDriver, VolumeAttachment

log = Logger()

PATIENCE = 60.0  # seconds a launch is tried
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
AT_ONCE = 32  # guests that are being changed at the same time; one that waits for its power button takes a place
POWER_BUTTON = 30.0  # seconds until a guest that is to stop is powered off
REBOOT_BUTTON = 120.0  # seconds until a guest that is to reboot is reset: EC2's "a few minutes"
PERMANENT = frozenset({  # trying again changes nothing
    Code.IMAGE_INVALID, Code.IMAGE_MANIFEST, Code.IMAGE_UNKNOWN, Code.IMAGE_UNAVAILABLE, Code.RESOURCE_UNKNOWN,
    Code.NOT_AUTHORISED, Code.NOT_PERMITTED, Code.BAD_VALUE, Code.CAPACITY, Code.DISK_LOST,
})  # fmt: skip


class Superseded(Exception):
    """The guest is wanted otherwise by now."""


@dataclass(frozen=True)
class Tools:
    """What acts. `directory` holds one directory per guest; what `boot()` says changes when all guests have ended (a
    reboot)."""

    clock: Any
    driver: VirtDriver
    attachment: VolumeAttachment
    live_copies: LiveCopies
    images: ImageCache
    volumes: BlockDriver
    remotes: Remotes
    snapshots: SnapshotStore
    slimming: Slimming
    directory: Path
    boot: Callable[[], str]
    in_thread: InThread
    failpoint: Failpoint
    power_button: float = POWER_BUTTON
    reboot_button: float = REBOOT_BUTTON


class Convergence:
    """`tell(entry)` hears each generation that has come to its end."""

    def __init__(self, tools: Tools, journal: Journal, tell: Callable[[Entry], None]) -> None:
        self._tools, self._journal, self._tell = tools, journal, tell
        self._queue: dict[str, None] = {}  # in the order of asking
        self._busy: dict[str, Deferred[None]] = {}
        self._starting = False
        self._again: set[str] = set()
        self._tries: dict[str, tuple[int, float, float]] = {}  # generation, first try, next pause
        self._later: dict[str, Any] = {}
        self._stopped = False
        self._held: set[str] = set()
        self._volumes = GuestVolumes(tools.images, tools.volumes, tools.remotes, tools.failpoint)
        self._touched: dict[str, int] = {}  # when (in acts, not seconds) we last acted on a guest
        self.acts = 0
        self.observed: dict[str, Guest] = {}  # as the last sweep saw them

    def busy(self, instance: str) -> bool:
        return instance in self._busy or instance in self._queue

    def touched_since(self, instance: str, act: int) -> bool:
        """What was listed at `act` may be older than what we did to this guest."""
        return self.busy(instance) or self._touched.get(instance, 0) > act

    def forget(self, instance: str) -> None:
        self._touched.pop(instance, None)
        self._tries.pop(instance, None)

    def kick(self, instance: str) -> None:
        """Look at this guest, now or as soon as what is under way has ended."""
        if self._stopped or instance in self._held:
            return
        waiting = self._later.pop(instance, None)
        if waiting is not None:
            waiting.cancel()
        if instance in self._busy:
            self._again.add(instance)
        else:
            self._queue[instance] = None
            self._start()

    def hold(self, instance: str) -> None:
        """Somebody else acts on a guest that nothing is done to now: it is left alone until `release`."""
        self._held.add(instance)

    def held(self, instance: str) -> bool:
        return instance in self._held

    def release(self, instance: str) -> None:
        self._held.discard(instance)
        self._mark(instance)
        self.kick(instance)

    def _start(self) -> None:
        """A loop, not a recursion: with a fast hypervisor each may end before the next is begun."""
        if self._starting:
            return
        self._starting = True
        try:
            while self._queue and len(self._busy) < AT_ONCE and not self._stopped:
                instance = next(iter(self._queue))
                del self._queue[instance]
                self._busy[instance] = Deferred()  # a place for what is begun; it may also end at once
                begun = Deferred.fromCoroutine(self._run(instance))
                if instance in self._busy:
                    self._busy[instance] = begun
                begun.addErrback(self._surprised, instance)
        finally:
            self._starting = False

    def stop(self) -> None:
        """Guests are left as they are; what was begun is cut off, as by a crash."""
        self._stopped = True
        for call in self._later.values():
            call.cancel()
        self._later.clear()
        self._queue.clear()
        for running in list(self._busy.values()):
            running.cancel()

    async def end(self, entry: Entry, outcome: str, reason: str = "", boot: str = "") -> None:
        """This generation has ended so; `boot` where it runs. On disk before it is told."""
        entry = replace(entry, outcome=outcome, reason=reason, boot=boot or entry.boot,
                        ran=entry.ran or outcome == "launched")  # fmt: skip
        saved = self._journal.put(entry)
        if outcome == "launched":  # lost only with the machine's memory, and then another boot starts the guest again
            saved.addErrback(lambda failure: None)
        else:
            await saved
        self._tries.pop(entry.wanted.instance, None)
        self._tell(entry)

    async def _run(self, instance: str) -> None:
        try:
            self._again.add(instance)
            while instance in self._again:
                self._again.discard(instance)
                await self._attempt(instance)
        finally:
            self._again.discard(instance)
            self._mark(instance)
            del self._busy[instance]
            self._start()

    async def _attempt(self, instance: str) -> None:
        entry = self._journal.get(instance)
        if entry is None or entry.outcome:
            return
        self._mark(instance)
        try:
            acts = {"running": self._launch, "stopped": self._power_off, "absent": self._remove}
            await acts[entry.wanted.power](entry)
        except Superseded:
            self._again.add(instance)
        except CancelledError:
            raise
        except (CloudError, OSError) as problem:
            await self._failed(entry, problem)

    def _mark(self, instance: str) -> None:
        self.acts += 1
        self._touched[instance] = self.acts

    def _still(self, entry: Entry) -> None:
        if self._journal.get(entry.wanted.instance) != entry:
            raise Superseded

    async def _launch(self, entry: Entry) -> None:
        wanted, tools = entry.wanted, self._tools
        home = tools.directory / wanted.instance
        await tools.in_thread(lambda: _prepared(home))
        disks = await self._volumes.furnish(wanted, not entry.ran, lambda: self._still(entry))
        self._still(entry)
        spec = _spec(wanted, self._journal.epoch, disks, str(home))
        await tools.driver.define(spec)
        tools.failpoint("compute.defined")
        self._still(entry)
        boot = tools.boot()  # before the start: should the hypervisor end meanwhile, the sweep sees another
        await tools.driver.start(wanted.instance)
        tools.failpoint("compute.started")
        self._still(entry)
        await self.end(entry, "launched", boot=boot)

    async def _power_off(self, entry: Entry) -> None:
        await self._tools.driver.stop(entry.wanted.instance, self._tools.power_button)
        self._tools.failpoint("compute.stopped")
        self._still(entry)
        await self._volumes.close(entry.wanted.disks)
        await self.end(entry, "stopped")

    async def _remove(self, entry: Entry) -> None:
        wanted, tools = entry.wanted, self._tools
        seen = self.observed.get(wanted.instance)
        if seen is not None and seen.generation > wanted.generation:
            log.error(
                "{instance} is not removed: it carries generation {seen}, beyond {wanted}",
                instance=wanted.instance, seen=seen.generation, wanted=wanted.generation,
            )  # fmt: skip
            return
        await tools.driver.remove(wanted.instance)
        tools.failpoint("compute.removed")
        await self._volumes.clear(wanted)
        await tools.in_thread(lambda: _clean(tools.directory / wanted.instance))
        tools.failpoint("compute.cleaned")
        self._still(entry)
        await self.end(entry, "gone")

    async def _failed(self, entry: Entry, problem: CloudError | OSError) -> None:
        instance, now = entry.wanted.instance, self._tools.clock.seconds()
        if self._journal.get(instance) != entry:
            self._again.add(instance)
            return
        generation, first, pause = self._tries.get(instance, (0, now, FIRST_PAUSE))
        if generation != entry.wanted.generation:
            first, pause = now, FIRST_PAUSE
        if isinstance(problem, CloudError) and problem.code is Code.VOLUME_IN_USE:
            first = now  # a volume is being copied, for as long as that takes
        permanent = isinstance(problem, CloudError) and problem.code in PERMANENT
        if entry.wanted.power == "running" and (permanent or now + pause - first > PATIENCE):
            log.warn("{instance} cannot be launched: {problem}", instance=instance, problem=problem)
            await self.end(entry, "failed", str(problem))
            return
        log.warn("{instance}: {problem}; again in {pause} s", instance=instance, problem=problem, pause=pause)
        self._tries[instance] = (entry.wanted.generation, first, min(2 * pause, LONGEST_PAUSE))
        if not self._stopped:
            self._later[instance] = self._tools.clock.callLater(pause, self._retry, instance)

    def _retry(self, instance: str) -> None:
        self._later.pop(instance, None)
        self.kick(instance)

    def _surprised(self, failure: Any, instance: str) -> None:
        if not failure.check(CancelledError):
            log.failure("{instance} could not be brought to what is wanted", failure, instance=instance)


def _spec(wanted: WantedGuest, epoch: int, disks: tuple[GuestDisk, ...], directory: str) -> GuestSpec:
    return GuestSpec(
        instance=wanted.instance, generation=wanted.generation, epoch=epoch, uuid=wanted.uuid, vcpus=wanted.vcpus,
        memory_mib=wanted.memory_mib, disks=disks, directory=directory, mac=wanted.mac, tap=wanted.tap, mtu=wanted.mtu,
    )  # fmt: skip


# -- what runs in threads ---------------------------------------------------------------------------------------------


def _prepared(home: Path) -> None:
    """The guest's directory is there, and QEMU's user may pass through it."""
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o711)


def _clean(home: Path) -> None:
    if home.is_dir():
        shutil.rmtree(home)
