"""What the conductor asks of the volume service of one host (topic `volume.<host>`). The bytes of a volume lie on one
host; its service makes them, grows them, copies them out for snapshots, serves them to guests of other hosts,
and removes them.

Every call may be repeated and says how far its work is: it waits up to a few seconds for the work to end, and
answers `working` when it has not. Who asks again hears the rest; nothing is told upward unasked. A call of an older
generation than one that was heard is answered `outdated` and changes nothing; what was removed is not made again by a
late message.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred

from cloudcore.rpc.compute import DiskSource, RemoteDisk, SnapshotPart, SnapshotWork
from cloudcore.rpc.contract import call, contract

WORKING, READY, FAILED, OUTDATED = "working", "ready", "failed", "outdated"


@dataclass(frozen=True, slots=True)
class WantedVolume:
    """`presence` is present or absent; a present volume is at least `size_gib` large, made blank or from `source`."""

    volume: str
    generation: int
    presence: str
    size_gib: int = 0
    source: DiskSource | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """`state` is working, ready, failed (with `reason`) or outdated."""

    state: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class WantedSnapshots:
    """Copies of volumes that no running guest writes, taken one after the other; each goes to its `location`."""

    batch: str
    parts: tuple[SnapshotPart, ...]


@dataclass(frozen=True, slots=True)
class WantedExport:
    """Serves the volume to one guest of another host; `instance` empty: to nobody any more. The greater `revision`
    counts."""

    volume: str
    revision: int
    instance: str = ""


@dataclass(frozen=True, slots=True)
class Exported:
    """`remote` is where and how that host's agent reaches it; None when it is served to nobody."""

    state: str
    remote: RemoteDisk | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Everything:
    pass


@dataclass(frozen=True, slots=True)
class VolumeSummary:
    volume: str
    size: int  # bytes that the guest sees


@dataclass(frozen=True, slots=True)
class Stored:
    volumes: tuple[VolumeSummary, ...]


class Volumes(Protocol):
    @call(since=(1, 0), timeout=15)
    def ensure(self, request: WantedVolume) -> Deferred[Work]: ...

    @call(since=(1, 0), timeout=15)
    def copy(self, request: WantedSnapshots) -> Deferred[SnapshotWork]: ...

    @call(since=(1, 0), timeout=15)
    def export(self, request: WantedExport) -> Deferred[Exported]: ...

    @call(since=(1, 0), timeout=10)
    def present(self, request: Everything) -> Deferred[Stored]: ...


VOLUME = contract("volume", (1, 0), Volumes)
