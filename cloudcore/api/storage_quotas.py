"""What volumes and snapshots count against, in the transaction that makes them."""

from __future__ import annotations

from cloudcore.api.calls import Call
from cloudcore.domain import quotas
from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books


def take_volumes(books: Books, call: Call, count: int, gigabytes: int) -> None:
    """Raises VOLUME_QUOTA."""
    if books.quotas.take(call.project, call.cloud.limits, volumes=count, volume_gigabytes=gigabytes):
        return
    room = books.quotas.room(call.project, call.cloud.limits, quotas.VOLUMES, quotas.GIGABYTES)
    text = (f"You have room for {max(0, room[quotas.VOLUMES])} more volumes of {max(0, room[quotas.GIGABYTES])} GiB "
            f"together, and asked for {count} of {gigabytes} GiB")  # fmt: skip
    raise CloudError(Code.VOLUME_QUOTA, text)


def take_snapshots(books: Books, call: Call, count: int) -> None:
    """Raises SNAPSHOT_QUOTA."""
    if not books.quotas.take(call.project, call.cloud.limits, snapshots=count):
        raise _too_many(_room(books, call), count)


def check_snapshots(books: Books, call: Call, count: int) -> None:
    """That there is room now, before much work is done for them. Raises SNAPSHOT_QUOTA."""
    room = _room(books, call)
    if room < count:
        raise _too_many(room, count)


def _room(books: Books, call: Call) -> int:
    return books.quotas.room(call.project, call.cloud.limits, quotas.SNAPSHOTS)[quotas.SNAPSHOTS]


def _too_many(room: int, count: int) -> CloudError:
    text = f"You have room for {max(0, room)} more snapshots and asked for {count}"
    return CloudError(Code.SNAPSHOT_QUOTA, text)
