"""The step that tells a host what has changed about a port that is there already: its groups, and how its metadata
service answers. It belongs to no generation of the instance: whatever else becomes of it, the host hears this."""

from __future__ import annotations

from cloudcore.auth.instances import Keyring
from cloudcore.conductor import credentials, wanted
from cloudcore.conductor.means import Means
from cloudcore.domain.instances import State
from cloudcore.rpc.network import WantedNetwork
from cloudcore.store.books import Books
from cloudcore.store.operations import Step

ENDING = frozenset({State.SHUTTING_DOWN, State.TERMINATED})  # its port goes, or has gone


async def replug(means: Means, step: Step) -> Step | None:
    """An instance without a place has no port yet, and gets it with all that was changed before."""
    if await means.look(has_profile, step.subject):
        await credentials.provide(means, step.subject)
    revision, host, network = await means.look(changed_port, step.subject, means.region, means.keyring)
    if host is not None:
        await means.tell("replug", host, lambda: means.network(host).ensure(network))
    return await means.transact("confirmed", confirmed, step, revision)


def has_profile(books: Books, id: str) -> bool:
    instance = books.instances.find(id)
    return instance is not None and instance.profile is not None and instance.host is not None


def changed_port(books: Books, id: str, region: str,
                 keyring: Keyring | None) -> tuple[int, str | None, WantedNetwork]:  # fmt: skip
    """(the revision that is told, the host to tell it, what)."""
    instance = books.instances.find(id)
    if instance is None or instance.host is None or instance.state in ENDING:
        return instance.port_revision if instance else 0, None, WantedNetwork()
    port = wanted.port_of(books, instance, region, keyring)
    return port.revision, instance.host, WantedNetwork((port,), books.memberships.needed(port.groups))


def confirmed(books: Books, step: Step, revision: int) -> Step | None:
    books.instances.port_confirmed(step.subject, revision)
    return books.operations.finish(step)
