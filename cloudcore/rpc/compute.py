"""What the conductor asks of the compute agent of one host (topic `compute.<host>`), and how the agent reports.

`ensure` is the whole language: the wanted state of one guest with a generation. It is journaled before it is answered,
and what came of it arrives later as a fact (rpc/conductor.py). An older generation than the journal's is ignored and
answered with the journal's generation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from twisted.internet.defer import Deferred

from cloudcore.errors import Code
from cloudcore.rpc.contract import call, contract


@dataclass(frozen=True, slots=True)
class ImageSource:
    """Where a root disk comes from. `location` is `bucket/key`; the bytes must have this SHA-256 (hex)."""

    id: str
    location: str
    sha256: str
    size: int  # bytes of the object
    format: str  # raw | qcow2, as judged at registration; never probed again
    virtual_size: int  # bytes the guest sees


@dataclass(frozen=True, slots=True)
class Layer:
    """A content that a delta lies over. As ImageSource, whose `id` is its SHA-256."""

    location: str
    sha256: str
    size: int
    format: str
    virtual_size: int


@dataclass(frozen=True, slots=True)
class DiskSource:
    """What a new volume begins with: `top`, and what lies below it, nearest first. A qcow2 layer names the one below
    it by that one's SHA-256, as a file name in its own directory."""

    top: Layer
    below: tuple[Layer, ...] = ()


@dataclass(frozen=True, slots=True)
class RemoteDisk:
    """A volume of another host by NBD with TLS: `identity` and `key` (hex) are the pre-shared key of this one guest."""

    address: str
    port: int
    export: str
    identity: str
    key: str = field(repr=False)
    format: str = "raw"


@dataclass(frozen=True, slots=True)
class WantedDisk:
    """One volume of a guest, the first of them the one that it starts from. `device` is what its user calls it.
    `make`: it is made here, from `source` or blank, unless it is there already: a launch makes its own volumes.
    `remote` is None where it lies on this host."""

    volume: str
    device: str
    size_gib: int
    make: bool = False
    source: DiskSource | None = None
    remote: RemoteDisk | None = None


@dataclass(frozen=True, slots=True)
class WantedDisks:
    """All volumes of a guest, whatever its generation; of two such lists the greater `revision` counts. `force`: what
    is not named is taken away even where the guest does not let go in time."""

    instance: str
    revision: int
    disks: tuple[WantedDisk, ...]
    force: bool = False


@dataclass(frozen=True, slots=True)
class DiskProblem:
    volume: str
    reason: str


@dataclass(frozen=True, slots=True)
class DiskWork:
    """`attached` are the volumes that the guest has now (one that does not run: those of its definition). `state` is
    working, ready, outdated (a greater revision is known) or unknown (no such guest here); `problems` are volumes that
    could not be attached and are given up."""

    state: str
    revision: int
    attached: tuple[str, ...] = ()
    problems: tuple[DiskProblem, ...] = ()


@dataclass(frozen=True, slots=True)
class SnapshotPart:
    """`parent` is the content of the volume's last snapshot: what is equal in it need not be copied again."""

    snapshot: str
    volume: str
    location: str  # bucket/key to write
    parent: DiskSource | None = None


@dataclass(frozen=True, slots=True)
class WantedCopies:
    """Copies of volumes of one running guest, all of one moment. `reboot`: the guest is shut down first and started
    afterwards, so that its file systems are whole."""

    instance: str
    batch: str
    parts: tuple[SnapshotPart, ...]
    reboot: bool = False


@dataclass(frozen=True, slots=True)
class MadeSnapshot:
    """`below` is the SHA-256 of the content that it is a delta over, empty for a whole one."""

    snapshot: str
    location: str
    sha256: str
    size: int
    format: str
    virtual_size: int
    below: str = ""


@dataclass(frozen=True, slots=True)
class SnapshotWork:
    """`state` is working, ready, failed (with `reason`) or elsewhere: the guest does not run (or, asked of the volume
    service, a guest writes to the volume), so that the other service must copy. `progress` in percent."""

    state: str
    progress: int = 0
    made: tuple[MadeSnapshot, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class WantedGuest:
    """`power` is running, stopped or absent. For absent the rest may be empty. `disks` and `disk_revision` are as in
    WantedDisks; without any, the root disk is the guest's own, made of `image`."""

    instance: str
    generation: int
    power: str
    uuid: str = ""
    vcpus: int = 0
    memory_mib: int = 0
    disk_gib: int = 0
    image: ImageSource | None = None
    mac: str = ""
    tap: str = ""
    mtu: int = 1450
    disks: tuple[WantedDisk, ...] = ()  # since 1.1
    disk_revision: int = 0


@dataclass(frozen=True, slots=True)
class Taken:
    generation: int  # the journal's, after the call


@dataclass(frozen=True, slots=True)
class InstanceName:
    instance: str


@dataclass(frozen=True, slots=True)
class ConsoleText:
    output: bytes  # the last 64 KiB of the serial console
    timestamp: float  # seconds since the epoch of the last byte


@dataclass(frozen=True, slots=True)
class WantedScreenshot:
    """`wake`: a key is pressed first."""

    instance: str
    wake: bool = False


@dataclass(frozen=True, slots=True)
class Screenshot:
    image: bytes  # JPEG
    timestamp: float  # seconds since the epoch


@dataclass(frozen=True, slots=True)
class Done:
    pass


@dataclass(frozen=True, slots=True)
class GuestSummary:
    instance: str
    generation: int
    state: str  # running | stopped | absent | working | failed


@dataclass(frozen=True, slots=True)
class Presence:
    epoch: int
    guests: tuple[GuestSummary, ...]


@dataclass(frozen=True, slots=True)
class Nothing:
    pass


class Compute(Protocol):
    @call(since=(1, 0), timeout=10)
    def ensure(self, request: WantedGuest) -> Deferred[Taken]: ...

    @call(since=(1, 0), timeout=15, errors=(Code.INSTANCE_UNKNOWN, Code.INSTANCE_STATE))
    def reboot(self, request: InstanceName) -> Deferred[Done]: ...

    @call(since=(1, 0), timeout=10, errors=(Code.INSTANCE_UNKNOWN,))
    def console(self, request: InstanceName) -> Deferred[ConsoleText]: ...

    @call(since=(1, 1), timeout=15, errors=(Code.INSTANCE_UNKNOWN, Code.INSTANCE_STATE, Code.UNSUPPORTED))
    def screenshot(self, request: WantedScreenshot) -> Deferred[Screenshot]: ...

    @call(since=(1, 0), timeout=10)
    def present(self, request: Nothing) -> Deferred[Presence]: ...

    @call(since=(1, 1), timeout=15)
    def disks(self, request: WantedDisks) -> Deferred[DiskWork]:
        """Journaled before it is answered; waits some seconds for the guest to have them."""

    @call(since=(1, 1), timeout=15)
    def copy(self, request: WantedCopies) -> Deferred[SnapshotWork]:
        """Begins, or tells how far it is; as the volume service's `copy`."""


COMPUTE = contract("compute", (1, 1), Compute)
