"""The metadata service of one host: EC2's IMDS, both versions, over plain HTTP at 169.254.169.254.

Who asks is told by the peer address of the TCP connection and by nothing else: the host's filter lets no guest speak
from an address that is not its own. A header that names an instance, or that says somebody asked for somebody, is
refused. What the address means is asked of the network agent of the same host, and remembered for two seconds on that
very connection: an address that gets a new owner gets a new connection with it.

Source: EC2's user guide, "Instance metadata and user data"; the numbers of the answers are in tests/metadata.
"""

from __future__ import annotations

import io
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote
from weakref import WeakKeyDictionary

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import Request as HTTPRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from cloudcore.domain import metadata_tree
from cloudcore.errors import CloudError, Code
from cloudcore.metadata import tokens
from cloudcore.rpc.faults import BusFault
from cloudcore.rpc.network import Address, Port

log = Logger()

REMEMBERED = 2.0  # seconds
BODY = 4096  # bytes of a request; nothing here reads any
CONNECTIONS = 64  # of one guest at a time
IDLE = 60  # seconds a connection may say nothing
LONG = 1.0  # seconds that no answer of ours should take
TOKENS = "/latest/api/token"
TTL_HEADER, TOKEN_HEADER = "X-aws-ec2-metadata-token-ttl-seconds", "X-aws-ec2-metadata-token"
REFUSED_HEADERS = (
    "X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Instance-ID", "X-Instance-ID-Signature", "X-Tenant-ID",
    "X-Metadata-Provider", "X-Metadata-Provider-Signature",
)  # fmt: skip
REASONS = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
           503: "Service Unavailable"}  # fmt: skip

Lookup = Callable[[Address], Deferred[Port]]


class Refusal(Exception):
    """An answer that is only a status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class BoundedRequest(Request):
    """Bodies are read away and not kept; a long one ends the connection."""

    def gotLength(self, length: int | None) -> None:
        self.content = io.BytesIO()
        self._left = BODY
        if length is not None and length > BODY:
            self._too_much()

    def handleContentChunk(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            self._too_much()

    def _too_much(self) -> None:
        transport = self.channel.transport
        if transport is not None:
            transport.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        self.channel.loseConnection()


class MetadataSite(Site):
    """The factory to listen with, on the gateway address of the guests' bridge, where the redirect sends them.

    `clock` is IReactorTime; `lookup` is `client(NETWORK, bus, f"network.{host}").lookup`; `secret` signs tokens."""

    requestFactory = BoundedRequest
    displayTracebacks = False

    def __init__(self, clock: IReactorTime, lookup: Lookup, secret: bytes) -> None:
        super().__init__(Metadata(clock, lookup, secret), timeout=IDLE, reactor=clock)
        self._connections: dict[str, list[Any]] = {}

    def log(self, request: HTTPRequest) -> None:
        """No line for each of a guest's sixty questions at boot."""

    def buildProtocol(self, addr: Any) -> Any:
        """None closes at once what one guest opens beyond its share."""
        if len(self._connections) > 4096:
            self._connections = {host: alive for host in self._connections if (alive := self._alive(host))}
        alive = self._connections[addr.host] = self._alive(addr.host)
        if len(alive) >= CONNECTIONS:
            return None
        channel = super().buildProtocol(addr)
        alive.append(channel)
        return channel

    def _alive(self, host: str) -> list[Any]:
        return [one for one in self._connections.get(host, ()) if connected(one)]


def connected(channel: Any) -> bool:
    """Twisted wraps the channel that has the transport."""
    transport = getattr(getattr(channel, "_channel", channel), "transport", None)
    return bool(getattr(transport, "connected", False))


