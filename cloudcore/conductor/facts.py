"""What hosts report, and what follows from it. Facts carry the agent's epoch and the instance's generation: an older
agent is not believed, and an older generation tells of what nobody wants any more.

Most come by themselves. `ask` is the second way, for a fact that was lost with whoever heard it: an agent that has
been told again is asked what there is.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from cloudcore.conductor.means import Means
from cloudcore.conductor.subjects import LAUNCHING, REASON_LENGTH, failed
from cloudcore.domain.instances import Event, Instance, State
from cloudcore.rpc.compute import GuestSummary, Nothing, Presence
from cloudcore.rpc.conductor import Acknowledged, Facts, GuestFact
from cloudcore.store.books import Books

BY_ITSELF = "Client.InstanceInitiatedShutdown"
BROKEN = "Server.InternalError"

log = Logger()


def settle(books: Books, report: Facts) -> Acknowledged:
    """A whole report in one transaction. A host without a row is to come again: its heartbeat may be under way."""
    believed = books.hosts.fence(report.host, report.epoch)
    if believed is None:
        return Acknowledged(0, known=False)
    for fact in report.facts if believed else ():
        settle_one(books, report.host, fact)
    return Acknowledged(max((fact.sequence for fact in report.facts), default=0))


def settle_one(books: Books, host: str, fact: GuestFact) -> None:
    instance = books.instances.find(fact.instance)
    if instance is None or instance.host != host or instance.generation != fact.generation:
        return
    follows = FOLLOWS.get(fact.change)
    if follows is not None:
        follows(books, instance, fact.reason)


def started(books: Books, instance: Instance, reason: str) -> None:
    books.instances.observe(instance, Event.GUEST_STARTED)
    if instance.state in LAUNCHING:
        books.attachments.launched(instance.id, instance.host or "")
    books.operations.settle(instance.id, instance.generation, ("boot",))


def stopped(books: Books, instance: Instance, reason: str) -> None:
    if instance.state is State.STOPPING:
        books.instances.observe(instance, Event.GUEST_STOPPED)
        books.operations.settle(instance.id, instance.generation, ("halt",))
    elif instance.state is State.RUNNING or instance.state in LAUNCHING:
        books.operations.settle(instance.id, instance.generation, ("boot",))
        ended_by_itself(books, instance)


def ended_by_itself(books: Books, instance: Instance) -> None:
    """Somebody inside said `poweroff`. From now on something else is wanted, and the host must hear it."""
    text = f"{BY_ITSELF}: Instance initiated shutdown"
    if instance.shutdown_behaviour == "terminate":
        moved, follows = books.instances.terminate(instance, BY_ITSELF, text), "terminate"
    else:
        moved, follows = books.instances.observe(instance, Event.GUEST_STOPPED, BY_ITSELF, text), "stop"
    if moved is not instance:
        books.operations.begin(follows, moved.id, moved.generation, moved.project, "")


def gone(books: Books, instance: Instance, reason: str) -> None:
    if instance.state is State.SHUTTING_DOWN:
        books.operations.settle(instance.id, instance.generation, ("destroy",))


def crashed(books: Books, instance: Instance, reason: str) -> None:
    """Nobody inside wanted it, so that it is stopped and kept whatever a shutdown from within means."""
    if instance.state is State.STOPPING:
        stopped(books, instance, reason)
    elif instance.state is State.RUNNING or instance.state in LAUNCHING:
        books.operations.settle(instance.id, instance.generation, ("boot",))
        ended(books, instance, reason or "the guest ended unexpectedly")


def ended(books: Books, instance: Instance, reason: str) -> None:
    moved = books.instances.observe(instance, Event.GUEST_STOPPED, BROKEN, f"{BROKEN}: {reason}"[:REASON_LENGTH])
    if moved is not instance:
        books.operations.begin("stop", moved.id, moved.generation, moved.project, "")


def could_not(books: Books, instance: Instance, reason: str) -> None:
    """One that ran may be launched again by its host alone, after a reboot; then it runs no more."""
    if instance.state in LAUNCHING:
        books.operations.abandon(instance.id, instance.generation, reason[:REASON_LENGTH])
        failed(books, instance, BROKEN, reason or "the host could not start the instance", "")
    elif instance.state is State.RUNNING:
        ended(books, instance, reason or "the host could not start the instance again")
    else:
        log.warn("{instance}: its host reports: {reason}", instance=instance.id, reason=reason)


FOLLOWS: dict[str, Callable[[Books, Instance, str], None]] = {
    "started": started,
    "stopped": stopped,
    "crashed": crashed,
    "gone": gone,
    "failed": could_not,
}


# -- asking -----------------------------------------------------------------------------------------------------------

CHANGES = {"running": "started", "stopped": "stopped", "absent": "gone", "failed": "failed"}


async def ask(means: Means, instance: Instance) -> None:
    """What the host has of this instance counts as a fact."""
    host = instance.host or ""
    presence = await means.answered(host, lambda: means.compute(host).present(Nothing()))
    fact = seen(presence, instance)
    if fact is not None:
        await means.transact("facts", settle, Facts(host, presence.epoch, (fact,)))


def seen(presence: Presence, instance: Instance) -> GuestFact | None:
    """None while the host still works on it. Being unknown there is being gone."""
    absent = GuestSummary(instance.id, instance.generation, "absent")
    found = next((one for one in presence.guests if one.instance == instance.id), absent)
    change = CHANGES.get(found.state)
    if change is None or found.generation != instance.generation:
        return None
    if change == "stopped" and instance.state is not State.STOPPING:
        return None  # defined and not yet started looks the same; the agent tells when it ended by itself
    return GuestFact(instance.id, instance.generation, change, 0)
