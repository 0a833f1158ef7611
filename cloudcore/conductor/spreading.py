"""The step that tells hosts what has become of a security group: its rules, and its members wherever they run."""

from __future__ import annotations

from twisted.internet.defer import Deferred, DeferredList

from cloudcore.conductor.means import Means
from cloudcore.conductor.subjects import again, finish
from cloudcore.domain.operations import retry_delay
from cloudcore.domain.security_groups import Group
from cloudcore.rpc.network import WantedNetwork
from cloudcore.store.books import Books
from cloudcore.store.operations import Step


async def spread(means: Means, step: Step) -> Step | None:
    """To all hosts at once: one that is silent does not delay the others, and gets everything when it comes back."""
    hosts, groups = await means.look(concerned, step.subject)
    told = WantedNetwork((), groups)
    means.failpoint("conductor.spread.before")
    sent = [Deferred.fromCoroutine(tell(means, host, told)) for host in hosts]
    answers = await DeferredList(sent, consumeErrors=True)
    means.failpoint("conductor.spread.after")
    if all(success for success, _ in answers):
        return await means.transact("regrouped", finish, step)
    await means.transact("regrouped", again, step, retry_delay(step.attempt))
    return None


async def tell(means: Means, host: str, told: WantedNetwork) -> None:
    await means.answered(host, lambda: means.network(host).ensure(told))


def concerned(books: Books, group: str) -> tuple[list[str], tuple[Group, ...]]:
    return sorted(books.memberships.hosts(group)), books.memberships.needed([group])
