"""The step that copies volumes into snapshots, all of one batch at one moment where one guest runs with them.

Who copies is asked again until it is done. The last snapshot's content is kept while a copy may lie over it. An image
that waits for the batch is complete with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cloudcore.conductor import wanted
from cloudcore.conductor.discarding import discard_object, keep, place
from cloudcore.conductor.means import Means
from cloudcore.conductor.reaching import set_aside
from cloudcore.conductor.subjects import REASON_LENGTH, discard_unused, in_time
from cloudcore.domain.images import Image
from cloudcore.domain.operations import GIVES_UP
from cloudcore.domain.volumes import AttachmentState, Content, Snapshot, SnapshotState
from cloudcore.errors import CloudError, Code
from cloudcore.rpc.compute import MadeSnapshot, SnapshotPart, SnapshotWork, WantedCopies
from cloudcore.rpc.faults import BusFault
from cloudcore.rpc.volume import FAILED, READY, WORKING, WantedSnapshots
from cloudcore.store.books import Books
from cloudcore.store.operations import Step
from cloudcore.store.snapshots import LONGEST_CHAIN

SOON = 1.0  # seconds until who copies is asked again; it has waited some itself
ELSEWHERE = "elsewhere"


@dataclass(frozen=True, slots=True)
class Ask:
    """What one host is to copy: the agent of the guest, or the volume service where `instance` is empty."""

    host: str
    instance: str
    parts: tuple[SnapshotPart, ...]
    reboot: bool = False


async def copy(means: Means, step: Step) -> Step | None:
    asks = await means.transact("copying", planned, step)
    answers: list[tuple[Ask, SnapshotWork]] = []
    silent: BusFault | None = None
    for ask in asks:
        try:
            answers.append((ask, await copied_by(means, step, ask)))
        except BusFault as problem:  # others may be further
            silent = problem
    if silent is not None and not answers:
        raise silent
    try:
        return await means.transact("copied", copied, step, answers)
    except CloudError as problem:
        if problem.code is not Code.IMAGE_NAME_DUPLICATE:
            raise
        return await means.transact("copied", copied, step, answers, problem.text)


async def copied_by(means: Means, step: Step, ask: Ask) -> SnapshotWork:
    if ask.instance:
        copies = WantedCopies(ask.instance, step.subject, ask.parts, ask.reboot)
        return await means.tell("copy", ask.host, lambda: means.compute(ask.host).copy(copies))
    for part in ask.parts:
        if not await set_aside(means, part.volume):
            return SnapshotWork(WORKING)
    whole = WantedSnapshots(step.subject, ask.parts)
    return await means.tell("copy", f"volume.{ask.host}", lambda: means.volumes(ask.host).copy(whole))


def planned(books: Books, step: Step) -> list[Ask]:
    """What every host is to copy, from rows alone, so that each asking says the same. Raises GaveUp."""
    in_time(books, step)
    if any(comes(books, row) for row in pending(books, step)):
        return []
    groups: dict[tuple[str, str, bool], list[SnapshotPart]] = {}
    for row in pending(books, step):
        who = copier(books, row)
        if who is None:
            fail(books, step, row, f"the volume {row.volume} has gone")
            continue
        host, instance = who
        parent = row.content or parent_of(books, row.volume)
        if row.instance and not instance:  # its agent may have copied it, and never be asked again
            discard_object(books, place(row.id, live=True), step.project, step.request_id)
        if (host, instance, parent) != (row.host, row.instance or "", row.content):
            books.snapshots.change(row.id, host=host, instance=instance or None, content=parent)
        part = SnapshotPart(row.id, row.volume, place(row.id, bool(instance)), wanted.source_of(books, parent))
        groups.setdefault((host, instance, row.reboot), []).append(part)
    return [Ask(host, instance, tuple(parts), reboot) for (host, instance, reboot), parts in groups.items()]


def comes(books: Books, row: Snapshot) -> bool:
    """Its guest is being given the volume, and does not have it yet: all of the batch wait, for they are of one moment.
    That ends: the guest has it, or it is given up."""
    attachment = books.attachments.of_volume(row.volume)
    return (attachment is not None and attachment.instance == row.instance
            and attachment.state is AttachmentState.ATTACHING)  # fmt: skip


def pending(books: Books, step: Step) -> list[Snapshot]:
    return [row for row in books.snapshots.batch(step.subject) if row.state is SnapshotState.PENDING]


def copier(books: Books, row: Snapshot) -> tuple[str, str] | None:
    """(host, instance whose agent copies it there, or empty); None when there is nothing to copy any more. Whoever has
    begun goes on: only `elsewhere`, or a volume that the guest has no more, makes it the other."""
    volume = books.volumes.find(row.volume)
    if volume is None or volume.host is None:
        return None
    attachment = books.attachments.of_volume(row.volume)
    instance = books.instances.find(row.instance) if row.instance else None
    if instance is None or instance.host is None or attachment is None or attachment.instance != instance.id:
        return volume.host, ""
    return instance.host, instance.id


def parent_of(books: Books, volume: str) -> str | None:
    last = books.snapshots.last_of(volume)
    if last is None or len(books.contents.chain(last.content)) >= LONGEST_CHAIN:
        return None
    return last.content


# -- what came of it --------------------------------------------------------------------------------------------------


def copied(books: Books, step: Step, answers: Sequence[tuple[Ask, SnapshotWork]], taken: str = "") -> Step | None:
    """`taken`: the name of the image that waits has been taken meanwhile."""
    rows = {row.id: row for row in pending(books, step)}
    for ask, work in answers:
        made = {one.snapshot: one for one in work.made}
        for part in ask.parts:
            row = rows.get(part.snapshot)
            if row is not None:
                follow(books, step, row, work, made.get(row.id))
            elif part.snapshot in made:
                discard_object(books, made[part.snapshot].location, step.project, step.request_id)
    if pending(books, step):
        books.operations.again(step, SOON)
        return None
    conclude(books, step, taken)
    return books.operations.finish(step)


def follow(books: Books, step: Step, row: Snapshot, work: SnapshotWork, made: MadeSnapshot | None) -> None:
    if work.state == ELSEWHERE:
        attachment = books.attachments.of_volume(row.volume)  # what was asked of this one may still come to it, late
        discard_object(books, place(row.id, bool(row.instance)), step.project, step.request_id)
        books.snapshots.change(row.id, instance=None if row.instance or attachment is None else attachment.instance)
    elif work.state == FAILED or (work.state == READY and made is None):
        fail(books, step, row, work.reason or "the host has not copied it")
    elif work.state == READY and made is not None:
        complete(books, step, row, made)
    elif work.progress > row.progress:
        books.snapshots.change(row.id, progress=min(work.progress, 99))


def complete(books: Books, step: Step, row: Snapshot, made: MadeSnapshot) -> None:
    if made.below and made.below != row.content:
        discard_object(books, made.location, step.project, step.request_id)
        fail(books, step, row, f"its copy lies over {made.below}, which is not what was said")
        return
    below = made.below or None
    keep(books, Content(made.sha256, made.location, made.size, made.format, made.virtual_size, below), step)
    books.snapshots.end(row, state=SnapshotState.COMPLETED, content=made.sha256, progress=100)
    if not row.project:  # deleted meanwhile
        books.snapshots.remove(row.id)
        discard_unused(books, made.sha256, step.project, step.request_id)
    if row.content != made.sha256:
        discard_unused(books, row.content, step.project, step.request_id)


def fail(books: Books, step: Step, row: Snapshot, reason: str) -> None:
    """It is shown in error until it is deleted."""
    if row.project:
        books.snapshots.end(row, state=SnapshotState.ERROR, content=None, reason=reason[:REASON_LENGTH])
    else:
        books.snapshots.remove(row.id)
    discard_unused(books, row.content, step.project, step.request_id)


def gave_up(books: Books, step: Step) -> None:
    text = f"it was not copied within {GIVES_UP[step.operation_kind]:.0f} s"
    for row in pending(books, step):
        fail(books, step, row, text)
    conclude(books, step)
    books.operations.fail(step, text)


def conclude(books: Books, step: Step, taken: str = "") -> None:
    """All of the batch have ended; images that are made of it are, too."""
    of_it = [row.id for row in books.snapshots.batch(step.subject)]
    for image in books.images.of_batch(of_it) if of_it else ():
        named = [books.snapshots.find(one.snapshot) for one in image.mappings if one.snapshot]
        ready = [one for one in named if one is not None and one.state is SnapshotState.COMPLETED]
        if taken or len(ready) < len(named):
            reasons = [one.reason for one in named if one is not None and one.reason]
            books.images.end(image.id, state="failed", reason=(taken or "; ".join(reasons))[:REASON_LENGTH])
        else:
            make_available(books, image, books.contents.chain(ready[0].content)[0])


def make_available(books: Books, image: Image, root: Content) -> None:
    """Raises IMAGE_NAME_DUPLICATE."""
    books.images.end(
        image.id, state="available", content=root.id, source=root.source, sha256=root.id, size=root.size,
        format=root.format, virtual_size=root.virtual_size)  # fmt: skip
