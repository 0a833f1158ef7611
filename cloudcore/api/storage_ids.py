"""Volumes and snapshots by id, as every action that names some wants them: well-formed, known, the account's own."""

from __future__ import annotations

from cloudcore.api.calls import Call
from cloudcore.domain.ids import well_formed
from cloudcore.domain.volumes import Snapshot, SnapshotState, Volume
from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books
from cloudcore.store.snapshots import unknown


def check_volume(id: str) -> str:
    """Raises VOLUME_MALFORMED."""
    if not well_formed("volume", id):
        raise CloudError(Code.VOLUME_MALFORMED, f"Invalid id: \"{id}\" (expecting \"vol-...\")")
    return id


def check_snapshot(id: str) -> str:
    """Raises SNAPSHOT_MALFORMED."""
    if not well_formed("snapshot", id):
        raise CloudError(Code.SNAPSHOT_MALFORMED, f"Invalid id: \"{id}\" (expecting \"snap-...\")")
    return id


def volume(books: Books, call: Call, id: str) -> Volume:
    """Raises VOLUME_MALFORMED, VOLUME_UNKNOWN."""
    return books.volumes.owned(call.project, check_volume(id))


def snapshot(books: Books, call: Call, id: str) -> Snapshot:
    """One's own. Raises SNAPSHOT_MALFORMED, SNAPSHOT_UNKNOWN."""
    return books.snapshots.owned(call.project, check_snapshot(id))


def source(books: Books, call: Call, id: str) -> Snapshot:
    """One that volumes may be made of now, the account's own or shared with it. Raises SNAPSHOT_MALFORMED,
    SNAPSHOT_UNKNOWN, SNAPSHOT_STATE."""
    found = books.snapshots.usable(call.project, [check_snapshot(id)]).get(id)
    if found is None:
        raise unknown(id)
    if found.state is not SnapshotState.COMPLETED:
        raise CloudError(Code.SNAPSHOT_STATE, f"Snapshot is in invalid state - {found.state.value}: '{id}'")
    return found
