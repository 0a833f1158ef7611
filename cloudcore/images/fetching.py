"""Images from elsewhere, for an operator's import: an http(s) address, or a file of this machine.

What is fetched by name could reach inside (S15), so an address is judged after its name was resolved and the connection
goes to exactly the address judged: no loopback, private, link-local or otherwise special one unless `inside` allows it;
at most three redirects, each judged anew, never from https to http; a limit of bytes and of seconds.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol as Connection
from twisted.internet.ssl import optionsForClientTLS
from twisted.web.client import Agent, ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from cloudcore.errors import CloudError, Code
from cloudcore.images.downloading import BATCH, Download, InThread, Sink, announced_length

REDIRECTS = 3
CONNECT = 15.0  # seconds
HEAD_WITHIN = 60.0
MOVED = (301, 302, 303, 307, 308)
AWAY = (ConnectError, ConnectionClosed, ConnectTimeout, DNSLookupError, ResponseFailed, TimeoutError)
SCHEMES = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Limits:
    """`size` in bytes, `patience` in seconds for the whole; `inside` allows the operator's own networks."""

    size: int = 64 * 2**30
    patience: float = 4 * 3600.0
    inside: bool = False


ORDINARY = Limits()


def fetch_uri(reactor: Any, in_thread: InThread, uri: str, sink: Sink, limits: Limits = ORDINARY) -> Deferred[int]:
    """The bytes at `uri` into `sink`; fires with how many. CloudErrors: BAD_VALUE (no address that we follow),
    RESOURCE_UNKNOWN (404), UNAVAILABLE, IMAGE_INVALID (larger than allowed)."""
    fetching = Deferred.fromCoroutine(_fetch(reactor, in_thread, uri, sink, limits))
    return fetching.addTimeout(limits.patience, reactor, lambda value, seconds: _too_slow(uri, seconds))


def copy_file(in_thread: InThread, path: str | Path, sink: Sink) -> Deferred[int]:
    """A file of this machine into `sink`. CloudErrors: RESOURCE_UNKNOWN, NOT_PERMITTED, BAD_VALUE (no plain file)."""
    return in_thread(lambda: _copy(Path(path), sink))


async def _fetch(reactor: Any, in_thread: InThread, uri: str, sink: Sink, limits: Limits) -> int:
    agent = Agent.usingEndpointFactory(reactor, JudgedEndpoints(reactor, in_thread, limits.inside))
    for _ in range(REDIRECTS + 1):
        check_uri(uri)
        try:
            asked = agent.request(b"GET", uri.encode("ascii"), Headers({"user-agent": ["cloudcore"]}))
            response = await asked.addTimeout(HEAD_WITHIN, reactor)
        except CancelledError:
            raise
        except AWAY as problem:
            raise CloudError(Code.UNAVAILABLE, f"{uri} does not answer: {problem}") from problem
        if response.code == 200:
            download = Download(reactor, in_thread, sink, announced_length(response), limits.size)
            response.deliverBody(download)
            return await download.done
        response.deliverBody(Connection())  # nothing of it is wanted; the connection is not kept
        if response.code not in MOVED:
            code = Code.RESOURCE_UNKNOWN if response.code in (404, 410) else Code.UNAVAILABLE
            raise CloudError(code, f"{uri} answers {response.code}")
        uri = _next(uri, response)
    raise CloudError(Code.BAD_VALUE, f"more than {REDIRECTS} redirects")


def _next(uri: str, response: Any) -> str:
    (location,) = response.headers.getRawHeaders("location", [""])[:1]
    target = urljoin(uri, location)
    if not location or (uri.startswith("https:") and not target.startswith("https:")):
        raise CloudError(Code.BAD_VALUE, f"{uri} redirects to {location[:200]!r}")
    return target


def check_uri(uri: str) -> None:
    """Only what we mean to follow: http or https, a host, printable ASCII, no user name in it."""
    try:
        parts = urlsplit(uri)
        fine = parts.scheme in SCHEMES and parts.hostname and "@" not in parts.netloc and (parts.port or 1) > 0
    except ValueError:
        fine = False
    if not fine or not uri.isascii() or not uri.isprintable() or " " in uri:
        raise CloudError(Code.BAD_VALUE, f"{uri[:200]!r} is no address of an image (http:// or https://)")


def outside(address: str) -> bool:
    """Whether anybody may be there: not this machine, not a private or special network, in no spelling."""
    judged = ip_address(address.partition("%")[0])
    if isinstance(judged, IPv6Address):
        inner: IPv4Address | None = judged.ipv4_mapped or judged.sixtofour
        if judged.teredo is not None or judged in NAT64:
            return False
        if inner is not None:
            return outside(str(inner))
    return judged.is_global and not judged.is_multicast


class _Nat64:
    """64:ff9b::/96 and 64:ff9b:1::/48 carry IPv4 addresses of any kind."""

    def __contains__(self, address: IPv6Address) -> bool:
        return address.packed[:4] == b"\x00\x64\xff\x9b"


NAT64 = _Nat64()


@implementer(IAgentEndpointFactory)
class JudgedEndpoints:
    """Endpoints that resolve, judge, and connect to what they judged."""

    def __init__(self, reactor: Any, in_thread: InThread, inside: bool) -> None:
        self._reactor, self._in_thread, self._inside = reactor, in_thread, inside

    def endpointForURI(self, uri: Any) -> Any:
        host = uri.host.decode("ascii")
        endpoint = _Judged(self, host, uri.port)
        return wrapClientTLS(optionsForClientTLS(host), endpoint) if uri.scheme == b"https" else endpoint

    async def connect(self, host: str, port: int, factory: Any) -> Any:
        address = await self._in_thread(lambda: self._address(host.strip("[]"), port))
        kind = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
        return await kind(self._reactor, address, port, timeout=CONNECT).connect(factory)

    def _address(self, host: str, port: int) -> str:
        try:
            found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        except (OSError, UnicodeError) as problem:
            raise CloudError(Code.UNAVAILABLE, f"{host} could not be resolved: {problem}") from problem
        return choose(host, found, self._inside)


def choose(host: str, addresses: Sequence[str], inside: bool) -> str:
    """The first address; one that is not outside spoils all, for a name may lead to both."""
    if not inside and not all(outside(address) for address in addresses):
        raise CloudError(Code.BAD_VALUE, f"{host} leads into a private network: {', '.join(addresses)}")
    return addresses[0]


@implementer(IStreamClientEndpoint)
class _Judged:
    def __init__(self, endpoints: JudgedEndpoints, host: str, port: int) -> None:
        self._endpoints, self._host, self._port = endpoints, host, port

    def connect(self, factory: Any) -> Deferred[Any]:
        return Deferred.fromCoroutine(self._endpoints.connect(self._host, self._port, factory))


def _too_slow(uri: str, seconds: float) -> int:
    raise CloudError(Code.UNAVAILABLE, f"{uri} was not fetched within {seconds:g} s")


def _copy(path: Path, sink: Sink) -> int:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise CloudError(Code.RESOURCE_UNKNOWN, f"{path} does not exist") from None
    except PermissionError:
        raise CloudError(Code.NOT_PERMITTED, f"{path} may not be read") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise CloudError(Code.BAD_VALUE, f"{path} is not a plain file")
    with os.fdopen(descriptor, "rb") as file:
        size = 0
        while data := file.read(BATCH):
            sink.take(data)
            size += len(data)
    return size
