"""DescribeImages, RegisterImage, DeregisterImage. An image is an object of the object store that was looked at once, by
the image worker, before anything starts from it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloudcore.api import tagging
from cloudcore.api.calls import Call, Outcome
from cloudcore.api.describing import TAG_FILTERS, Asked, Filter, Kind, Row, describe
from cloudcore.api.instance_views import ROOT_DEVICE
from cloudcore.api.registry import Action, Fate, Ignored, accepted
from cloudcore.api.wire_answers import timestamp
from cloudcore.domain.ids import new_id, well_formed
from cloudcore.domain.images import Image
from cloudcore.errors import CloudError, Code
from cloudcore.rpc.faults import BusFault
from cloudcore.rpc.images import ImageLocation, InspectedImage
from cloudcore.store.books import Books
from cloudcore.store.images import name_duplicate
from cloudcore.store.pages import Wanted

NAME = re.compile(r"[A-Za-z0-9()\[\] ./\-'@_]{3,128}", re.ASCII)
ROOT_NAME = re.compile(r"[A-Za-z0-9/_.-]{1,128}")
ARCHITECTURES = ("i386", "x86_64", "arm64")
LOCATION = 1024  # characters


@dataclass(frozen=True, slots=True)
class DescribeImages:
    ImageIds: tuple[str, ...] = ()
    Owners: tuple[str, ...] = ()
    ExecutableUsers: tuple[str, ...] = ()
    Filters: tuple[Filter, ...] = ()
    MaxResults: int | None = None
    NextToken: str | None = None


@dataclass(frozen=True, slots=True)
class RegisterImage:
    Name: str
    ImageLocation: str | None = None
    Description: str | None = None
    Architecture: str = "x86_64"
    RootDeviceName: str = ROOT_DEVICE
    TagSpecifications: tuple[tagging.TagSpecification, ...] = ()


@dataclass(frozen=True, slots=True)
class DeregisterImage:
    ImageId: str


def view(call: Call, image: Image, tags: list[dict[str, str]]) -> dict[str, Any]:
    return {
        "ImageId": image.id,
        "ImageLocation": image.location,
        "State": "available",
        "OwnerId": image.project,
        "CreationDate": timestamp(image.created),
        "Public": image.public,
        "ProductCodes": [],
        "Architecture": image.architecture,
        "ImageType": "machine",
        "Name": image.name,
        "Description": image.description or None,
        "RootDeviceType": "ebs",
        "RootDeviceName": image.root_device,
        "BlockDeviceMappings": [],
        "VirtualizationType": "hvm",
        "Hypervisor": "xen",
        "EnaSupport": True,
        "PlatformDetails": "Linux/UNIX",
        "UsageOperation": "RunInstances",
        "Tags": tags or None,
    }


def _fetch(books: Books, call: Call, wanted: Wanted) -> Sequence[Row[Image]]:
    return [Row(image.created, image.id, image) for image in books.images.page(call.project, wanted)]


IMAGE: Kind[Image] = Kind(
    fetch=_fetch,
    view=view,
    noun="image id",
    tags="image",
    unknown=Code.IMAGE_UNKNOWN,
    malformed=Code.IMAGE_MALFORMED,
    page=(1, 1000),
    columns={"image-id": "id", "name": "name"},
    aliases={"virtualizationType": "virtualization-type"},
    filters={
        **TAG_FILTERS,
        "architecture": "Architecture",
        "block-device-mapping.device-name": "BlockDeviceMappings.DeviceName",
        "block-device-mapping.snapshot-id": "BlockDeviceMappings.Ebs.SnapshotId",
        "block-device-mapping.volume-type": "BlockDeviceMappings.Ebs.VolumeType",
        "creation-date": "CreationDate",
        "description": "Description",
        "ena-support": "EnaSupport",
        "hypervisor": "Hypervisor",
        "image-id": "ImageId",
        "image-type": "ImageType",
        "is-public": "Public",
        "manifest-location": "ImageLocation",
        "name": "Name",
        "owner-alias": "ImageOwnerAlias",
        "owner-id": "OwnerId",
        "platform": "Platform",
        "root-device-name": "RootDeviceName",
        "root-device-type": "RootDeviceType",
        "state": "State",
        "virtualization-type": "VirtualizationType",
    },
)


async def describe_images(call: Call, asked: DescribeImages) -> Mapping[str, Any] | None:
    """Owners `self` or account ids; ExecutableUsers `self` (one's own), `all` (public) or the caller's account id."""
    filters = list(asked.Filters)
    if asked.Owners:
        owners = tuple(call.project if owner == "self" else _literal(owner) for owner in asked.Owners)
        filters.append(Filter("owner-id", owners))
    if asked.ExecutableUsers and not set(asked.ExecutableUsers) >= {"self", "all"}:
        kinds = {"self": "false", call.project: "false", "all": "true"}
        filters.append(Filter("is-public", tuple(kinds.get(user, "none") for user in asked.ExecutableUsers)))
    wanted = Asked(asked.ImageIds, tuple(filters), asked.MaxResults, asked.NextToken)
    found = await call.look(describe, call, IMAGE, wanted)
    return {"Images": found.items, "NextToken": found.token}


def _literal(text: str) -> str:
    """No wildcard: who asks for the owner `*` asks for nobody."""
    return re.sub(r"([*?\\])", r"\\\1", text)


async def register_image(call: Call, asked: RegisterImage) -> Mapping[str, Any] | None:
    """The worker reads the whole object before the answer: what is registered can be started. A rehearsal ends before
    that, since the parts of a bundle are written together as one object."""
    location = asked.ImageLocation
    if location is None:
        raise CloudError(Code.MISSING_PARAMETER, "The request must contain the parameter ImageLocation")
    if len(location) > LOCATION:
        raise CloudError(Code.BAD_VALUE, f"ImageLocation has at most {LOCATION} characters")
    if not NAME.fullmatch(asked.Name):
        text = f"AMI names have 3 to 128 letters, digits and ( ) [ ] space . / - ' @ _: '{asked.Name[:128]}' is none"
        raise CloudError(Code.BAD_VALUE, text)
    if asked.Architecture not in ARCHITECTURES:
        raise CloudError(Code.BAD_VALUE, f"Invalid value '{asked.Architecture}' for Architecture")
    if len(asked.Description or "") > 255:
        raise CloudError(Code.BAD_VALUE, "Description has at most 255 characters")
    if not ROOT_NAME.fullmatch(asked.RootDeviceName):
        raise CloudError(Code.BAD_VALUE, f"Invalid value '{asked.RootDeviceName[:64]}' for RootDeviceName")
    tags = tagging.of_specifications(asked.TagSpecifications, "image")
    if call.dry_run:
        await call.look(_check_name, call.project, asked.Name)
    key, known = f"{call.project} {call.parameter_hash()}", call.cloud.registrations
    earlier = known.finished(key, call.cloud.clock.seconds())
    if earlier is not None and await call.look(_registered, call.project, earlier["ImageId"]):
        return earlier
    return await known.share(key, call.cloud.clock, lambda: _inspect(call, asked, location, tags))


def _registered(books: Books, project: str, image: str) -> bool:
    return bool(books.images.page(project, Wanted(ids=[image], limit=1)))


async def _inspect(call: Call, asked: RegisterImage, location: str,
                   tags: Mapping[str, str]) -> Mapping[str, Any] | None:  # fmt: skip
    await call.look(_check_name, call.project, asked.Name)
    try:
        inspected = await call.cloud.images.inspect(ImageLocation(location, call.project))
    except BusFault as fault:
        raise CloudError(Code.UNAVAILABLE, "the image worker does not answer") from fault
    return await call.change(_register, asked, inspected, tags)


def _check_name(books: Books, project: str, name: str) -> None:
    """Before anything is read or written for an image that could not be registered. Raises IMAGE_NAME_DUPLICATE."""
    found = books.images.page(project, Wanted(equal={"name": [name]}))
    if any(image.project == project for image in found):
        raise name_duplicate(name)


def _register(books: Books, call: Call, asked: RegisterImage, inspected: InspectedImage,
              tags: Mapping[str, str]) -> Outcome:  # fmt: skip
    image = Image(
        id=new_id("image", call.cloud.random), project=call.project, name=asked.Name,
        description=asked.Description or "", location=asked.ImageLocation or "", source=inspected.location,
        sha256=inspected.sha256, size=inspected.size, format=inspected.format, virtual_size=inspected.virtual_size,
        architecture=asked.Architecture, root_device=asked.RootDeviceName, public=False, state="available",
        created=books.now())  # fmt: skip
    books.images.insert(image)
    books.tags.begin(call.project, {image.id: "image"}, tags)
    return Outcome({"ImageId": image.id}, (image.id,))


async def deregister_image(call: Call, asked: DeregisterImage) -> Mapping[str, Any] | None:
    if not well_formed("image", asked.ImageId):
        raise CloudError(Code.IMAGE_MALFORMED, f"Invalid id: \"{asked.ImageId}\" (expecting \"ami-...\")")
    return await call.change(_deregister, asked.ImageId)


def _deregister(books: Books, call: Call, image: str) -> Outcome:
    books.images.deregister(call.project, image)
    books.tags.drop(image)
    return Outcome(None, (image,))


REGISTER: Mapping[str, Fate] = {
    "EnaSupport": Ignored("guests have virtio devices either way"),
    "SriovNetSupport": accepted("simple"),
    "VirtualizationType": accepted("hvm"),
    "BootMode": accepted("legacy-bios"),
}

ACTIONS = {
    "DescribeImages": Action(
        describe_images, DescribeImages,
        {"IncludeDeprecated": Ignored("no image is ever deprecated"), "IncludeDisabled": Ignored("none is disabled")},
    ),
    "RegisterImage": Action(register_image, RegisterImage, REGISTER),
    "DeregisterImage": Action(deregister_image, DeregisterImage, {"DeleteAssociatedSnapshots": accepted(False)}),
}  # fmt: skip
