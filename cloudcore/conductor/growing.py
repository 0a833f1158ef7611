"""The step that makes a volume larger, or of another type: told to whoever has it open.

Room comes first. With it the row says what is wanted, so that whoever is told of the volume from then on makes it that
large. The types differ in their bounds alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from cloudcore.conductor import wanted
from cloudcore.conductor.furnishing import SOON, present, tell
from cloudcore.conductor.means import Means
from cloudcore.conductor.reaching import reached, set_aside
from cloudcore.conductor.subjects import REASON_LENGTH, again, current_volume
from cloudcore.conductor.wanted import Draft
from cloudcore.domain.instances import State
from cloudcore.domain.placement import Demand
from cloudcore.domain.volumes import AttachmentState, Modification, Volume
from cloudcore.rpc.compute import WantedDisks
from cloudcore.rpc.volume import FAILED, READY, WORKING, Everything, WantedVolume, Work
from cloudcore.store.books import Books
from cloudcore.store.operations import Step

GIB = 2**30
BETWEEN = frozenset({State.PENDING, State.STARTING, State.STOPPING, State.SHUTTING_DOWN})
REMOTE = "a volume of another host does not grow while a running guest has it: stop it, or detach the volume"
MODIFYING, OPTIMIZING, COMPLETED, BROKEN = "modifying", "optimizing", "completed", "failed"


@dataclass(frozen=True, slots=True)
class Growth:
    """`guest` is the running one that has it; `waits`: nobody can be asked now."""

    volume: Volume
    ask: WantedVolume
    guest: Draft | None = None
    waits: bool = False


async def grow(means: Means, step: Step) -> Step | None:
    growth = await means.transact("sized", sized, step)
    if growth is None:
        return None
    work = await grown_by(means, growth)
    if work.state == READY:
        return await means.transact("grown", grown, step)
    if work.state == FAILED:
        await means.transact("grown", not_grown, step, work.reason)
    else:
        await means.transact("grown", again, step, SOON)
    return None


def sized(books: Books, step: Step) -> Growth | None:
    """None when that was all: there is no room, or only the type changes."""
    volume, modification = current_volume(books, step), books.volumes.modification(step.subject)
    if modification is None or modification.state not in (MODIFYING, OPTIMIZING):
        books.operations.finish(step)
        return None
    if modification.state == MODIFYING:
        if not books.hosts.resize(volume.id, Demand(0, 0, modification.target_size)):
            reason = f"host {volume.host}, where the volume lies, has no room for {modification.target_size} GiB"
            undone(books, step, modification, reason)
            return None
        volume = books.volumes.change(
            volume, size_gib=modification.target_size, type=modification.target_type, iops=modification.target_iops,
            throughput=modification.target_throughput)  # fmt: skip
        modification = replace(modification, state=OPTIMIZING)
        books.volumes.modified(modification)
        attachment = books.attachments.of_volume(volume.id)
        if attachment is not None:
            books.attachments.bump(attachment.instance)
    if modification.target_size == modification.original_size:
        grown(books, step)
        return None
    return growth_of(books, volume)


def growth_of(books: Books, volume: Volume) -> Growth:
    attachment, ask = books.attachments.of_volume(volume.id), present(volume, books)
    instance = books.instances.find(attachment.instance) if attachment else None
    if instance is None or instance.host is None or instance.state is State.STOPPED:
        return Growth(volume, ask)
    if instance.state in BETWEEN or (attachment and attachment.state is not AttachmentState.ATTACHED):
        return Growth(volume, ask, waits=True)
    return Growth(volume, ask, wanted.draft_of(books, instance))


async def grown_by(means: Means, growth: Growth) -> Work:
    """A guest of another host sees what the volume was when it opened it."""
    volume, guest = growth.volume, growth.guest
    if growth.waits or (guest is None and not await set_aside(means, volume.id)):
        return Work(WORKING)
    if guest is None:
        return await tell(means, "grow", volume.host or "", growth.ask)
    if guest.instance.host != volume.host:
        return Work(READY) if await is_as_large(means, volume) else Work(FAILED, REMOTE)
    ask = WantedDisks(guest.instance.id, guest.guest.disk_revision, await reached(means, guest))
    near = guest.instance.host or ""
    told = await means.tell("grow", near, lambda: means.compute(near).disks(ask))
    for problem in told.problems:
        if problem.volume == volume.id:
            return Work(FAILED, problem.reason)
    there = told.state == READY and volume.id in told.attached
    return Work(READY if there and await is_as_large(means, volume) else WORKING)


async def is_as_large(means: Means, volume: Volume) -> bool:
    """A guest that has just ended has what it is told of with its next start: only the bytes say what they are."""
    host = volume.host or ""
    stored = await means.tell("grow", f"volume.{host}", lambda: means.volumes(host).present(Everything()))
    return all(one.size >= volume.size_gib * GIB for one in stored.volumes if one.volume == volume.id)


def grown(books: Books, step: Step) -> Step | None:
    current_volume(books, step)
    modification = books.volumes.modification(step.subject)
    if modification is not None:
        books.volumes.modified(replace(modification, state=COMPLETED, ended=books.now()))
    return books.operations.finish(step)


def not_grown(books: Books, step: Step, reason: str) -> None:
    modification = books.volumes.modification(step.subject)
    if modification is not None:
        undone(books, step, modification, reason)


def undone(books: Books, step: Step, modification: Modification, reason: str) -> None:
    """As it was: room, quota, row."""
    volume, size = current_volume(books, step), modification.original_size
    books.volumes.change(
        volume, size_gib=size, type=modification.original_type, iops=modification.original_iops,
        throughput=modification.original_throughput)  # fmt: skip
    books.hosts.resize(volume.id, Demand(0, 0, size))
    books.quotas.release(volume.project, volume_gigabytes=modification.target_size - size)
    books.volumes.modified(replace(modification, state=BROKEN, ended=books.now(), reason=reason[:REASON_LENGTH]))
    books.operations.fail(step, reason[:REASON_LENGTH])
