"""HTTPChannel and a Request subclass: no Site, no resource tree, no body file. 64 us a request against 80 us with them.

The hooks: gotLength (headers complete) starts the judgement, handleContentChunk takes the body, requestReceived marks
its end. The connection is paused while a request with a body is judged; what came with the headers is kept. Twisted
answers `Expect: 100-continue` right after gotLength: the header is taken away there and the 100 sent once the upload is
admitted. A request that is refused before its body was read is answered at once and ends the connection if the client
waits for the 100 or the body is long, else the body is read to its end first, so that the client hears the answer.
One that turns out to be bad on its way is treated alike: no more than DRAIN bytes of it are read and thrown away.

This is the only module that knows twisted.web. Names with underscores are Twisted's internals; tests hold them.
"""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import uuid
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

from twisted.internet.defer import CancelledError, ensureDeferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IProtocolNegotiationFactory, ISSLTransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.http_headers import Headers
from zope.interface import implementer

from cloudcore.signing.chunked import BadBody
from cloudcore.signing.heads import DuplicateHeader, Head, raw
from cloudcore.signing.sigv4 import BadSignature
from cloudcore.web.channel import BoundedChannel
from objectstore.blobs import BlobDirectory
from objectstore.chain import Chain, refusal_of
from objectstore.documents import error_document
from objectstore.intake import Sink
from objectstore.refusals import Refused
from objectstore.requests import Answer
from objectstore.transfer import FileBody, Push, Receive, SendFile, Wire, send_body

KEEP, DIRECT = 1 << 16, 1 << 20  # bytes left to the channel (see Receive); bodies from here on bypass Python objects
DRAIN = 8 << 20  # a refused body up to this size is read to its end
IDLE = 60  # seconds
CONNECTIONS = 2000  # at once: one more, and the oldest that brings no admitted request must go
HEADERS = 64 << 10  # bytes of all headers together; Twisted's own 16 KiB are too few for long tokens
BODILESS = (204, 304)
log = Logger()


class Request(http.Request):
    channel: Any  # None once the connection is lost
    _sink: Sink | None = None
    _answer: Answer | None = None
    _judging = True
    _ended = False  # the body came to its end
    _sent = False
    _drained = 0  # bytes of a refused body
    _wire: Wire | None = None
    _receive: Receive | None = None

    @property
    def admitted(self) -> bool:
        return self._sink is not None

    def gotLength(self, length: int | None) -> None:
        channel, self.content = self.channel, None
        self._id = uuid.uuid4().hex[:16].upper()
        self._early: list[bytes] = []
        self._resource, self.method, self.clientproto = channel._path, channel._command, channel._version
        self._length, self._expects = length, self.requestHeaders.hasHeader(b"expect")
        self.requestHeaders.removeHeader(b"expect")
        if length != 0:
            channel.transport.pauseProducing()
        judged = ensureDeferred(self._judge())
        judged.addErrback(lambda failure: log.failure("judging failed", failure))

    async def _judge(self) -> None:
        try:
            head = Head.read(self.method, self._resource, self.requestHeaders.getAllRawHeaders())
            if (self.method, self._resource) == (b"GET", b"/healthz") and "authorization" not in head.headers:
                self._answer = Answer(200, (("Content-Type", "text/plain"),), b"ok\n")
            else:
                self._sink = await self.channel.factory.chain.admit(head, self.channel.transport)
                self._sink.trouble = self._trouble
        except Exception:
            self._answer = self._explain(Failure())
        self._judging = False
        if self._disconnected:
            self._drop()
            return
        if self._answer and not self._ended and (
                self._length is None or self._length > DRAIN or (self._expects and self._length)):
            self._answer_unread()
            return
        if self._sink and self._expects:
            self.channel.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._length != 0:
            self.channel.transport.resumeProducing()
        early, self._early = self._early, []
        for data in early:
            self._take(data)
        if self._ended:
            self._finish_body()

    def handleContentChunk(self, data: bytes) -> None:
        if self._judging:
            self._early.append(data)
        else:
            self._take(data)

    def _take(self, data: bytes) -> None:
        if self._sink is None or self._answer:
            self._drained += len(data)
            if DRAIN < self._drained <= DRAIN + len(data):
                self.channel.callLater(0, self._stop_draining)  # not here: the end of the body may be in this packet
            return
        try:
            self._sink.write(data)
        except Exception:
            self._answer = self._explain(Failure())
            self._drop()
            return
        writer, channel = self._sink.direct, self.channel
        if self._receive is None and writer and writer.left > DIRECT and not self._ended and self._plain():
            self._receive = Receive(channel.transport, writer, KEEP, self._bypassed)

    def _stop_draining(self) -> None:
        if not (self._ended or self._disconnected or self._sent):
            self._answer_unread()

    def _bypassed(self, count: int) -> None:
        self.channel._transferDecoder.contentLength -= count
        self.channel.resetTimeout()

    def _plain(self) -> bool:
        """Neither TLS nor HTTP's own chunks between us and the bytes."""
        return self._bare() and hasattr(self.channel._transferDecoder, "contentLength")

    def _bare(self) -> bool:
        return not ISSLTransport.providedBy(self.channel.transport)

    def _trouble(self, failure: Failure) -> None:
        """The disk failed while the body still comes in."""
        self._answer = self._explain(failure)
        if self._receive:
            self._receive.stop()
        self._drop()
        if not (self._disconnected or self._ended):
            self._answer_unread()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        self.method, self.uri, self.clientproto, self._ended = command, path, version, True
        if not self._judging:
            self._finish_body()

    def _finish_body(self) -> None:
        ensureDeferred(self._perform()).addErrback(lambda failure: log.failure("answering failed", failure))

    async def _perform(self) -> None:
        sink, self._sink = self._sink, None
        if self._answer is None and sink:
            try:
                self._answer = await sink.close()
            except Exception:
                self._answer = self._explain(Failure())
        if self._answer:
            await self._send(self._answer)

    def _explain(self, failure: Failure) -> Answer:
        """Any failure becomes an answer; none ends the process."""
        error = failure.value
        if isinstance(error, CancelledError):
            failure.raiseException()
        if isinstance(error, BadSignature):
            error = refusal_of(error)
        elif isinstance(error, BadBody):
            error = Refused("IncompleteBody", f"The body cannot be read: {error}")
        elif isinstance(error, DuplicateHeader):
            error = Refused("InvalidRequest", f"The header {error} is given twice")
        elif not isinstance(error, Refused):
            log.failure("request {id} failed", failure, id=self._id)
            error = Refused("InternalError", "The request failed; the log of the store has its id")
        resource = self._resource.partition(b"?")[0].decode("ascii", "backslashreplace")
        body = b"" if error.status in BODILESS else error_document(error.code, error.text, resource, self._id)
        return Answer(error.status, (("Content-Type", "application/xml"), *error.headers), body)

    async def _send(self, answer: Answer) -> None:
        body = answer.body
        if self._disconnected or self._sent:
            if isinstance(body, FileBody):
                body.close()
            return
        self._sent = True
        self.setResponseCode(answer.status)
        add = self.responseHeaders.addRawHeader
        add(b"x-amz-request-id", self._id.encode())
        add(b"Date", formatdate(self.channel.factory.seconds(), usegmt=True).encode())
        add(b"Server", b"cloudcore")
        for name, value in answer.headers:
            add(name.encode(), raw(value))
        if answer.status not in BODILESS:
            length = answer.size if answer.size is not None else body.size if isinstance(body, FileBody) else len(body)
            add(b"Content-Length", b"%d" % length)
        if isinstance(body, FileBody):
            self.write(b"")
            await self._send_file(body)
        else:
            self.write(body)
            self.finish()

    async def _send_file(self, body: FileBody) -> None:
        """A body that is not right never ends well: the connection is cut."""
        channel, plain = self.channel, self._bare()
        progress = channel.resetTimeout
        self._wire = wire = SendFile(channel.transport, progress) if plain else Push(self, progress)
        channel.setTimeout(IDLE)  # a peer that takes nothing may not hold the connection for ever
        try:
            await send_body(body, channel.factory.blobs, wire)
        except ConnectionLost:
            return
        except Exception:
            log.failure("request {id}: the body was cut", id=self._id)
            if not self._disconnected:
                channel.transport.abortConnection()
            return
        self._wire = None
        channel.setTimeout(None)
        if not self._disconnected:
            if isinstance(wire, Push):
                wire.close()
            self.finish()

    def _answer_unread(self) -> None:
        """The body is not wanted: answer now, and let nothing follow on this connection."""
        channel = self.channel
        channel.persistent = False
        channel.rawDataReceived = lambda data: None
        self.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        channel.transport.resumeProducing()
        if self._answer:
            ensureDeferred(self._send(self._answer)).addErrback(lambda failure: log.failure("refusing failed", failure))

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        if self._receive:
            self._receive.stop()
        if self._wire:
            self._wire.lost()
        self._drop()

    def _drop(self) -> None:
        sink, self._sink = self._sink, None
        if sink:
            sink.discard()


