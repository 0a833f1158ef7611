"""One port for everything: S3 requests that arrive at the api's port are passed to the object store, byte for byte.

A connection belongs to whoever its present request is for; clients that keep one pool for all services send both over
the same. What is passed on is the very bytes that were signed, streamed both ways, each side paused by the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from cloudcore.api.transport import IDLE, ApiFactory
from cloudcore.daemon.routing import Requests, is_for_s3

RELAYS = 500  # at once; each takes two descriptors
QUIET = 1.0  # seconds without a byte after which a relay may be closed when the door shuts
AWAY = (b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>ServiceUnavailable</Code>'
        b"<Message>The object store does not answer; try again</Message></Error>")  # fmt: skip
REFUSAL = (b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n"
           b"Connection: close\r\n\r\n" % len(AWAY)) + AWAY  # fmt: skip
log = Logger()

Connect = Callable[[Factory], Deferred[Any]]


class Relay:
    """A client's connection while the object store has it. Looks like an HTTP channel to the door that drains it."""

    persistent = True

    def __init__(self, transport: Any, connect: Connect, clock: IReactorTime, ended: Callable[[Relay], None]) -> None:
        self.transport = transport
        self._clock, self._ended = clock, ended
        self._moved = clock.seconds()
        self._store: Any = None
        self._waiting: list[bytes] = []
        self._over = False
        transport.pauseProducing()
        self._connecting = connect(Factory.forProtocol(lambda: FromStore(self)))
        self._connecting.addCallbacks(self._connected, self._unreachable)

    @property
    def requests(self) -> bool:
        """Whether something is under way, as far as one can tell from outside: bytes have just moved."""
        return self._clock.seconds() - self._moved < QUIET

    def dataReceived(self, data: bytes) -> None:
        self._moved = self._clock.seconds()
        if self._store is None:
            self._waiting.append(data)
        else:
            self._store.write(data)

    def let_go(self) -> None:
        """The connection goes on without the store, or has ended."""
        if self._over:
            return
        self._over = True
        self._connecting.cancel()
        if self._store is not None:
            self._store.unregisterProducer()
            self.transport.unregisterProducer()
            self._store.loseConnection()
        self._ended(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.let_go()

    def _connected(self, protocol: Any) -> None:
        self._store = protocol.transport
        self.transport.registerProducer(self._store, True)
        self._store.registerProducer(self.transport, True)
        for data in self._waiting:
            self._store.write(data)
        self._waiting.clear()
        self.transport.resumeProducing()

    def _unreachable(self, failure: Failure) -> None:
        if failure.check(CancelledError) or self._over:
            return
        log.warn("the object store cannot be reached: {reason}", reason=str(failure.value))
        self.transport.write(REFUSAL)
        self.transport.loseConnection()

    def answered(self, data: bytes) -> None:
        if not self._over:
            self._moved = self._clock.seconds()
            self.transport.write(data)

    def ended(self) -> None:
        """The store has closed: so does the client's connection, after what is still to be sent."""
        if not self._over:
            self.let_go()
            self.transport.loseConnection()


class FromStore(Protocol):
    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def dataReceived(self, data: bytes) -> None:
        self._relay.answered(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._relay.ended()


class Front(Protocol):
    """`_channel` is who has the connection now: the api's channel, a relay, or itself before the first request. The
    name is that of twisted.web's own wrapper, by which doors look inside."""

    def __init__(self, factory: FrontFactory, address: Any) -> None:
        self._front, self._address = factory, address
        self._requests = Requests()
        self._channel: Any = self
        self._timer: Any = None

    def connectionMade(self) -> None:
        self._timer = self._front.clock.callLater(IDLE, self._too_slow)

    def dataReceived(self, data: bytes) -> None:
        for begins, piece in self._requests.feed(data):
            if begins:
                self._give_to(Relay if is_for_s3(piece) else None)
            self._channel.dataReceived(piece)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._stop_timer()
        if self._channel is not self:
            self._channel.connectionLost(reason)

    def _give_to(self, kind: type[Relay] | None) -> None:
        self._stop_timer()
        if self._channel is not self:
            if isinstance(self._channel, Relay) == (kind is Relay):
                return
            self._take_back()
        if kind is None:
            self._channel = self._front.api.buildProtocol(self._address)
            self._channel.makeConnection(self.transport)
        else:
            self._channel = self._front.relay(self.transport)

    def _take_back(self) -> None:
        """Between two requests: what had the connection lets go of it, and it stays open."""
        if isinstance(self._channel, Relay):
            self._channel.let_go()
            return
        transport: Any = self.transport
        self._channel.setTimeout(None)
        transport.unregisterProducer()
        self._channel.connectionLost(Failure(ConnectionDone()))

    def _too_slow(self) -> None:
        self._timer = None
        transport: Any = self.transport
        transport.abortConnection()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class FrontFactory(Factory):
    """What listens at the api's port where there is an object store to pass requests to. `connect(factory)` opens a
    connection to it, as an endpoint's does."""

    noisy = False

    def __init__(self, api: ApiFactory, connect: Connect, clock: IReactorTime) -> None:
        self.api, self.clock = api, clock
        self._connect = connect
        self._relays: set[Relay] = set()

    def buildProtocol(self, address: Any) -> Front:
        return Front(self, address)

    def relay(self, transport: Any) -> Relay:
        made = Relay(transport, self._connect, self.clock, self._relays.discard)
        self._relays.add(made)
        if len(self._relays) > RELAYS:
            transport.abortConnection()
        return made

    def startFactory(self) -> None:
        self.api.doStart()

    def stopFactory(self) -> None:
        self.api.doStop()
