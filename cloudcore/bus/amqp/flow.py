"""When a connection may be written to, and whether its other end still lives."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.task import LoopingCall
from zope.interface import implementer


@implementer(IPushProducer)
class Valve:
    """Closed while the transport's buffer is full, or the broker blocks publishers (memory or disk alarm)."""

    def __init__(self) -> None:
        self._causes: set[str] = set()
        self._waiting: list[Deferred[None]] = []

    def passage(self) -> Deferred[None]:
        """Fires when a message may be published; the first to ask goes first."""
        if not self._causes:
            return succeed(None)
        self._waiting.append(Deferred(self._waiting.remove))
        return self._waiting[-1]

    def close(self, cause: str) -> None:
        self._causes.add(cause)

    def open(self, cause: str) -> None:
        self._causes.discard(cause)
        while self._waiting and not self._causes:
            self._waiting.pop(0).callback(None)

    def fail(self, reason: Exception) -> None:
        self._causes.clear()
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.errback(reason)

    def pauseProducing(self) -> None:
        self.close("transport")

    def resumeProducing(self) -> None:
        self.open("transport")

    def stopProducing(self) -> None:
        self.open("transport")


class Pulse:
    """Heartbeats as one timer over two counters: the owner counts `reads` and `writes`, which costs nothing.

    Ticks are counted, not seconds: a process of ours that slept does not take its broker for dead when it wakes.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self.reads = self.writes = 0
        self._seen, self._silent = (0, 0), 0
        self._loop = LoopingCall(self._tick)
        self._loop.clock = clock

    def start(self, interval: float, beat: Callable[[], None], dead: Callable[[], None]) -> None:
        """`beat` when nothing was written for half an interval, `dead` once nothing was read for two; 0 does
        nothing."""
        self._beat, self._dead = beat, dead
        if interval:
            self._loop.start(interval / 2, now=False)

    def stop(self) -> None:
        if self._loop.running:
            self._loop.stop()

    def _tick(self) -> None:
        (reads, writes), self._seen = self._seen, (self.reads, self.writes)
        self._silent = self._silent + 1 if reads == self.reads else 0
        if self._silent >= 4:
            self.stop()
            self._dead()
        elif writes == self.writes:
            self._beat()
