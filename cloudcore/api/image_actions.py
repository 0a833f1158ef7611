"""RegisterImage and DeregisterImage. An image is made of snapshots, or of an object of the object store, which is
looked at once, by the image worker, and taken into the cloud's own bucket before anything starts from it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cloudcore.api import block_devices, image_names, snapshot_actions, storage_quotas, tagging
from cloudcore.api.calls import Call, Outcome
from cloudcore.api.descriptions import check_description
from cloudcore.api.image_views import SIMPLE
from cloudcore.api.instance_views import ROOT_DEVICE
from cloudcore.api.registry import Action, Fate, accepted
from cloudcore.domain import images
from cloudcore.domain.ids import new_id
from cloudcore.domain.images import Image
from cloudcore.domain.volumes import FROM_NO_VOLUME, Content, Snapshot, SnapshotState, gibibytes, place_of
from cloudcore.errors import CloudError, Code
from cloudcore.rpc.faults import BusFault
from cloudcore.rpc.images import ImageLocation, InspectedImage
from cloudcore.store.books import Books
from cloudcore.store.pages import Wanted

ROOT_NAME = re.compile(r"[A-Za-z0-9/_.-]{1,128}")
LOCATION = 1024  # characters
KINDS = ("image", "snapshot")


@dataclass(frozen=True, slots=True)
class RegisterImage:
    Name: str
    ImageLocation: str | None = None
    Description: str | None = None
    Architecture: str = "x86_64"
    RootDeviceName: str = ROOT_DEVICE
    BlockDeviceMappings: tuple[block_devices.BlockDevice, ...] = ()
    TagSpecifications: tuple[tagging.TagSpecification, ...] = ()
    EnaSupport: bool = True
    SriovNetSupport: str | None = None


@dataclass(frozen=True, slots=True)
class DeregisterImage:
    ImageId: str
    DeleteAssociatedSnapshots: bool = False


Tags = Mapping[str, Mapping[str, str]]


async def register_image(call: Call, asked: RegisterImage) -> Mapping[str, Any] | None:
    """Of an object, the worker reads the whole before the answer: what is registered can be started. A rehearsal ends
    before that, since the parts of a bundle are written together as one object."""
    image_names.check_name(asked.Name)
    check_description(asked.Description)
    if asked.Architecture not in image_names.ARCHITECTURES:
        raise CloudError(Code.BAD_VALUE, f"Invalid value '{asked.Architecture}' for Architecture")
    if not ROOT_NAME.fullmatch(asked.RootDeviceName):
        raise CloudError(Code.BAD_VALUE, f"Invalid value '{asked.RootDeviceName[:64]}' for RootDeviceName")
    if asked.SriovNetSupport not in (None, SIMPLE):
        text = f"The value '{asked.SriovNetSupport[:64]}' of the parameter SriovNetSupport is not supported"
        raise CloudError(Code.UNSUPPORTED, text)
    tags = tagging.by_kind(asked.TagSpecifications, KINDS)
    if asked.ImageLocation is None:
        return await call.change(_of_snapshots, asked, tags)
    if len(asked.ImageLocation) > LOCATION:
        raise CloudError(Code.BAD_VALUE, f"ImageLocation has at most {LOCATION} characters")
    if any(one.DeviceName == asked.RootDeviceName for one in asked.BlockDeviceMappings):
        text = "The root device comes from ImageLocation; BlockDeviceMapping may name further devices"
        raise CloudError(Code.BAD_COMBINATION, text)
    return await _of_object(call, asked, asked.ImageLocation, tags)


# -- of an object ------------------------------------------------------------------------------------------------------


async def _of_object(call: Call, asked: RegisterImage, location: str, tags: Tags) -> Mapping[str, Any] | None:
    if call.dry_run:
        await call.look(_check_possible, call, asked.Name)
    key, known = f"{call.project} {call.parameter_hash()}", call.cloud.registrations
    earlier = known.finished(key, call.cloud.clock.seconds())
    if earlier is not None and await call.look(_registered, call.project, earlier["ImageId"]):
        return earlier
    return await known.share(key, call.cloud.clock, lambda: _adopt(call, asked, location, tags))


def _check_possible(books: Books, call: Call, name: str) -> None:
    """As far as it shows before the object has been read. Raises IMAGE_NAME_DUPLICATE, SNAPSHOT_QUOTA."""
    image_names.check_free(books, call.project, name)
    storage_quotas.check_snapshots(books, call, 1)


def _registered(books: Books, project: str, image: str) -> bool:
    return bool(books.images.page(project, Wanted(ids=[image], limit=1)))


async def _adopt(call: Call, asked: RegisterImage, location: str, tags: Tags) -> Mapping[str, Any] | None:
    """What was copied, or may still be, goes where no image comes of it."""
    await call.look(_check_possible, call, asked.Name)
    snapshot = new_id("snapshot", call.cloud.random)
    place = place_of(snapshot)
    try:
        inspected = await call.cloud.images.adopt(ImageLocation(location, call.project, target=place))
    except BusFault as fault:
        await call.cloud.database.transact(_unwanted, call, place)
        raise CloudError(Code.UNAVAILABLE, "the image worker does not answer") from fault
    try:
        return await call.change(_register, asked, inspected, snapshot, tags)
    except CloudError:
        await call.cloud.database.transact(_unwanted, call, place)
        raise


def _unwanted(books: Books, call: Call, place: str) -> None:
    books.operations.begin("discard", place, 1, call.project, call.request_id)


def _register(books: Books, call: Call, asked: RegisterImage, inspected: InspectedImage, snapshot: str,
              tags: Tags) -> Outcome:  # fmt: skip
    content = Content(inspected.sha256, inspected.location, inspected.size, inspected.format, inspected.virtual_size)
    books.contents.put(content)
    (content,) = books.contents.chain(content.id)[:1]  # equal bytes may have been here before
    operations: tuple[str, ...] = ()
    if content.source != inspected.location:
        operations = (books.operations.begin("discard", inspected.location, 1, call.project, call.request_id),)
    size = gibibytes(content.virtual_size)
    storage_quotas.take_snapshots(books, call, 1)
    root = images.Mapping(asked.RootDeviceName, snapshot, size)
    further = block_devices.settled(books, call, block_devices.overridden((), asked.BlockDeviceMappings))
    image = _image(books, call, asked, (root, *(one.mapping for one in further)), content)
    books.snapshots.insert([Snapshot(
        id=snapshot, project=call.project, volume=FROM_NO_VOLUME, size_gib=size, state=SnapshotState.COMPLETED,
        created=books.now(), batch=snapshot, description=f"Created by RegisterImage for {image.id}", progress=100,
        content=content.id)])  # fmt: skip
    books.tags.begin(call.project, {snapshot: "snapshot"}, tags["snapshot"])
    return _inserted(books, call, image, tags, operations)


# -- of snapshots ------------------------------------------------------------------------------------------------------


def _of_snapshots(books: Books, call: Call, asked: RegisterImage, tags: Tags) -> Outcome:
    image_names.check_free(books, call.project, asked.Name)
    disks = block_devices.settled(books, call, block_devices.overridden((), asked.BlockDeviceMappings))
    root = next((one for one in disks if one.mapping.device == asked.RootDeviceName), None)
    if root is None or root.content is None:
        text = "The request must contain either ImageLocation or a snapshot for the root device in BlockDeviceMapping"
        raise CloudError(Code.MISSING_PARAMETER, text)
    mappings = (root.mapping, *(one.mapping for one in disks if one is not root))
    content = books.contents.chain(root.content)[0]
    return _inserted(books, call, _image(books, call, asked, mappings, content), tags)


def _image(books: Books, call: Call, asked: RegisterImage, mappings: tuple[images.Mapping, ...],
           content: Content) -> Image:  # fmt: skip
    return Image(
        id=new_id("image", call.cloud.random), project=call.project, name=asked.Name,
        description=asked.Description or "", location=asked.ImageLocation or f"{call.project}/{asked.Name}",
        source=content.source, sha256=content.id, size=content.size, format=content.format,
        virtual_size=content.virtual_size, architecture=asked.Architecture,
        root_device=asked.RootDeviceName, public=False, state="available", created=books.now(), content=content.id,
        mappings=mappings, ena=asked.EnaSupport, sriov=asked.SriovNetSupport is not None)  # fmt: skip


def _inserted(books: Books, call: Call, image: Image, tags: Tags, operations: tuple[str, ...] = ()) -> Outcome:
    books.images.insert(image)
    books.tags.begin(call.project, {image.id: "image"}, tags["image"])
    return Outcome({"ImageId": image.id}, (image.id,), operations)


# -- no more -----------------------------------------------------------------------------------------------------------


async def deregister_image(call: Call, asked: DeregisterImage) -> Mapping[str, Any] | None:
    return await call.change(_deregister, image_names.check_id(asked.ImageId), asked.DeleteAssociatedSnapshots)


def _deregister(books: Books, call: Call, id: str, with_snapshots: bool) -> Outcome:
    """Instances that run go on: the bytes of their disks are their own. The name is free again."""
    image = books.images.deregister(call.project, id)
    books.tags.drop(id)
    results: list[dict[str, str]] = []
    operations: list[str] = []
    for snapshot in [one.snapshot for one in image.mappings if one.snapshot] if with_snapshots else ():
        said, begun = _with_snapshot(books, call, snapshot)
        results.append({"SnapshotId": snapshot, "ReturnCode": said})
        operations += begun
    answer = {"Return": True, "DeleteSnapshotResults": results if with_snapshots else None}
    return Outcome(answer, (id,), tuple(operations))


def _with_snapshot(books: Books, call: Call, snapshot: str) -> tuple[str, tuple[str, ...]]:
    """(EC2's return code, operations that are due)"""
    found = books.snapshots.find(snapshot)
    if found is None or found.project != call.project:
        return "missing-permissions" if found else "success", ()
    if books.snapshots.images_of(call.project, snapshot):
        return "skipped", ()
    return "success", snapshot_actions.removed(books, call, found)


REGISTER: Mapping[str, Fate] = {
    **block_devices.FATES,
    "VirtualizationType": accepted("hvm"),
    "BootMode": accepted("legacy-bios"),
}

ACTIONS = {
    "RegisterImage": Action(register_image, RegisterImage, REGISTER),
    "DeregisterImage": Action(deregister_image, DeregisterImage),
}
