"""How snapshots look in answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cloudcore.domain.volumes import Snapshot


def snapshot(one: Snapshot, tags: Sequence[dict[str, str]]) -> dict[str, Any]:
    return {
        "SnapshotId": one.id,
        "VolumeId": one.volume,
        "State": one.state.value,
        "StateMessage": one.reason,
        "StartTime": one.created,
        "Progress": f"{one.progress}%",
        "OwnerId": one.project,
        "VolumeSize": one.size_gib,
        "Description": one.description,
        "Encrypted": False,
        "StorageTier": "standard",
        "Tags": list(tags) or None,
    }


def summary(one: Snapshot, tags: Sequence[dict[str, str]]) -> dict[str, Any]:
    """As CreateSnapshots tells of those that it makes."""
    shown = snapshot(one, tags)
    return {name: value for name, value in shown.items() if name not in ("StateMessage", "StorageTier")}
