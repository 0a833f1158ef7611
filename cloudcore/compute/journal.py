"""What this host was told and what came of it, on disk before the host is touched (R7).

One file of lines, `<crc32 in hex> <json>`, appended and synced in batches: whoever waits while a batch is written goes
with the next. A torn last line is what a power cut leaves and is dropped; a broken line with good ones after it means
damage, and we refuse to guess. The file is rewritten (aside, sync, rename) at each start and when it has grown well
beyond what it says.

An entry that ended absent and was acknowledged stays as a tombstone for a while: a late message of an older generation
must not raise the guest again.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from cloudcore.errors import CloudError, Code
from cloudcore.rpc.compute import ImageSource, WantedGuest

log = Logger()

TOMBSTONE = 24 * 3600.0  # seconds; a command lives for seconds, an operator's replay for hours
SLACK = 4  # rewritten when the file has this many times more lines than entries
LEAST_LINES = 2000

InThread = Callable[[Callable[[], Any]], Deferred[Any]]


@dataclass(frozen=True, slots=True)
class Entry:
    """The wanted guest and how its generation ended so far.

    outcome: "" not there yet | launched (it ran, under `boot`) | halted (it ended by itself) | failed (with `reason`)
    | stopped | gone. `settled` is when an absent guest's end was acknowledged (seconds), else 0."""

    wanted: WantedGuest
    outcome: str = ""
    reason: str = ""
    boot: str = ""
    settled: float = 0.0


class Journal:
    """`open` first. Reading is from memory; `put` changes memory at once and fires when it is on disk."""

    def __init__(self, path: str | Path, in_thread: InThread) -> None:
        self._path, self._in_thread = Path(path), in_thread
        self._entries: dict[str, Entry] = {}
        self._descriptor: int | None = None
        self._lines = 0
        self._pending: list[bytes] = []
        self._waiting: list[Deferred[None]] = []
        self._writing: Deferred[None] | None = None
        self._broken: Failure | None = None
        self.epoch = 0

    def open(self, now: float) -> None:
        """Blocks: reads, raises the epoch, rewrites. CloudError(STATE_DIRECTORY) when the file is damaged."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        for line in _good_lines(self._path):
            self._replay(json.loads(line))
        self.epoch += 1
        self.expire(now)
        self._rewrite()

    def expire(self, now: float) -> None:
        """Forgets old tombstones; the file follows with its next rewriting."""
        for name in [name for name, entry in self._entries.items() if 0 < entry.settled < now - TOMBSTONE]:
            del self._entries[name]

    def get(self, instance: str) -> Entry | None:
        return self._entries.get(instance)

    def entries(self) -> Iterator[tuple[str, Entry]]:
        return iter(tuple(self._entries.items()))

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, entry: Entry) -> Deferred[None]:
        if self._broken is not None:  # a disk that failed once may pretend success the next time: never again
            return fail(self._broken)
        instance = entry.wanted.instance
        if self._entries.get(instance) == entry and not self._pending and self._writing is None:
            return succeed(None)
        self._entries[instance] = entry
        self._pending.append(_line({"entry": asdict(entry)}))
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        if self._writing is None:
            self._write()
        return waiting

    async def close(self) -> None:
        """What was put is on disk, then the file is closed."""
        while self._writing is not None:
            finished: Deferred[None] = Deferred()
            self._waiting.append(finished)
            await finished
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _write(self) -> None:
        batch, waiting = b"".join(self._pending), self._waiting
        self._lines += len(self._pending)
        self._pending, self._waiting = [], []
        if self._lines > max(LEAST_LINES, SLACK * len(self._entries)):
            done = self._in_thread(self._rewriting())
        else:
            done = self._in_thread(lambda: self._append(batch))
        self._writing = done
        done.addBoth(self._written, waiting)

    def _written(self, result: Any, waiting: list[Deferred[None]]) -> None:
        self._writing = None
        if isinstance(result, Failure):
            self._broken = result
            log.critical("the journal cannot be written; nothing more is taken: {problem}", problem=result.value)
        if self._pending or self._waiting:
            self._write()
        for one in waiting:  # an error of the disk reaches everyone who believed in this batch
            one.callback(self._broken)

    def _append(self, batch: bytes) -> None:
        if self._descriptor is None:
            raise CloudError(Code.STATE_DIRECTORY, f"{self._path} is closed")
        view = memoryview(batch)
        while view:
            view = view[os.write(self._descriptor, view) :]
        if batch:
            os.fdatasync(self._descriptor)

    def _rewriting(self) -> Callable[[], None]:
        content, lines = self._content()

        def work() -> None:
            self._replace(content)

        self._lines = lines
        return work

    def _rewrite(self) -> None:
        content, self._lines = self._content()
        self._replace(content)

    def _content(self) -> tuple[bytes, int]:
        lines = [_line({"epoch": self.epoch}), *(_line({"entry": asdict(entry)}) for entry in self._entries.values())]
        return b"".join(lines), len(lines)

    def _replace(self, content: bytes) -> None:
        aside = self._path.with_name(self._path.name + ".new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        fresh = os.open(aside, flags, 0o600)
        view = memoryview(content)
        while view:
            view = view[os.write(fresh, view) :]
        os.fdatasync(fresh)
        aside.rename(self._path)
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        old, self._descriptor = self._descriptor, fresh
        if old is not None:
            os.close(old)

    def _replay(self, line: dict[str, Any]) -> None:
        if "epoch" in line:
            self.epoch = max(self.epoch, int(line["epoch"]))
        if "entry" in line:
            entry = _entry(line["entry"])
            self._entries[entry.wanted.instance] = entry


def settle(entry: Entry, now: float) -> Entry:
    """The tombstone of an absent guest: what it was made of is forgotten."""
    wanted = WantedGuest(entry.wanted.instance, entry.wanted.generation, "absent")
    return replace(entry, wanted=wanted, settled=now)


def _line(content: dict[str, Any]) -> bytes:
    text = json.dumps(content, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _good_lines(path: Path) -> Iterator[bytes]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    lines = content.split(b"\n")
    for number, line in enumerate(lines):
        crc, _, text = line.partition(b" ")
        if text and crc == b"%08x" % zlib.crc32(text):
            yield text
        elif any(lines[number + 1 :]):
            raise CloudError(Code.STATE_DIRECTORY, f"{path} is damaged in line {number + 1}")


def _entry(fields: dict[str, Any]) -> Entry:
    wanted = dict(fields["wanted"])
    image = wanted.pop("image", None)
    source = ImageSource(**image) if image else None
    rest = {key: value for key, value in fields.items() if key != "wanted"}
    return Entry(WantedGuest(**wanted, image=source), **rest)