class Metadata(Resource):
    """Every path of the service."""

    isLeaf = True

    def __init__(self, clock: IReactorTime, lookup: Lookup, secret: bytes) -> None:
        super().__init__()
        self._clock, self._lookup, self._secret = clock, lookup, secret
        self._known: WeakKeyDictionary[Any, tuple[float, Port]] = WeakKeyDictionary()

    def render(self, request: Request) -> int:
        answering = Deferred.fromCoroutine(self._answer(request))
        request.notifyFinish().addErrback(self._left, request, self._clock.seconds(), answering)
        answering.addCallbacks(lambda content: _finish(request, content), lambda failure: _failed(request, failure))
        return NOT_DONE_YET

    def _left(self, failure: Failure, request: Request, since: float, answering: Deferred[bytes]) -> None:
        """The guest has gone before its answer. One that waited for it in vain is worth a line: it will have booted
        without what it asked for."""
        answering.cancel()
        waited = self._clock.seconds() - since
        if waited > LONG:
            first = request.path.lstrip(b"/").partition(b"/")[0].decode("latin-1")
            log.warn("a guest left after {seconds:.1f} s without the answer below /{first}", seconds=waited,
                     first=first if first in metadata_tree.VERSIONS else "...")  # fmt: skip

    async def _answer(self, request: Request) -> bytes:
        """Five steps in this order: what may not be said, who asks, whether it is answered at all, by which token,
        what."""
        request.setHeader("Server", "cloudcore")
        request.setHeader("Content-Type", "text/plain")
        if any(request.requestHeaders.hasHeader(name) for name in REFUSED_HEADERS):
            raise Refusal(400)
        port = await self._port(request)
        options = metadata_tree.options(port.metadata)
        if options.endpoint != "enabled":
            raise Refusal(403)
        path = unquote(request.path.decode("latin-1"), errors="replace")
        if request.method == b"PUT":
            return self._new_token(request, path, port, options.hop_limit)
        if request.method not in (b"GET", b"HEAD"):
            request.setHeader("Allow", "GET, HEAD, PUT")
            raise Refusal(405)
        self._check_token(request, port, required=options.tokens == "required")
        return _content(request, port, path)

    async def _port(self, request: Request) -> Port:
        """Of the connection's peer. An address that is nobody's learns nothing."""
        connection, now = request.channel, self._clock.seconds()
        found = self._known.get(connection)
        if found is not None and found[0] <= now < found[0] + REMEMBERED:
            return found[1]
        try:
            port = await self._lookup(Address(request.getClientAddress().host))
        except CloudError as problem:
            raise Refusal(404 if problem.code is Code.RESOURCE_UNKNOWN else 503) from None
        except BusFault as problem:
            log.warn("the network agent does not answer: {problem}", problem=str(problem))
            raise Refusal(503) from None
        self._known[connection] = now, port
        return port

    def _new_token(self, request: Request, path: str, port: Port, hop_limit: int) -> bytes:
        if path != TOKENS:
            raise Refusal(405)
        lifetime = tokens.seconds_asked(_header(request, TTL_HEADER))
        if lifetime is None:
            raise Refusal(400)
        _limit_hops(request, hop_limit)
        request.setHeader(TTL_HEADER, str(lifetime))
        return tokens.token(self._secret, port.instance, lifetime, self._clock.seconds()).encode()

    def _check_token(self, request: Request, port: Port, required: bool) -> None:
        """A token that is sent must be good even where none is required."""
        sent = _header(request, TOKEN_HEADER)
        if sent is None:
            if required:
                raise Refusal(401)
            return
        left = tokens.seconds_left(self._secret, port.instance, sent, self._clock.seconds())
        if not left:
            raise Refusal(401)
        request.setHeader(TTL_HEADER, str(left))


def _header(request: Request, name: str) -> str | None:
    """Any byte may come; a header given twice is refused rather than chosen from."""
    values = request.requestHeaders.getRawHeaders(name.encode()) or []
    if len(values) > 1:
        raise Refusal(400)
    return values[0].decode("latin-1") if values else None


def _content(request: Request, port: Port, path: str) -> bytes:
    document = metadata_tree.with_role(port.metadata, port.role) if port.role else port.metadata
    found = metadata_tree.find(document, port.user_data, path)
    if found is None:
        raise Refusal(404)
    if isinstance(found, metadata_tree.Listing):
        return "\n".join(found.names).encode()
    if path.rstrip("/").endswith("/" + metadata_tree.USER_DATA):
        request.setHeader("Content-Type", "application/octet-stream")
    return found.content


def _limit_hops(request: Request, hops: int) -> None:
    """A token that is forwarded, by a container's bridge or a proxy in front of the guest, dies on the way."""
    handle = getattr(request.channel.transport, "getHandle", None)
    if handle is not None:
        handle().setsockopt(socket.IPPROTO_IP, socket.IP_TTL, max(1, min(64, hops)))


def _finish(request: Request, content: bytes) -> None:
    request.setHeader("Content-Length", str(len(content)))
    request.write(content)
    request.finish()


def _failed(request: Request, failure: Failure) -> None:
    if failure.check(CancelledError):
        return
    status = failure.value.status if isinstance(failure.value, Refusal) else 503
    if not isinstance(failure.value, Refusal):
        log.failure("a metadata request failed", failure)
    request.setResponseCode(status)
    _finish(request, f"{status} {REASONS[status]}\n".encode())
