"""Snapshots: made of one volume or of those of an instance at one moment, copied, deleted, described. The operation
`snapshot`, whose subject is the batch, copies their bytes; a copy of a snapshot shares them and is there at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cloudcore.api import owned, snapshot_views, storage_ids, storage_quotas, tagging
from cloudcore.api.calls import Call, Outcome
from cloudcore.api.describing import TAG_FILTERS, Asked, Filter, Kind, Row, describe
from cloudcore.api.descriptions import check_description
from cloudcore.api.registry import Action, Fate, Ignored, accepted
from cloudcore.domain.filters import literal
from cloudcore.domain.ids import new_id
from cloudcore.domain.instances import Instance, State
from cloudcore.domain.volumes import FROM_NO_VOLUME, Attachment, Snapshot, SnapshotState, Volume, VolumeState
from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books
from cloudcore.store.pages import Wanted

WHOLE = (VolumeState.AVAILABLE, VolumeState.IN_USE)


@dataclass(frozen=True, slots=True)
class CreateSnapshot:
    VolumeId: str
    Description: str | None = None
    TagSpecifications: tuple[tagging.TagSpecification, ...] = ()


@dataclass(frozen=True, slots=True)
class InstanceSpecification:
    InstanceId: str | None = None
    ExcludeBootVolume: bool = False
    ExcludeDataVolumeIds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CreateSnapshots:
    InstanceSpecification: InstanceSpecification
    Description: str | None = None
    TagSpecifications: tuple[tagging.TagSpecification, ...] = ()
    CopyTagsFromSource: str | None = None


@dataclass(frozen=True, slots=True)
class CopySnapshot:
    SourceSnapshotId: str
    SourceRegion: str
    DestinationRegion: str | None = None
    Description: str | None = None
    TagSpecifications: tuple[tagging.TagSpecification, ...] = ()


@dataclass(frozen=True, slots=True)
class DeleteSnapshot:
    SnapshotId: str


@dataclass(frozen=True, slots=True)
class DescribeSnapshots:
    SnapshotIds: tuple[str, ...] = ()
    OwnerIds: tuple[str, ...] = ()
    RestorableByUserIds: tuple[str, ...] = ()
    Filters: tuple[Filter, ...] = ()
    MaxResults: int | None = None
    NextToken: str | None = None


# -- made -------------------------------------------------------------------------------------------------------------


async def create_snapshot(call: Call, asked: CreateSnapshot) -> Mapping[str, Any] | None:
    storage_ids.check_volume(asked.VolumeId)
    check_description(asked.Description)
    return await call.change(_create, asked, tagging.of_specifications(asked.TagSpecifications, "snapshot"))


def _create(books: Books, call: Call, asked: CreateSnapshot, tags: Mapping[str, str]) -> Outcome:
    volume = storage_ids.volume(books, call, asked.VolumeId)
    held = books.attachments.of_volume(volume.id)
    instance = books.instances.find(held.instance) if held else None
    made = _pending(books, call, volume, instance, asked.Description)
    storage_quotas.take_snapshots(books, call, 1)
    books.snapshots.insert([made])
    books.tags.begin(call.project, {made.id: "snapshot"}, tags)
    operation = books.operations.begin("snapshot", made.batch, 1, call.project, call.request_id)
    return Outcome(snapshot_views.snapshot(made, tagging.shown(tags)), (made.id,), (operation,))


def _pending(books: Books, call: Call, volume: Volume, instance: Instance | None, description: str | None) -> Snapshot:
    """A batch of its own. Raises VOLUME_STATE."""
    if volume.state not in WHOLE:
        raise CloudError(Code.VOLUME_STATE, f"Volume '{volume.id}' is in the '{volume.state.value}' state")
    id = new_id("snapshot", call.cloud.random)
    running = instance.id if instance is not None and instance.state is State.RUNNING else None
    return Snapshot(id, call.project, volume.id, volume.size_gib, SnapshotState.PENDING, books.now(), id,
                    description or "", instance=running)  # fmt: skip


async def create_snapshots(call: Call, asked: CreateSnapshots) -> Mapping[str, Any] | None:
    wanted = asked.InstanceSpecification
    if wanted.InstanceId is None:
        raise CloudError(Code.MISSING_PARAMETER, "The request must contain InstanceSpecification.InstanceId")
    owned.checked([wanted.InstanceId])
    for id in wanted.ExcludeDataVolumeIds:
        storage_ids.check_volume(id)
    check_description(asked.Description)
    if asked.CopyTagsFromSource not in (None, "volume"):
        raise CloudError(Code.BAD_VALUE, f"Invalid value '{asked.CopyTagsFromSource}' for CopyTagsFromSource: volume")
    tags = tagging.of_specifications(asked.TagSpecifications, "snapshot")
    return await call.change(_create_all, asked, wanted.InstanceId, tags)


def _create_all(books: Books, call: Call, asked: CreateSnapshots, id: str, tags: Mapping[str, str]) -> Outcome:
    instance = owned.alive(books, call, id)
    chosen = _chosen(books.attachments.of_instance(id), asked.InstanceSpecification)
    if not chosen:
        raise CloudError(Code.BAD_VALUE, f"The instance '{id}' has no volume that is not excluded")
    volumes = books.volumes.of_project(call.project, [one.volume for one in chosen])
    made = [_pending(books, call, volumes[one.volume], instance, asked.Description) for one in chosen]
    made = [replace(one, batch=made[0].id) for one in made]
    storage_quotas.take_snapshots(books, call, len(made))
    books.snapshots.insert(made)
    copied = books.tags.of(call.project, list(volumes)) if asked.CopyTagsFromSource else {}
    answers = []
    for one in made:
        own = {**copied.get(one.volume, {}), **tags}
        books.tags.put(call.project, {one.id: "snapshot"}, own)
        answers.append(snapshot_views.summary(one, tagging.shown(own)))
    operation = books.operations.begin("snapshot", made[0].batch, 1, call.project, call.request_id)
    return Outcome({"Snapshots": answers}, tuple(one.id for one in made), (operation,))


def _chosen(held: Sequence[Attachment], wanted: InstanceSpecification) -> list[Attachment]:
    """Raises BAD_VALUE where a volume to be left out is no data volume of the instance."""
    data = {one.volume for one in held if not one.root}
    for id in wanted.ExcludeDataVolumeIds:
        if id not in data:
            text = f"The volume '{id}' is not a data volume of the instance '{wanted.InstanceId}'"
            raise CloudError(Code.BAD_VALUE, text)
    left_out = set(wanted.ExcludeDataVolumeIds)
    return [one for one in held if one.volume not in left_out and not (one.root and wanted.ExcludeBootVolume)]


async def copy_snapshot(call: Call, asked: CopySnapshot) -> Mapping[str, Any] | None:
    """Within the one region that there is. What PresignedUrl names is never asked: it is for other regions."""
    for name, region in (("SourceRegion", asked.SourceRegion), ("DestinationRegion", asked.DestinationRegion)):
        if region not in (None, call.cloud.region, *call.cloud.aliases):
            text = f"Invalid value '{region}' for {name}: the region here is {call.cloud.region}"
            raise CloudError(Code.BAD_VALUE, text)
    storage_ids.check_snapshot(asked.SourceSnapshotId)
    check_description(asked.Description)
    return await call.change(_copy, asked, tagging.of_specifications(asked.TagSpecifications, "snapshot"))


def _copy(books: Books, call: Call, asked: CopySnapshot, tags: Mapping[str, str]) -> Outcome:
    source = storage_ids.source(books, call, asked.SourceSnapshotId)
    storage_quotas.take_snapshots(books, call, 1)
    id = new_id("snapshot", call.cloud.random)
    books.snapshots.insert([Snapshot(
        id, call.project, FROM_NO_VOLUME, source.size_gib, SnapshotState.COMPLETED, books.now(), id,
        asked.Description or "", 100, source.content)])  # fmt: skip
    books.tags.begin(call.project, {id: "snapshot"}, tags)
    return Outcome({"SnapshotId": id, "Tags": tagging.shown(tags) or None}, (id,))


# -- removed ----------------------------------------------------------------------------------------------------------


async def delete_snapshot(call: Call, asked: DeleteSnapshot) -> Mapping[str, Any] | None:
    storage_ids.check_snapshot(asked.SnapshotId)
    return await call.change(_delete, asked.SnapshotId)


def _delete(books: Books, call: Call, id: str) -> Outcome:
    """One that is being copied is forgotten at once; its copy ends by itself, and nothing names what it made."""
    found = storage_ids.snapshot(books, call, id)
    users = books.snapshots.images_of(call.project, id)
    if users:
        raise CloudError(Code.SNAPSHOT_IN_USE, f"The snapshot {id} is currently in use by {', '.join(users[:5])}")
    return Outcome(None, (id,), removed(books, call, found))


def removed(books: Books, call: Call, snapshot: Snapshot) -> tuple[str, ...]:
    """The operations that are due, now that it is no more."""
    books.tags.drop(snapshot.id)
    books.quotas.release(call.project, snapshots=1)
    if snapshot.state is SnapshotState.PENDING:
        books.snapshots.abandon(snapshot)
        return ()
    books.snapshots.remove(snapshot.id)
    if snapshot.content is None or not books.contents.unused(snapshot.content):
        return ()
    return (books.operations.begin("discard", snapshot.content, 1, call.project, call.request_id),)


# -- described --------------------------------------------------------------------------------------------------------

Seen = tuple[Snapshot, Sequence[str]]  # and the accounts that it is explicitly shared with


def _rows(books: Books, call: Call, wanted: Wanted) -> Sequence[Row[Seen]]:
    found = books.snapshots.page(call.project, wanted)
    shares = books.snapshots.permissions([one.id for one in found])
    return [Row(one.created, one.id, (one, shares.get(one.id, ()))) for one in found]


def _view(call: Call, seen: Seen, tags: list[dict[str, str]]) -> dict[str, Any]:
    return snapshot_views.snapshot(seen[0], tags)


def _restorable_view(call: Call, seen: Seen, tags: list[dict[str, str]]) -> dict[str, Any]:
    one, shares = seen
    if one.project != call.project:  # with whom else it is shared is its owner's business
        shares = [each for each in shares if each == call.project]
    users = [one.project, *shares, *(["all"] if one.public else [])]
    return snapshot_views.snapshot(one, tags) | {"Restorable": users}


SNAPSHOT: Kind[Seen] = Kind(
    fetch=_rows,
    view=_view,
    noun="snapshot",
    tags="snapshot",
    unknown=Code.SNAPSHOT_UNKNOWN,
    malformed=Code.SNAPSHOT_MALFORMED,
    columns={"owner-id": "project", "snapshot-id": "id", "status": "state", "volume-id": "volume"},
    filters={
        **TAG_FILTERS,
        "description": "Description",
        "encrypted": "Encrypted",
        "owner-alias": "OwnerAlias",
        "owner-id": "OwnerId",
        "progress": "Progress",
        "snapshot-id": "SnapshotId",
        "start-time": "StartTime",
        "status": "State",
        "storage-tier": "StorageTier",
        "transfer-type": "TransferType",
        "volume-id": "VolumeId",
        "volume-size": "VolumeSize",
    },
)
RESTORABLE = "restorable-by"  # is no filter of EC2's; RestorableByUserIds says the same
SHARED = replace(SNAPSHOT, view=_restorable_view, filters={**SNAPSHOT.filters, RESTORABLE: "Restorable"})


async def describe_snapshots(call: Call, asked: DescribeSnapshots) -> Mapping[str, Any] | None:
    """Owners `self`, `amazon` (who has none here) or account ids. Restorable by `self` and account ids, who own it or
    were given it by name, or by `all`."""
    filters = list(asked.Filters)
    if asked.OwnerIds:
        owners = tuple(call.project if owner == "self" else literal(owner) for owner in asked.OwnerIds)
        filters.append(Filter("owner-id", owners))
    if asked.RestorableByUserIds:
        users = tuple(call.project if user == "self" else literal(user) for user in asked.RestorableByUserIds)
        filters.append(Filter(RESTORABLE, users))
    wanted = Asked(asked.SnapshotIds, tuple(filters), asked.MaxResults, asked.NextToken)
    found = await call.look(describe, call, SHARED if asked.RestorableByUserIds else SNAPSHOT, wanted)
    for one in found.items:
        one.pop("Restorable", None)
    return {"Snapshots": found.items, "NextToken": found.token}


REGIONAL: Mapping[str, Fate] = {"Location": accepted("regional")}
COPY: Mapping[str, Fate] = {
    "Encrypted": accepted(False),
    "PresignedUrl": Ignored("is for other regions, and must never be fetched"),
}

ACTIONS = {
    "CreateSnapshot": Action(create_snapshot, CreateSnapshot, REGIONAL),
    "CreateSnapshots": Action(create_snapshots, CreateSnapshots, REGIONAL),
    "CopySnapshot": Action(copy_snapshot, CopySnapshot, COPY),
    "DeleteSnapshot": Action(delete_snapshot, DeleteSnapshot),
    "DescribeSnapshots": Action(describe_snapshots, DescribeSnapshots),
}
