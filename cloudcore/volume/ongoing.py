"""Work by name, each at most once at a time; who asks for it waits a while for its end, and the work goes on."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

log = Logger()


class Ongoing:
    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._running: dict[str, Deferred[None]] = {}
        self._waiting: dict[str, list[Deferred[None]]] = {}
        self._stopped = False

    def busy(self, name: str) -> bool:
        return name in self._running

    def begin(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Under way already, or stopped: nothing is done."""
        if name in self._running or self._stopped:
            return
        self._running[name] = Deferred()  # it may end at once
        running = Deferred.fromCoroutine(work())
        if not running.called:
            self._running[name] = running
        running.addErrback(self._surprised, name).addBoth(self._over, name)

    async def wait(self, name: str, seconds: float) -> None:
        """Until the work ends, at most so long."""
        if name not in self._running:
            return
        waiting: Deferred[None] = Deferred()
        self._waiting.setdefault(name, []).append(waiting)
        call = self._clock.callLater(seconds, lambda: None if waiting.called else waiting.callback(None))
        try:
            await waiting
        finally:
            if call.active():
                call.cancel()

    def stop(self) -> None:
        """What was begun is cut off, as by a crash."""
        self._stopped = True
        for running in list(self._running.values()):
            running.cancel()

    def _over(self, result: Any, name: str) -> None:
        self._running.pop(name, None)
        for waiting in self._waiting.pop(name, []):
            if not waiting.called:
                waiting.callback(None)

    def _surprised(self, failure: Any, name: str) -> None:
        if not failure.check(CancelledError):
            log.failure("{name} broke off", failure, name=name)
