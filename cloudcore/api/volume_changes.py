"""ModifyVolume and its progress; the attributes of volumes.

A volume grows in place, under its guest too: the operation `grow-volume` brings it about, and writes what was aimed at
once it is so. Another type without another size is a change of the row alone, since all types are made of the same
disks. There is no time of rest between modifications, but one must end before the next begins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloudcore.api import storage_ids, storage_quotas, volume_views
from cloudcore.api.calls import Call, Outcome
from cloudcore.api.describing import Asked, Filter, Kind, Row, describe, listed
from cloudcore.api.registry import Action, Ignored, accepted
from cloudcore.domain import volume_rules
from cloudcore.domain.volumes import Modification, Volume, VolumeState
from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books
from cloudcore.store.pages import Wanted

MODIFYING, COMPLETED = "modifying", "completed"
UNDER_WAY = (MODIFYING, "optimizing")
STEADY = (VolumeState.AVAILABLE, VolumeState.IN_USE)
PAGE = (1, 500)  # MaxResults of DescribeVolumesModifications


@dataclass(frozen=True, slots=True)
class ModifyVolume:
    VolumeId: str
    Size: int | None = None
    VolumeType: str | None = None
    Iops: int | None = None
    Throughput: int | None = None


@dataclass(frozen=True, slots=True)
class DescribeVolumesModifications:
    VolumeIds: tuple[str, ...] = ()
    Filters: tuple[Filter, ...] = ()
    MaxResults: int | None = None
    NextToken: str | None = None


@dataclass(frozen=True, slots=True)
class DescribeVolumeAttribute:
    VolumeId: str
    Attribute: str


@dataclass(frozen=True, slots=True)
class Flag:
    Value: bool | None = None


@dataclass(frozen=True, slots=True)
class ModifyVolumeAttribute:
    VolumeId: str
    AutoEnableIO: Flag | None = None


# -- modified ---------------------------------------------------------------------------------------------------------


async def modify_volume(call: Call, asked: ModifyVolume) -> Mapping[str, Any] | None:
    storage_ids.check_volume(asked.VolumeId)
    if all(value is None for value in (asked.Size, asked.VolumeType, asked.Iops, asked.Throughput)):
        raise CloudError(Code.MISSING_PARAMETER, "The request must contain Size, VolumeType, Iops or Throughput")
    return await call.change(_modify, asked)


def _modify(books: Books, call: Call, asked: ModifyVolume) -> Outcome:
    volume = storage_ids.volume(books, call, asked.VolumeId)
    if volume.state not in STEADY:
        raise CloudError(Code.VOLUME_STATE, f"Volume '{volume.id}' is in the '{volume.state.value}' state")
    if any(one.state in UNDER_WAY for one in books.volumes.modifications(call.project, [volume.id])):
        text = f"Volume '{volume.id}' is being modified; one modification must end before the next begins"
        raise CloudError(Code.MODIFICATION_STATE, text)
    wanted = _target(books, volume, asked)
    grows = wanted.target_size > volume.size_gib
    if grows:
        storage_quotas.take_volumes(books, call, 0, wanted.target_size - volume.size_gib)
    books.volumes.modified(wanted)
    answer = {"VolumeModification": volume_views.modification(wanted)}
    if not grows:
        books.volumes.change(volume, type=wanted.target_type, iops=wanted.target_iops,
                             throughput=wanted.target_throughput)  # fmt: skip
        return Outcome(answer, (volume.id,))
    changed = books.volumes.change(volume, generation=volume.generation + 1)
    operation = books.operations.begin("grow-volume", volume.id, changed.generation, call.project, call.request_id)
    return Outcome(answer, (volume.id,), (operation,))


def _target(books: Books, volume: Volume, asked: ModifyVolume) -> Modification:
    """Raises BAD_VALUE and what volume_rules.check does."""
    size = volume.size_gib if asked.Size is None else asked.Size
    if size < volume.size_gib:
        text = f"New size cannot be smaller than existing size: volume '{volume.id}' has {volume.size_gib} GiB"
        raise CloudError(Code.BAD_VALUE, text)
    name = asked.VolumeType or volume.type
    same = name == volume.type
    iops, throughput = asked.Iops, asked.Throughput
    if iops is None:
        iops = volume.iops if same else volume_rules.usual_iops(volume_rules.kind_of(name), size)
    if throughput is None and same:
        throughput = volume.throughput
    volume_rules.check(name, size, iops, throughput)
    now, grows = books.now(), size > volume.size_gib
    return Modification(
        volume.id, MODIFYING if grows else COMPLETED, now, None if grows else now, volume.size_gib, volume.type,
        volume.iops, volume.throughput, size, name, iops, throughput)  # fmt: skip


def _rows(books: Books, call: Call, wanted: Wanted) -> Sequence[Row[Modification]]:
    found = books.volumes.modifications(call.project, wanted.ids)
    return listed([Row(0.0, one.volume, one) for one in found], wanted)


MODIFICATION: Kind[Modification] = Kind(
    fetch=_rows,
    view=lambda call, one, tags: volume_views.modification(one),
    noun="modification of the volume",
    unknown=Code.MODIFICATION_UNKNOWN,
    page=PAGE,
    stored=False,
    filters={
        "modification-state": "ModificationState",
        "original-iops": "OriginalIops",
        "original-size": "OriginalSize",
        "original-volume-type": "OriginalVolumeType",
        "originalMultiAttachEnabled": "OriginalMultiAttachEnabled",
        "start-time": "StartTime",
        "target-iops": "TargetIops",
        "target-size": "TargetSize",
        "target-volume-type": "TargetVolumeType",
        "targetMultiAttachEnabled": "TargetMultiAttachEnabled",
        "volume-id": "VolumeId",
    },
)


async def describe_modifications(call: Call, asked: DescribeVolumesModifications) -> Mapping[str, Any] | None:
    return await call.look(_modifications, call, asked)


def _modifications(books: Books, call: Call, asked: DescribeVolumesModifications) -> Mapping[str, Any]:
    """A volume that is not there is unknown; one that was never modified has no modification."""
    for id in asked.VolumeIds:
        storage_ids.check_volume(id)
    own = books.volumes.of_project(call.project, asked.VolumeIds)
    for id in asked.VolumeIds:
        if id not in own:
            raise CloudError(Code.VOLUME_UNKNOWN, f"The volume '{id}' does not exist.")
    wanted = Asked(asked.VolumeIds, asked.Filters, asked.MaxResults, asked.NextToken)
    found = describe(books, call, MODIFICATION, wanted)
    return {"VolumesModifications": found.items, "NextToken": found.token}


# -- attributes -------------------------------------------------------------------------------------------------------


async def describe_volume_attribute(call: Call, asked: DescribeVolumeAttribute) -> Mapping[str, Any] | None:
    if asked.Attribute not in ("autoEnableIO", "productCodes"):
        raise CloudError(Code.BAD_VALUE, f"Invalid value '{asked.Attribute}' for Attribute")
    return await call.look(_attribute, call, asked)


def _attribute(books: Books, call: Call, asked: DescribeVolumeAttribute) -> Mapping[str, Any]:
    volume = storage_ids.volume(books, call, asked.VolumeId)
    if asked.Attribute == "productCodes":
        return {"VolumeId": volume.id, "ProductCodes": []}
    return {"VolumeId": volume.id, "AutoEnableIO": {"Value": volume.auto_enable_io}}


async def modify_volume_attribute(call: Call, asked: ModifyVolumeAttribute) -> Mapping[str, Any] | None:
    if asked.AutoEnableIO is None or asked.AutoEnableIO.Value is None:
        raise CloudError(Code.MISSING_PARAMETER, "The request must contain the parameter AutoEnableIO")
    return await call.change(_set_attribute, asked, asked.AutoEnableIO.Value)


def _set_attribute(books: Books, call: Call, asked: ModifyVolumeAttribute, value: bool) -> Outcome:
    """Kept and shown. Nothing hangs on it: a volume whose bytes are in doubt is never held back here."""
    volume = books.volumes.change(storage_ids.volume(books, call, asked.VolumeId), auto_enable_io=value)
    return Outcome(None, (volume.id,))


ACTIONS = {
    "ModifyVolume": Action(modify_volume, ModifyVolume, {"MultiAttachEnabled": accepted(False)}),
    "DescribeVolumesModifications": Action(
        describe_modifications, DescribeVolumesModifications,
        {"IncludeManagedResources": Ignored("nobody manages any for an account")},
    ),
    "DescribeVolumeAttribute": Action(describe_volume_attribute, DescribeVolumeAttribute),
    "ModifyVolumeAttribute": Action(modify_volume_attribute, ModifyVolumeAttribute),
}  # fmt: skip
