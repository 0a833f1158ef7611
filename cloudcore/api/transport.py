"""The api on a socket: twisted.web's HTTP/1.1, with our own limits and without its form parser and access log.

A request line may be long, since some clients send user data in the query of a GET; the log would hold it, and
signatures too. A body over the limit is refused; when it is not absurdly long it is first read and dropped, so that the
client hears why. `/healthz` answers without a signature, and says nothing else.
"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http

from cloudcore.api.reading import BODY
from cloudcore.api.site import Api, Reply, refusal
from cloudcore.errors import CloudError, Code
from cloudcore.web.channel import BoundedChannel

HEAD = 64 * 1024  # bytes of request line and headers together
HEADERS = 100
DRAINED = 8 << 20  # bytes of a refused body that are read to their end
CONNECTIONS = 1000  # at once, since descriptors are bounded: one more, and the oldest without a whole request must go
IDLE = 60.0  # seconds without a byte until a connection is closed
TOO_LARGE = CloudError(Code.BAD_REQUEST, f"The body of a request has at most {BODY} bytes")
log = Logger()


class ApiRequest(http.Request):
    """Collects the body within its limit and hands the whole request to the Api."""

    def gotLength(self, length: int | None) -> None:
        self._chunks: list[bytes] = []
        self._size = 0
        if length is not None and length > DRAINED:
            self._refuse_early()

    def handleContentChunk(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= BODY:
            self._chunks.append(data)
        else:
            self._chunks.clear()
            if self._size > DRAINED and not self.finished:
                self._refuse_early()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        if self.finished:
            return
        self.method, self.uri, self.clientproto = command, path, version
        self.path, self.args = path.partition(b"?")[0], {}
        if self.path == b"/healthz":
            self._send(Reply(200, b"ok\n", "", b"text/plain"))
        elif self._size > BODY:
            self._send(refusal("ec2", TOO_LARGE, str(uuid4())))
        else:
            api: Api = self.channel.factory.api
            headers = list(self.requestHeaders.getAllRawHeaders())
            done = Deferred.fromCoroutine(api.respond(command, path, headers, b"".join(self._chunks)))
            done.addCallback(self._send).addErrback(self._failed)

    def _refuse_early(self) -> None:
        """Over an unread body: the connection cannot carry another request. The names are twisted.web's private ones,
        for it assigns the public ones only at the end of the body."""
        channel: Any = self.channel
        self.method, self.uri, self.clientproto = channel._command, channel._path, channel._version
        self.requestHeaders.removeHeader(b"expect")
        channel.persistent = False
        channel.rawDataReceived = lambda data: None
        self._send(refusal("ec2", TOO_LARGE, str(uuid4())))

    def _send(self, reply: Reply) -> None:
        if self._disconnected:
            return
        self.setResponseCode(reply.status)
        headers = self.responseHeaders
        headers.setRawHeaders(b"content-type", [reply.content_type])
        headers.setRawHeaders(b"content-length", [b"%d" % len(reply.document)])
        headers.setRawHeaders(b"date", [http.datetimeToString()])
        if reply.request_id:
            headers.setRawHeaders(b"x-amzn-requestid", [reply.request_id.encode()])
        if not self.channel.persistent:
            headers.setRawHeaders(b"connection", [b"close"])
        if self.method != b"HEAD":
            self.write(reply.document)
        self.finish()

    def _failed(self, failure: Failure) -> None:
        """Only what `respond` does not answer itself: cancellation, or a connection that is gone."""
        if not failure.check(CancelledError):
            log.failure("an answer could not be sent", failure)
        if not self._disconnected:
            self.channel.loseConnection()


class ApiChannel(BoundedChannel):
    MAX_LENGTH = totalHeadersSize = HEAD
    maxHeaders = HEADERS
    requestFactory = ApiRequest

    def lineLengthExceeded(self, line: bytes) -> None:
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        self.transport.loseConnection()

    def drain(self) -> None:
        """Closes now, or after the answer that is under way."""
        self.persistent = False
        if not self.requests:
            self.loseConnection()


class ApiFactory(http.HTTPFactory):
    """What listens: `endpoint.listen(ApiFactory(api, clock))`."""

    protocol = ApiChannel  # type: ignore[assignment]  # HTTP/1.1 alone, without the door to HTTP/2

    def __init__(self, api: Api, clock: IReactorTime, connections: int = CONNECTIONS) -> None:
        super().__init__(timeout=IDLE, reactor=clock)
        self.api, self.connections = api, connections
        self.channels: dict[ApiChannel, None] = {}  # the oldest first

    def startFactory(self) -> None:
        """No access log, so no clock for its lines either."""

    def stopFactory(self) -> None:
        """When nobody listens any more: requests under way are answered, idle connections closed."""
        for channel in list(self.channels):
            channel.drain()

    def log(self, request: http.Request) -> None:
        """Queries hold user data and signatures: they are not written down."""
