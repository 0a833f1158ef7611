"""The scheduler: answers `select` from memory. It proposes; the conductor's transaction disposes.

The view is read again when it is older than a fifth of a second, once for all who ask meanwhile; whoever lost a claim
(`not_hosts`) always gets a fresh one. Losing this process loses nothing: the next one reads everything.
"""

from __future__ import annotations

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from cloudcore.domain.placement import UNREACHABLE_AFTER, Demand, Host, Question
from cloudcore.rpc.conductor import HEARTBEATS, Heartbeat
from cloudcore.rpc.contract import Bus, dispatcher, subscribe
from cloudcore.rpc.scheduler import SCHEDULER, Needs, Proposal, Selection
from cloudcore.scheduler.view import View
from cloudcore.store.books import Books
from cloudcore.store.database import Store

FRESH = 0.2  # seconds that a reading serves
RETRY = 1.0  # seconds
COMPLETE = 30.0  # seconds between complete readings: rows that were removed, commits that came out of order
MARGIN = 64  # revisions read again each time: on PostgreSQL a lower one may be committed after a higher one

log = Logger()


class Scheduler(Service):
    """Implements rpc.scheduler.Scheduler on the topic `scheduler`."""

    def __init__(self, clock: IReactorTime, bus: Bus, store: Store) -> None:
        self._clock, self._bus, self._store = clock, bus, store
        self._view = View()
        self._started = 0.0
        self._read_at = -FRESH
        self._complete_at = -COMPLETE
        self._reading: list[Deferred[None]] | None = None
        self._loader: LoopingCall | None = None

    def startService(self) -> Deferred[None]:
        """Fires once questions can arrive."""
        super().startService()
        self._started = self._clock.seconds()
        self._loader = LoopingCall(self._read_completely)
        self._loader.clock = self._clock
        self._loader.start(COMPLETE)
        return Deferred.fromCoroutine(self._serve())

    def stopService(self) -> None:
        super().stopService()
        if self._loader and self._loader.running:
            self._loader.stop()

    async def _serve(self) -> None:
        await subscribe(self._bus, HEARTBEATS, {Heartbeat: self._heard})
        await self._bus.serve(SCHEDULER.name, dispatcher(SCHEDULER, self))

    def select(self, request: Needs) -> Deferred[Selection]:
        return Deferred.fromCoroutine(self._select(request))

    async def _select(self, needs: Needs) -> Selection:
        if needs.not_hosts and self._reading is not None:
            await self._read()  # one that is under way may have begun before the claim was lost
        if needs.not_hosts or self._clock.seconds() - self._read_at >= FRESH:
            await self._read()
        demand = Demand(needs.vcpus, needs.memory_mib, needs.disk_gib)
        question = Question(demand, needs.seed, needs.zone, frozenset(needs.not_hosts))
        now = self._clock.seconds()
        best, explanation = self._view.select(question, needs.count, now)
        waits = not best and now - self._started < UNREACHABLE_AFTER and self._view.expects_more(now)
        return Selection(tuple(Proposal(host.name, host.generation) for host in best), explanation, RETRY * waits)

    def _heard(self, beat: Heartbeat) -> Deferred[None] | None:
        if self._view.heard(beat.host, self._clock.seconds()) or not self.running:
            return None
        return self._read()  # a new host: its row is there, or will be at the next reading

    def _read_completely(self) -> Deferred[None]:
        self._complete_at = -COMPLETE
        return self._read()

    def _read(self) -> Deferred[None]:
        """One reading at a time; all who ask meanwhile share it. A reading that fails leaves the view as it was."""
        done: Deferred[None] = Deferred()
        if self._reading is not None:
            self._reading.append(done)
            return done
        self._reading = [done]
        now = self._clock.seconds()
        complete = now - self._complete_at >= COMPLETE
        after = -1 if complete else self._view.revision - MARGIN
        look = self._store.look(changed_hosts, after)
        look.addCallback(self._take_in, now, complete).addErrback(self._unread).addCallback(self._all_read)
        return done

    def _take_in(self, found: tuple[float, list[Host]], now: float, complete: bool) -> None:
        database_now, rows = found
        self._view.read(database_now, rows, self._clock.seconds())
        self._read_at = now
        if complete:
            self._complete_at = now
            self._view.forget_all_but({row.name for row in rows})

    def _unread(self, failure: object) -> None:
        log.warn("the hosts could not be read: {problem}", problem=str(getattr(failure, "value", failure)))

    def _all_read(self, nothing: None) -> None:
        waiting, self._reading = self._reading or [], None
        for done in waiting:
            done.callback(None)


def changed_hosts(books: Books, revision: int) -> tuple[float, list[Host]]:
    return books.hosts.newer(revision)
