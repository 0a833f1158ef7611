"""Registrations of images that are under way, for clients that did not wait for the answer.

RegisterImage has no client token, and it reads the whole image before it answers: longer than boto3 waits, which then
sends the same request again. The same request meanwhile is the same registration, done once. One that took so long is
remembered for as long again: the repetition may come just after its end.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

Answer = Mapping[str, Any] | None
Begin = Callable[[], Coroutine[Any, Any, Answer]]
SLOW = 1.0  # seconds; hardly a client gives up sooner
LONGEST = 900.0  # seconds that one is remembered at most


class Registrations:
    """Of one api process. `key` stands for the caller's project and everything that was asked."""

    def __init__(self) -> None:
        self._under_way: dict[str, list[Deferred[Answer]]] = {}
        self._finished: dict[str, tuple[float, Answer]] = {}  # until when it is remembered

    def finished(self, key: str, now: float) -> Answer:
        """What a slow one answered a short while ago, or None."""
        self._finished = {known: (until, answer) for known, (until, answer) in self._finished.items() if until > now}
        return self._finished.get(key, (now, None))[1]

    def share(self, key: str, clock: IReactorTime, begin: Begin) -> Deferred[Answer]:
        """The outcome of `begin`, which is called unless the same is under way. A failure is everybody's and is not
        remembered."""
        waiting: Deferred[Answer] = Deferred()
        sharers = self._under_way.get(key)
        if sharers is not None:
            sharers.append(waiting)
            return waiting
        self._under_way[key] = [waiting]
        Deferred.fromCoroutine(begin()).addBoth(self._ended, key, clock, clock.seconds())
        return waiting

    def _ended(self, result: Answer | Failure, key: str, clock: IReactorTime, begun: float) -> None:
        took = clock.seconds() - begun
        if took > SLOW and not isinstance(result, Failure):
            self._finished[key] = clock.seconds() + min(took, LONGEST), result
        for waiting in self._under_way.pop(key):
            if not waiting.called:
                waiting.callback(result)
