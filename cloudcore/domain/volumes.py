"""The life cycles of volumes, attachments and snapshots, each as one table, as that of instances is.

TRANSITIONS[state][event] is the next state; an absent pair is IncorrectState for a request and a dropped stale fact
otherwise. A volume that is deleted, and an attachment that is detached, has no row any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cloudcore.domain.ids import PREFIXES, well_formed


class VolumeState(Enum):
    CREATING = "creating"
    AVAILABLE = "available"
    IN_USE = "in-use"
    DELETING = "deleting"
    ERROR = "error"


class VolumeEvent(Enum):
    # requests
    ATTACH = "attach"
    DELETE = "delete"
    # facts
    MADE = "made"
    FAILED = "failed"
    DETACHED = "detached"  # from the last instance that had it


VOLUME_TRANSITIONS: dict[VolumeState, dict[VolumeEvent, VolumeState]] = {
    VolumeState.CREATING: {
        VolumeEvent.MADE: VolumeState.AVAILABLE,
        VolumeEvent.FAILED: VolumeState.ERROR,
        VolumeEvent.DELETE: VolumeState.DELETING,
        VolumeEvent.ATTACH: VolumeState.IN_USE,  # one made by a launch, when its guest has started
    },
    VolumeState.AVAILABLE: {
        VolumeEvent.ATTACH: VolumeState.IN_USE,
        VolumeEvent.DELETE: VolumeState.DELETING,
    },
    VolumeState.IN_USE: {
        VolumeEvent.DETACHED: VolumeState.AVAILABLE,
        VolumeEvent.DELETE: VolumeState.DELETING,  # with its instance alone; a request is refused: VolumeInUse
    },
    VolumeState.DELETING: {VolumeEvent.DELETE: VolumeState.DELETING},
    VolumeState.ERROR: {VolumeEvent.DELETE: VolumeState.DELETING},
}

VOLUME_AWAITS: dict[VolumeState, str] = {  # operation kinds of the conductor
    VolumeState.CREATING: "create-volume",
    VolumeState.DELETING: "delete-volume",
}


class AttachmentState(Enum):
    ATTACHING = "attaching"
    ATTACHED = "attached"
    DETACHING = "detaching"


class SnapshotState(Enum):
    PENDING = "pending"
    COMPLETED = "completed"
    ERROR = "error"


def after(state: VolumeState, event: VolumeEvent) -> VolumeState | None:
    """The next state, or None where the table has no such pair."""
    return VOLUME_TRANSITIONS[state].get(event)


@dataclass(frozen=True, slots=True)
class Volume:
    """One row. `generation` grows with each change of what is wanted. `host` is where its bytes lie, None until that is
    decided. `content` is the row of the table `contents` that it was made from (a snapshot's or an image's), None for a
    blank one. `iops` and `throughput` (MiB/s) as asked. `created` in seconds since the epoch."""

    id: str
    project: str
    zone: str
    size_gib: int
    type: str
    state: VolumeState
    created: float
    snapshot: str | None = None
    content: str | None = None
    host: str | None = None
    iops: int | None = None
    throughput: int | None = None
    generation: int = 1
    reason: str | None = None
    auto_enable_io: bool = False


@dataclass(frozen=True, slots=True)
class Attachment:
    """One volume in one instance. `device` is what the user calls it (/dev/sdf); the guest names disks in order.
    `root`: the guest starts from it. `forced`: while it is detached, the guest is not waited for. `since` in seconds
    since the epoch."""

    volume: str
    instance: str
    device: str
    state: AttachmentState
    since: float
    delete_on_termination: bool = False
    root: bool = False
    forced: bool = False
    released: float | None = None  # since when it is being detached


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes in the object store that volumes start from: one row, however many snapshots and images share it. A delta
    (qcow2) lies over the content `below`, by whose SHA-256 its header names it. Sizes in bytes; `id` is the SHA-256
    (hex)."""

    id: str
    source: str  # bucket/key
    size: int
    format: str  # raw | qcow2
    virtual_size: int
    below: str | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`batch` names the snapshots that were taken at one moment together; alone it is the snapshot's own id. `volume`
    is EC2's vol-ffffffff where it came from no volume. `progress` in percent. `public` and shares are permissions.
    `content` is what it holds once it is completed; before that, what its copy may lie over."""

    id: str
    project: str
    volume: str
    size_gib: int
    state: SnapshotState
    created: float
    batch: str
    description: str = ""
    progress: int = 0
    content: str | None = None
    reason: str | None = None
    public: bool = False
    host: str | None = None  # whose agent copies it
    instance: str | None = None  # in whose running guest the volume is while it is copied
    reboot: bool = False  # the guest is shut down for the copy, and started again


@dataclass(frozen=True, slots=True)
class Modification:
    """The last ModifyVolume of a volume. `state` is modifying, optimizing, completed or failed."""

    volume: str
    state: str
    started: float
    ended: float | None
    original_size: int
    original_type: str
    original_iops: int | None
    original_throughput: int | None
    target_size: int
    target_type: str
    target_iops: int | None
    target_throughput: int | None
    reason: str | None = None


FROM_NO_VOLUME = "vol-ffffffff"
BUCKET = "cloudcore-snapshots"  # the bucket of the cloud itself: each copy has a key of its own there


def gibibytes(size: int) -> int:
    """How large a volume must be to hold so many bytes."""
    return max(1, -(-size // 2**30))


def place_of(snapshot: str) -> str:
    """`bucket/key` that a copy for this snapshot is written to."""
    return f"{BUCKET}/{snapshot}"


@dataclass(frozen=True, slots=True)
class VolumeType:
    """Bounds as EC2 documents them (GiB; IOPS; MiB/s). `iops` and `throughput` are None where none may be asked for;
    otherwise (least, most, default)."""

    name: str
    least_gib: int
    most_gib: int
    iops: tuple[int, int, int] | None = None
    throughput: tuple[int, int, int] | None = None


VOLUME_TYPES = {
    kind.name: kind
    for kind in (
        VolumeType("gp2", 1, 16384),
        VolumeType("gp3", 1, 16384, (3000, 16000, 3000), (125, 1000, 125)),
        VolumeType("io1", 4, 16384, (100, 64000, 100)),
        VolumeType("io2", 4, 65536, (100, 256000, 100)),
        VolumeType("st1", 125, 16384),
        VolumeType("sc1", 125, 16384),
        VolumeType("standard", 1, 1024),
    )
}
DEFAULT_VOLUME_TYPE = "gp2"
PREFIX = PREFIXES["volume"]


def serial(volume: str) -> str:
    """What the guest reads: a virtio serial holds 20 bytes, so the dash goes, as in EC2."""
    return volume.replace("-", "", 1)


def of_serial(serial: str) -> str | None:
    """The volume that shows this serial; None when it is no volume's."""
    volume = f"{PREFIX}-{serial.removeprefix(PREFIX)}"
    return volume if serial.startswith(PREFIX) and well_formed("volume", volume) else None
