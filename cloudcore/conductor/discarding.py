"""The step that removes a content which nothing names any more: first its row, in one transaction that asks again, then
the object. The subject is the content, or after that the place of its object: who comes to name it in between is
refused by the database, and no name ever leads to an object that is no more.
"""

from __future__ import annotations

from cloudcore.conductor.means import Means
from cloudcore.conductor.subjects import discard_unused, finish
from cloudcore.domain.volumes import Content
from cloudcore.rpc.images import Unwanted
from cloudcore.store.books import Books
from cloudcore.store.operations import Step


async def discard(means: Means, step: Step) -> Step | None:
    if "/" not in step.subject:
        return await means.transact("disowned", disowned, step)
    if not await means.look(in_use, step.subject):
        await means.tell("discard", "images", lambda: means.images().discard(Unwanted(step.subject)))
    return await means.transact("discarded", finish, step)


def disowned(books: Books, step: Step) -> Step | None:
    for content in books.contents.chain(step.subject)[:1] if books.contents.known(step.subject) else ():
        if books.contents.unused(content.id):
            books.contents.remove(content.id)
            discard_object(books, content.source, step.project, step.request_id)
            discard_unused(books, content.below, step.project, step.request_id)
    return books.operations.finish(step)


def in_use(books: Books, source: str) -> bool:
    return books.contents.stored_at(source)


def discard_object(books: Books, source: str, project: str, request_id: str) -> None:
    books.operations.begin("discard", source, 1, project, request_id)


def keep(books: Books, content: Content, step: Step) -> None:
    """A new content. Where equal bytes were kept before, this copy of them goes."""
    books.contents.put(content)
    if not books.contents.stored_at(content.source):
        discard_object(books, content.source, step.project, step.request_id)
