"""The step that tells a host what has changed about a port that is there already: its groups, and how its metadata
service answers. It belongs to no generation of the instance: whatever else becomes of it, the host hears this."""

from __future__ import annotations

from cloudcore.conductor import wanted
from cloudcore.conductor.means import Means
from cloudcore.domain.instances import State
from cloudcore.rpc.network import WantedNetwork
from cloudcore.store.books import Books
from cloudcore.store.operations import Step

ENDING = frozenset({State.SHUTTING_DOWN, State.TERMINATED})  # its port goes, or has gone


async def replug(means: Means, step: Step) -> Step | None:
    """An instance without a place has no port yet, and gets it with all that was changed before."""
    revision, host, network = await means.look(changed_port, step.subject, means.region)
    if host is not None:
        await means.tell("replug", host, lambda: means.network(host).ensure(network))
    return await means.transact("confirmed", confirmed, step, revision)


def changed_port(books: Books, id: str, region: str) -> tuple[int, str | None, WantedNetwork]:
    """(the revision that is told, the host to tell it, what)."""
    instance = books.instances.find(id)
    if instance is None or instance.host is None or instance.state in ENDING:
        return instance.port_revision if instance else 0, None, WantedNetwork()
    port = wanted.port_of(books, instance, region)
    return port.revision, instance.host, WantedNetwork((port,), books.memberships.needed(port.groups))


def confirmed(books: Books, step: Step, revision: int) -> Step | None:
    books.instances.port_confirmed(step.subject, revision)
    return books.operations.finish(step)
