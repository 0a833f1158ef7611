"""The steps that bring an instance down: a halted guest; or no guest, no port, and everything given back."""

from __future__ import annotations

from cloudcore.conductor import facts
from cloudcore.conductor.detaching import detach_all
from cloudcore.conductor.launching import RESEND, wanted_guest
from cloudcore.conductor.leading import lead_nowhere
from cloudcore.conductor.means import Means
from cloudcore.conductor.reaching import at_rest
from cloudcore.conductor.subjects import again, current, finish, spread_soon
from cloudcore.domain.ids import interface_of
from cloudcore.domain.instances import ALIVE, Event, State
from cloudcore.rpc.compute import WantedGuest
from cloudcore.rpc.network import ReleasedPort
from cloudcore.store.books import Books
from cloudcore.store.operations import Step


async def halt(means: Means, step: Step) -> Step | None:
    """For an instance that is stopped already, the host only has to know that this is wanted now."""
    draft = await means.look(wanted_guest, step)
    instance = draft.instance
    if instance.host is None:
        return await means.transact("halting", halted_nowhere, step)
    host, guest = instance.host, await at_rest(means, draft)
    await means.tell("halt", host, lambda: means.compute(host).ensure(guest))
    if instance.state is State.STOPPED:
        return await means.transact("halting", finish, step)
    if step.attempt > 1:
        await facts.ask(means, instance)
    await means.transact("halting", again, step, RESEND)
    return None


def halted_nowhere(books: Books, step: Step) -> Step | None:
    books.instances.observe(current(books, step), Event.GUEST_STOPPED)
    return books.operations.finish(step)


async def destroy(means: Means, step: Step) -> Step | None:
    instance = await means.look(current, step)
    if instance.host is None:  # it never had a place
        return await means.transact("destroying", finish, step)
    host, absent = instance.host, WantedGuest(instance.id, instance.generation, "absent")
    await means.tell("destroy", host, lambda: means.compute(host).ensure(absent))
    if step.attempt > 1:
        await facts.ask(means, instance)
    await means.transact("destroying", again, step, RESEND)
    return None


async def unplug(means: Means, step: Step) -> Step | None:
    instance = await means.look(current, step)
    if instance.host is not None:
        host, released = instance.host, ReleasedPort(instance.id, instance.generation)
        await means.tell("unplug", host, lambda: means.network(host).release(released))
    return await means.transact("unplugged", finish, step)


async def forget(means: Means, step: Step) -> Step | None:
    return await means.transact("forget", forgotten, step)


def forgotten(books: Books, step: Step) -> Step | None:
    """Room, address, quota, volumes and memberships go back in the transaction that makes it terminated, hence exactly
    once. An elastic address stays its project's.

    Its groups are told again also to a host where only newcomers are in them: a newcomer's port may have come without
    the group, because this instance was there, and the host drops groups that it needs no more.
    """
    instance = current(books, step)
    detach_all(books, instance, step.request_id)
    groups = books.instances.groups_of(instance.id)
    books.hosts.release(instance.id)
    books.addresses.release(instance.id)
    books.quotas.release(instance.project, instances=1, vcpus=instance.vcpus)
    gone = books.instances.vacate(books.instances.observe(instance, Event.GUEST_GONE))
    books.memberships.leave(instance.id)
    books.tags.drop(interface_of(instance.id))
    books.instance_keys.drop(instance.id)
    books.profile_associations.end(instance.id)
    lead_nowhere(books, instance.id, step.request_id)
    if instance.host is not None:
        revisions = books.memberships.bump(groups)
        told = {*books.memberships.awaited(groups, instance.id),
                *books.memberships.shared(groups, instance.id, instance.host, ALIVE)}  # fmt: skip
        spread_soon(books, gone, {group: revisions[group] for group in sorted(told)}, step.request_id)
    return books.operations.finish(step)
