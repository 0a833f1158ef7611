"""Volumes served to guests of other hosts: one guest each, with a key of its own, made here.

Port and key are kept while the same guest has the volume, so that its end finds the server again after any crash of
ours or of it. Another guest gets another key: the one before is cut off.
"""

from __future__ import annotations

import os
from dataclasses import replace

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from cloudcore.blockdev.serving import Export
from cloudcore.domain.ids import well_formed
from cloudcore.errors import CloudError, Code
from cloudcore.rpc.compute import RemoteDisk
from cloudcore.rpc.volume import FAILED, OUTDATED, READY, WORKING, Exported, WantedExport
from cloudcore.volume.journal import Journal, Served
from cloudcore.volume.ongoing import Ongoing
from cloudcore.volume.tools import Tools

log = Logger()

WAIT = 3.0  # seconds an asker waits for the end
PORTS = 4096  # that may be tried


class Exporting:
    def __init__(self, tools: Tools, journal: Journal) -> None:
        self._tools, self._journal = tools, journal
        self._ongoing = Ongoing(tools.clock)
        self._outcomes: dict[str, tuple[Served, Exported]] = {}

    def resume(self) -> None:
        """What was served before we ended is served again: mostly it still is."""
        for volume, served in self._journal.exports.items():
            if served.instance:
                self._begin(volume)

    def stop(self) -> None:
        self._ongoing.stop()

    async def export(self, request: WantedExport) -> Exported:
        check(request)
        volume, known = request.volume, self._journal.exports.get(request.volume)
        if known is not None and request.revision < known.revision:
            return Exported(OUTDATED)
        if known is None or (request.revision, request.instance) != (known.revision, known.instance):
            await self._journal.serve(self._next(request, known), self._tools.clock.seconds())
        self._begin(volume)
        await self._ongoing.wait(volume, WAIT)
        wanted, outcome = self._outcomes.get(volume, (None, Exported(WORKING)))
        current = self._journal.exports.get(volume)
        return outcome if wanted == current and not self._ongoing.busy(volume) else Exported(WORKING)

    async def drop(self, volume: str) -> None:
        """The volume goes, whoever has it."""
        known = self._journal.exports.get(volume)
        if known is not None and known.instance:
            now = self._tools.clock.seconds()
            await self._journal.serve(Served(volume, known.revision, changed=now), now)
        await self._tools.servers.end(volume)
        self._outcomes.pop(volume, None)

    def _begin(self, volume: str) -> None:
        self._ongoing.begin(volume, lambda: self._converge(volume))

    def _next(self, request: WantedExport, known: Served | None) -> Served:
        now = self._tools.clock.seconds()
        if not request.instance:
            return Served(request.volume, request.revision, changed=now)
        if known is not None and known.instance == request.instance:
            return replace(known, revision=request.revision, changed=now)
        port = known.port if known is not None and known.instance else self._port()
        return Served(request.volume, request.revision, request.instance, port, os.urandom(32).hex(), now)

    def _port(self) -> int:
        taken = {served.port for served in self._journal.exports.values() if served.instance}
        first, address = self._tools.first_port, self._tools.address
        for port in range(first, min(first + PORTS, 65536)):
            if port not in taken and self._tools.servers.port_is_free(address, port):
                return port
        raise CloudError(Code.CAPACITY, f"no port from {first} on is free at {address}")

    async def _converge(self, volume: str) -> None:
        while True:
            served = self._journal.exports[volume]
            try:
                outcome = await self._act(served)
            except CancelledError:
                raise
            except CloudError as problem:
                log.warn("{volume} is not served: {problem}", volume=volume, problem=problem)
                outcome = Exported(FAILED if problem.code is Code.VOLUME_UNKNOWN else WORKING, None, problem.text)
            self._outcomes[volume] = (served, outcome)
            if self._journal.exports[volume] == served:
                return

    async def _act(self, served: Served) -> Exported:
        tools, volume = self._tools, served.volume
        if not served.instance:
            await tools.servers.end(volume)
            return Exported(READY)
        opened = await tools.volumes.opened(volume)
        if opened is None:
            await tools.servers.end(volume)
            raise CloudError(Code.VOLUME_UNKNOWN, f"{volume} is not on this host")
        await tools.servers.serve(Export(volume, tools.address, served.port, served.instance, served.key), opened)
        tools.failpoint("volume.exported")
        return Exported(READY, RemoteDisk(tools.address, served.port, volume, served.instance, served.key))


def check(request: WantedExport) -> None:
    """Ids become paths and arguments."""
    if not well_formed("volume", request.volume):
        raise CloudError(Code.VOLUME_MALFORMED, f"{request.volume[:80]!r} is not a volume id")
    if request.instance and not well_formed("instance", request.instance):
        raise CloudError(Code.BAD_VALUE, f"{request.instance[:80]!r} is not an instance id")
