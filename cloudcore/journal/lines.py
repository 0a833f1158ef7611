"""An append-only file of JSON records, synced before anybody is answered.

Each line is `<crc32 in hex> <json>`. Appends are written and synced in batches off the reactor: who comes while a
batch is on its way goes with the next. A power cut leaves a torn end, which nobody was told is safe: it is cut off
when the file is opened. Where good lines follow the damage, the rest is kept beside the file for a person to look at.

Compaction writes the whole state aside, syncs, renames, and syncs the directory. After an error of the disk nothing is
taken any more: a disk that failed once may pretend success the next time.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure

from cloudcore.errors import CloudError, Code

log = Logger()

InThread = Callable[[Callable[[], Any]], Deferred[Any]]  # partial(deferToThreadPool, reactor, pool), say


class Lines:
    """`open` first. `append` fires when the records are on disk; `replace` makes them the whole content."""

    def __init__(self, path: Path, in_thread: InThread) -> None:
        self.path, self._in_thread = path, in_thread
        self.count = 0  # lines in the file, those under way included
        self._descriptor = -1
        self._pending: list[tuple[bytes, bool, Deferred[None]]] = []
        self._writing = False
        self._broken: Failure | None = None
        self._idle: list[Deferred[None]] = []

    def open(self) -> list[dict[str, Any]]:
        """Blocks, so before the reactor is busy: the good records, oldest first. The file is 0600."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        content = self.path.read_bytes() if self.path.exists() else b""
        records, good = read(content)
        if good < len(content):
            self._cut(content[good:])
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._descriptor, good)
        os.fsync(self._descriptor)
        _sync_directory(self.path.parent)
        self.count = len(records)
        return records

    def append(self, records: Iterable[dict[str, Any]]) -> Deferred[None]:
        lines = [line(record) for record in records]
        self.count += len(lines)
        return self._put(b"".join(lines), whole=False)

    def replace(self, records: Iterable[dict[str, Any]]) -> Deferred[None]:
        """In its turn: what was appended before is gone with the old file, what comes after follows the new content."""
        lines = [line(record) for record in records]
        self.count = len(lines)
        return self._put(b"".join(lines), whole=True)

    async def close(self) -> None:
        """Everything taken is on disk, then the file is closed."""
        if self._writing:
            idle: Deferred[None] = Deferred()
            self._idle.append(idle)
            await idle
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _put(self, content: bytes, whole: bool) -> Deferred[None]:
        if self._broken is not None:
            return fail(self._broken)
        waiting: Deferred[None] = Deferred()
        self._pending.append((content, whole, waiting))
        if not self._writing:
            self._next()
        return waiting

    def _next(self) -> None:
        """Takes as much as one write can do: appends together, a replacement with what follows it."""
        self._writing = True
        taken = self._pending[:1]
        while len(taken) < len(self._pending) and not self._pending[len(taken)][1]:
            taken.append(self._pending[len(taken)])
        del self._pending[: len(taken)]
        content, whole = b"".join(each[0] for each in taken), taken[0][1]
        done = self._in_thread(lambda: self._rewrite(content) if whole else self._write(content))
        done.addBoth(self._written, [each[2] for each in taken])

    def _written(self, result: Any, waiting: list[Deferred[None]]) -> None:
        self._writing = False
        if isinstance(result, Failure):
            self._broken = result
            log.failure("{path} cannot be written; nothing more is taken", result, path=self.path)
            waiting += [each[2] for each in self._pending]
            self._pending = []
        if self._pending:
            self._next()
        for one in waiting:
            one.callback(self._broken)  # a Failure given to callback is an errback
        if not self._writing:
            idle, self._idle = self._idle, []
            for one in idle:
                one.callback(None)

    def _write(self, content: bytes) -> None:
        if self._descriptor < 0:
            raise CloudError(Code.STATE_DIRECTORY, f"{self.path} is closed")
        _write_all(self._descriptor, content)

    def _rewrite(self, content: bytes) -> None:
        aside = self.path.with_name(self.path.name + ".new")
        fresh = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        _write_all(fresh, content)
        aside.rename(self.path)
        _sync_directory(self.path.parent)
        old, self._descriptor = self._descriptor, fresh
        if old >= 0:
            os.close(old)

    def _cut(self, rest: bytes) -> None:
        log.warn("{path} ends torn: {size} bytes are cut off", path=self.path, size=len(rest))
        if read(rest.partition(b"\n")[2])[0]:
            beside = self.path.with_name(self.path.name + ".damaged")
            log.error("{path} has good lines after the damage: kept in {beside}", path=self.path, beside=beside)
            beside.write_bytes(rest)
            beside.chmod(0o600)


def line(record: dict[str, Any]) -> bytes:
    text = json.dumps(record, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def read(content: bytes) -> tuple[list[dict[str, Any]], int]:
    """The records before the first bad line, and how many bytes they take."""
    records, at = [], 0
    while (end := content.find(b"\n", at)) >= 0:
        crc, _, text = content[at:end].partition(b" ")
        if crc != b"%08x" % zlib.crc32(text):
            break
        records.append(json.loads(text))
        at = end + 1
    return records, at


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    os.fdatasync(descriptor)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
