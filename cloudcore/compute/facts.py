"""Tells the conductor what happened here: numbered facts, sent again until they are acknowledged.

Per guest only the newest counts, since a fact says how things are. While one report is under way the next ones gather,
so a busy host reports in batches by itself. After a restart the epoch is new and everything is told again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from cloudcore.compute.failpoints import Failpoint
from cloudcore.errors import CloudError
from cloudcore.rpc.conductor import Facts, FactSink, GuestFact
from cloudcore.rpc.faults import BusFault

log = Logger()

BATCH = 200  # facts in one message, which has a limit of its own
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 10.0  # seconds before a report that failed is sent again


class FactSender:
    """`acknowledged(fact)` is called for each fact that the conductor has settled. `epoch` is set before `start`."""

    def __init__(
        self, clock: Any, sink: FactSink, host: str, acknowledged: Callable[[GuestFact], None], failpoint: Failpoint
    ) -> None:
        self._clock, self._sink, self._host = clock, sink, host
        self._acknowledged, self._failpoint = acknowledged, failpoint
        self._told: dict[str, GuestFact] = {}
        self._pending: dict[str, GuestFact] = {}
        self._sequence = 0
        self._sending: Deferred[None] | None = None
        self._pause, self._later = FIRST_PAUSE, None
        self._running = False
        self.epoch = 0

    def start(self) -> None:
        self._running = True
        self._send()

    def stop(self) -> None:
        self._running = False
        if self._later is not None:
            self._later.cancel()
            self._later = None
        if self._sending is not None:
            self._sending.cancel()

    @property
    def waiting(self) -> int:
        """Facts not acknowledged yet."""
        return len(self._pending)

    def tell(self, instance: str, generation: int, change: str, reason: str = "") -> None:
        """Saying the same twice tells it once."""
        told = self._told.get(instance)
        if told is None or (told.generation, told.change) != (generation, change):
            self._queue(GuestFact(instance, generation, change, 0, reason[:500]))

    def forget(self, instance: str) -> None:
        """What is told next about it is told even if it is the same."""
        self._told.pop(instance, None)
        self._pending.pop(instance, None)

    def _queue(self, fact: GuestFact) -> None:
        self._sequence += 1
        fact = GuestFact(fact.instance, fact.generation, fact.change, self._sequence, fact.reason)
        self._told[fact.instance] = fact
        self._pending.pop(fact.instance, None)  # so that the dictionary stays in the order of sequence
        self._pending[fact.instance] = fact
        self._send()

    def _send(self) -> None:
        if self._running and self._pending and self._sending is None and self._later is None:
            self._sending = Deferred.fromCoroutine(self._report())
            if self._sending.called:  # it may have ended at once
                self._sending = None

    async def _report(self) -> None:
        facts = tuple(list(self._pending.values())[:BATCH])
        settled, delay = False, self._pause
        try:
            answer = await self._sink.report(Facts(self._host, self.epoch, facts))
            self._failpoint("compute.fact")
            if answer.known:
                settled = True
                self._pause = FIRST_PAUSE
                self._settle(facts, answer.sequence)
        except CancelledError:
            return
        except (CloudError, BusFault) as problem:
            log.warn("facts wait, the conductor did not take them: {problem!r}", problem=problem)
        except Exception:
            log.failure("facts could not be reported")
        finally:
            self._sending = None
        if not settled:
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
        if self._running and self._pending:
            self._later = self._clock.callLater(0 if settled else delay, self._again)

    def _settle(self, facts: tuple[GuestFact, ...], sequence: int) -> None:
        for fact in facts:
            if fact.sequence <= sequence:
                if self._pending.get(fact.instance) == fact:
                    del self._pending[fact.instance]
                self._acknowledged(fact)

    def _again(self) -> None:
        self._later = None
        self._send()
