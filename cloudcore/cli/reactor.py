"""One coroutine in one reactor: how a command that needs Deferreds runs them, and what blocks beside them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

T = TypeVar("T")


def run(main: Callable[[Any], Coroutine[Any, Any, T] | Deferred[T]]) -> T:
    """What `main(reactor)` returns or raises. Once in a process: a reactor does not start twice."""
    outcome: list[Any] = []

    def stop(result: Any) -> None:
        outcome.append(result)
        if reactor.running:
            reactor.stop()

    reactor.callWhenRunning(lambda: maybeDeferred(main, reactor).addBoth(stop))
    reactor.run()
    if not outcome:
        raise KeyboardInterrupt
    if isinstance(outcome[0], Failure):
        outcome[0].raiseException()
    return outcome[0]


def in_thread(clock: Any, work: Callable[..., T], *args: Any) -> Deferred[T]:
    """Runs what blocks beside the reactor. The thread is a daemon: Ctrl-C does not wait for an upload to end."""
    answer: Deferred[T] = Deferred()

    def perform() -> None:
        try:
            result: Any = work(*args)
        except BaseException:
            result = Failure()
        clock.callFromThread(answer.callback, result)

    threading.Thread(target=perform, name="cli-work", daemon=True).start()
    return answer
