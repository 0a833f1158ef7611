"""The step that removes a content which nothing names any more: first its row, in one transaction that asks again, then
the object. The subject is the content, or after that the place of its object: who comes to name it in between is
refused by the database, and no name ever leads to an object that is no more.
"""

from __future__ import annotations

from cloudcore.conductor.means import Means
from cloudcore.conductor.subjects import again, discard_unused, finish
from cloudcore.domain.volumes import Content, SnapshotState, place_of
from cloudcore.rpc.images import Unwanted
from cloudcore.store.books import Books
from cloudcore.store.operations import Step

GRACE = 60.0  # seconds: longer than any message may be on its way
LIVE = "-live"


def place(snapshot: str, live: bool) -> str:
    """Where the copy is written to: by the agent of a running guest, or by the volume service. Two who were asked, one
    after the other, never write to the same place."""
    return place_of(snapshot) + (LIVE if live else "")


async def discard(means: Means, step: Step) -> Step | None:
    """An object waits a little: a message that came late may still make it, and a host may be fetching it."""
    if "/" not in step.subject:
        return await means.transact("disowned", disowned, step)
    kept, copied = await means.look(in_use, step.subject)
    if copied or step.attempt == 1:
        await means.transact("discarded", again, step, GRACE)
        return None
    if not kept:
        await means.tell("discard", "images", lambda: means.images().discard(Unwanted(step.subject)))
    return await means.transact("discarded", finish, step)


def disowned(books: Books, step: Step) -> Step | None:
    for content in books.contents.chain(step.subject)[:1] if books.contents.known(step.subject) else ():
        if books.contents.unused(content.id):
            books.contents.remove(content.id)
            discard_object(books, content.source, step.project, step.request_id)
            discard_unused(books, content.below, step.project, step.request_id)
    return books.operations.finish(step)


def in_use(books: Books, source: str) -> tuple[bool, bool]:
    """(whether a content lies there, whether a copy may be on its way there)."""
    snapshot = books.snapshots.find(source.rpartition("/")[2].removesuffix(LIVE))
    return books.contents.stored_at(source), snapshot is not None and snapshot.state is SnapshotState.PENDING


def discard_object(books: Books, source: str, project: str, request_id: str) -> None:
    books.operations.begin("discard", source, 1, project, request_id)


def keep(books: Books, content: Content, step: Step) -> None:
    """A new content. Where equal bytes were kept before, this copy of them goes."""
    books.contents.put(content)
    if not books.contents.stored_at(content.source):
        discard_object(books, content.source, step.project, step.request_id)
