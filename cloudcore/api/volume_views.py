"""How volumes look in answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cloudcore.api.calls import Call
from cloudcore.domain.volume_rules import iops_of, shown_iops, shown_throughput, throughput_of
from cloudcore.domain.volumes import Attachment, AttachmentState, Modification, Volume, VolumeState
from cloudcore.store.volumes import ShownVolume

BUSY = 60.0  # seconds after which a guest that does not let go is said to be busy with the volume
PROGRESS = {"completed": 100}  # percent; a volume is larger at once or not yet
HEALTH = {
    VolumeState.CREATING: ("insufficient-data", "insufficient-data"),
    VolumeState.ERROR: ("impaired", "failed"),
}  # of the volume, and of its input and output; any other is well


def attachment(one: Attachment, state: str | None = None) -> dict[str, Any]:
    """An element of attachmentSet, and the answer of what changes one."""
    return {
        "AttachTime": one.since,
        "Device": one.device,
        "InstanceId": one.instance,
        "State": state or one.state.value,
        "VolumeId": one.volume,
        "DeleteOnTermination": one.delete_on_termination,
    }


def held(one: Attachment, now: float) -> dict[str, Any]:
    late = one.state is AttachmentState.DETACHING and one.released is not None and now - one.released > BUSY
    return attachment(one, "busy" if late else None)


def volume(call: Call, shown: ShownVolume, tags: Sequence[dict[str, str]], now: float = 0.0) -> dict[str, Any]:
    """The id of the snapshot is there though empty for a blank one: Ansible dies without. `now` is the moment of the
    database; a volume of a launch that has no place yet has no zone, and shows that where its instance is shown."""
    one = shown.volume
    return {
        "VolumeId": one.id,
        "Size": one.size_gib,
        "SnapshotId": one.snapshot or "",
        "AvailabilityZone": zone(call, one),
        "State": one.state.value,
        "CreateTime": one.created,
        "Attachments": [held(each, now) for each in shown.attachments],
        "Tags": list(tags) or None,
        "VolumeType": one.type,
        "Iops": iops_of(one),
        "Throughput": throughput_of(one),
        "Encrypted": False,
        "MultiAttachEnabled": False,
    }


def zone(call: Call, one: Volume) -> str:
    return one.zone or call.cloud.zones[0]


def status(call: Call, one: Volume, tags: Sequence[dict[str, str]]) -> dict[str, Any]:
    """An element of volumeStatusSet."""
    word, enabled = HEALTH.get(one.state, ("ok", "passed"))
    details = [{"Name": "io-enabled", "Status": enabled}, {"Name": "io-performance", "Status": "not-applicable"}]
    return {
        "VolumeId": one.id,
        "AvailabilityZone": zone(call, one),
        "VolumeStatus": {"Status": word, "Details": details},
        "Actions": [],
        "Events": [],
        "Tags": list(tags),
    }


def modification(one: Modification) -> dict[str, Any]:
    return {
        "VolumeId": one.volume,
        "ModificationState": one.state,
        "StatusMessage": one.reason,
        "TargetSize": one.target_size,
        "TargetIops": shown_iops(one.target_type, one.target_size, one.target_iops),
        "TargetVolumeType": one.target_type,
        "TargetThroughput": shown_throughput(one.target_type, one.target_throughput),
        "TargetMultiAttachEnabled": False,
        "OriginalSize": one.original_size,
        "OriginalIops": shown_iops(one.original_type, one.original_size, one.original_iops),
        "OriginalVolumeType": one.original_type,
        "OriginalThroughput": shown_throughput(one.original_type, one.original_throughput),
        "OriginalMultiAttachEnabled": False,
        "Progress": PROGRESS.get(one.state, 0),
        "StartTime": one.started,
        "EndTime": one.ended,
    }
