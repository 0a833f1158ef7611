"""A host's agents came (back): what they have is compared with what they should have, and differences are told again.

Unsettled instances need no comparison: their operations tell the host anyway, now instead of later. What the host has
and the database does not know is reported and left alone: after a restored backup, the host may be right (F25).
"""

from __future__ import annotations

from collections.abc import Iterable

from twisted.logger import Logger

from cloudcore.auth.instances import Keyring
from cloudcore.conductor import wanted
from cloudcore.conductor.leading import held_by
from cloudcore.conductor.means import Means
from cloudcore.conductor.reaching import at_rest, whole
from cloudcore.conductor.wanted import Draft
from cloudcore.domain.instances import AWAITS, Instance
from cloudcore.errors import CloudError
from cloudcore.rpc.compute import GuestSummary, Nothing
from cloudcore.rpc.faults import BusFault
from cloudcore.rpc.network import Everything, Port, PortSummary, WantedNetwork
from cloudcore.store.books import Books

PORTS_AT_ONCE = 8  # with 16 KiB of user data each, they fit into one message
ELASTICS_AT_ONCE = 1000

log = Logger()


async def reconcile(means: Means, host: str) -> None:
    """Raises BusFault when an agent does not answer, CloudError when a guest's volume of another host cannot be had."""
    instances = await means.look(on_host, host)
    guests = (await means.compute(host).present(Nothing())).guests
    ports = (await means.network(host).present(Everything())).ports
    for stranger in unknown(instances, [*guests, *ports]):
        log.warn("{host} has {instance}, which is unknown here; it is left alone", host=host, instance=stranger)
    unplugged = behind(instances, ports)
    for at in range(0, len(unplugged), PORTS_AT_ONCE):
        missing = unplugged[at : at + PORTS_AT_ONCE]
        await means.network(host).ensure(await means.look(network_of, missing, means.region, means.keyring))
    elastics = await means.look(held_by, host)
    for at in range(0, len(elastics), ELASTICS_AT_ONCE):
        await means.network(host).ensure(WantedNetwork(elastics=elastics[at : at + ELASTICS_AT_ONCE]))
    unreachable: list[Exception] = []
    for draft in await means.look(guests_of, behind(instances, guests)):
        try:
            guest = await (whole if draft.guest.power == "running" else at_rest)(means, draft)
        except (BusFault, CloudError) as problem:  # a volume of another host; other guests wait for it no longer
            unreachable.append(problem)
        else:
            await means.compute(host).ensure(guest)
    await means.store.transact(hurry, host)
    if unreachable:
        raise unreachable[0]


def behind(instances: Iterable[Instance], present: Iterable[GuestSummary | PortSummary]) -> list[Instance]:
    """Settled instances of which the host has nothing, or an older generation."""
    generations = {one.instance: one.generation for one in present}
    return [one for one in instances if one.state not in AWAITS and generations.get(one.id, -1) < one.generation]


def unknown(instances: Iterable[Instance], present: Iterable[GuestSummary | PortSummary]) -> list[str]:
    known = {instance.id for instance in instances}
    there = {one.instance for one in present if getattr(one, "state", "") != "absent"}
    return sorted(there - known)


def on_host(books: Books, host: str) -> list[Instance]:
    return books.instances.on_host(host)


def network_of(books: Books, instances: list[Instance], region: str, keyring: Keyring | None) -> WantedNetwork:
    ports: list[Port] = [wanted.port_of(books, instance, region, keyring) for instance in instances]
    return WantedNetwork(tuple(ports), books.memberships.needed(wanted.group_ids(ports)))


def guests_of(books: Books, instances: list[Instance]) -> list[Draft]:
    return [wanted.draft_of(books, instance) for instance in instances]


def hurry(books: Books, host: str) -> None:
    books.operations.hurry(host)
