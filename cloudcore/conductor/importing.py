"""The step that makes a snapshot, and an image where one is wanted, of an object of the user's."""

from __future__ import annotations

from cloudcore.conductor.discarding import discard_object, keep
from cloudcore.conductor.means import Means
from cloudcore.conductor.subjects import REASON_LENGTH, Outdated, in_time
from cloudcore.domain.images import Image, Mapping
from cloudcore.domain.imports import ImportState, ImportTask
from cloudcore.domain.operations import GIVES_UP
from cloudcore.domain.volumes import FROM_NO_VOLUME, Content, Snapshot, SnapshotState, gibibytes, place_of
from cloudcore.errors import CloudError, Code
from cloudcore.rpc.images import ImageLocation, InspectedImage
from cloudcore.store.books import Books
from cloudcore.store.operations import Step

FOR_GOOD = frozenset({Code.IMAGE_INVALID, Code.IMAGE_MANIFEST, Code.NOT_AUTHORISED, Code.RESOURCE_UNKNOWN})


async def import_(means: Means, step: Step) -> Step | None:
    """The copy has the snapshot's own place, so that trying again makes no second one."""
    task = await means.look(accepted, step)
    if task.state is not ImportState.ACTIVE:
        await means.transact("adopted", refused, step, "it was cancelled")
        return None
    ask = ImageLocation(task.location, task.project, task.wanted.sha256, place_of(task.wanted.snapshot),
                        boots=task.kind == "image")  # fmt: skip
    try:
        found = await means.tell("adopt", "images", lambda: means.images().adopt(ask))
    except CloudError as problem:
        if problem.code not in FOR_GOOD:
            raise
        await means.transact("adopted", refused, step, problem.text)
        return None
    try:
        return await means.transact("adopted", adopted, step, found)
    except CloudError as problem:
        if problem.code is not Code.IMAGE_NAME_DUPLICATE:
            raise
        await means.transact("adopted", refused, step, problem.text)
        return None


def accepted(books: Books, step: Step) -> ImportTask:
    """Raises Outdated, GaveUp."""
    task = books.imports.find(step.subject)
    if task is None:
        raise Outdated(step.subject)
    in_time(books, step)
    return task


def adopted(books: Books, step: Step, found: InspectedImage) -> Step | None:
    """Snapshot, image and task in one transaction. Raises IMAGE_NAME_DUPLICATE."""
    task = books.imports.find(step.subject)
    made = {"progress": 100, "message": "", "state": ImportState.COMPLETED}
    if task is None or not books.imports.change(
        task.id, snapshot=task.wanted.snapshot, image=task.wanted.image, **made
    ):
        discard_object(books, found.location, step.project, step.request_id)  # cancelled meanwhile
        return books.operations.finish(step)
    keep(books, Content(found.sha256, found.location, found.size, found.format, found.virtual_size), step)
    size = gibibytes(found.virtual_size)
    snapshot = Snapshot(
        task.wanted.snapshot, task.project, FROM_NO_VOLUME, size, SnapshotState.COMPLETED, books.now(),
        task.wanted.snapshot, task.description, 100, found.sha256)  # fmt: skip
    books.snapshots.insert([snapshot])
    if task.wanted.image is not None:
        books.images.insert(image_of(books, task, task.wanted.image, size))
    return books.operations.finish(step)


def image_of(books: Books, task: ImportTask, id: str, size: int) -> Image:
    wish = task.wanted
    content = books.contents.chain(books.snapshots.owned(task.project, wish.snapshot).content)[0]
    return Image(
        id=id, project=task.project, name=wish.name or task.id, description=wish.description, location=task.location,
        source=content.source, sha256=content.id, size=content.size, format=content.format,
        virtual_size=content.virtual_size, architecture=wish.architecture, root_device=wish.root_device, public=False,
        state="available", created=books.now(), content=content.id,
        mappings=(Mapping(wish.root_device, wish.snapshot, size, wish.volume_type),),
    )  # fmt: skip


def refused(books: Books, step: Step, reason: str) -> None:
    """As EC2 shows it: the task is deleted, and its message says why."""
    task = books.imports.find(step.subject)
    if task is not None:
        discard_later(books, task, step)
        if books.imports.change(task.id, state=ImportState.DELETED, message=reason[:REASON_LENGTH]):
            books.quotas.release(task.project, snapshots=1)
    books.operations.fail(step, reason[:REASON_LENGTH])


def gave_up(books: Books, step: Step) -> None:
    refused(books, step, f"the object could not be read within {GIVES_UP[step.operation_kind]:.0f} s")


def discard_later(books: Books, task: ImportTask, step: Step) -> None:
    """What may have been copied of it."""
    discard_object(books, place_of(task.wanted.snapshot), step.project, step.request_id)
