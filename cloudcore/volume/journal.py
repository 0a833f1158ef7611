"""What this service was told, on disk before the host is touched: volumes by generation, exports by revision.

A volume that was removed stays as a tombstone for a day: a late message must not make it again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from cloudcore.journal.lines import InThread, Lines
from cloudcore.rpc.codec import pack, unpack
from cloudcore.rpc.volume import WantedVolume

TOMBSTONE = 24 * 3600.0  # seconds; a command lives for seconds, an operator's replay for hours
SLACK, LEAST_LINES = 4, 2000  # rewritten when the file has this many times more lines than entries


@dataclass(frozen=True, slots=True)
class Kept:
    """`made`: it was here once, so that its bytes are not made anew when they are missing. `settled` is when an absent
    one was found removed (seconds), else 0."""

    wanted: WantedVolume
    made: bool = False
    settled: float = 0.0


@dataclass(frozen=True, slots=True)
class Served:
    """`instance` empty: to nobody; the rest is empty then as well. `key` is hexadecimal."""

    volume: str
    revision: int
    instance: str = ""
    port: int = 0
    key: str = field(default="", repr=False)
    changed: float = 0.0  # seconds


class Journal:
    """Reading is from memory; what changes it changes memory at once and fires when it is on disk."""

    def __init__(self, path: Path, in_thread: InThread) -> None:
        self._lines = Lines(path, in_thread)
        self.volumes: dict[str, Kept] = {}
        self.exports: dict[str, Served] = {}

    def open(self, now: float) -> Deferred[None]:
        """Reads (blocking) and rewrites."""
        for record in self._lines.open():
            if "volume" in record:
                kept = unpack(Kept, record["volume"])
                self.volumes[kept.wanted.volume] = kept
            if "export" in record:
                served = unpack(Served, record["export"])
                self.exports[served.volume] = served
        return self._rewrite(now)

    def put(self, kept: Kept, now: float) -> Deferred[None]:
        self.volumes[kept.wanted.volume] = kept
        return self._append({"volume": pack(kept)}, now)

    def serve(self, served: Served, now: float) -> Deferred[None]:
        self.exports[served.volume] = served
        return self._append({"export": pack(served)}, now)

    def close(self) -> Deferred[None]:
        """What was put is on disk, then the file is closed."""
        return Deferred.fromCoroutine(self._lines.close())

    def _append(self, record: dict[str, Any], now: float) -> Deferred[None]:
        if self._lines.count > max(LEAST_LINES, SLACK * (len(self.volumes) + len(self.exports))):
            return self._rewrite(now)
        return self._lines.append([record])

    def _rewrite(self, now: float) -> Deferred[None]:
        """Without old tombstones."""
        for name in [name for name, kept in self.volumes.items() if 0 < kept.settled < now - TOMBSTONE]:
            del self.volumes[name]
        for name in [name for name, served in self.exports.items() if self._over(served, now)]:
            del self.exports[name]
        return self._lines.replace([
            *({"volume": pack(kept)} for kept in self.volumes.values()),
            *({"export": pack(served)} for served in self.exports.values()),
        ])  # fmt: skip

    def _over(self, served: Served, now: float) -> bool:
        return not served.instance and served.changed < now - TOMBSTONE
