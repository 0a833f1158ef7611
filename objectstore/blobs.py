"""Large bodies on disk: aligned buffers, O_DIRECT, hashing and writing side by side.

A file is born under its final, random name and becomes visible only through its row, so there is no rename; a crash
leaves an unreferenced file or nothing. Order: every pwrite, ftruncate, fdatasync, fsync of the directory (one call
serves all uploads that wait for it), and only then may the caller commit the row. An error of a sync is final: what it
left behind is unknown, and no later upload is taken (F13). O_DIRECT needs address, offset and length in multiples of
ALIGN; where the file system refuses it we write buffered. Hashing beside writing: 1.4 times one after the other for one
upload, 1.15 for four, nothing for sixteen.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from awscrt.checksums import crc64nvme
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from objectstore.checksums import Hash
from objectstore.index.model import Blob, Piece
from objectstore.refusals import Refused

MIB = 1 << 20  # of a buffer, and of what one CRC covers
ALIGN = 4096  # O_DIRECT's grain
HELD = 6  # buffers that one upload may hold
SPARE = 96  # buffers kept for the next: what 16 uploads hold
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
Buffer = tuple[memoryview, int]


class Corrupt(Exception):
    """The disk gave other bytes than were written."""


@dataclass(frozen=True, slots=True)
class Written:
    """A body that is durable. `digests` are the raw ones that were asked for, by name."""

    blob: Blob
    md5: str
    digests: dict[str, bytes]


class Lane:
    """Runs `work` on batches in a pool thread, in order, one at a time; what arrives meanwhile is the next batch."""

    def __init__(self, reactor: Any, pool: ThreadPool, work: Callable[[list[Any]], None],
                 after: Callable[[list[Any], Failure | None], None]) -> None:
        self._reactor, self._pool, self._work, self._after = reactor, pool, work, after
        self._waiting: list[Any] = []
        self.busy = False

    def push(self, item: Any) -> None:
        self._waiting.append(item)
        if not self.busy:
            self._start()

    def _start(self) -> None:
        self.busy, batch, self._waiting = True, self._waiting, []
        self._pool.callInThreadWithCallback(
            lambda ok, result: self._reactor.callFromThread(self._done, result, batch), self._work, batch)

    def _done(self, result: Failure | None, batch: list[Any]) -> None:
        self.busy = False
        if self._waiting:
            self._start()
        self._after(batch, result)


class DirectorySync(Lane):
    """fsync of one directory; uploads that ask while a call runs share the next one."""

    def __init__(self, reactor: Any, pool: ThreadPool, directory: Path) -> None:
        super().__init__(reactor, pool, lambda batch: sync_directory(directory), self._fire)

    def __call__(self) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        self.push(done)
        return done

    def _fire(self, batch: list[Deferred[None]], result: Any) -> None:
        for done in batch:
            done.callback(result)


class BlobDirectory:
    """256 directories of files named by 32 hex digits. `active` are those whose row may still come."""

    def __init__(self, reactor: Any, pool: ThreadPool, root: Path) -> None:
        self.reactor, self.pool, self.root = reactor, pool, root
        self.active: set[str] = set()
        self.broken = False
        self._free: list[memoryview] = []
        names = [f"{number:02x}" for number in range(256)]
        for name in names:
            (root / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        sync_directory(root)
        self.sync = {name: DirectorySync(reactor, pool, root / name) for name in names}

    def path(self, name: str) -> Path:
        return self.root / name[:2] / name

    def open(self, name: str) -> int:
        return os.open(self.path(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)

    def writer(self, size: int, hashes: Mapping[str, Hash]) -> BlobWriter:
        """Raises ServiceUnavailable after a failed sync, InsufficientStorage when the disk is full."""
        if self.broken:
            raise Refused("ServiceUnavailable", "The store does not accept data: its disk has failed")
        try:
            return BlobWriter(self, size, hashes)
        except OSError as error:
            raise translated(error) from error

    def in_thread(self, work: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        return deferToThreadPool(self.reactor, self.pool, work, *arguments)

    def remove(self, name: str) -> Deferred[None]:
        """A file without a row. Off the reactor: freeing gigabytes takes its time."""
        self.active.discard(name)
        return self.in_thread(self.path(name).unlink, True)

    def borrow(self) -> memoryview:
        """In any thread."""
        try:
            return self._free.pop()
        except IndexError:
            return memoryview(mmap.mmap(-1, MIB))

    def give_back(self, buffer: memoryview) -> None:
        if len(self._free) < SPARE:
            self._free.append(buffer)


class BlobWriter:
    """One body on its way to disk. Fill `room()`, say `took(n)`; when room() is None, stop reading until `on_room`.

    `finished` fires once the file is durable, or fails; not at all after `discard`. Then the caller commits the row
    and calls `settle`, or `discard` to be rid of the file.
    """

    def __init__(self, directory: BlobDirectory, size: int, hashes: Mapping[str, Hash]) -> None:
        self._directory, self.size, self.left, self._hashes = directory, size, size, hashes
        self.name = uuid.uuid4().hex
        self._descriptor, self.direct = create(directory.path(self.name))
        directory.active.add(self.name)
        self._written, self._md5, self._crcs = 0, hashlib.md5(usedforsecurity=False), bytearray()
        self._hashing = Lane(directory.reactor, directory.pool, self._hash, self._recycle)
        self._writing = Lane(directory.reactor, directory.pool, self._write, self._recycle)
        self._half_done: set[int] = set()  # buffers that one of the two lanes has finished with
        self._current: memoryview | None = None
        self._filled = self._held = 0
        self._abandoned = self._failed = self._syncing = self._done = False
        self.on_room: Callable[[], None] = lambda: None
        self.finished: Deferred[Written] = Deferred()
        if not size:
            self.room()
            self.took(0)

    def room(self) -> memoryview | None:
        if self._current is None and self._held < HELD and not self._failed:
            self._current, self._filled = self._directory.borrow(), 0
            self._held += 1
        return None if self._current is None else self._current[self._filled : self._filled + self.left]

    def took(self, count: int) -> None:
        self._filled += count
        self.left -= count
        if self._current is not None and (self._filled == MIB or not self.left):
            full, self._current = (self._current, self._filled), None
            self._hashing.push(full)
            self._writing.push(full)

    def discard(self) -> None:
        """Nobody wants the body. Never close a descriptor under a thread that writes to it: numbers are reused."""
        if self._abandoned:
            return
        self._abandoned, self.on_room = True, lambda: None
        if self._current is not None:
            self._directory.give_back(self._current)
            self._current = None
        if self._done:
            self._directory.remove(self.name)
        elif not self._working():
            self._remove()

    def settle(self) -> None:
        """The row is committed."""
        self._directory.active.discard(self.name)

    @property
    def failed(self) -> bool:
        """There will be no more room; `finished` tells why."""
        return self._failed

    def _working(self) -> bool:
        return self._hashing.busy or self._writing.busy or self._syncing

    def _hash(self, batch: list[Buffer]) -> None:
        for buffer, length in batch:
            data = buffer[:length]
            self._md5.update(data)
            if length:
                self._crcs += crc64nvme(data).to_bytes(8, "big")
            for hashed in self._hashes.values():
                hashed.update(data)

    def _write(self, batch: list[Buffer]) -> None:
        if self._failed or self._abandoned:
            return
        if not self._written and self.size:
            os.posix_fallocate(self._descriptor, 0, self.size)  # fails early when the disk is full
        for buffer, length in batch:
            padded = -(-length // ALIGN) * ALIGN if self.direct else length
            view, at = buffer[:padded], self._written
            while view:
                count = os.pwrite(self._descriptor, view, at)
                view, at = view[count:], at + count
            self._written += length
        if self._written == self.size:
            if self.direct and self.size % ALIGN:
                os.ftruncate(self._descriptor, self.size)
            os.fdatasync(self._descriptor)

    def _recycle(self, batch: list[Buffer], failure: Failure | None) -> None:
        for buffer, _ in batch:
            if id(buffer) in self._half_done:
                self._half_done.remove(id(buffer))
                self._directory.give_back(buffer)
                self._held -= 1
            else:
                self._half_done.add(id(buffer))
        if failure is not None:
            self._fail(failure)
        if self._abandoned or self._failed:
            if not self._working():
                self._remove()
        elif self._written == self.size and not self._working() and not self._half_done:
            self._syncing = True
            self._close()
            self._directory.sync[self.name[:2]]().addCallbacks(self._finish, self._sync_failed)
        else:
            self.on_room()

    def _finish(self, _: None) -> None:
        self._syncing, self._done = False, True
        if self._abandoned:
            self._directory.remove(self.name)
            return
        digests = {name: hashed.digest() for name, hashed in self._hashes.items()}
        self.finished.callback(Written(Blob(self.name, self.size, bytes(self._crcs)), self._md5.hexdigest(), digests))

    def _sync_failed(self, failure: Failure) -> None:
        self._syncing = False
        self._fail(failure)
        self._directory.remove(self.name)

    def _fail(self, failure: Failure) -> None:
        if self._failed:
            return
        self._failed = True
        error = failure.value
        if isinstance(error, OSError):
            self._directory.broken |= error.errno == errno.EIO
            failure = Failure(translated(error), exc_tb=failure.getTracebackObject())
        if not self._abandoned:
            self.finished.errback(failure)
            self.on_room()

    def _close(self) -> None:
        os.close(self._descriptor)
        self._descriptor = -1

    def _remove(self) -> None:
        if self._descriptor >= 0:
            self._close()
            self._directory.remove(self.name)


def translated(error: OSError) -> Exception:
    if error.errno in FULL_DISK:
        return Refused("InsufficientStorage", "The disk of the store does not take a body of this size")
    return error


def create(path: Path) -> tuple[int, bool]:
    """(descriptor, whether it bypasses the page cache)."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags | os.O_DIRECT, 0o600), True
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        path.unlink(missing_ok=True)  # some file systems create the file, then refuse the flag
        return os.open(path, flags, 0o600), False


def sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_checked(descriptor: int, piece: Piece, number: int, buffer: memoryview) -> memoryview:
    """The piece's MiB of that number, in `buffer`. Raises Corrupt unless it is whole and has its CRC."""
    wanted = min(MIB, piece.size - number * MIB)
    view, got = buffer[:wanted], 0
    while got < wanted:
        count = os.preadv(descriptor, [view[got:]], number * MIB + got)
        if not count:
            raise Corrupt(f"blob {piece.blob} ends before its MiB {number}")
        got += count
    if crc64nvme(view).to_bytes(8, "big") != piece.crcs[8 * number : 8 * number + 8]:
        raise Corrupt(f"blob {piece.blob} has changed in its MiB {number}")
    return view
