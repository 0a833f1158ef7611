"""The volume service of one host: rpc.volume.Volumes. Level-triggered: what should be is said, and how far it is is
answered; nothing is told upward unasked."""

from __future__ import annotations

import shutil
from pathlib import Path

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from cloudcore.rpc.compute import SnapshotWork
from cloudcore.rpc.volume import (
    Everything,
    Exported,
    Stored,
    VolumeSummary,
    WantedExport,
    WantedSnapshots,
    WantedVolume,
    Work,
)
from cloudcore.volume.copying import Copying
from cloudcore.volume.exporting import Exporting
from cloudcore.volume.journal import Journal
from cloudcore.volume.making import Making
from cloudcore.volume.tools import Tools

log = Logger()


class VolumeService(Service):
    def __init__(self, tools: Tools, journal: Journal) -> None:
        self._tools, self._journal = tools, journal
        self._exporting = Exporting(tools, journal)
        self._making = Making(tools, journal, self._exporting)
        self._copying = Copying(tools)

    def startService(self) -> Deferred[None]:
        """Reads the journal (blocks; raises CloudError(STATE_DIRECTORY)); what was served is served again."""
        super().startService()
        return Deferred.fromCoroutine(self._start())

    def stopService(self) -> Deferred[None]:
        """What is under way is cut off; guests of other hosts keep their volumes."""
        super().stopService()
        for part in (self._making, self._exporting, self._copying):
            part.stop()
        return Deferred.fromCoroutine(self._stop())

    def ensure(self, request: WantedVolume) -> Deferred[Work]:
        return Deferred.fromCoroutine(self._making.ensure(request))

    def copy(self, request: WantedSnapshots) -> Deferred[SnapshotWork]:
        return Deferred.fromCoroutine(self._copying.copy(request))

    def export(self, request: WantedExport) -> Deferred[Exported]:
        return Deferred.fromCoroutine(self._exporting.export(request))

    def present(self, request: Everything) -> Deferred[Stored]:
        return Deferred.fromCoroutine(self._present())

    async def _stop(self) -> None:
        await self._tools.servers.leave()
        await self._journal.close()

    async def _start(self) -> None:
        await self._journal.open(self._tools.clock.seconds())
        await self._tools.in_thread(lambda: swept(self._tools.scratch))
        self._exporting.resume()

    async def _present(self) -> Stored:
        sizes = await self._tools.volumes.present()
        return Stored(tuple(VolumeSummary(volume, size) for volume, size in sorted(sizes.items())))


def swept(scratch: Path) -> None:
    """Copies of a run that was killed go."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True, mode=0o700)
