"""The conductor: the only writer of progress. It hears hints, facts and heartbeats, and performs operations' steps.

Everything it knows is in the database: it may be killed at any instruction, and another copy may run beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList, DeferredSemaphore, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from cloudcore.auth.instances import Keyring
from cloudcore.conductor.facts import settle
from cloudcore.conductor.failpoints import Failpoint, none
from cloudcore.conductor.means import Means
from cloudcore.conductor.reconciling import reconcile
from cloudcore.conductor.silence import Silence
from cloudcore.conductor.working import Worker
from cloudcore.errors import CloudError
from cloudcore.rpc.conductor import (
    CONDUCTOR,
    FACT_SINK,
    HEARTBEATS,
    Acknowledged,
    Facts,
    Heard,
    Heartbeat,
    Hint,
)
from cloudcore.rpc.contract import Bus, dispatcher, subscribe
from cloudcore.rpc.faults import BusFault
from cloudcore.store.books import Books
from cloudcore.store.database import Store

COMPARED_AT_ONCE = 16  # hosts: when all come back in one moment, guests wait for none of them
GATHERED = 0.1  # seconds in which heartbeats gather for one transaction

log = Logger()


@dataclass(frozen=True, slots=True)
class Settings:
    """`owner` is this process's name in leases: the same after a restart, another for each copy. `sweep` in seconds."""

    owner: str = "conductor"
    region: str = "us-east-2"
    concurrency: int = 32
    sweep: float = 2.0


class Conductor(Service):
    """Implements rpc.conductor.Conductor and FactSink on the topics `conductor` and `conductor.facts`."""

    def __init__(self, clock: IReactorTime, bus: Bus, store: Store, settings: Settings = Settings(),  # noqa: B008
                 failpoint: Failpoint = none, keyring: Keyring | None = None) -> None:  # fmt: skip
        self._clock, self._bus = clock, bus
        self._means = Means(store, bus, Silence(clock), settings.owner, settings.region, failpoint, keyring)
        self._worker = Worker(clock, self._means, settings.concurrency, settings.sweep)
        self._beats: dict[str, Heartbeat] = {}
        self._gathering: IDelayedCall | None = None
        self._reconciled: dict[str, int] = {}
        self._comparing = DeferredSemaphore(COMPARED_AT_ONCE)
        self._tasks: set[Deferred[None]] = set()

    def startService(self) -> Deferred[None]:
        """Fires once hints, facts and heartbeats can arrive."""
        super().startService()
        self._worker.start()
        return Deferred.fromCoroutine(self._serve())

    def stopService(self) -> Deferred[None]:
        super().stopService()
        if self._gathering is not None and self._gathering.active():
            self._gathering.cancel()
        for task in list(self._tasks):
            task.cancel()
        ending = [self._worker.stop(), *self._tasks]
        return DeferredList(ending, consumeErrors=True).addCallback(lambda results: None)

    async def _serve(self) -> None:
        await subscribe(self._bus, HEARTBEATS, {Heartbeat: self._heard})
        await self._bus.serve(FACT_SINK.name, dispatcher(FACT_SINK, self))
        await self._bus.serve(CONDUCTOR.name, dispatcher(CONDUCTOR, self))

    # -- what reaches it --

    def hint(self, request: Hint) -> Deferred[Heard]:
        self._worker.wake()
        return succeed(Heard())

    def report(self, request: Facts) -> Deferred[Acknowledged]:
        return Deferred.fromCoroutine(self._report(request))

    async def _report(self, facts: Facts) -> Acknowledged:
        acknowledged = await self._means.transact("facts", settle, facts)
        self._worker.wake_soon()
        return acknowledged

    def _heard(self, beat: Heartbeat) -> None:
        if not self.running:
            return
        self._beats[beat.host] = beat
        if self._gathering is None or not self._gathering.active():
            self._gathering = self._clock.callLater(GATHERED, self._write_beats)

    def _write_beats(self) -> None:
        beats, self._beats = list(self._beats.values()), {}
        self._task(self._beats_written(beats))

    async def _beats_written(self, beats: list[Heartbeat]) -> None:
        believed = await self._means.transact("heard", heard, beats)
        for beat in believed:
            self._means.silence.end(beat.host)
            if self._reconciled.get(beat.host) != beat.epoch:
                self._reconciled[beat.host] = beat.epoch
                self._task(self._reconcile(beat))

    async def _reconcile(self, beat: Heartbeat) -> None:
        try:
            await self._comparing.run(lambda: Deferred.fromCoroutine(reconcile(self._means, beat.host)))
        except (BusFault, CloudError) as problem:  # the next heartbeat tries again
            log.info("{host} could not be compared: {problem!r}", host=beat.host, problem=problem)
            self._reconciled.pop(beat.host, None)
        self._worker.wake_soon()

    def _task(self, coroutine: object) -> None:
        task: Deferred[None] = Deferred.fromCoroutine(coroutine)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.addErrback(self._failed).addBoth(lambda nothing: self._tasks.discard(task))

    def _failed(self, failure: Failure) -> None:
        if failure.check(CloudError):
            log.warn("{problem}", problem=str(failure.value))
        elif not failure.check(CancelledError):
            log.failure("what hosts told could not be kept", failure)


def heard(books: Books, beats: list[Heartbeat]) -> list[Heartbeat]:
    """Those of a host's present agent."""
    return [beat for beat in beats if books.hosts.heard(beat)]
