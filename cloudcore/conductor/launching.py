"""The steps that bring an instance up: a place, a port in the network, a running guest."""

from __future__ import annotations

from cloudcore.auth.instances import Keyring
from cloudcore.conductor import credentials, facts, wanted
from cloudcore.conductor.choosing import NoRoom, choose
from cloudcore.conductor.means import Means
from cloudcore.conductor.reaching import whole
from cloudcore.conductor.subjects import SETTLED, again, current, refuse, regroup
from cloudcore.conductor.wanted import Draft
from cloudcore.domain.instances import Instance
from cloudcore.domain.placement import Demand
from cloudcore.errors import CloudError, Code
from cloudcore.rpc.network import WantedNetwork
from cloudcore.rpc.scheduler import Needs
from cloudcore.store.books import Books
from cloudcore.store.operations import Step

RESEND = 10.0  # seconds between repetitions of what a host has not yet reported as done
CAPACITY = "Server.InsufficientInstanceCapacity"
NO_ADDRESS = "Server.InsufficientFreeAddressesInSubnet"
RESTING = 5.0  # seconds between tries while freed addresses rest


async def place(means: Means, step: Step) -> Step | None:
    instance, demand = await means.look(demanded, step)
    if instance.host is not None:
        return await means.transact("place", settle_in, step)
    needs = Needs(step.operation, demand.vcpus, demand.memory_mib, demand.disk_gib, instance.zone)
    try:
        return await choose(means, "place", step, needs, claim)
    except NoRoom as problem:
        await means.transact("refuse", refuse, step, CAPACITY, str(problem))
    except CloudError as problem:
        if problem.code is not Code.ADDRESSES_EXHAUSTED:
            raise
        await means.transact("refuse", without_address, step, problem.text)
    return None


def demanded(books: Books, step: Step) -> tuple[Instance, Demand]:
    """What it takes of a host in all."""
    instance = current(books, step)
    own, volumes = apart(books, instance)
    return instance, own + Demand(0, 0, sum(volumes.values()))


def apart(books: Books, instance: Instance) -> tuple[Demand, dict[str, int]]:
    """(what it demands itself, {volume that it makes: GiB}). One that starts from a volume has no disk of its own."""
    held = books.attachments.held(instance.id)
    disk = 0 if any(one.attachment.root for one in held) else instance.disk_gib
    volumes = {one.volume.id: one.volume.size_gib for one in held if one.volume.host is None}
    return Demand(instance.vcpus, instance.memory_mib, disk), volumes


def settle_in(books: Books, step: Step) -> Step | None:
    """One that was stopped stays on the host that has its disk; its type may have changed, and its claim follows. That
    of its volumes stays as it is."""
    instance = current(books, step)
    held = books.hosts.held(instance.id)
    disk = instance.disk_gib if held is not None and held.disk_gib else 0
    if books.hosts.resize(instance.id, Demand(instance.vcpus, instance.memory_mib, disk)):
        return books.operations.finish(step)
    refuse(books, step, CAPACITY, f"host {instance.host}, which has its disk, has no room for {instance.instance_type}")
    return None


def claim(books: Books, step: Step, hosts: tuple[str, ...]) -> Step | None:
    """Room on the first of these hosts that still has it, also for its volumes, an address, the membership of its
    groups, the next step: in one transaction. None when every one of the hosts is full by now."""
    instance = current(books, step)
    demand, volumes = apart(books, instance)
    name = next((name for name in hosts if books.hosts.claim(instance.id, name, demand, volumes)), None)
    if name is None:
        return None
    if volumes:
        host = books.hosts.find(name)
        books.attachments.lodged(instance.id, name, host.zone if host else instance.zone or "")
    placed = books.instances.place(instance, name, books.addresses.claim(instance.id))
    regroup(books, placed, books.instances.groups_of(placed.id), step.request_id)
    return books.operations.finish(step)


def without_address(books: Books, step: Step, text: str) -> None:
    """Addresses that rest are worth waiting for: they are free within a minute."""
    if books.addresses.resting():
        books.operations.again(step, RESTING)
    else:
        refuse(books, step, NO_ADDRESS, text)


async def plug(means: Means, step: Step) -> Step | None:
    """An instance with a profile has the key for its role before it runs."""
    instance, network = await means.look(wanted_network, step, means.region, means.keyring)
    if instance.profile is not None:
        await credentials.provide(means, instance.id)
        instance, network = await means.look(wanted_network, step, means.region, means.keyring)
    host = instance.host or ""
    await means.tell("plug", host, lambda: means.network(host).ensure(network))
    return await means.transact("plugged", plugged, step, network.ports[0].revision)


def plugged(books: Books, step: Step, revision: int) -> Step | None:
    if revision:
        books.instances.port_confirmed(step.subject, revision)
    return books.operations.finish(step)


def wanted_network(books: Books, step: Step, region: str,
                   keyring: Keyring | None) -> tuple[Instance, WantedNetwork]:  # fmt: skip
    """The port, and those of its groups that the host may not have yet. Where a settled instance is in the same group
    the host has it, and hears of the new member with all others of that moment: else launching n instances would send
    n times n addresses."""
    instance = current(books, step)
    port = wanted.port_of(books, instance, region, keyring)
    known = set(books.memberships.shared(port.groups, instance.id, instance.host or "", SETTLED))
    return instance, WantedNetwork((port,), books.memberships.needed(set(port.groups) - known))


async def boot(means: Means, step: Step) -> Step | None:
    """Told once, and again every ten seconds; the fact that it runs ends the step, in whatever order they come."""
    draft = await means.look(wanted_guest, step)
    host, guest = draft.instance.host or "", await whole(means, draft)
    await means.tell("boot", host, lambda: means.compute(host).ensure(guest))
    if step.attempt > 1:
        await facts.ask(means, draft.instance)
    await means.transact("booting", again, step, RESEND)
    return None


def wanted_guest(books: Books, step: Step) -> Draft:
    return wanted.draft_of(books, current(books, step))
