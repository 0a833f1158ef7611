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
        room = books.quotas.room(call.project, call.cloud.limits, quotas.SNAPSHOTS)[quotas.SNAPSHOTS]
        raise CloudError(Code.SNAPSHOT_QUOTA, f"You have room for {max(0, room)} more snapshots and asked for {count}")
