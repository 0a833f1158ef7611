"""DescribeImages: whose images one sees, and how an image looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cloudcore.api.calls import Call
from cloudcore.api.describing import TAG_FILTERS, Asked, Filter, Kind, Row, describe
from cloudcore.api.registry import Action, Ignored
from cloudcore.api.wire_answers import timestamp
from cloudcore.domain import images
from cloudcore.domain.filters import literal
from cloudcore.domain.images import Image
from cloudcore.errors import Code
from cloudcore.store.books import Books
from cloudcore.store.pages import Wanted


@dataclass(frozen=True, slots=True)
class DescribeImages:
    ImageIds: tuple[str, ...] = ()
    Owners: tuple[str, ...] = ()
    ExecutableUsers: tuple[str, ...] = ()
    Filters: tuple[Filter, ...] = ()
    IncludeDeprecated: bool = False
    MaxResults: int | None = None
    NextToken: str | None = None


SIMPLE = "simple"  # the one value of sriovNetSupport
Seen = tuple[Image, Sequence[str]]  # and the accounts that it is explicitly shared with, as far as the caller may know


def mapping_view(one: images.Mapping) -> dict[str, Any]:
    """An element of blockDeviceMapping."""
    if one.virtual is not None:
        return {"DeviceName": one.device, "VirtualName": one.virtual}
    disk = {"DeleteOnTermination": one.delete_on_termination, "SnapshotId": one.snapshot, "VolumeSize": one.size_gib,
            "VolumeType": one.type, "Iops": one.iops, "Throughput": one.throughput, "Encrypted": False}  # fmt: skip
    return {"DeviceName": one.device, "Ebs": disk}


def view(call: Call, seen: Seen, tags: list[dict[str, str]]) -> dict[str, Any]:
    image = seen[0]
    return {
        "ImageId": image.id,
        "ImageLocation": image.location,
        "State": image.state,
        "StateReason": {"Code": "Server.InternalError", "Message": image.reason} if image.reason else None,
        "OwnerId": image.project,
        "CreationDate": timestamp(image.created),
        "DeprecationTime": timestamp(image.deprecated) if image.deprecated is not None else None,
        "Public": image.public,
        "ProductCodes": [],
        "Architecture": image.architecture,
        "ImageType": "machine",
        "Name": image.name,
        "Description": image.description or None,
        "RootDeviceType": "ebs",
        "RootDeviceName": image.root_device,
        "BlockDeviceMappings": [mapping_view(one) for one in image.mappings],
        "VirtualizationType": "hvm",
        "Hypervisor": "xen",
        "EnaSupport": image.ena,
        "SriovNetSupport": SIMPLE if image.sriov else None,
        "PlatformDetails": "Linux/UNIX",
        "UsageOperation": "RunInstances",
        "SourceInstanceId": image.source_instance,
        "SourceImageId": image.source_image,
        "SourceImageRegion": call.cloud.region if image.source_image else None,
        "Tags": tags or None,
    }


def _executable_view(call: Call, seen: Seen, tags: list[dict[str, str]]) -> dict[str, Any]:
    return view(call, seen, tags) | {"Executable": [*seen[1], *(["all"] if seen[0].public else [])]}


def _fetch(books: Books, call: Call, wanted: Wanted) -> Sequence[Row[Seen]]:
    found = books.images.page(call.project, wanted)
    given = books.images.permissions([one.id for one in found])
    return [Row(one.created, one.id, (one, _known(call.project, one, given.get(one.id, ())))) for one in found]


def _known(project: str, image: Image, given: Sequence[str]) -> Sequence[str]:
    return given if image.project == project else [one for one in given if one == project]


IMAGE: Kind[Seen] = Kind(
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
        "block-device-mapping.delete-on-termination": "BlockDeviceMappings.Ebs.DeleteOnTermination",
        "block-device-mapping.device-name": "BlockDeviceMappings.DeviceName",
        "block-device-mapping.encrypted": "BlockDeviceMappings.Ebs.Encrypted",
        "block-device-mapping.snapshot-id": "BlockDeviceMappings.Ebs.SnapshotId",
        "block-device-mapping.volume-size": "BlockDeviceMappings.Ebs.VolumeSize",
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
        "product-code": "ProductCodes.ProductCodeId",
        "root-device-name": "RootDeviceName",
        "root-device-type": "RootDeviceType",
        "source-image-id": "SourceImageId",
        "source-instance-id": "SourceInstanceId",
        "state": "State",
        "state-reason-code": "StateReason.Code",
        "state-reason-message": "StateReason.Message",
        "virtualization-type": "VirtualizationType",
    },
)
EXECUTABLE = "executable-by"  # is no filter of EC2's; ExecutableUsers says the same
SHARED = replace(IMAGE, view=_executable_view, filters={**IMAGE.filters, EXECUTABLE: "Executable"})


async def describe_images(call: Call, asked: DescribeImages) -> Mapping[str, Any] | None:
    """Owners are `self` or account ids. ExecutableUsers are `all` (public images), `self` or the caller's own account
    (those that were shared with it by name), or another account, for those of the caller's own that were shared with
    that one."""
    filters = list(asked.Filters)
    if asked.Owners:
        owners = tuple(call.project if owner == "self" else literal(owner) for owner in asked.Owners)
        filters.append(Filter("owner-id", owners))
    if asked.ExecutableUsers:
        users = tuple(call.project if user == "self" else literal(user) for user in asked.ExecutableUsers)
        filters.append(Filter(EXECUTABLE, users))
    wanted = Asked(asked.ImageIds, tuple(filters), asked.MaxResults, asked.NextToken)
    found = await call.look(describe, call, SHARED if asked.ExecutableUsers else IMAGE, wanted)
    shown = found.items
    if not asked.IncludeDeprecated and not asked.ImageIds:
        shown = [item for item in shown if not _old(item, call)]
    return {"Images": [_without(item) for item in shown], "NextToken": found.token}


def _old(item: Mapping[str, Any], call: Call) -> bool:
    """Deprecated, and another's. Times in their form compare as they follow."""
    at = item["DeprecationTime"]
    return at is not None and item["OwnerId"] != call.project and at <= timestamp(call.cloud.clock.seconds())


def _without(item: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in item.items() if name != "Executable"}


ACTIONS = {"DescribeImages": Action(describe_images, DescribeImages,
                                    {"IncludeDisabled": Ignored("none is disabled")})}  # fmt: skip
