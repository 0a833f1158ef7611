"""Where a body goes: a sink in memory (documents and small objects) or on disk. Every sink checks the whole body
before anything is done with it.

A sink is written to, then closed, or discarded. `trouble` is called when it fails while the body still comes in;
`direct` is a writer that the transport may fill in its place, or None.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from cloudcore.signing.chunked import BadBody
from objectstore.blobs import BlobDirectory, BlobWriter
from objectstore.checksums import ALGORITHMS, Algorithm, Hash
from objectstore.payloads import Payload
from objectstore.refusals import Refused
from objectstore.requests import Answer, Intake, Received

INLINE = 32_768  # bytes up to which a body lies in its row: one sync, not three


class Flow(Protocol):
    """The connection, as far as a sink needs it."""

    def pauseProducing(self) -> None: ...

    def resumeProducing(self) -> None: ...


class Sink(Protocol):
    trouble: Callable[[Failure], Any]

    @property
    def direct(self) -> BlobWriter | None: ...

    def write(self, data: bytes) -> None:
        """Raises Refused, BadBody, BadSignature."""

    def close(self) -> Awaitable[Answer]: ...

    def discard(self) -> None: ...


def hashes_for(payload: Payload, algorithms: tuple[Algorithm, ...]) -> dict[str, Hash]:
    wanted = {algorithm.name for algorithm in algorithms}
    if payload.algorithm:
        wanted.add(payload.algorithm.name)
    if payload.sha256 is not None:
        wanted.add("SHA256")
    return {name: ALGORITHMS[name].new() for name in sorted(wanted)}


def open_sink(intake: Intake, payload: Payload, blobs: BlobDirectory, flow: Flow) -> Sink:
    """For a body of known length. Raises MissingContentLength, InsufficientStorage, ServiceUnavailable."""
    if payload.length is None:
        raise Refused("MissingContentLength", "The length of the body must be known")
    if intake.may_be_inline and payload.length <= INLINE:
        return MemorySink(payload, payload.length, intake.algorithms, intake.commit)
    return BlobSink(payload, blobs.writer(payload.length, hashes_for(payload, intake.algorithms)), intake, flow)


class MemorySink:
    """Keeps up to `limit` bytes. `exact` lengths are checked where the client told one."""

    direct = None

    def __init__(self, payload: Payload, limit: int, algorithms: tuple[Algorithm, ...],
                 commit: Callable[[Received], Awaitable[Answer]]) -> None:
        self._payload, self._limit, self._algorithms, self._commit = payload, limit, algorithms, commit
        self._body = bytearray()
        self.trouble: Callable[[Failure], Any] = lambda failure: None

    def write(self, data: bytes) -> None:
        for piece in self._payload.decoder.feed(data) if self._payload.decoder else (data,):
            if len(self._body) + len(piece) > self._limit:
                raise Refused("MaxMessageLengthExceeded", f"The body is longer than {self._limit} bytes")
            self._body += piece

    async def close(self) -> Answer:
        if self._payload.decoder:
            self._payload.decoder.close()
        data = bytes(self._body)
        if self._payload.length is not None and len(data) != self._payload.length:
            raise BadBody("the body does not have the announced length")
        hashes = hashes_for(self._payload, self._algorithms)
        for hashed in hashes.values():
            hashed.update(data)
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        digests = {name: hashed.digest() for name, hashed in hashes.items()}
        self._payload.check(md5, digests)
        return await self._commit(Received(len(data), md5, digests, data))

    def discard(self) -> None:
        self._body.clear()


class BlobSink:
    """Copies pieces into the writer's buffers and pauses the connection while they are all with the disk."""

    def __init__(self, payload: Payload, writer: BlobWriter, intake: Intake, flow: Flow) -> None:
        self._payload, self._writer, self._intake, self._flow = payload, writer, intake, flow
        self._pieces: deque[memoryview] = deque()
        self._paused = self._closing = False
        self._whole: Deferred[None] = Deferred()
        self._outcome: Any = None
        self.trouble: Callable[[Failure], Any] = lambda failure: None
        writer.on_room = self._pour
        writer.finished.addCallbacks(self._written, self._failed)

    @property
    def direct(self) -> BlobWriter | None:
        return None if self._payload.decoder or self._pieces else self._writer

    def write(self, data: bytes) -> None:
        self._writer.on_room = self._pour  # a Receive may have had it
        self._pieces.extend(self._payload.decoder.feed(data) if self._payload.decoder else (memoryview(data),))
        self._pour()

    def _pour(self) -> None:
        while self._pieces:
            room = self._writer.room()
            if room is None:
                if not self._paused:
                    self._paused = True
                    self._flow.pauseProducing()
                return
            piece = self._pieces.popleft()
            count = min(len(room), len(piece))
            if not count:
                raise BadBody("the body is longer than announced")
            room[:count] = piece[:count]
            self._writer.took(count)
            if count < len(piece):
                self._pieces.appendleft(piece[count:])
        if self._paused:
            self._paused = False
            self._flow.resumeProducing()

    def _written(self, written: Any) -> None:
        self._outcome = written
        if self._closing:
            self._whole.callback(None)

    def _failed(self, failure: Failure) -> None:
        self._outcome = failure
        if self._closing:
            self._whole.callback(None)
        else:
            self.trouble(failure)

    async def close(self) -> Answer:
        """A refusal removes the file at once; after an accident the sweep decides, since the row may be there."""
        try:
            written = await self._wait()
            self._payload.check(written.md5, written.digests)
            received = Received(written.blob.size, written.md5, written.digests, None, self._writer, written.blob.crcs)
            answer = await self._intake.commit(received)
        except (Refused, BadBody):
            self._writer.discard()
            raise
        finally:
            self._writer.settle()
        return answer

    async def _wait(self) -> Any:
        if self._payload.decoder:
            self._payload.decoder.close()
        if self._writer.left != sum(map(len, self._pieces)):
            raise BadBody("the body does not have the announced length")
        self._closing = True
        if self._outcome is None:
            await self._whole
        if isinstance(self._outcome, Failure):
            self._writer.discard()
            self._outcome.raiseException()
        return self._outcome

    def discard(self) -> None:
        self._pieces.clear()
        self._writer.discard()
