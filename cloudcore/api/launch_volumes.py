"""The volumes that a launch makes: its root disk, and what the image and the request map beside it. Their rows are
written with the instances; the host makes the bytes when it makes the guest."""

from __future__ import annotations

from collections.abc import Mapping as Dict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cloudcore.api import block_devices
from cloudcore.api.block_devices import BlockDevice, Disk
from cloudcore.api.calls import Call
from cloudcore.domain.ids import new_id
from cloudcore.domain.images import Image, Mapping
from cloudcore.domain.instance_types import InstanceType
from cloudcore.domain.instances import Instance
from cloudcore.domain.volumes import Attachment, AttachmentState, Snapshot, Volume, VolumeState
from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Plan:
    """What each instance of a launch gets, the root's first."""

    disks: tuple[Disk, ...]

    @property
    def gigabytes(self) -> int:
        return sum(one.mapping.size_gib for one in self.disks)

    @property
    def root_gib(self) -> int:
        return self.disks[0].mapping.size_gib


def planned(books: Books, call: Call, image: Image, kind: InstanceType, asked: Sequence[BlockDevice]) -> Plan:
    """Raises what block_devices does, and IMAGE_UNAVAILABLE."""
    root = -(-image.virtual_size // GIB)
    if image.mappings:
        base: Sequence[Mapping] = image.mappings
        usable = books.snapshots.usable(image.project, [one.snapshot for one in base if one.snapshot])
        parts = tuple(_part(image, one, usable, root if at == 0 else None) for at, one in enumerate(base))
    else:
        whole = Mapping(image.root_device, None, root)
        base, parts = [replace(whole, size_gib=max(root, kind.disk_gib))], (Disk(whole, image.content),)
    disks = block_devices.settled(books, call, block_devices.overridden(base, asked), parts)
    return Plan(tuple(one for one in disks if not one.mapping.virtual))  # as on EC2 where a type has no instance store


def _part(image: Image, one: Mapping, usable: Dict[str, Snapshot], root: int | None) -> Disk:
    """With the least size that it can have. The image's own row says what its root needs. Its owner must still be
    allowed to use each snapshot: another account may have lent it, and taken it back."""
    found = usable.get(one.snapshot or "")
    if one.snapshot is not None and (found is None or found.content is None):
        text = f"The snapshot '{one.snapshot}' of the image '{image.id}' is not there"
        raise CloudError(Code.IMAGE_UNAVAILABLE, text)
    if root is not None and image.content is not None:
        return Disk(replace(one, size_gib=root), image.content)
    return Disk(one, None) if found is None else Disk(replace(one, size_gib=found.size_gib), found.content)


def begun(books: Books, call: Call, plan: Plan, made: Sequence[Instance],
          tags: Dict[str, str]) -> dict[str, tuple[Attachment, ...]]:  # fmt: skip
    """{instance: its attachments}. One statement for all volumes, one for all attachments. Where the zone is not known
    yet, the claim of a host decides it."""
    volumes: list[Volume] = []
    attached: dict[str, tuple[Attachment, ...]] = {}
    for instance in made:
        new = [_volume(call, instance, disk) for disk in plan.disks]
        volumes += new
        attached[instance.id] = tuple(
            Attachment(volume.id, instance.id, disk.mapping.device, AttachmentState.ATTACHING, instance.created,
                       disk.mapping.delete_on_termination, root=at == 0)
            for at, (volume, disk) in enumerate(zip(new, plan.disks, strict=True)))  # fmt: skip
    books.volumes.insert(volumes)
    books.attachments.insert([one for held in attached.values() for one in held])
    books.tags.begin(call.project, {one.id: "volume" for one in volumes}, tags)
    return attached


def _volume(call: Call, instance: Instance, disk: Disk) -> Volume:
    wanted = disk.mapping
    return Volume(
        id=new_id("volume", call.cloud.random), project=call.project, zone=instance.zone or "",
        size_gib=wanted.size_gib, type=wanted.type, state=VolumeState.CREATING, created=instance.created,
        snapshot=wanted.snapshot, content=disk.content, iops=wanted.iops, throughput=wanted.throughput)  # fmt: skip
