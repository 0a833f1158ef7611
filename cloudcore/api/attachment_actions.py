"""AttachVolume and DetachVolume: durable with the answer, brought to the guest by the operation `redisk`, whose subject
is the instance and whose generation is the revision of its list of disks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cloudcore.api import owned, storage_ids, volume_views
from cloudcore.api.calls import Call, Outcome
from cloudcore.api.registry import Action
from cloudcore.domain.device_names import MOST_DEVICES, well_named
from cloudcore.domain.instances import Instance, State
from cloudcore.domain.volumes import Attachment, AttachmentState, Volume, VolumeEvent, VolumeState
from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books

READY = (State.RUNNING, State.STOPPED)  # to be given a volume
ENDED = (State.SHUTTING_DOWN, State.TERMINATED)


@dataclass(frozen=True, slots=True)
class AttachVolume:
    Device: str
    InstanceId: str
    VolumeId: str


@dataclass(frozen=True, slots=True)
class DetachVolume:
    VolumeId: str
    InstanceId: str | None = None
    Device: str | None = None
    Force: bool = False


# -- attached ---------------------------------------------------------------------------------------------------------


async def attach_volume(call: Call, asked: AttachVolume) -> Mapping[str, Any] | None:
    storage_ids.check_volume(asked.VolumeId)
    owned.checked([asked.InstanceId])
    if not well_named(asked.Device):
        text = f"Value ({asked.Device[:64]}) for parameter device is invalid. It is not a valid EBS device name."
        raise CloudError(Code.BAD_VALUE, text)
    return await call.change(_attach, asked)


def _attach(books: Books, call: Call, asked: AttachVolume) -> Outcome:
    volume = storage_ids.volume(books, call, asked.VolumeId)
    instance = owned.one(books, call, asked.InstanceId)
    held = books.attachments.of_volume(volume.id)
    if held is not None:
        raise CloudError(Code.VOLUME_IN_USE, f"{volume.id} is already attached to {held.instance}")
    _check_ready(books, call, volume, instance)
    others = books.attachments.of_instance(instance.id)
    if len(others) >= MOST_DEVICES:
        raise CloudError(Code.ATTACHMENT_LIMIT, f"The instance '{instance.id}' has {MOST_DEVICES} volumes already")
    root = not any(one.root for one in others) and asked.Device == _root_device(books, instance)
    if root and instance.state is not State.STOPPED:
        raise CloudError(Code.VOLUME_STATE, f"Instance '{instance.id}' is not 'stopped', which a root volume needs")
    made = Attachment(volume.id, instance.id, asked.Device, AttachmentState.ATTACHING, books.now(), root=root)
    books.volumes.move(volume, VolumeEvent.ATTACH)
    books.attachments.insert([made])
    return Outcome(volume_views.attachment(made), (volume.id, instance.id), (redisked(books, call, instance.id),))


def _check_ready(books: Books, call: Call, volume: Volume, instance: Instance) -> None:
    if volume.state is not VolumeState.AVAILABLE:
        raise CloudError(Code.VOLUME_STATE, f"Volume '{volume.id}' is in the '{volume.state.value}' state")
    if instance.state not in READY:
        raise CloudError(Code.VOLUME_STATE, f"Instance '{instance.id}' is not 'running'")
    host = books.hosts.find(instance.host) if instance.host else None
    zone = host.zone if host else instance.zone
    if zone not in (None, volume.zone):
        text = f"The volume '{volume.id}' is not in the same availability zone as instance '{instance.id}'"
        raise CloudError(Code.VOLUME_ZONE, text)


def _root_device(books: Books, instance: Instance) -> str | None:
    image = books.images.find(instance.image)
    return image.root_device if image else None


def redisked(books: Books, call: Call, instance: str) -> str:
    """The operation that tells the host which volumes the instance has now."""
    revision = books.attachments.bump(instance)
    return books.operations.begin("redisk", instance, revision, call.project, call.request_id)


# -- detached ---------------------------------------------------------------------------------------------------------


async def detach_volume(call: Call, asked: DetachVolume) -> Mapping[str, Any] | None:
    storage_ids.check_volume(asked.VolumeId)
    if asked.InstanceId is not None:
        owned.checked([asked.InstanceId])
    return await call.change(_detach, asked)


def _detach(books: Books, call: Call, asked: DetachVolume) -> Outcome:
    """What is detaching already goes on; Force is heard then, too."""
    volume = storage_ids.volume(books, call, asked.VolumeId)
    found = books.attachments.of_volume(volume.id)
    if found is None:
        raise CloudError(Code.VOLUME_STATE, f"Volume '{volume.id}' is in the '{volume.state.value}' state")
    _check_place(found, asked)
    instance = owned.one(books, call, found.instance)
    _check_may_leave(found, instance)
    again = found.state is AttachmentState.DETACHING
    answer = volume_views.attachment(found, AttachmentState.DETACHING.value)
    if again and not asked.Force:
        return Outcome(answer, (volume.id, instance.id))
    books.attachments.move(found, AttachmentState.DETACHING, forced=asked.Force)
    return Outcome(answer, (volume.id, instance.id), (redisked(books, call, instance.id),))


def _check_place(found: Attachment, asked: DetachVolume) -> None:
    if asked.InstanceId not in (None, found.instance):
        text = f"Volume '{found.volume}' is not attached to instance '{asked.InstanceId}'"
        raise CloudError(Code.ATTACHMENT_UNKNOWN, text)
    if asked.Device not in (None, found.device):
        text = f"Volume '{found.volume}' is not attached as device '{(asked.Device or '')[:64]}'"
        raise CloudError(Code.ATTACHMENT_UNKNOWN, text)


def _check_may_leave(found: Attachment, instance: Instance) -> None:
    if found.root and instance.state is not State.STOPPED:
        text = f"Unable to detach root volume '{found.device}' from instance '{instance.id}'"
        raise CloudError(Code.ROOT_VOLUME, text)
    if instance.state in (State.PENDING, *ENDED):
        text = f"Instance '{instance.id}' is {instance.state.value}: its volumes are being attached or let go"
        raise CloudError(Code.VOLUME_STATE, text)


ACTIONS = {
    "AttachVolume": Action(attach_volume, AttachVolume),
    "DetachVolume": Action(detach_volume, DetachVolume),
}
