"""The network agent of one host: keeps what it was told on disk, and keeps the host's network equal to it.

A call is answered once the host is as wanted. Every ten seconds the whole is applied again, whatever happened
meanwhile: tables flushed, a bridge deleted, dnsmasq killed. At start the filter comes before anything else can ask for
a tap.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from cloudcore.errors import CloudError, Code
from cloudcore.journal.lines import Lines
from cloudcore.netdev.driver import NetworkDriver
from cloudcore.network.books import Books, Record, packed, unpacked
from cloudcore.network.coalescing import Coalesced
from cloudcore.rpc.network import (
    Address,
    Applied,
    Everything,
    Port,
    Ports,
    PortSummary,
    ReleasedPort,
    WantedNetwork,
)

log = Logger()

FAILPOINTS = ("network.journaled", "network.applied", "network.released")
INTERVAL = 10.0  # seconds between two passes (R6)
SLACK, LEAST_LINES = 4, 2000  # the journal is rewritten when it has so many times more lines than it says things


class NetworkAgent(Service):
    """Implements rpc.network.Network. `clock` is IReactorTime; `failpoint(name)` may end the process."""

    def __init__(self, clock: Any, driver: NetworkDriver, journal: Lines,
                 failpoint: Callable[[str], None] = lambda name: None) -> None:  # fmt: skip
        self._clock, self._driver, self._journal, self._failpoint = clock, driver, journal, failpoint
        self._books = Books()
        self._unbooked: list[Record] = []  # on their way to the disk: a rewritten journal must have them too
        self._passes = Coalesced(self._apply)
        self._prepared = False
        self._ticking = LoopingCall(self._tick)
        self._ticking.clock = clock
        self._last_tick: Deferred[None] | None = None

    # -- the service --

    def startService(self) -> None:
        """Reads the journal (blocks; raises CloudError(STATE_DIRECTORY)), then begins to converge."""
        for line in self._journal.open():
            record = unpacked(line)
            if record is not None:
                self._books.apply(record)
        self._books.drop_unused()
        super().startService()
        self._ticking.start(INTERVAL).addErrback(lambda failure: log.failure("the loop ended", failure))

    async def _stop(self) -> None:
        if self._last_tick is not None:
            await self._last_tick
        await self._journal.close()

    def stopService(self) -> Deferred[None]:
        """The host's network stays as it is."""
        super().stopService()
        if self._ticking.running:
            self._ticking.stop()
        return Deferred.fromCoroutine(self._stop())

    def converged(self) -> Deferred[None]:
        """Fires once the host is as wanted now; fails with what keeps it from being so."""
        return self._passes.run()

    # -- the contract --

    def ensure(self, request: WantedNetwork) -> Deferred[Applied]:
        return Deferred.fromCoroutine(self._ensure(request))

    def release(self, request: ReleasedPort) -> Deferred[Applied]:
        return Deferred.fromCoroutine(self._release(request))

    def lookup(self, request: Address) -> Deferred[Port]:
        port = self._books.at(request.address)
        if port is None:
            return fail(CloudError(Code.RESOURCE_UNKNOWN, f"no port of this host has address {request.address[:40]}"))
        return succeed(port)

    def present(self, request: Everything) -> Deferred[Ports]:
        ports = sorted(self._books.ports.items())
        return succeed(Ports(tuple(PortSummary(instance, port.generation) for instance, port in ports)))

    # -- inside --

    async def _ensure(self, request: WantedNetwork) -> Applied:
        await self._note(self._books.news(request))
        self._failpoint("network.journaled")
        await self._passes.run()
        self._failpoint("network.applied")
        return Applied(len(self._books.ports))

    async def _release(self, request: ReleasedPort) -> Applied:
        await self._note([request] if self._books.is_news(request) else [])
        await self._passes.run()
        self._failpoint("network.released")
        return Applied(len(self._books.ports))

    async def _note(self, records: list[Record]) -> None:
        """On disk first, then in the books: nothing is done to the host that a restart would not know."""
        if not records:
            return
        self._unbooked += records
        try:
            await self._journal.append(map(packed, records))
        finally:
            self._unbooked = [one for one in self._unbooked if all(one is not mine for mine in records)]
        for record in records:
            self._books.apply(record)
        self._books.drop_unused()
        if self._journal.count > max(LEAST_LINES, SLACK * len(self._books)):
            await self._journal.replace(map(packed, [*self._books.records(), *self._unbooked]))

    async def _apply(self) -> None:
        if not self._prepared:
            await self._driver.prepare()
            self._prepared = True
        await self._driver.ensure(*self._books.wanted())

    def _tick(self) -> Deferred[None]:
        """Also what a bridge needs is looked at again, not only what a port needs."""
        self._prepared = False
        self._last_tick = self._passes.run().addErrback(self._tried)
        return self._last_tick

    def _tried(self, failure: Any) -> None:
        """The next pass tries again."""
        if failure.check(CancelledError):
            return
        if failure.check(CloudError):
            log.error("the network is not as wanted: {problem}", problem=str(failure.value))
        else:
            log.failure("the network is not as wanted", failure)
