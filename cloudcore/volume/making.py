"""Volumes as they are wanted: made, at least so large, or gone. One thing at a time for each volume, whoever asks.

A volume that has been here and is missing is not made again: that would hide the loss. A change of mind (a greater
generation) is noticed before every effect.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from cloudcore.domain.ids import well_formed
from cloudcore.errors import CloudError, Code
from cloudcore.rpc.volume import FAILED, OUTDATED, READY, WORKING, WantedVolume, Work
from cloudcore.volume.exporting import Exporting
from cloudcore.volume.journal import Journal, Kept
from cloudcore.volume.ongoing import Ongoing
from cloudcore.volume.tools import Tools

log = Logger()

WAIT = 3.0  # seconds an asker waits for the end
GIB = 2**30
FIRST = 1  # the generation that a volume is made in
TRIES = 5  # of what may be the host's fault
PASSING = frozenset({Code.UNAVAILABLE, Code.VOLUME_IN_USE})  # asked again it may succeed, however often it did not
PERMANENT = frozenset({  # trying again changes nothing
    Code.IMAGE_INVALID, Code.RESOURCE_UNKNOWN, Code.NOT_AUTHORISED, Code.NOT_PERMITTED, Code.BAD_VALUE,
    Code.CAPACITY, Code.DISK_LOST, Code.VOLUME_MALFORMED,
})  # fmt: skip


class Superseded(Exception):
    """The volume is wanted otherwise by now."""


@dataclass(frozen=True, slots=True)
class Outcome:
    wanted: WantedVolume
    work: Work
    tries: int = 0


class Making:
    def __init__(self, tools: Tools, journal: Journal, exporting: Exporting) -> None:
        self._tools, self._journal, self._exporting = tools, journal, exporting
        self._ongoing = Ongoing(tools.clock)
        self._outcomes: dict[str, Outcome] = {}  # what came of the last try; `failed` stays

    def stop(self) -> None:
        self._ongoing.stop()

    async def ensure(self, request: WantedVolume) -> Work:
        check(request)
        volume, known = request.volume, self._journal.volumes.get(request.volume)
        if known is not None and older(request, known.wanted):
            return Work(OUTDATED)
        if known is None or known.wanted != request:
            made = known.made if known is not None else request.generation > FIRST  # compute has made it, for a launch
            made = made and request.presence == "present"
            await self._journal.put(Kept(request, made), self._tools.clock.seconds())
            self._tools.failpoint("volume.journaled")
        before = self._outcomes.get(volume)
        if before is not None and before.wanted == request and before.work.state == FAILED:
            return before.work
        self._ongoing.begin(volume, lambda: self._converge(volume))
        await self._ongoing.wait(volume, WAIT)
        after = self._outcomes.get(volume)
        if after is None or after.wanted != request or self._ongoing.busy(volume):
            return Work(WORKING)
        if after.work.state != FAILED or request.presence == "absent":
            del self._outcomes[volume]  # asked again it is looked at again
            if after.work.state == WORKING:
                self._outcomes[volume] = after  # for the number of its tries
        return after.work

    async def _converge(self, volume: str) -> None:
        while True:
            kept = self._journal.volumes[volume]
            try:
                await (self._remove if kept.wanted.presence == "absent" else self._make)(kept)
                self._outcomes[volume] = Outcome(kept.wanted, Work(READY))
            except Superseded:
                continue
            except CancelledError:
                raise
            except (CloudError, OSError) as problem:
                self._failed(kept.wanted, problem)
            if self._journal.volumes[volume].wanted == kept.wanted:
                return

    def _failed(self, wanted: WantedVolume, problem: CloudError | OSError) -> None:
        log.warn("{volume}: {problem}", volume=wanted.volume, problem=problem)
        before = self._outcomes.get(wanted.volume)
        tries = before.tries if before is not None and before.wanted == wanted else 0
        code = problem.code if isinstance(problem, CloudError) else Code.PROGRAM_FAILED
        tries += code not in PASSING
        state = FAILED if code in PERMANENT or tries >= TRIES else WORKING
        self._outcomes[wanted.volume] = Outcome(wanted, Work(state, str(problem)), tries)

    async def _make(self, kept: Kept) -> None:
        tools, wanted = self._tools, kept.wanted
        if await tools.volumes.opened(wanted.volume) is None:
            if kept.made:
                raise CloudError(Code.DISK_LOST, f"{wanted.volume} is missing on its host")
            layers = await tools.images.layers(wanted.source) if wanted.source is not None else ()
            tools.failpoint("volume.layers")
            self._still(kept)
            await tools.volumes.make(wanted.volume, wanted.size_gib * GIB, layers)
            tools.failpoint("volume.made")
        self._still(kept)
        await tools.volumes.grow(wanted.volume, wanted.size_gib * GIB)
        tools.failpoint("volume.grown")
        self._still(kept)
        if not kept.made:
            await self._journal.put(replace(kept, made=True), tools.clock.seconds())

    async def _remove(self, kept: Kept) -> None:
        tools, volume = self._tools, kept.wanted.volume
        await self._exporting.drop(volume)
        self._still(kept)
        await tools.volumes.remove(volume)
        tools.failpoint("volume.removed")
        self._still(kept)
        if not kept.settled:
            now = tools.clock.seconds()
            await self._journal.put(replace(kept, made=False, settled=now), now)

    def _still(self, kept: Kept) -> None:
        if self._journal.volumes[kept.wanted.volume].wanted != kept.wanted:
            raise Superseded


def older(request: WantedVolume, known: WantedVolume) -> bool:
    """Of one generation the end is the last word."""
    if request.generation == known.generation:
        return known.presence == "absent" and request.presence != "absent"
    return request.generation < known.generation


def check(request: WantedVolume) -> None:
    """Ids become paths."""
    if not well_formed("volume", request.volume):
        raise CloudError(Code.VOLUME_MALFORMED, f"{request.volume[:80]!r} is not a volume id")
    if request.presence not in ("present", "absent") or (request.presence == "present" and request.size_gib < 1):
        raise CloudError(Code.BAD_VALUE, f"{request.volume} cannot be {request.presence!r} of {request.size_gib} GiB")
