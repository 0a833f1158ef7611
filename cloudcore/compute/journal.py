"""What this host was told and what came of it, on disk before the host is touched (R7).

An entry that ended absent and was acknowledged stays as a tombstone for a while: a late message of an older generation
must not raise the guest again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from cloudcore.journal.lines import InThread, Lines
from cloudcore.rpc.codec import pack, unpack
from cloudcore.rpc.compute import WantedGuest

TOMBSTONE = 24 * 3600.0  # seconds; a command lives for seconds, an operator's replay for hours
SLACK = 4  # rewritten when the file has this many times more lines than entries
LEAST_LINES = 2000


@dataclass(frozen=True, slots=True)
class Entry:
    """The wanted guest and how its generation ended so far.

    outcome: "" not there yet | launched (it ran, under `boot`) | halted (it ended by itself) | failed (with `reason`)
    | crashed (it was ended from outside) | stopped | gone. `settled` is when an absent guest's end was acknowledged
    (seconds), else 0. `ran`: it has run once, so that its disk holds what nobody can make again."""

    wanted: WantedGuest
    outcome: str = ""
    reason: str = ""
    boot: str = ""
    settled: float = 0.0
    ran: bool = False


class Journal:
    """Reading is from memory; `put` changes memory at once and fires when it is on disk. `epoch` grows with each
    start."""

    def __init__(self, path: str | Path, in_thread: InThread) -> None:
        self._lines = Lines(Path(path), in_thread)
        self._entries: dict[str, Entry] = {}
        self.epoch = 0

    def open(self, now: float) -> Deferred[None]:
        """Reads (blocking), raises the epoch, and rewrites; fires once the epoch is on disk."""
        for record in self._lines.open():
            self._replay(record)
        self.epoch += 1
        self.expire(now)
        return self._lines.replace(self._whole())

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
        self._entries[entry.wanted.instance] = entry
        if self._lines.count > max(LEAST_LINES, SLACK * len(self._entries)):
            return self._lines.replace(self._whole())
        return self._lines.append([_record(entry)])

    def close(self) -> Deferred[None]:
        """What was put is on disk, then the file is closed."""
        return Deferred.fromCoroutine(self._lines.close())

    def _whole(self) -> list[dict[str, Any]]:
        return [{"epoch": self.epoch}, *map(_record, self._entries.values())]

    def _replay(self, record: dict[str, Any]) -> None:
        if "epoch" in record:
            self.epoch = max(self.epoch, int(record["epoch"]))
        if "entry" in record:
            entry = unpack(Entry, record["entry"])
            self._entries[entry.wanted.instance] = entry


def settle(entry: Entry, now: float) -> Entry:
    """The tombstone of an absent guest: what it was made of is forgotten."""
    wanted = WantedGuest(entry.wanted.instance, entry.wanted.generation, "absent")
    return replace(entry, wanted=wanted, settled=now)


def _record(entry: Entry) -> dict[str, Any]:
    """Keys of remote volumes included: the file is 0600."""
    return {"entry": pack(entry)}
