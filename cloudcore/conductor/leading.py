"""The steps that lead an elastic address to a guest. It is gone from the host where it was, by that host's own word,
before another host hears of it: at no moment do two answer to it (I3).

The subject is the address and the generation its revision; what it should lead to is read anew in each step.
"""

from __future__ import annotations

from cloudcore.conductor.means import Means
from cloudcore.conductor.subjects import Outdated, again, finish
from cloudcore.domain.elastic_addresses import ElasticAddress
from cloudcore.domain.operations import retry_delay
from cloudcore.rpc.network import Elastic, WantedNetwork
from cloudcore.store.books import Books
from cloudcore.store.operations import Step


async def withdraw(means: Means, step: Step) -> Step | None:
    """Where it stays on its host, the grant alone moves it."""
    elastic, host = await means.look(wished, step)
    holder = elastic.holder
    if holder is None or holder == host:
        return await means.transact("withdrawn", finish, step)
    gone = WantedNetwork(elastics=(Elastic(elastic.address, elastic.revision),))
    await means.tell("withdraw", holder, lambda: means.network(holder).ensure(gone))
    return await means.transact("withdrawn", withdrawn, step, elastic)


def withdrawn(books: Books, step: Step, elastic: ElasticAddress) -> Step | None:
    hold(books, elastic, None)
    return books.operations.finish(step)


async def grant(means: Means, step: Step) -> Step | None:
    elastic, host = await means.look(wished, step)
    if elastic.instance is None:
        return await means.transact("granted", finish, step)
    if host is None:  # accepted and not placed yet
        await means.transact("granted", again, step, retry_delay(step.attempt))
        return None
    await means.transact("granting", hold, elastic, host)  # before the host hears of it: it may act and never answer
    led = WantedNetwork(elastics=(Elastic(elastic.address, elastic.revision, elastic.instance),))
    await means.tell("grant", host, lambda: means.network(host).ensure(led))
    return await means.transact("granted", finish, step)


def wished(books: Books, step: Step) -> tuple[ElasticAddress, str | None]:
    """The address, and the host that it should be on. Raises Outdated."""
    elastic = books.elastic.find(step.subject)
    if elastic is None or elastic.revision != step.generation:
        raise Outdated(step.subject)
    instance = books.instances.find(elastic.instance) if elastic.instance else None
    return elastic, instance.host if instance else None


def hold(books: Books, elastic: ElasticAddress, host: str | None) -> None:
    if not books.elastic.hold(elastic, host):
        raise Outdated(elastic.address)


def lead_nowhere(books: Books, instance: str, request_id: str) -> None:
    """The address that led to this instance, if one did, stays its project's."""
    for elastic in books.elastic.of_instances([instance]).values():
        after = books.elastic.disassociate(elastic)
        books.operations.begin("address", after.address, after.revision, after.project, request_id)


def held_by(books: Books, host: str) -> tuple[Elastic, ...]:
    """What the host may know of elastic addresses, as it is wished now."""
    found = books.elastic.held_by(host)
    ids = {one.instance for one in found if one.instance is not None}
    there = {one.id for one in books.instances.on_host(host) if one.id in ids}
    return tuple(Elastic(one.address, one.revision, one.instance if one.instance in there else None) for one in found)
