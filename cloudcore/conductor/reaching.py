"""How volumes of other hosts are reached. Their host says so each time that it is asked: keys are in no database."""

from __future__ import annotations

from dataclasses import replace

from cloudcore.conductor.means import Means
from cloudcore.conductor.wanted import Draft
from cloudcore.domain.instances import State
from cloudcore.domain.volumes import Attachment, AttachmentState, Volume
from cloudcore.errors import CloudError, Code
from cloudcore.rpc.compute import RemoteDisk, WantedDisk, WantedGuest
from cloudcore.rpc.faults import BusFault
from cloudcore.rpc.volume import FAILED, READY, Exported, WantedExport
from cloudcore.store.books import Books


class CannotServe(CloudError):
    """The volume's host said that it cannot serve it, and why."""

    def __init__(self, volume: str, reason: str) -> None:
        super().__init__(Code.UNAVAILABLE, f"{volume} cannot be served: {reason}")
        self.volume = volume


async def whole(means: Means, draft: Draft) -> WantedGuest:
    """Raises BusFault, CloudError while a volume of another host cannot be reached."""
    if draft.elsewhere or draft.served:
        return replace(draft.guest, disks=await reached(means, draft))
    return draft.guest


async def at_rest(means: Means, draft: Draft) -> WantedGuest:
    """As `whole`; but a stop waits for no other host. Without a list the guest's own host keeps to the one that it has,
    and hears another with the next start."""
    try:
        return await whole(means, draft)
    except (BusFault, CloudError):
        return replace(draft.guest, disks=(), disk_revision=0)


async def reached(means: Means, draft: Draft) -> tuple[WantedDisk, ...]:
    """Raises BusFault, CloudError."""
    for volume in draft.served:
        if not await withheld(means, volume.id):
            raise CloudError(Code.UNAVAILABLE, f"host {volume.host} still serves {volume.id} to another")
    found = {volume.id: await reach(means, volume, draft.instance.id) for volume in draft.elsewhere}
    return tuple(replace(one, remote=found.get(one.volume)) for one in draft.guest.disks)


async def reach(means: Means, volume: Volume, instance: str) -> RemoteDisk:
    """Where and how. While its host is away, as it was last: the guest waits for it, and hears all else meanwhile.
    Raises BusFault, CannotServe, CloudError."""
    revision = await means.transact("serving", to_be_served, volume.id, instance)
    try:
        served = await export(means, volume, WantedExport(volume.id, revision, instance))
    except BusFault:
        whom, which, where = means.remotes.get(volume.id, ("", 0, None))
        if where is None or (whom, which) != (instance, revision):
            raise
        return where
    if served.state == FAILED:
        raise CannotServe(volume.id, served.reason)
    if served.remote is None:
        raise CloudError(Code.UNAVAILABLE, f"host {volume.host} is not serving {volume.id} yet: {served.state}")
    means.remotes[volume.id] = (instance, revision, served.remote)
    return served.remote


def to_be_served(books: Books, volume: str, instance: str) -> int:
    """The revision of what its host is to serve. Raises UNAVAILABLE where it has just been detached: read anew."""
    attachment = books.attachments.of_volume(volume)
    if attachment is None or attachment.instance != instance or attachment.state is AttachmentState.DETACHING:
        raise CloudError(Code.UNAVAILABLE, f"{instance} has {volume} no more")
    return books.attachments.export(volume, instance)


async def set_aside(means: Means, id: str) -> bool:
    """What is served is locked. Whether its own host may work on a volume that no running guest has: one that waits for
    a guest which is stopped elsewhere is served to nobody meanwhile, and to that one again with its start. Raises
    BusFault."""
    return not await means.look(was_served, id) or await withheld(means, id)


def was_served(books: Books, volume: str) -> bool:
    return books.attachments.was_served(volume)


async def withheld(means: Means, id: str) -> bool:
    """Whether it is served to nobody any more, as far as that is wanted. Raises BusFault."""
    volume, revision = await means.transact("withholding", to_be_withheld, id)
    return volume is None or (await export(means, volume, WantedExport(id, revision))).state == READY


def to_be_withheld(books: Books, id: str) -> tuple[Volume | None, int]:
    """None where there is nothing to do: it has gone, or is served to somebody again. In one transaction with the
    revision, so that who attaches it, or starts its guest, afterwards has the last word."""
    volume, attachment = books.volumes.find(id), books.attachments.of_volume(id)
    if volume is None or volume.host is None or needed_elsewhere(books, volume, attachment):
        return None, 0
    return volume, books.attachments.export(id, "")


def needed_elsewhere(books: Books, volume: Volume, attachment: Attachment | None) -> bool:
    instance = books.instances.find(attachment.instance) if attachment else None
    elsewhere = instance is not None and instance.host not in (None, volume.host)
    return instance is not None and elsewhere and instance.state is not State.STOPPED


async def export(means: Means, volume: Volume, wish: WantedExport) -> Exported:
    host = volume.host or ""
    return await means.tell("export", f"volume.{host}", lambda: means.volumes(host).export(wish))
