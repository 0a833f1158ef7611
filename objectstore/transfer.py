"""Bodies between a socket and the disk without passing through Python objects.

SendFile takes over the writing side of a plain TCP transport while a slice of a file goes out; Receive takes over the
reading side while a body comes in. Both rely on the reactor calling doRead and doWrite on the transport object, which
is Twisted's internals: tests hold it. Over TLS neither works: Push writes what was read, Receive is not used.

Every MiB is read and checked in a thread before the reactor sends it, which also keeps cold reads out of the reactor;
the next is checked while one goes out. A bad one cuts the connection: a body that is not right must never end well.
`progress` is called whenever the peer takes something.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet import main
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from objectstore.blobs import MIB, BlobDirectory, BlobWriter, read_checked
from objectstore.index.model import Piece

PUSH = 1 << 18  # bytes per write over TLS; a pull producer gives 38 to 129 MB/s, this 600 to 1,000


@dataclass(frozen=True, slots=True)
class Extent:
    """`count` bytes of a piece from `offset`."""

    piece: Piece
    offset: int
    count: int


@dataclass(frozen=True, slots=True)
class FileBody:
    """The body of an answer. `first` is the open descriptor of the first extent; `send_body` closes it."""

    extents: Sequence[Extent]
    first: int

    @property
    def size(self) -> int:
        return sum(extent.count for extent in self.extents)

    def close(self) -> None:
        """For a body that is not sent after all."""
        os.close(self.first)


def cut(pieces: Sequence[Piece], offset: int, count: int) -> list[Extent]:
    """The extents that hold `count` bytes from `offset` of the pieces laid end to end."""
    extents, at = [], 0
    for piece in pieces:
        start, end = max(offset, at), min(offset + count, at + piece.size)
        if start < end:
            extents.append(Extent(piece, start - at, end - start))
        at += piece.size
    return extents


class Wire(Protocol):
    """`takes_bytes`: what is sent are the bytes of the view, not those of the file."""

    takes_bytes: bool

    def send(self, descriptor: int, offset: int, count: int, view: memoryview) -> Deferred[None]:
        """Send `count` bytes of the file from offset; `view` holds them for who takes bytes, and nothing for others.
        Fails when the peer is gone."""

    def lost(self) -> None: ...


async def send_body(body: FileBody, blobs: BlobDirectory, wire: Wire) -> None:
    """Raises Corrupt, ConnectionLost, OSError; the connection must then be cut."""
    for number, extent in enumerate(body.extents):
        descriptor = body.first if number == 0 else blobs.open(extent.piece.blob)
        try:
            await _send_extent(descriptor, extent, blobs, wire)
        finally:
            os.close(descriptor)


async def _send_extent(descriptor: int, extent: Extent, blobs: BlobDirectory, wire: Wire) -> None:
    end = extent.offset + extent.count
    numbers = range(extent.offset // MIB, -(-end // MIB))
    buffers = [blobs.borrow(), blobs.borrow()] if wire.takes_bytes else []

    def check(number: int) -> Deferred[memoryview]:
        if buffers:
            return blobs.in_thread(read_checked, descriptor, extent.piece, number, buffers[number % 2])
        return blobs.in_thread(only_checked, blobs, descriptor, extent.piece, number)

    ahead: Deferred[Any] | None = check(numbers[0])
    try:
        for number in numbers:
            pending, ahead = ahead, None
            view = await pending if pending else memoryview(b"")
            start = max(extent.offset, number * MIB)
            stop = min(end, (number + 1) * MIB)
            if number != numbers[-1]:
                ahead = check(number + 1)
            await wire.send(descriptor, start, stop - start, view[start - number * MIB : stop - number * MIB])
    finally:
        if ahead is not None:  # a thread still reads from the descriptor, which the caller is about to close
            await ahead.addErrback(lambda _: None)
        for buffer in buffers:
            blobs.give_back(buffer)


def only_checked(blobs: BlobDirectory, descriptor: int, piece: Piece, number: int) -> memoryview:
    """In a thread: no more buffers than threads, and none for a peer that takes nothing."""
    buffer = blobs.borrow()
    try:
        read_checked(descriptor, piece, number, buffer)
    finally:
        blobs.give_back(buffer)
    return memoryview(b"")


class SendFile:
    """os.sendfile over plain TCP."""

    takes_bytes = False

    def __init__(self, transport: Any, progress: Callable[[], None]) -> None:
        self._transport, self._socket, self._progress = transport, transport.getHandle().fileno(), progress
        self._descriptor = self._offset = self._left = 0
        self._done: Deferred[None] | None = None
        self._lost = False

    def send(self, descriptor: int, offset: int, count: int, view: memoryview) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        self._done = done
        self._descriptor, self._offset, self._left = descriptor, offset, count
        if self._lost:
            self.lost()
        else:
            self._transport.doWrite = self._write
            self._transport.startWriting()
        return done

    def _write(self) -> Any:
        transport = self._transport
        if transport.dataBuffer or transport._tempDataBuffer:  # the head of the answer goes first
            result = type(transport).doWrite(transport)
            transport.startWriting()  # it has just stopped itself
            return result
        try:
            sent = os.sendfile(self._socket, self._descriptor, self._offset, self._left)
        except BlockingIOError:
            return None
        except OSError:
            return main.CONNECTION_LOST
        if not sent:  # the file is shorter than it was a moment ago: the client must see a cut, not an end
            return main.CONNECTION_LOST
        self._offset += sent
        self._left -= sent
        self._progress()
        if not self._left:
            transport.stopWriting()
            del transport.doWrite
            done, self._done = self._done, None
            if done:
                done.callback(None)
        return None

    def lost(self) -> None:
        self._lost = True
        vars(self._transport).pop("doWrite", None)
        done, self._done = self._done, None
        if done:
            done.errback(ConnectionLost())


@implementer(IPushProducer)
class Push:
    """Writes through `consumer` until it is told to pause; call `close` after the last byte."""

    takes_bytes = True

    def __init__(self, consumer: Any, progress: Callable[[], None]) -> None:
        self._consumer, self._view, self._paused, self._lost = consumer, memoryview(b""), False, False
        self._progress = progress
        self._done: Deferred[None] | None = None
        consumer.registerProducer(self, True)

    def send(self, descriptor: int, offset: int, count: int, view: memoryview) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        self._view, self._done = view, done
        if self._lost:
            self.lost()
        else:
            self._push()
        return done

    def _push(self) -> None:
        while self._view and not self._paused:
            piece, self._view = self._view[:PUSH], self._view[PUSH:]
            self._consumer.write(bytes(piece))
        if not self._view and not self._paused:
            done, self._done = self._done, None
            if done:
                done.callback(None)

    def close(self) -> None:
        self._consumer.unregisterProducer()

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        self._progress()
        self._push()

    def stopProducing(self) -> None:
        self.lost()

    def lost(self) -> None:
        self._lost, self._view = True, memoryview(b"")
        done, self._done = self._done, None
        if done:
            done.errback(ConnectionLost())


class Receive:
    """recv_into the writer's aligned buffers until `keep` bytes are left; those come through the protocol as usual, so
    that its own book-keeping sees the end of the body. `taken(n)` tells it how many bytes it will not see."""

    def __init__(self, transport: Any, writer: BlobWriter, keep: int, taken: Callable[[int], None]) -> None:
        self._transport, self._writer, self._keep, self._taken = transport, writer, keep, taken
        self._socket = transport.getHandle()
        writer.on_room = self._resume
        transport.doRead = self._read
        self._resume()

    def _resume(self) -> None:
        if "doRead" in vars(self._transport) and self._writer.room() is not None:
            self._transport.startReading()

    def _read(self) -> Any:
        room = self._writer.room()
        if room is None:
            return self._transport.stopReading()
        try:
            count = self._socket.recv_into(room[: self._writer.left - self._keep])
        except BlockingIOError:
            return None
        except OSError:
            return main.CONNECTION_LOST
        if not count:
            return main.CONNECTION_DONE
        self._writer.took(count)
        self._taken(count)
        if self._writer.left <= self._keep:
            self.stop()
        elif self._writer.room() is None:
            self._transport.stopReading()
        return None

    def stop(self) -> None:
        """The transport reads for itself again."""
        if vars(self._transport).pop("doRead", None):
            self._writer.on_room = lambda: None
