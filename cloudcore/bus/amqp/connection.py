"""One prepared AMQP connection kept alive: back-off, authentication, re-declaration, the consumers again.

Everything that a broker forgets with the connection (own queues, bindings, consumers, prefetch, confirm mode) belongs
in `prepare`, which runs on each connection before `ready()` fires. An own loop instead of ClientService, which
does not survive a failing preparation: it leaves that connection open, and when it ends drops the good one with it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from twisted.application.internet import backoffPolicy
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, succeed
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IAddress, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
from twisted.internet.task import deferLater
from twisted.logger import Logger
from txamqp.client import Closed

from cloudcore.bus.amqp.client import Client
from cloudcore.bus.amqp.delegate import Delegate
from cloudcore.bus.amqp.specification import load_spec
from cloudcore.rpc.faults import Disconnected

FAREWELL = 2.0  # seconds for the broker to agree to the end of a connection
HEARTBEAT = 10  # seconds; a dead peer is noticed within 20 to 25
READY = 15.0  # seconds from the connection to the last consumer


@dataclass(frozen=True)
class Broker:
    """amqp://user:password@host:port/vhost, or amqps:// with the certificate authority that signed the broker."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    vhost: str = "/"
    tls: bool = False
    authority: bytes | None = None

    @classmethod
    def from_url(cls, url: str, authority: bytes | None = None) -> Broker:
        parts = urlsplit(url)
        tls = parts.scheme == "amqps"
        if parts.scheme not in ("amqp", "amqps") or not parts.hostname:
            raise ValueError("a broker is named amqp://user:password@host:port/vhost")
        return cls(
            parts.hostname, parts.port or (5671 if tls else 5672),
            unquote(parts.username or "guest"), unquote(parts.password or "guest"), unquote(parts.path[1:]) or "/",
            tls, authority,
        )  # fmt: skip

    def endpoint(self, reactor: Any) -> IStreamClientEndpoint:
        plain = HostnameEndpoint(reactor, self.host, self.port, timeout=5)
        if not self.tls:
            return plain
        trust = trustRootFromCertificates([Certificate.loadPEM(self.authority)]) if self.authority else None
        return wrapClientTLS(optionsForClientTLS(self.host, trustRoot=trust), plain)


class ClientFactory(Factory):
    noisy = False

    def __init__(self, vhost: str, heartbeat: int, clock: IReactorTime) -> None:
        self.vhost, self.heartbeat, self.clock, self.spec = vhost, heartbeat, clock, load_spec()

    def buildProtocol(self, address: IAddress | None) -> Client:
        return Client(Delegate(self.heartbeat), vhost=self.vhost, spec=self.spec, clock=self.clock)


class Connection(Service):
    """`prepare(client)` runs on each new connection; `lost()` once a prepared one has ended."""

    log = Logger()

    def __init__(
        self, reactor: Any, broker: Broker, prepare: Callable[[Client], Awaitable[None]],
        lost: Callable[[], None], heartbeat: int = HEARTBEAT,
    ) -> None:  # fmt: skip
        self._reactor, self._broker, self._prepare, self._lost = reactor, broker, prepare, lost
        self._delay = backoffPolicy(initialDelay=0.1, maxDelay=5.0)
        self._factory = ClientFactory(broker.vhost, heartbeat, reactor)
        self._client: Client | None = None
        self._loop: Deferred[None] = succeed(None)
        self._waiting: list[Deferred[Client]] = []

    def startService(self) -> None:
        super().startService()
        self._loop = Deferred.fromCoroutine(self._keep())

    def stopService(self) -> Deferred[None]:
        super().stopService()
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.errback(Disconnected("the bus stopped"))
        return Deferred.fromCoroutine(self._leave())

    async def _leave(self) -> None:
        """Says goodbye, so that the broker has read everything that we sent before we close."""
        if self._client:
            try:
                await self._client.farewell().addTimeout(FAREWELL, self._reactor)
            except (Closed, TimeoutError) as problem:
                self.log.debug("the broker did not say goodbye: {problem!r}", problem=problem)
        self._loop.addErrback(lambda failure: failure.trap(CancelledError) and None)
        self._loop.cancel()
        await self._loop

    @property
    def client(self) -> Client | None:
        """The prepared connection, if there is one just now."""
        return self._client

    def ready(self) -> Deferred[Client]:
        """The prepared connection, as soon as there is one."""
        if self._client:
            return succeed(self._client)
        self._waiting.append(Deferred(self._forget))
        return self._waiting[-1]

    def _forget(self, waiter: Deferred[Client]) -> None:
        if waiter in self._waiting:
            self._waiting.remove(waiter)

    async def _keep(self) -> None:
        failures = 0
        while self.running:
            try:
                await self._once()
                failures = 0
            except Exception as problem:  # CancelledError too: it means stopService once we run no longer
                if not self.running:
                    return
                self.log.warn("the broker at {host}:{port} is out of reach: {problem!r}",
                              host=self._broker.host, port=self._broker.port, problem=problem)  # fmt: skip
            failures += 1
            await deferLater(self._reactor, self._delay(failures))

    async def _once(self) -> None:
        """From connecting to the end of a connection that was good; raises where it never was."""
        client = cast(Client, await self._broker.endpoint(self._reactor).connect(self._factory))
        try:
            await Deferred.fromCoroutine(self._make_ready(client)).addTimeout(READY, self._reactor)
            await client.disconnected.wait()
            if self.running:
                self.log.warn("the broker at {host}:{port} is gone", host=self._broker.host, port=self._broker.port)
        finally:
            was_ready, self._client = self._client, None
            client.transport.abortConnection()
            if was_ready:
                self._lost()
            await client.disconnected.wait()  # timers and transport are gone after the next turn

    async def _make_ready(self, client: Client) -> None:
        await client.authenticate(self._broker.user, self._broker.password, mechanism="PLAIN")
        await self._prepare(client)
        self._client, waiting, self._waiting = client, self._waiting, []
        for waiter in waiting:
            waiter.callback(client)
