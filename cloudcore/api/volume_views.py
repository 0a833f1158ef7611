"""How volumes look in answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cloudcore.domain.volume_rules import iops_of, shown_iops, shown_throughput, throughput_of
from cloudcore.domain.volumes import Attachment, Modification, Volume, VolumeState
from cloudcore.store.volumes import ShownVolume

DETACHED = "detached"
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


def volume(shown: ShownVolume, tags: Sequence[dict[str, str]]) -> dict[str, Any]:
    """The id of the snapshot is there though empty for a blank one: Ansible dies without."""
    one = shown.volume
    return {
        "VolumeId": one.id,
        "Size": one.size_gib,
        "SnapshotId": one.snapshot or "",
        "AvailabilityZone": one.zone,
        "State": one.state.value,
        "CreateTime": one.created,
        "Attachments": [attachment(held) for held in shown.attachments],
        "Tags": list(tags) or None,
        "VolumeType": one.type,
        "Iops": iops_of(one),
        "Throughput": throughput_of(one),
        "Encrypted": False,
        "MultiAttachEnabled": False,
    }


def status(one: Volume, tags: Sequence[dict[str, str]]) -> dict[str, Any]:
    """An element of volumeStatusSet."""
    word, enabled = HEALTH.get(one.state, ("ok", "passed"))
    details = [{"Name": "io-enabled", "Status": enabled}, {"Name": "io-performance", "Status": "not-applicable"}]
    return {
        "VolumeId": one.id,
        "AvailabilityZone": one.zone,
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
