"""CreateVolume, DeleteVolume, DescribeVolumes, DescribeVolumeStatus. A volume is a row with the answer; its bytes are
made, and removed, by the operations `create-volume` and `delete-volume`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloudcore.api import client_tokens, storage_ids, storage_quotas, tagging, volume_views
from cloudcore.api.calls import Call, Outcome
from cloudcore.api.describing import TAG_FILTERS, Asked, Filter, Kind, Row, describe
from cloudcore.api.registry import Action, Fate, Ignored, accepted
from cloudcore.domain import volume_rules
from cloudcore.domain.ids import new_id
from cloudcore.domain.volumes import Snapshot, Volume, VolumeEvent, VolumeState
from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books
from cloudcore.store.pages import Wanted
from cloudcore.store.requests import Token
from cloudcore.store.volumes import ShownVolume


@dataclass(frozen=True, slots=True)
class CreateVolume:
    AvailabilityZone: str | None = None
    Size: int | None = None
    SnapshotId: str | None = None
    VolumeType: str | None = None
    Iops: int | None = None
    Throughput: int | None = None
    TagSpecifications: tuple[tagging.TagSpecification, ...] = ()
    ClientToken: str | None = None


@dataclass(frozen=True, slots=True)
class DeleteVolume:
    VolumeId: str


@dataclass(frozen=True, slots=True)
class DescribeVolumes:
    VolumeIds: tuple[str, ...] = ()
    Filters: tuple[Filter, ...] = ()
    MaxResults: int | None = None
    NextToken: str | None = None


# -- made -------------------------------------------------------------------------------------------------------------


async def create_volume(call: Call, asked: CreateVolume) -> Mapping[str, Any] | None:
    zone = asked.AvailabilityZone
    if zone is None:
        raise CloudError(Code.MISSING_PARAMETER, "The request must contain the parameter AvailabilityZone")
    if zone not in call.cloud.zones:
        raise CloudError(Code.ZONE_UNKNOWN, f"Invalid availability zone: [{zone}]")
    if asked.Size is None and asked.SnapshotId is None:
        raise CloudError(Code.MISSING_PARAMETER, "The request must contain the parameter Size or SnapshotId")
    if asked.SnapshotId is not None:
        storage_ids.check_snapshot(asked.SnapshotId)
    tags = tagging.of_specifications(asked.TagSpecifications, "volume")
    return await call.change(_create, asked, zone, tags, client_tokens.token(call, asked.ClientToken))


def _create(books: Books, call: Call, asked: CreateVolume, zone: str, tags: Mapping[str, str],
            token: Token | None) -> Outcome:  # fmt: skip
    earlier = books.requests.earlier(token) if token else None
    if earlier is not None:
        return Outcome(_again(books, call, earlier), tuple(earlier), repeated=True)
    source = storage_ids.source(books, call, asked.SnapshotId) if asked.SnapshotId else None
    size = _size(asked.Size, source)
    kind = volume_rules.check(asked.VolumeType, size, asked.Iops, asked.Throughput)
    storage_quotas.take_volumes(books, call, 1, size)
    made = Volume(
        id=new_id("volume", call.cloud.random), project=call.project, zone=zone, size_gib=size, type=kind.name,
        state=VolumeState.CREATING, created=books.now(), snapshot=source.id if source else None,
        content=source.content if source else None, iops=asked.Iops, throughput=asked.Throughput)  # fmt: skip
    books.volumes.insert([made])
    books.tags.begin(call.project, {made.id: "volume"}, tags)
    operation = books.operations.begin("create-volume", made.id, made.generation, call.project, call.request_id)
    if token:
        books.requests.keep(token, [made.id])
    return Outcome(_answer(call, made, tags), (made.id,), (operation,))


def _answer(call: Call, made: Volume, tags: Mapping[str, str]) -> dict[str, Any]:
    """As DescribeVolumes shows it, but for what it is attached to."""
    shown = volume_views.volume(call, ShownVolume(made, ()), tagging.shown(tags))
    del shown["Attachments"]
    return shown


def _again(books: Books, call: Call, ids: Sequence[str]) -> Mapping[str, Any]:
    """The volume that this token made before, in its current state. Raises VOLUME_UNKNOWN when it is gone."""
    return _answer(call, books.volumes.owned(call.project, ids[0]), books.tags.of(call.project, ids).get(ids[0], {}))


def _size(size: int | None, source: Snapshot | None) -> int:
    """GiB. A volume of a snapshot may be larger, and never smaller."""
    if size is None:
        return source.size_gib if source else 0
    if source is not None and size < source.size_gib:
        text = f"The size of a volume ({size} GiB) may not be smaller than that of its snapshot '{source.id}', " \
               f"{source.size_gib} GiB"  # fmt: skip
        raise CloudError(Code.BAD_VALUE, text)
    return size


# -- removed ----------------------------------------------------------------------------------------------------------


async def delete_volume(call: Call, asked: DeleteVolume) -> Mapping[str, Any] | None:
    storage_ids.check_volume(asked.VolumeId)
    return await call.change(_delete, asked.VolumeId)


def _delete(books: Books, call: Call, id: str) -> Outcome:
    """It is shown as deleting until its bytes are gone, and then not at all; repeated meanwhile, nothing changes."""
    found = storage_ids.volume(books, call, id)
    held = books.attachments.of_volume(id)
    if held is not None:
        raise CloudError(Code.VOLUME_IN_USE, f"Volume {id} is currently attached to {held.instance}")
    if found.state is VolumeState.DELETING:
        return Outcome(None, (id,))
    return Outcome(None, (id,), (removed(books, call, found),))


def removed(books: Books, call: Call, volume: Volume) -> str:
    """The operation that now removes it."""
    gone = books.volumes.move(volume, VolumeEvent.DELETE)
    return books.operations.begin("delete-volume", gone.id, gone.generation, call.project, call.request_id)


# -- described --------------------------------------------------------------------------------------------------------


Seen = tuple[ShownVolume, float]  # and when


def _rows(books: Books, call: Call, wanted: Wanted) -> Sequence[Row[Seen]]:
    found = books.volumes.page(call.project, wanted)
    return [Row(one.volume.created, one.volume.id, (one, books.now())) for one in found]


VOLUME: Kind[Seen] = Kind(
    fetch=_rows,
    view=lambda call, seen, tags: volume_views.volume(call, seen[0], tags, seen[1]),
    noun="volume",
    tags="volume",
    unknown=Code.VOLUME_UNKNOWN,
    malformed=Code.VOLUME_MALFORMED,
    columns={"attachment.instance-id": "instance", "snapshot-id": "snapshot", "status": "state", "volume-id": "id",
             "volume-type": "type"},
    filters={
        **TAG_FILTERS,
        "attachment.attach-time": "Attachments.AttachTime",
        "attachment.delete-on-termination": "Attachments.DeleteOnTermination",
        "attachment.device": "Attachments.Device",
        "attachment.instance-id": "Attachments.InstanceId",
        "attachment.status": "Attachments.State",
        "availability-zone": "AvailabilityZone",
        "create-time": "CreateTime",
        "encrypted": "Encrypted",
        "fast-restored": "FastRestored",
        "multi-attach-enabled": "MultiAttachEnabled",
        "size": "Size",
        "snapshot-id": "SnapshotId",
        "status": "State",
        "volume-id": "VolumeId",
        "volume-type": "VolumeType",
    },
)  # fmt: skip

STATUS: Kind[Seen] = Kind(
    fetch=_rows,
    view=lambda call, seen, tags: volume_views.status(call, seen[0].volume, tags),
    noun=VOLUME.noun,
    tags=VOLUME.tags,
    unknown=VOLUME.unknown,
    malformed=VOLUME.malformed,
    filters={
        **TAG_FILTERS,
        "action.code": "Actions.Code",
        "action.description": "Actions.Description",
        "action.event-id": "Actions.EventId",
        "availability-zone": "AvailabilityZone",
        "event.description": "Events.Description",
        "event.event-id": "Events.EventId",
        "event.event-type": "Events.EventType",
        "event.not-after": "Events.NotAfter",
        "event.not-before": "Events.NotBefore",
        "volume-status.details-name": "VolumeStatus.Details.Name",
        "volume-status.details-status": "VolumeStatus.Details.Status",
        "volume-status.status": "VolumeStatus.Status",
    },
)


async def describe_volumes(call: Call, asked: DescribeVolumes) -> Mapping[str, Any] | None:
    found = await call.look(describe, call, VOLUME, _wanted(asked))
    return {"Volumes": found.items, "NextToken": found.token}


async def describe_volume_status(call: Call, asked: DescribeVolumes) -> Mapping[str, Any] | None:
    found = await call.look(describe, call, STATUS, _wanted(asked))
    for one in found.items:
        del one["Tags"]
    return {"VolumeStatuses": found.items, "NextToken": found.token}


def _wanted(asked: DescribeVolumes) -> Asked:
    return Asked(asked.VolumeIds, asked.Filters, asked.MaxResults, asked.NextToken)


CREATE: Mapping[str, Fate] = {
    "Encrypted": accepted(False),
    "MultiAttachEnabled": accepted(False),
}

ACTIONS = {
    "CreateVolume": Action(create_volume, CreateVolume, CREATE),
    "DeleteVolume": Action(delete_volume, DeleteVolume),
    "DescribeVolumes": Action(
        describe_volumes, DescribeVolumes, {"IncludeManagedResources": Ignored("nobody manages any for an account")}
    ),
    "DescribeVolumeStatus": Action(
        describe_volume_status, DescribeVolumes, {"IncludeManagedResources": Ignored("as of DescribeVolumes")}
    ),
}
