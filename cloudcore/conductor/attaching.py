"""The steps that bring the volumes of an instance to what is wanted: what its host is told is the whole list, read anew
each time, and what the host answers moves the attachments. So none stays attaching or detaching for want of a message.
"""

from __future__ import annotations

from cloudcore.conductor import wanted
from cloudcore.conductor.detaching import detach, detach_all
from cloudcore.conductor.means import Means
from cloudcore.conductor.reaching import CannotServe, reached, withheld
from cloudcore.conductor.subjects import REASON_LENGTH, again, finish
from cloudcore.conductor.wanted import Draft
from cloudcore.domain.instances import Instance, State
from cloudcore.domain.volumes import AttachmentState, VolumeState
from cloudcore.rpc.compute import DiskWork, WantedDisks
from cloudcore.store.books import Books
from cloudcore.store.operations import Step
from cloudcore.store.volumes import Held

ENDING = frozenset({State.SHUTTING_DOWN, State.TERMINATED})  # its attachments go with it
SOONEST, LATEST = 0.5, 10.0  # seconds between two questions to a host that still works
OUTDATED, UNKNOWN = "outdated", "unknown"
UNSETTLED = frozenset({AttachmentState.ATTACHING, AttachmentState.DETACHING})


def pause(attempt: int) -> float:
    return min(SOONEST * 2 ** min(attempt - 1, 10), LATEST)


async def serve(means: Means, step: Step) -> Step | None:
    """What lies on other hosts is served before the guest's host hears of it."""
    draft, _ = await means.look(listed, step.subject)
    try:
        if draft is not None:
            await reached(means, draft)
    except CannotServe as problem:
        await means.transact("unserved", unserved, step, problem)
        return None
    return await means.transact("served", finish, step)


def listed(books: Books, id: str) -> tuple[Draft | None, bool]:
    """(what its host is to hear, None when there is nobody to tell; whether something goes by force)."""
    instance = books.instances.find(id)
    if instance is None or instance.host is None or instance.state in ENDING:
        return None, False
    return wanted.draft_of(books, instance), any(one.forced for one in books.attachments.of_instance(id))


def unserved(books: Books, step: Step, problem: CannotServe) -> None:
    """Given up where it was about to come; what the guest has already is tried again."""
    instance = books.instances.find(step.subject)
    for held in books.attachments.held(step.subject) if instance is not None else ():
        if held.volume.id == problem.volume and held.attachment.state is AttachmentState.ATTACHING:
            give_up(books, step, instance, held, problem.text)
            books.operations.again(step, 0.0)
            return
    books.operations.again(step, LATEST)


async def redisk(means: Means, step: Step) -> Step | None:
    draft, forced = await means.look(listed, step.subject)
    if draft is None:
        return await means.transact("redisked", nobody_told, step)
    try:
        disks = await reached(means, draft)
    except CannotServe as problem:
        await means.transact("unserved", unserved, step, problem)
        return None
    host, told = draft.instance.host or "", draft.guest
    ask = WantedDisks(told.instance, told.disk_revision, disks, forced)
    work = await means.tell("redisk", host, lambda: means.compute(host).disks(ask))
    await means.transact("redisked", redisked, step, ask, work)
    return None


def nobody_told(books: Books, step: Step) -> Step | None:
    """One without a place gets its volumes with its start, so that the rows say all there is. One that has ended has
    left its own; what came to it in that very moment goes now."""
    instance = books.instances.find(step.subject)
    if instance is not None and instance.host is not None and instance.state not in ENDING:
        books.operations.again(step, SOONEST)  # it has just been placed
        return None
    if instance is not None and instance.state is State.TERMINATED:
        detach_all(books, instance, step.request_id)
    elif instance is not None and instance.state is not State.SHUTTING_DOWN:
        for held in books.attachments.held(instance.id):
            settle(books, step, instance, held, held.attachment.state is AttachmentState.ATTACHING)
    return books.operations.finish(step)


def redisked(books: Books, step: Step, told: WantedDisks, work: DiskWork) -> None:
    instance = books.instances.find(step.subject)
    if instance is None or instance.state in ENDING:
        books.operations.again(step, 0.0)  # there is nobody to tell
        return
    if work.state == OUTDATED and work.revision >= instance.disk_revision:  # the books are those of a backup
        books.instances.modify(instance, disk_revision=work.revision + 1)
    if work.state == OUTDATED or instance.disk_revision != told.revision:
        books.operations.again(step, pause(step.attempt) if work.state == OUTDATED else 0.0)
        return
    attached = frozenset(work.attached)
    if work.state == UNKNOWN:
        if instance.state is not State.STOPPED:  # it has not heard of the guest yet
            books.operations.again(step, pause(step.attempt))
            return
        attached = frozenset(disk.volume for disk in told.disks)  # it hears the list with the next start
    problems = {problem.volume: problem.reason for problem in work.problems}
    waits, given_up = False, False
    for held in books.attachments.held(instance.id):
        volume = held.volume.id
        if held.attachment.state is AttachmentState.ATTACHING and volume in problems:
            given_up |= give_up(books, step, instance, held, problems[volume])
        else:
            waits |= not settle(books, step, instance, held, volume in attached)
    if waits or given_up:
        books.operations.again(step, 0.0 if given_up else pause(step.attempt))
    else:
        books.operations.finish(step)


def settle(books: Books, step: Step, instance: Instance, held: Held, there: bool) -> bool:
    """Whether it is settled: the guest has what it should have, and has not what it should not. What its launch makes
    is settled by its launch."""
    attachment, volume = held.attachment, held.volume
    if attachment.state is AttachmentState.ATTACHING and volume.state is not VolumeState.CREATING:
        if there:
            books.attachments.move(attachment, AttachmentState.ATTACHED)
        return there
    if attachment.state is AttachmentState.DETACHING:
        if not there:
            detach(books, attachment, volume, instance, step.request_id)
        return not there
    return True


def give_up(books: Books, step: Step, instance: Instance | None, held: Held, reason: str) -> bool:
    """It is available again, and says why. The host hears a list without it, or the next start would try again."""
    if instance is None or held.volume.state is VolumeState.CREATING:
        return False
    detach(books, held.attachment, held.volume, instance, step.request_id, reason[:REASON_LENGTH])
    books.attachments.bump(instance.id)
    return True


# -- served to nobody -------------------------------------------------------------------------------------------------


async def withhold(means: Means, step: Step) -> Step | None:
    if await withheld(means, step.subject):
        return await means.transact("withheld", finish, step)
    await means.transact("withheld", again, step, pause(step.attempt))
    return None
