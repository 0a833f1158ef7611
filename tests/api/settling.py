"""What the conductor makes of volumes and snapshots, at once and by hand: whatever is under way has come to its end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from cloudcore.domain.instances import State
from cloudcore.domain.volumes import AttachmentState, SnapshotState, Volume, VolumeEvent, VolumeState
from cloudcore.store.books import Books
from cloudcore.store.schema import attachments, snapshots, volumes


def settle(books: Books) -> None:
    _attachments(books)
    for volume in _all_volumes(books):
        _volume(books, volume)
    for id in _column(books, snapshots.c.id, snapshots.c.state == "pending"):
        books.snapshots.change(id, state=SnapshotState.COMPLETED, progress=100)


def _attachments(books: Books) -> None:
    for id in _column(books, attachments.c.volume):
        found, volume = books.attachments.of_volume(id), books.volumes.find(id)
        assert found and volume
        instance = books.instances.find(found.instance)
        assert instance
        if instance.state is State.TERMINATED:
            books.attachments.remove(found)
            end = VolumeEvent.DELETE if found.delete_on_termination else VolumeEvent.DETACHED
            if volume.state is VolumeState.IN_USE:
                books.volumes.move(volume, end)
        elif found.state is AttachmentState.DETACHING:
            books.attachments.remove(found)
            books.volumes.move(volume, VolumeEvent.DETACHED)
        elif found.state is AttachmentState.ATTACHING and instance.state in (State.RUNNING, State.STOPPED):
            books.attachments.move(found, AttachmentState.ATTACHED)
            if volume.state is VolumeState.CREATING:
                books.volumes.move(volume, VolumeEvent.ATTACH, host=instance.host, zone=volume.zone or "us-east-2a")


def _volume(books: Books, volume: Volume) -> None:
    if volume.state is VolumeState.DELETING:
        books.volumes.remove(volume.id)
        books.tags.drop(volume.id)
        books.quotas.release(volume.project, volumes=1, volume_gigabytes=volume.size_gib)
    elif volume.state is VolumeState.CREATING and books.attachments.of_volume(volume.id) is None:
        volume = books.volumes.move(volume, VolumeEvent.MADE, host="h1")
    for one in books.volumes.modifications(volume.project, [volume.id]):
        if one.state == "modifying":
            books.volumes.change(volume, size_gib=one.target_size, type=one.target_type, iops=one.target_iops,
                                 throughput=one.target_throughput)  # fmt: skip
            books.volumes.modified(replace(one, state="completed", ended=books.now()))


def failed(books: Books, volume: str) -> None:
    """Its bytes could not be made."""
    found = books.volumes.find(volume)
    assert found
    books.volumes.move(found, VolumeEvent.FAILED, reason="no room")


def _all_volumes(books: Books) -> list[Volume]:
    return [one for one in map(books.volumes.find, _column(books, volumes.c.id)) if one]


def _column(books: Books, column: Any, *where: Any) -> list[str]:
    return list(books._connection.execute(sa.select(column).where(*where)).scalars())
