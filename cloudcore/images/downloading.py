"""A response's body into a sink, with back-pressure: bytes are hashed and written in a thread, a batch at a time, and
the connection pauses meanwhile. Silence, a wrong length and a body beyond its limit end it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol as Connection
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone

from cloudcore.domain.image_header import HEAD, TAIL
from cloudcore.errors import CloudError, Code

BATCH = 2**20  # bytes handed to a thread at a time
SILENCE = 30.0  # seconds without a byte

InThread = Callable[[Callable[[], Any]], Deferred[Any]]


class Sink(Protocol):
    """Takes bytes in order, in a thread. What it raises ends the download."""

    def take(self, data: bytes) -> None: ...


class Digest:
    """What is known of bytes once they went by: SHA-256, length, beginning and end. `early(head)` may refuse them as
    soon as the beginning is there."""

    def __init__(self, early: Callable[[bytes], None] = lambda head: None, also: str | None = None) -> None:
        self._sha256, self._early = hashlib.sha256(), early
        self._also = hashlib.new(also, usedforsecurity=False) if also else None
        self._judged = False
        self.head, self.tail, self.size = b"", b"", 0

    def take(self, data: bytes) -> None:
        self._sha256.update(data)
        if self._also is not None:
            self._also.update(data)
        self.size += len(data)
        self.tail = (self.tail + data)[-TAIL:] if len(data) < TAIL else data[-TAIL:]
        if len(self.head) < HEAD:
            self.head += data[: HEAD - len(self.head)]
        if len(self.head) == HEAD and not self._judged:
            self._judged = True
            self._early(self.head)

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    @property
    def also(self) -> str:
        """The second digest, in hex."""
        return self._also.hexdigest() if self._also is not None else ""


class FileSink:
    """Bytes to an open file descriptor, and on to other sinks."""

    def __init__(self, descriptor: int, *others: Sink) -> None:
        self._descriptor, self._others = descriptor, others

    def take(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]
        for other in self._others:
            other.take(data)


class Download(Connection):
    """Deliver a response's body to it; `done` fires with the number of bytes, or fails with a CloudError.

    `expected` is the length that the response announced (None: not announced), `limit` what we take at most."""

    def __init__(self, clock: Any, in_thread: InThread, sink: Sink, expected: int | None, limit: int) -> None:
        self._clock, self._in_thread, self._sink = clock, in_thread, sink
        self._expected, self._limit = expected, limit
        self._buffer: list[bytes] = []
        self._buffered = self._received = 0
        self._busy, self._ended = False, False
        self._problem: CloudError | Failure | None = None
        self._silence = clock.callLater(SILENCE, self._silent)
        self.transport: Any = None
        self.done: Deferred[int] = Deferred(self._cancelled)

    def dataReceived(self, data: bytes) -> None:
        if self.done.called or self._problem is not None:
            return
        self._silence.reset(SILENCE)
        self._received += len(data)
        if self._received > self._limit:
            self._fail(CloudError(Code.IMAGE_INVALID, f"it is larger than {self._limit} bytes"))
            return
        self._buffer.append(data)
        self._buffered += len(data)
        if self._buffered >= BATCH and not self._busy:
            self._flush()

    def connectionLost(self, reason: Failure = Failure(ConnectionError("lost"))) -> None:  # noqa: B008
        self._ended = True
        if self._silence.active():
            self._silence.cancel()
        whole = reason.check(ResponseDone) is not None and self._expected in (None, self._received)
        if not whole and self._problem is None:
            got = f"{self._received} of {self._expected or 'unknown'} bytes"
            self._problem = CloudError(Code.UNAVAILABLE, f"the transfer broke off after {got}")
        if self._problem is not None:  # one turn later the connection is back in its pool, or gone
            self._clock.callLater(0, self._fail, self._problem)
        elif not self._busy and not self.done.called:
            self._flush()

    def _flush(self) -> None:
        data, self._buffer, self._buffered = b"".join(self._buffer), [], 0
        if not data:
            self._finish()
            return
        self._busy = True
        if not self._ended:
            self.transport.pauseProducing()
        self._in_thread(lambda: self._sink.take(data)).addCallbacks(self._taken, self._refused)

    def _taken(self, ignored: object) -> None:
        self._busy = False
        if self.done.called or self._problem is not None:
            return
        if self._ended:
            self._flush()
        else:
            self._silence.reset(SILENCE)
            self.transport.resumeProducing()

    def _finish(self) -> None:
        if not self.done.called:
            self.done.callback(self._received)

    def _refused(self, failure: Failure) -> None:
        self._busy = False
        self._fail(failure)

    def _silent(self) -> None:
        if self._busy:  # we are the slow one
            self._silence = self._clock.callLater(SILENCE, self._silent)
            return
        self._fail(CloudError(Code.UNAVAILABLE, f"no byte for {SILENCE:g} s"))

    def _cancelled(self, ignored: object) -> None:
        self._drop()

    def _fail(self, problem: CloudError | Failure) -> None:
        """The connection goes first: whoever hears of the failure may close what it belongs to."""
        self._problem = problem
        if not self._ended:
            self._drop()
        elif not self.done.called:
            self.done.errback(problem)

    def _drop(self) -> None:
        if self._silence.active():
            self._silence.cancel()
        if not self._ended and self.transport is not None:
            self.transport.resumeProducing()
            self.transport.loseConnection()


def announced_length(response: Any) -> int | None:
    """From Content-Length; None where the other side does not say."""
    return response.length if isinstance(response.length, int) else None
