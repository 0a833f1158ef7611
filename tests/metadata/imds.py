"""A metadata service on loopback for tests: guests are told apart by their addresses 127.0.1.x, as by a real
network."""

from __future__ import annotations

import http.client
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from cloudcore.domain.metadata_tree import Association, MetadataFacts, Options, document
from cloudcore.errors import CloudError, Code
from cloudcore.metadata.site import MetadataSite, connected
from cloudcore.rpc.network import Address, Port

SECRET = b"s" * 32
PLAIN = Options()
ONE, TWO, NOBODY = "127.0.1.1", "127.0.1.2", "127.0.1.99"


def a_port(address: str = ONE, user_data: bytes | None = None, options: Options = PLAIN, **facts: Any) -> Port:
    number = int(address.rpartition(".")[2])
    instance, mac, hostname = f"i-{number:017x}", f"06:00:00:00:00:{number:02x}", f"ip-{address.replace('.', '-')}"
    found = MetadataFacts(
        instance_id=instance, image_id="ami-0123456789abcdef0", instance_type="m1.tiny", reservation_id="r-1",
        account="123456789012", region="core", zone="core-a", mac=mac, address=address, hostname=hostname,
        pending_time="2026-01-02T03:04:05Z", groups=(Association("default", "sg-1"),), key_name="mine",
        public_key="ssh-ed25519 AAAA mine", vpc_id="vpc-1", subnet_id="subnet-1", subnet_cidr="10.90.0.0/16",
        vpc_cidr="10.90.0.0/16", interface_id="eni-1", options=options,
    )  # fmt: skip
    told = document(replace(found, **facts))
    return Port(instance, 1, mac, address, f"t{number:014x}", hostname, ("sg-1",), told, user_data)


class Watch:
    """A clock that tells the time it is told, and leaves timers to the reactor."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def seconds(self) -> float:
        return self.now

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)


@dataclass
class Agent:
    ports: dict[str, Port]
    asked: list[str] = field(default_factory=list)
    broken: Exception | None = None
    silent: bool = False

    def lookup(self, request: Address) -> Deferred[Port]:
        if self.silent:
            self.asked.append(request.address)
            return Deferred()
        return maybeDeferred(self._lookup, request)

    def _lookup(self, request: Address) -> Port:
        self.asked.append(request.address)
        if self.broken:
            raise self.broken
        if request.address not in self.ports:
            raise CloudError(Code.RESOURCE_UNKNOWN, "no such port")
        return self.ports[request.address]


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


class Service:
    """What a test holds: the agent behind it, the clock, and guests that ask."""

    def __init__(self, agent: Agent, clock: Watch, port: int) -> None:
        self.agent, self.clock, self.port = agent, clock, port

    def ask(
        self, method: str, path: str, headers: Any = (), by: str = ONE, body: bytes | None = None
    ) -> Deferred[Answer]:
        return deferToThread(self.asked_now, method, path, dict(headers), by, body)

    def get(self, path: str, headers: Any = (), by: str = ONE) -> Deferred[Answer]:
        return self.ask("GET", path, headers, by)

    def token(self, lifetime: str | None = "60", by: str = ONE, **more: str) -> Deferred[Answer]:
        headers = {"X-aws-ec2-metadata-token-ttl-seconds": lifetime} if lifetime is not None else {}
        return self.ask("PUT", "/latest/api/token", headers | more, by)

    def connection(self, by: str = ONE) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=5, source_address=(by, 0))

    def asked_now(self, method: str, path: str, headers: dict[str, str], by: str, body: bytes | None) -> Answer:
        connection = self.connection(by)
        try:
            return exchange(connection, method, path, headers, body)
        finally:
            connection.close()

    def raw(self, sent: bytes, by: str = ONE) -> Deferred[bytes]:
        def talk() -> bytes:
            with socket.create_connection(("127.0.0.1", self.port), 5, (by, 0)) as line:
                line.sendall(sent)
                got = b""
                try:
                    while chunk := line.recv(65536):
                        got += chunk
                except ConnectionError:
                    pass
                return got

        return deferToThread(talk)


def exchange(
    connection: http.client.HTTPConnection, method: str, path: str, headers: Any = (), body: bytes | None = None
) -> Answer:
    connection.request(method, path, body, dict(headers))
    answer = connection.getresponse()
    return Answer(answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read())


@asynccontextmanager
async def metadata_service(*ports: Port) -> Any:
    agent, clock = Agent({port.address: port for port in ports}), Watch()
    site = MetadataSite(clock, agent.lookup, SECRET)
    listening = reactor.listenTCP(0, site, interface="127.0.0.1")
    try:
        yield Service(agent, clock, listening.getHost().port)
    finally:
        await listening.stopListening()
        await everybody_gone(site)


async def everybody_gone(site: MetadataSite) -> None:
    """Clients have closed, but the server hears of it a turn later."""
    for _ in range(200):
        if not any(connected(one) for held in site._connections.values() for one in held):
            return
        await deferLater(reactor, 0.01, lambda: None)
