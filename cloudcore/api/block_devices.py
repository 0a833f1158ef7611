"""Lists of block device mappings, as launches and images bring them: which volumes there are to be, the root's first.

In two steps. `overridden` puts what was asked over what an image has, without the database; then `settled` learns what
comes of the snapshots, and holds every volume against the rules of its type.
"""

from __future__ import annotations

import re
from collections.abc import Mapping as Dict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cloudcore.api import storage_ids
from cloudcore.api.calls import Call
from cloudcore.api.registry import Fate, accepted
from cloudcore.domain import volume_rules
from cloudcore.domain.device_names import MOST_DEVICES, well_named
from cloudcore.domain.images import Mapping
from cloudcore.domain.volumes import DEFAULT_VOLUME_TYPE, Snapshot
from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books

EPHEMERAL = re.compile(r"ephemeral([0-9]|1[0-9]|2[0-3])", re.ASCII)
OF_SNAPSHOT = 0  # GiB, between the two steps: as large as its snapshot

# Of every action that takes such a list.
FATES: Dict[str, Fate] = {"BlockDeviceMappings.Ebs.Encrypted": accepted(False)}


@dataclass(frozen=True, slots=True)
class AskedEbs:
    DeleteOnTermination: bool | None = None
    Iops: int | None = None
    SnapshotId: str | None = None
    Throughput: int | None = None
    VolumeSize: int | None = None
    VolumeType: str | None = None


@dataclass(frozen=True, slots=True)
class BlockDevice:
    """`NoDevice`, whatever it says and also empty, drops the device."""

    DeviceName: str | None = None
    Ebs: AskedEbs | None = None
    NoDevice: str | None = None
    VirtualName: str | None = None


@dataclass(frozen=True, slots=True)
class Disk:
    """One volume that is to be, and the content that it begins with (None: blank; empty: not known yet)."""

    mapping: Mapping
    content: str | None


def overridden(base: Sequence[Mapping], asked: Sequence[BlockDevice]) -> tuple[Mapping, ...]:
    """`base` is what the image has, the root's first; the root stays. Sizes may be OF_SNAPSHOT.

    Raises MISSING_PARAMETER, BLOCK_DEVICE_MAPPING, ATTACHMENT_LIMIT."""
    wanted = {one.device: one for one in base}
    seen: set[str] = set()
    for one in asked:
        device = one.DeviceName
        if device is None:
            raise CloudError(Code.MISSING_PARAMETER, "The request must contain BlockDeviceMapping.N.DeviceName")
        if device in seen:
            text = f"The device '{device[:64]}' is used in more than one block-device mapping"
            raise CloudError(Code.BLOCK_DEVICE_MAPPING, text)
        seen.add(device)
        made = _device(device, one, wanted.get(device))
        if base and device == base[0].device and (made is None or made.virtual):
            raise CloudError(Code.BLOCK_DEVICE_MAPPING, f"The root device '{device}' cannot be left out")
        if made is not None:
            wanted[device] = made
        else:
            wanted.pop(device, None)
    if len(wanted) > MOST_DEVICES:
        raise CloudError(Code.ATTACHMENT_LIMIT, f"An instance has at most {MOST_DEVICES} volumes, not {len(wanted)}")
    return tuple(wanted.values())


def _device(device: str, asked: BlockDevice, before: Mapping | None) -> Mapping | None:
    """None: there is none."""
    if asked.NoDevice is not None:
        return None
    if asked.VirtualName is not None and (asked.Ebs is not None or not EPHEMERAL.fullmatch(asked.VirtualName)):
        text = f"'{asked.VirtualName[:64]}' is not a virtual device that '{device[:64]}' can be"
        raise CloudError(Code.BLOCK_DEVICE_MAPPING, text)
    if asked.VirtualName is not None and well_named(device):
        return Mapping(device, None, 0, virtual=asked.VirtualName)
    if before is None and not well_named(device):
        raise CloudError(Code.BLOCK_DEVICE_MAPPING, f"'{device[:64]}' is not a valid EBS device name")
    if asked.Ebs is None and before is None:
        raise CloudError(Code.MISSING_PARAMETER, f"The block device mapping of '{device}' must say Ebs")
    return before if asked.Ebs is None else _volume(device, asked.Ebs, before)


def _volume(device: str, ebs: AskedEbs, before: Mapping | None) -> Mapping:
    keeps = before is not None and ebs.DeleteOnTermination is None
    ends = (before.delete_on_termination if before and keeps else ebs.DeleteOnTermination) is not False
    if before is None or before.virtual:
        if ebs.SnapshotId is None and ebs.VolumeSize is None:
            text = f"The block device mapping of '{device}' must contain VolumeSize or SnapshotId"
            raise CloudError(Code.MISSING_PARAMETER, text)
        before = Mapping(device, None, OF_SNAPSHOT, DEFAULT_VOLUME_TYPE)
    kind = ebs.VolumeType or before.type
    same = kind == before.type  # what was said of the speed of another type says nothing of this one
    size = before.size_gib if ebs.SnapshotId in (None, before.snapshot) else OF_SNAPSHOT
    if ebs.VolumeSize is not None:
        size = ebs.VolumeSize
    if size < 1 and ebs.VolumeSize is not None:
        raise CloudError(Code.BAD_VALUE, f"A volume has at least 1 GiB, not {size}")
    return Mapping(
        device, ebs.SnapshotId or before.snapshot, size, kind, ends,
        before.iops if same and ebs.Iops is None else ebs.Iops,
        before.throughput if same and ebs.Throughput is None else ebs.Throughput)  # fmt: skip


def settled(books: Books, call: Call, wanted: Sequence[Mapping], base: Sequence[Disk] = ()) -> tuple[Disk, ...]:
    """With sizes and contents. `base` are the disks of the image, the root's first: whoever may start from it may use
    what it is made of, and its root stays what it is.

    Raises SNAPSHOT_MALFORMED, SNAPSHOT_UNKNOWN, SNAPSHOT_STATE, BLOCK_DEVICE_MAPPING, and as volume_rules.check."""
    given = {one.mapping.device: one for one in base}
    return tuple(_settled(books, call, one, given.get(one.device), base[:1]) for one in wanted)


def _settled(books: Books, call: Call, wanted: Mapping, given: Disk | None, root: Sequence[Disk]) -> Disk:
    if wanted.virtual:
        return Disk(wanted, None)
    if given is not None and given.mapping.snapshot == wanted.snapshot:
        content, least = given.content, given.mapping.size_gib if given.content is not None else 0
    elif root and root[0] is given:
        text = f"The snapshot of the root device '{wanted.device}' cannot be another than its image's"
        raise CloudError(Code.BLOCK_DEVICE_MAPPING, text)
    elif wanted.snapshot is not None:
        source: Snapshot = storage_ids.source(books, call, wanted.snapshot)
        content, least = source.content, source.size_gib
    else:
        content, least = None, 0
    size = wanted.size_gib or least
    if size < least:
        what = f"snapshot '{wanted.snapshot}'" if wanted.snapshot else "the image"
        text = f"Volume of size {size}GB is smaller than {what}, expect size >= {least}GB"
        raise CloudError(Code.BLOCK_DEVICE_MAPPING, text)
    volume_rules.check(wanted.type, size, wanted.iops, wanted.throughput)
    return Disk(replace(wanted, size_gib=size), content)
