"""What becomes of a volume when an instance has it no more: rows alone, in the transaction of whoever noticed."""

from __future__ import annotations

from cloudcore.conductor.subjects import discard_unused
from cloudcore.domain.instances import Instance
from cloudcore.domain.volumes import Attachment, AttachmentState, Volume, VolumeEvent, VolumeState
from cloudcore.store.books import Books


def detach(books: Books, attachment: Attachment, volume: Volume, instance: Instance, request_id: str,
           reason: str | None = None) -> None:  # fmt: skip
    """It is available again. One that its launch had still to make is made now as any other is."""
    books.attachments.remove(attachment)
    if volume.state is VolumeState.IN_USE:
        books.volumes.move(volume, VolumeEvent.DETACHED, reason=reason)
    elif volume.state is VolumeState.CREATING:
        wanted = books.volumes.change(volume, generation=volume.generation + 1)
        books.operations.begin("create-volume", wanted.id, wanted.generation, wanted.project, request_id)
    if volume.host not in (None, instance.host):
        books.operations.begin("withhold", volume.id, volume.generation, volume.project, request_id)


def detach_all(books: Books, instance: Instance, request_id: str) -> None:
    """The instance ends: those that are to end with it do, but for what was asked to leave before."""
    for held in books.attachments.held(instance.id):
        attachment, volume = held.attachment, held.volume
        if volume.host is None:  # the launch never had a place, and made nothing
            books.attachments.remove(attachment)
            forget(books, volume, request_id)
        elif attachment.delete_on_termination and attachment.state is not AttachmentState.DETACHING:
            books.attachments.remove(attachment)
            going = books.volumes.move(volume, VolumeEvent.DELETE)
            books.operations.begin("delete-volume", going.id, going.generation, going.project, request_id)
        else:
            detach(books, attachment, volume, instance, request_id)


def forget(books: Books, volume: Volume, request_id: str) -> None:
    """Its bytes are gone: room, quota, tags and row go too, hence exactly once."""
    modification = books.volumes.modification(volume.id)
    grows = modification is not None and modification.state == "modifying"  # its quota is of the target already
    size = modification.target_size if modification is not None and grows else volume.size_gib
    books.hosts.release(volume.id)
    books.quotas.release(volume.project, volumes=1, volume_gigabytes=size)
    books.tags.drop(volume.id)
    books.volumes.remove(volume.id)
    discard_unused(books, volume.content, volume.project, request_id)
