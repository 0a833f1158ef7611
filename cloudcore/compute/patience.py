"""Waiting for work of which the asker may hear later."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred


def first_of(clock: Any, waiting: Deferred[None], seconds: float) -> Deferred[None]:
    """Fires `waiting` itself when it has not fired after so many seconds."""

    def enough() -> None:
        if not waiting.called:
            waiting.callback(None)

    call = clock.callLater(seconds, enough)

    def over(result: None) -> None:
        if call.active():
            call.cancel()

    return waiting.addCallback(over)
