"""The steps of a volume by itself: a host for its bytes, the bytes, more of them, and their end."""

from __future__ import annotations

from cloudcore.conductor import wanted
from cloudcore.conductor.choosing import NoRoom, choose
from cloudcore.conductor.detaching import forget
from cloudcore.conductor.means import Means
from cloudcore.conductor.subjects import REASON_LENGTH, again, current_volume, finish, in_time
from cloudcore.domain.operations import GIVES_UP, retry_delay
from cloudcore.domain.placement import Demand
from cloudcore.domain.volumes import Volume, VolumeEvent
from cloudcore.rpc.faults import BusFault
from cloudcore.rpc.scheduler import Needs
from cloudcore.rpc.volume import FAILED, READY, WORKING, WantedVolume, Work
from cloudcore.store.books import Books
from cloudcore.store.operations import Step

SOON = 1.0  # seconds until a host that works is asked again; it has waited some itself
COPIED_SOON = 2.0  # seconds between looks whether a volume's copies have ended


async def lodge(means: Means, step: Step) -> Step | None:
    volume = await means.look(current_volume, step)
    if volume.host is not None:
        return await means.transact("lodge", finish, step)
    await means.look(in_time, step)
    needs = Needs(step.operation, 0, 0, volume.size_gib, volume.zone or None)
    try:
        return await choose(means, "lodge", step, needs, claim)
    except NoRoom as problem:
        await means.transact("unfurnished", could_not, step, str(problem))
        return None


def claim(books: Books, step: Step, hosts: tuple[str, ...]) -> Step | None:
    volume = current_volume(books, step)
    demand = Demand(0, 0, volume.size_gib)
    name = next((name for name in hosts if books.hosts.claim(volume.id, name, demand)), None)
    host = books.hosts.find(name) if name is not None else None
    if host is None:
        return None
    books.volumes.change(volume, host=host.name, zone=host.zone)
    return books.operations.finish(step)


async def furnish(means: Means, step: Step) -> Step | None:
    """A host that works may take its time: a large snapshot comes from afar. One that does not answer is given up."""
    host, ask = await means.look(furnished_volume, step)
    try:
        work = await tell(means, "furnish", host, ask)
    except BusFault:
        await means.look(in_time, step)
        raise
    if work.state == READY:
        return await means.transact("furnished", furnished, step)
    if work.state == WORKING:
        await means.transact("furnished", again, step, SOON)
    else:
        await means.transact("unfurnished", could_not, step, work.reason or f"host {host} could not make it")
    return None


def furnished_volume(books: Books, step: Step) -> tuple[str, WantedVolume]:
    volume = current_volume(books, step)
    return volume.host or "", present(volume, books)


def present(volume: Volume, books: Books) -> WantedVolume:
    source = wanted.source_of(books, volume.content)
    return WantedVolume(volume.id, volume.generation, "present", volume.size_gib, source)


async def tell(means: Means, name: str, host: str, ask: WantedVolume) -> Work:
    return await means.tell(name, f"volume.{host}", lambda: means.volumes(host).ensure(ask))


def furnished(books: Books, step: Step) -> Step | None:
    books.volumes.move(current_volume(books, step), VolumeEvent.MADE, reason=None)
    return books.operations.finish(step)


def could_not(books: Books, step: Step, reason: str) -> None:
    """It stays as EC2 shows it: in error, until somebody deletes it. Its room is free again; its host is kept, since
    something of it may lie there."""
    volume = current_volume(books, step)
    books.hosts.release(volume.id)
    books.volumes.move(volume, VolumeEvent.FAILED, reason=reason[:REASON_LENGTH])
    books.operations.fail(step, reason[:REASON_LENGTH])


def gave_up(books: Books, step: Step) -> None:
    volume = books.volumes.find(step.subject)
    where = f"host {volume.host}" if volume is not None and volume.host else "no host"
    text = f"{where} did not make it within {GIVES_UP[step.operation_kind]:.0f} s"
    books.operations.fail(step, text)
    if volume is not None and volume.generation == step.generation:
        books.hosts.release(volume.id)
        books.volumes.move(volume, VolumeEvent.FAILED, reason=text)


# -- the end ----------------------------------------------------------------------------------------------------------


async def erase(means: Means, step: Step) -> Step | None:
    volume, copied = await means.look(going, step)
    if copied:  # snapshots were asked for before: they are served first
        await means.transact("erased", again, step, COPIED_SOON)
        return None
    if volume.host is not None:
        absent = WantedVolume(volume.id, volume.generation, "absent")
        work = await tell(means, "erase", volume.host, absent)
        if work.state != READY:
            delay = retry_delay(step.attempt) if work.state == FAILED else SOON
            await means.transact("erased", again, step, delay)
            return None
    return await means.transact("erased", erased, step)


def going(books: Books, step: Step) -> tuple[Volume, bool]:
    volume = current_volume(books, step)
    return volume, books.snapshots.pending_of(volume.id)


def erased(books: Books, step: Step) -> Step | None:
    volume, _ = going(books, step)
    forget(books, volume, step.request_id)
    return books.operations.finish(step)