class Channel(BoundedChannel):
    requestFactory = Request
    totalHeadersSize = HEADERS

    def connectionMade(self) -> None:
        super().connectionMade()
        self.transport.setTcpNoDelay(True)  # Twisted does it for plain TCP only; without it a small GET took 44 ms
        self.transport.bufferSize = 1 << 18

    @property
    def busy(self) -> bool:
        """With an answer, or with the body of an admitted request."""
        return super().busy or any(request.admitted for request in self.requests)

    def lineLengthExceeded(self, line: bytes) -> None:
        """Twisted would end the connection without a word."""
        self._respondToBadRequestAndDisconnect()

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers) -> None:
        """Names in lower case: Twisted would send X-Amz-Meta-A, and clients take the name of their metadata from it."""
        lines = [b"%s %s %s" % (version, code, reason)]
        for name, values in headers.getAllRawHeaders():
            lines += [b"%s: %s" % (name.lower(), value) for value in values]
        self.transport.write(b"\r\n".join([*lines, b"", b""]))


@implementer(IProtocolNegotiationFactory)
class Factory(http.HTTPFactory):
    def __init__(self, chain: Chain, blobs: BlobDirectory, reactor: Any, seconds: Callable[[], float],
                 connections: int = CONNECTIONS) -> None:  # fmt: skip
        super().__init__(timeout=IDLE, reactor=reactor)
        self.chain, self.blobs, self.seconds, self.connections = chain, blobs, seconds, connections
        self.channels: dict[Channel, None] = {}  # the oldest first

    def buildProtocol(self, address: Any) -> Any:
        channel: Any = Channel()
        channel.factory, channel.timeOut, channel.callLater = self, self.timeOut, self.reactor.callLater
        return channel

    def acceptableProtocols(self) -> list[bytes]:
        """For ALPN: without it Twisted ends the handshake of every client that offers a protocol."""
        return [b"http/1.1"]

    def log(self, request: http.Request) -> None:
        """The request's outcome is logged by its failures only."""
