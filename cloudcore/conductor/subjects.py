"""The instance that a step is about, read anew before each effect: what was wanted may have changed since."""

from __future__ import annotations

from cloudcore.domain.instances import ALIVE, AWAITS, Event, Instance, State
from cloudcore.domain.volumes import Volume
from cloudcore.store.books import Books
from cloudcore.store.operations import Step

LAUNCHING = frozenset(state for state, kind in AWAITS.items() if kind in ("launch", "start"))
SETTLED = ALIVE - AWAITS.keys()
GATHERED = 0.5  # seconds in which changes of a group's members gather for one message to each host
REASON_LENGTH = 500  # characters kept of a reason


class Outdated(Exception):
    """The instance is of a newer generation than the step, or is gone."""


class GaveUp(Exception):
    """The operation is past its deadline."""


def current(books: Books, step: Step) -> Instance:
    """Raises Outdated, GaveUp."""
    instance = books.instances.find(step.subject)
    if instance is None or instance.generation != step.generation:
        raise Outdated(step.subject)
    if books.now() > step.deadline:
        raise GaveUp(step.subject)
    return instance


def current_volume(books: Books, step: Step) -> Volume:
    """Raises Outdated."""
    volume = books.volumes.find(step.subject)
    if volume is None or volume.generation != step.generation:
        raise Outdated(step.subject)
    return volume


def in_time(books: Books, step: Step) -> None:
    """Raises GaveUp."""
    if books.now() > step.deadline:
        raise GaveUp(step.subject)


def discard_unused(books: Books, content: str | None, project: str, request_id: str) -> None:
    """Something has just ceased to name this content."""
    if content is not None and books.contents.unused(content):
        books.operations.begin("discard", content, 1, project, request_id)


def finish(books: Books, step: Step) -> Step | None:
    return books.operations.finish(step)


def again(books: Books, step: Step, delay: float) -> None:
    books.operations.again(step, delay)


def refuse(books: Books, step: Step, code: str, text: str) -> None:
    """The launch or start fails, with a reason that people can read; everything it took is given back by the operation
    that follows: a launch is terminated, a start is stopped."""
    instance = books.instances.find(step.subject)
    books.operations.fail(step, text[:REASON_LENGTH])
    if instance is not None and instance.generation == step.generation:
        failed(books, instance, code, text, step.request_id)


def failed(books: Books, instance: Instance, code: str, text: str, request_id: str) -> None:
    moved = books.instances.observe(instance, Event.LAUNCH_FAILED, code, f"{code}: {text}"[:REASON_LENGTH])
    if moved is instance:
        return
    follows = "terminate" if moved.state is State.SHUTTING_DOWN else "stop"
    books.operations.begin(follows, moved.id, moved.generation, moved.project, request_id)


def regroup(books: Books, instance: Instance, groups: tuple[str, ...], request_id: str) -> None:
    """The members of these groups have changed: whoever else must know is told a little later, many changes at once."""
    revisions = books.memberships.bump(groups)
    awaited = {group: revisions[group] for group in books.memberships.awaited(groups, instance.id)}
    spread_soon(books, instance, awaited, request_id)


def spread_soon(books: Books, instance: Instance, revisions: dict[str, int], request_id: str) -> None:
    for group, revision in revisions.items():
        books.operations.regroup(group, revision, instance.project, request_id, GATHERED)
