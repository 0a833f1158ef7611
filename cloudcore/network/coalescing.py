"""One piece of work at a time, shared by all who wait for it.

A pass that has begun may have looked too early for whoever asks now; so those who ask while one is under way share the
next one. A hundred launches at once cost two passes, not a hundred.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred


class Coalesced:
    def __init__(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._work = work
        self._running = False
        self._waiting: list[Deferred[None]] = []

    def run(self) -> Deferred[None]:
        """Fires after a pass that begins now or later; fails as that pass does."""
        waiting: Deferred[None] = Deferred(lambda gone: self._waiting.remove(gone) if gone in self._waiting else None)
        self._waiting.append(waiting)
        if not self._running:
            self._begin()
        return waiting

    def _begin(self) -> None:
        self._running, served, self._waiting = True, self._waiting, []

        def done(result: Any) -> None:
            self._running = False
            if self._waiting:
                self._begin()
            for one in served:
                if not one.called:  # a waiter may have given up
                    one.callback(result)

        Deferred.fromCoroutine(self._work()).addBoth(done)
