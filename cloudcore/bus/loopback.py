"""The bus of the all-in-one: no broker, yet every body arrives on a later turn, whole, or not at all.

Nothing aliased or mutable crosses, since bodies are bytes, and the order of events resembles the real one. `faults` is
the seam through which a test or the simulator drops, doubles or delays messages: it answers with the delays at which to
deliver. A deadline is checked at delivery, as the broker does it: a message that waited longer is never executed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from cloudcore.bus.topics import check
from cloudcore.rpc.codec import LIMIT
from cloudcore.rpc.faults import BusFault, Disconnected, InternalFault, NobodyListens, PastDeadline, TimedOut

Server = Callable[[bytes], Deferred[bytes]]
Reader = Callable[[bytes], "Deferred[None] | None"]
Faults = Callable[[str], tuple[float, ...]]  # topic -> () drops, (0,) delivers, (0, 3) delivers twice


def faultless(topic: str) -> tuple[float, ...]:
    return (0.0,)


class LoopbackBus(Service):
    """Works from construction to `stopService`; satisfies `cloudcore.rpc.contract.Bus`."""

    log = Logger()

    def __init__(self, clock: IReactorTime, faults: Faults = faultless, limit: int = LIMIT) -> None:
        self._clock, self._faults, self._limit = clock, faults, limit
        self._servers: dict[str, list[Server]] = {}
        self._readers: dict[str, list[Reader]] = {}
        self._on_the_way: set[IDelayedCall] = set()
        self._awaited: set[Deferred[bytes]] = set()
        self._stopped = False

    def startService(self) -> None:
        super().startService()
        self._stopped = False

    def stopService(self) -> None:
        """What is on the way is lost, and whoever awaits an answer hears Disconnected."""
        super().stopService()
        self._stopped = True
        for call in list(self._on_the_way):
            call.cancel()
        self._on_the_way.clear()
        for answer in list(self._awaited):
            self._settle(answer, Disconnected("the bus stopped"))

    def serve(self, topic: str, handler: Server) -> Deferred[None]:
        self._servers.setdefault(check(topic), []).append(handler)
        return succeed(None)

    def read(self, topic: str, handler: Reader) -> Deferred[None]:
        self._readers.setdefault(check(topic), []).append(handler)
        return succeed(None)

    def command(self, topic: str, body: bytes, timeout: float) -> Deferred[bytes]:
        try:
            self._admit(topic, body)
        except BusFault:
            return fail(Failure())
        answer: Deferred[bytes] = Deferred(self._awaited.discard)
        self._awaited.add(answer)
        deadline = self._clock.seconds() + timeout
        for delay in self._faults(topic):
            self._later(delay, self._perform, topic, body, deadline, answer)
        return answer.addTimeout(timeout, self._clock, _timed_out(topic))

    def tell(self, topic: str, body: bytes) -> Deferred[None]:
        try:
            self._admit(topic, body)
        except BusFault:
            return fail(Failure())
        for reader in self._readers.get(topic, ()):
            for delay in self._faults(topic):
                self._later(delay, self._hear, topic, reader, body)
        return succeed(None)

    def _admit(self, topic: str, body: bytes) -> None:
        check(topic, body, self._limit)
        if self._stopped:
            raise Disconnected("the bus has stopped")

    def _later(self, delay: float, function: Callable[..., None], *arguments: Any) -> None:
        def arrive() -> None:
            self._on_the_way.discard(call)
            function(*arguments)

        call = self._clock.callLater(delay, arrive)
        self._on_the_way.add(call)

    def _perform(self, topic: str, body: bytes, deadline: float, answer: Deferred[bytes]) -> None:
        servers = self._servers.get(topic)
        if not servers:
            self._settle(answer, NobodyListens(topic))
        elif self._clock.seconds() < deadline:
            servers.append(servers.pop(0))  # competing consumers take turns
            done = maybeDeferred(servers[-1], body)
            done.addErrback(self._failed, topic).addCallback(lambda result: self._settle(answer, result))

    def _failed(self, failure: Failure, topic: str) -> Exception | None:
        if failure.check(PastDeadline):
            return None
        reference = uuid4().hex[:12]
        self.log.failure("the handler of {topic} failed, {reference}", failure, topic=topic, reference=reference)
        return InternalFault(reference)

    def _settle(self, answer: Deferred[bytes], result: bytes | Exception | None) -> None:
        """The first of several deliveries answers, and nobody answers after the time-out."""
        if result is not None and answer in self._awaited:
            self._awaited.discard(answer)
            answer.errback(result) if isinstance(result, Exception) else answer.callback(result)

    def _hear(self, topic: str, reader: Reader, body: bytes) -> None:
        maybeDeferred(reader, body).addErrback(self._unheard, topic)

    def _unheard(self, failure: Failure, topic: str) -> None:
        if not failure.check(CancelledError):
            self.log.failure("a reader of {topic} failed", failure, topic=topic)


def _timed_out(topic: str) -> Callable[[Any, float], Any]:
    def expired(result: Any, timeout: float) -> Any:
        raise TimedOut(f"{topic}: no answer within {timeout:g} s")

    return expired
