"""CreateImage and CopyImage. An image of an instance is there at once, pending, with a snapshot of each volume, all of
one moment; the conductor completes them. A copy shares the bytes and is complete at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from cloudcore.api import block_devices, client_tokens, image_names, owned, storage_quotas, tagging
from cloudcore.api.calls import Call, Outcome
from cloudcore.api.descriptions import check_description
from cloudcore.api.registry import Action, accepted
from cloudcore.domain import images
from cloudcore.domain.ids import new_id
from cloudcore.domain.images import Image
from cloudcore.domain.instances import Instance, State
from cloudcore.domain.volumes import FROM_NO_VOLUME, Attachment, Snapshot, SnapshotState, Volume
from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books
from cloudcore.store.requests import Token

ALIVE = (State.RUNNING, State.STOPPED)
OF_VOLUME = ""  # what a disk of the image begins with is known when its volume has been copied
KINDS = ("image", "snapshot")


@dataclass(frozen=True, slots=True)
class CreateImage:
    InstanceId: str
    Name: str
    Description: str | None = None
    NoReboot: bool = False
    BlockDeviceMappings: tuple[block_devices.BlockDevice, ...] = ()
    TagSpecifications: tuple[tagging.TagSpecification, ...] = ()


@dataclass(frozen=True, slots=True)
class CopyImage:
    Name: str
    SourceImageId: str
    SourceRegion: str
    Description: str | None = None
    CopyImageTags: bool = False
    ClientToken: str | None = None
    TagSpecifications: tuple[tagging.TagSpecification, ...] = ()


# -- of an instance ----------------------------------------------------------------------------------------------------


async def create_image(call: Call, asked: CreateImage) -> Mapping[str, Any] | None:
    image_names.check_name(asked.Name)
    check_description(asked.Description)
    owned.checked([asked.InstanceId])
    tags = tagging.by_kind(asked.TagSpecifications, KINDS)
    return await call.change(_create, asked, tags)


def _create(books: Books, call: Call, asked: CreateImage, tags: Mapping[str, Mapping[str, str]]) -> Outcome:
    instance = owned.one(books, call, asked.InstanceId)
    if instance.state not in ALIVE:
        text = f"The instance '{instance.id}' is {instance.state.value}; an image is made of a running or stopped one"
        raise CloudError(Code.INSTANCE_STATE, text)
    image_names.check_free(books, call.project, asked.Name)
    held = books.attachments.of_instance(instance.id)
    if not held or not held[0].root:
        raise CloudError(Code.INSTANCE_STATE, f"The instance '{instance.id}' has no root volume attached")
    volumes = books.volumes.of_project(call.project, [one.volume for one in held])
    base = tuple(_mapping(one, volumes[one.volume]) for one in held)
    disks = tuple(block_devices.Disk(one, OF_VOLUME) for one in base)
    wanted = block_devices.overridden(base, asked.BlockDeviceMappings)
    kept = [one.mapping for one in block_devices.settled(books, call, wanted, disks)]
    id = new_id("image", call.cloud.random)
    by_device, by_volume = {one.device: one for one in held}, {one.volume: one.device for one in held}
    its_own = [one.device for one in kept if one.device in by_device and not (one.snapshot or one.virtual)]
    copied = [volumes[by_device[device].volume] for device in its_own]
    description = f"Created by CreateImage({instance.id}) for {id}"
    made = [_snapshot(books, call, instance, volume, description) for volume in copied]
    batch, reboot = made[0].id, instance.state is State.RUNNING and not asked.NoReboot
    taken = {by_volume[one.volume]: replace(one, batch=batch, reboot=reboot) for one in made}
    storage_quotas.take_snapshots(books, call, len(taken))
    books.snapshots.insert(taken.values())
    mappings = tuple(replace(one, snapshot=taken[one.device].id) if one.device in taken else one for one in kept)
    books.images.insert(_pending(books, call, id, asked, instance, mappings))
    books.tags.begin(call.project, {id: "image"}, tags["image"])
    books.tags.begin(call.project, {one.id: "snapshot" for one in made}, tags["snapshot"])
    operation = books.operations.begin("snapshot", batch, 1, call.project, call.request_id)
    return Outcome({"ImageId": id}, (id, *(one.id for one in made)), (operation,))


def _mapping(one: Attachment, volume: Volume) -> images.Mapping:
    """`snapshot` is filled in with the one that is taken now."""
    return images.Mapping(one.device, None, volume.size_gib, volume.type, one.delete_on_termination, volume.iops,
                          volume.throughput)  # fmt: skip


def _snapshot(books: Books, call: Call, instance: Instance, volume: Volume, description: str) -> Snapshot:
    id = new_id("snapshot", call.cloud.random)
    return Snapshot(
        id=id, project=call.project, volume=volume.id, size_gib=volume.size_gib, state=SnapshotState.PENDING,
        created=books.now(), batch=id, description=description,
        instance=instance.id if instance.state is State.RUNNING else None)  # fmt: skip


def _pending(books: Books, call: Call, id: str, asked: CreateImage, instance: Instance,
             mappings: tuple[images.Mapping, ...]) -> Image:  # fmt: skip
    source = books.images.find(instance.image)
    return Image(
        id=id, project=call.project, name=asked.Name, description=asked.Description or "",
        location=f"{call.project}/{asked.Name}", source="", sha256="", size=0, format="", virtual_size=0,
        architecture=source.architecture if source else "x86_64", root_device=mappings[0].device, public=False,
        state="pending", created=books.now(), mappings=mappings, source_instance=instance.id,
        ena=source.ena if source else True, sriov=source is not None and source.sriov)  # fmt: skip


# -- of another image --------------------------------------------------------------------------------------------------


async def copy_image(call: Call, asked: CopyImage) -> Mapping[str, Any] | None:
    image_names.check_name(asked.Name)
    check_description(asked.Description)
    if asked.SourceRegion not in (call.cloud.region, *call.cloud.aliases):
        text = f"Invalid value '{asked.SourceRegion}' for SourceRegion: there is {call.cloud.region}"
        raise CloudError(Code.BAD_VALUE, text)
    tags = tagging.by_kind(asked.TagSpecifications, KINDS)
    token = client_tokens.token(call, asked.ClientToken)
    return await call.change(_copy, asked, image_names.check_id(asked.SourceImageId), tags, token)


def _copy(books: Books, call: Call, asked: CopyImage, source: str, tags: Mapping[str, Mapping[str, str]],
          token: Token | None) -> Outcome:  # fmt: skip
    earlier = books.requests.earlier(token) if token else None
    if earlier is not None:
        return Outcome({"ImageId": earlier[0]}, tuple(earlier), repeated=True)
    image = books.images.visible(call.project, source)
    image_names.check_free(books, call.project, asked.Name)
    id = new_id("image", call.cloud.random)
    named = [one.snapshot for one in image.mappings if one.snapshot]
    usable = books.snapshots.usable(image.project, named)
    copies = {one: _copied(books, call, one, usable.get(one), source, id) for one in named}
    storage_quotas.take_snapshots(books, call, len(copies))
    books.snapshots.insert(copies.values())
    mappings = tuple(replace(one, snapshot=copies[one.snapshot].id if one.snapshot else None) for one in image.mappings)
    books.images.insert(replace(
        image, id=id, project=call.project, name=asked.Name, description=asked.Description or "",
        location=f"{call.project}/{asked.Name}", public=False, created=books.now(), deprecated=None, mappings=mappings,
        source_instance=None, source_image=source))  # fmt: skip
    kept = books.tags.of(call.project, [source]).get(source, {}) if asked.CopyImageTags else {}
    books.tags.begin(call.project, {id: "image"}, {**kept, **tags["image"]})
    books.tags.begin(call.project, {one.id: "snapshot" for one in copies.values()}, tags["snapshot"])
    if token:
        books.requests.keep(token, [id])
    return Outcome({"ImageId": id}, (id, *(one.id for one in copies.values())))


def _copied(books: Books, call: Call, snapshot: str, found: Snapshot | None, source: str, image: str) -> Snapshot:
    """Another's snapshot too: whoever may start from an image may copy what it is made of, as long as the image's owner
    may use that. Which volume that one came from is nobody's business but its owner's."""
    if found is None or found.content is None:
        raise CloudError(Code.IMAGE_UNAVAILABLE, f"The snapshot '{snapshot}' of the image '{source}' is not complete")
    id = new_id("snapshot", call.cloud.random)
    text = f"Copied for DestinationAmi {image} from SourceAmi {source} for SourceSnapshot {snapshot}"
    return replace(found, id=id, project=call.project, volume=FROM_NO_VOLUME, created=books.now(), batch=id,
                   public=False, host=None, instance=None, description=text)  # fmt: skip


ACTIONS = {
    "CreateImage": Action(create_image, CreateImage, block_devices.FATES),
    "CopyImage": Action(copy_image, CopyImage, {"Encrypted": accepted(False)}),
}
