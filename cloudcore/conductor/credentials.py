"""The keys with which instances act as their roles. Hosts never ask: keys are made here and told with the port.

A key is durable before a host hears of it, so that a conductor that dies in between leaves no second one: the next one
tells of the same. Each is replaced long before its end, while the guest still holds the old one, which goes on.
"""

from __future__ import annotations

from cloudcore.auth.instances import RENEWED, Keyring
from cloudcore.conductor.means import Means
from cloudcore.domain.instance_profiles import trusts_instances
from cloudcore.store.books import Books

LOOKED = 60.0  # seconds between two looks for keys that wane
AT_ONCE = 100  # instances of one look: a thousand launched together are renewed within ten minutes


async def provide(means: Means, instance: str) -> None:
    """Whoever is about to tell the port of an instance with a profile makes sure of its key first."""
    if means.keyring is not None:
        await means.transact("minted", minted, instance, means.keyring)


def minted(books: Books, id: str, keyring: Keyring) -> None:
    instance = books.instances.find(id)
    if instance is not None:
        keyring.mint(books, instance)


def renewed(books: Books) -> list[str]:
    """The operations that give waning keys their successors. One that still waits for its instance is joined."""
    trusting = [id for id, project, trust in books.instance_keys.roles_in_use() if trusts_instances(trust, project)]
    waning = books.instance_keys.waning(trusting, RENEWED, AT_ONCE)
    return [books.operations.begin("replug", id, generation, project, "") for id, generation, project in waning]
