"""Copies of volumes that no guest writes, one after the other, on their way into the object store.

Who asks for a batch again shares the work, and for a while its result; a crash forgets both, and the next asking begins
anew. A volume that a guest holds (QEMU's lock says so) is copied elsewhere: by the agent of that guest.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from cloudcore.blockdev.files import copied_size, room
from cloudcore.domain.ids import well_formed
from cloudcore.errors import CloudError, Code
from cloudcore.rpc.compute import MadeSnapshot, SnapshotPart, SnapshotWork
from cloudcore.rpc.volume import FAILED, READY, WORKING, WantedSnapshots
from cloudcore.volume.ongoing import Ongoing
from cloudcore.volume.tools import Tools

log = Logger()

ELSEWHERE = "elsewhere"
WAIT = 3.0  # seconds an asker waits for the end
KEPT = 3600.0  # seconds a result is remembered
TRIES = 5
PASSING = frozenset({Code.UNAVAILABLE, Code.PROGRAM_FAILED})


@dataclass
class Batch:
    request: WantedSnapshots
    made: dict[str, MadeSnapshot] = field(default_factory=dict)  # by snapshot
    done: SnapshotWork | None = None
    ended: float = 0.0
    tries: int = 0
    half: bool = False  # the one under way is copied, not yet stored

    @property
    def progress(self) -> int:
        return min(99, (100 * len(self.made) + 50 * self.half) // len(self.request.parts))


class Copying:
    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._ongoing = Ongoing(tools.clock)
        self._batches: dict[str, Batch] = {}

    def stop(self) -> None:
        self._ongoing.stop()

    async def copy(self, request: WantedSnapshots) -> SnapshotWork:
        check(request)
        now = self._tools.clock.seconds()
        for name in [name for name, old in self._batches.items() if old.done and old.ended < now - KEPT]:
            del self._batches[name]
        batch = self._batches.get(request.batch)
        if batch is None or (batch.request != request and not self._ongoing.busy(request.batch)):
            batch = self._batches[request.batch] = Batch(request)
        if batch.done is None:
            self._ongoing.begin(request.batch, lambda: self._run(batch))
            await self._ongoing.wait(request.batch, WAIT)
        if batch.done is not None and batch.done.state == ELSEWHERE:
            self._batches.pop(request.batch, None)  # asked again it is looked at again
        return batch.done or SnapshotWork(WORKING, batch.progress)

    async def _run(self, batch: Batch) -> None:
        try:
            for part in batch.request.parts:
                if part.snapshot not in batch.made:
                    batch.made[part.snapshot] = await self._one(batch, part)
            batch.done = SnapshotWork(READY, 100, tuple(batch.made[part.snapshot] for part in batch.request.parts))
        except CancelledError:
            raise
        except (CloudError, OSError) as problem:
            self._failed(batch, problem)
        finally:
            batch.half, batch.ended = False, self._tools.clock.seconds()

    def _failed(self, batch: Batch, problem: CloudError | OSError) -> None:
        code = problem.code if isinstance(problem, CloudError) else Code.PROGRAM_FAILED
        if code is Code.VOLUME_IN_USE:
            batch.done = SnapshotWork(ELSEWHERE)
            return
        log.warn("batch {name} is not copied: {problem}", name=batch.request.batch, problem=problem)
        batch.tries += 1
        if code not in PASSING or batch.tries >= TRIES:
            batch.done = SnapshotWork(FAILED, reason=str(problem))

    async def _one(self, batch: Batch, part: SnapshotPart) -> MadeSnapshot:
        tools, home = self._tools, self._tools.scratch / part.snapshot
        file = home / "copy"
        await self._check_room(part.volume)
        parent = (await tools.images.layers(part.parent))[0] if part.parent is not None else None
        await tools.in_thread(lambda: fresh(home))
        try:
            await tools.volumes.copy(part.volume, str(file), parent)
            batch.half = True
            tools.failpoint("volume.copied")
            made = await tools.snapshots.store(str(file), part)
            tools.failpoint("volume.stored")
        finally:
            batch.half = False
            shutil.rmtree(home, ignore_errors=True)
        return made

    async def _check_room(self, volume: str) -> None:
        """A full disk would stop the guests of this host: rather no copy than that."""
        tools = self._tools
        opened = await tools.volumes.opened(volume)
        if opened is None:
            return  # who copies it will say so
        size = (await tools.volumes.present()).get(volume, 0)
        needed = await tools.in_thread(lambda: copied_size(opened, size))
        if needed > await tools.in_thread(lambda: room(tools.scratch)):
            raise CloudError(Code.CAPACITY, f"no room for {needed} bytes of the copy of {volume}")


def fresh(home: Path) -> None:
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True, mode=0o700)


def check(request: WantedSnapshots) -> None:
    """Ids become paths."""
    for part in request.parts:
        if not well_formed("snapshot", part.snapshot) or not well_formed("volume", part.volume):
            raise CloudError(Code.BAD_VALUE, f"no copy of {part.volume[:80]!r} as {part.snapshot[:80]!r}")
    if not request.parts:
        raise CloudError(Code.BAD_VALUE, "nothing to copy")
