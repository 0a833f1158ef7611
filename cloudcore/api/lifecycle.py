"""Terminate, stop, start and reboot instances, and read their consoles.

The first three only record what is wanted, all of the named instances in one transaction or none. Reboot and console
are light: they go straight to the host.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredList
from twisted.python.failure import Failure

from cloudcore.api import instance_views, owned
from cloudcore.api.calls import Call, Outcome
from cloudcore.api.registry import Action, Fate, Ignored, accepted
from cloudcore.domain.instances import AWAITS, Event, Instance, State, after
from cloudcore.domain.volumes import AttachmentState
from cloudcore.errors import CloudError, Code
from cloudcore.rpc.compute import InstanceName
from cloudcore.rpc.faults import BusFault
from cloudcore.store.books import Books

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Named:
    InstanceIds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GetConsoleOutput:
    InstanceId: str


FORCED: Mapping[str, Fate] = {
    "Force": Ignored("a guest that does not answer is switched off after a while anyway"),
    "SkipOsShutdown": accepted(False),
    "Hibernate": accepted(False),
}


async def terminate_instances(call: Call, asked: Named) -> Mapping[str, Any] | None:
    return {"TerminatingInstances": await _change(call, asked.InstanceIds, Event.TERMINATE)}


async def stop_instances(call: Call, asked: Named) -> Mapping[str, Any] | None:
    return {"StoppingInstances": await _change(call, asked.InstanceIds, Event.STOP)}


async def start_instances(call: Call, asked: Named) -> Mapping[str, Any] | None:
    return {"StartingInstances": await _change(call, asked.InstanceIds, Event.START)}


async def _change(call: Call, ids: Sequence[str], event: Event) -> list[dict[str, Any]]:
    answer = await call.change(_requested, owned.checked(ids), event)
    return list(answer["Changes"]) if answer else []


def _requested(books: Books, call: Call, ids: Sequence[str], event: Event) -> Outcome:
    own = owned.every(books, call, ids)
    for id in ids:
        _check_protection(own[id], event)
    if event is Event.START:
        _check_roots(books, own.values())
    changes, operations = [], []
    for id in ids:
        was, now = books.instances.request(call.project, id, event)
        changes.append(instance_views.change(was, now))
        if now.generation != was.generation:
            kind = AWAITS[now.state]
            operations.append(books.operations.begin(kind, id, now.generation, call.project, call.request_id))
    return Outcome({"Changes": changes}, tuple(ids), tuple(operations))


def _check_roots(books: Books, instances: Collection[Instance]) -> None:
    """One whose root volume was taken from it cannot start. Only a change of its volumes can have done that."""
    changed = [one for one in instances if one.disk_revision and one.state is State.STOPPED]
    held = books.attachments.of_instances([one.id for one in changed])
    for one in changed:
        if not any(each.root and each.state is not AttachmentState.DETACHING for each in held.get(one.id, ())):
            text = f"Invalid value '{one.id}' for instanceId. Instance does not have a volume attached at root"
            raise CloudError(Code.BLOCK_DEVICE, text)


def _check_protection(instance: Instance, event: Event) -> None:
    """Protection against stopping protects against termination too; what has no effect needs none."""
    if event is Event.TERMINATE and instance.protected:
        done, attribute = "terminated", "disableApiTermination"
    elif event in (Event.STOP, Event.TERMINATE) and instance.stop_protected:
        done, attribute = "terminated" if event is Event.TERMINATE else "stopped", "disableApiStop"
    else:
        return
    text = f"The instance '{instance.id}' may not be {done}. Modify its '{attribute}' instance attribute and try again."
    raise CloudError(Code.INSTANCE_PROTECTED, text)


async def reboot_instances(call: Call, asked: Named) -> Mapping[str, Any] | None:
    ids = owned.checked(asked.InstanceIds)
    answer = await call.change(_rebooting, ids)
    hosts: Mapping[str, str] = answer or {}
    compute_of = call.cloud.compute_of
    reboots = [answered(compute_of(host).reboot(InstanceName(id)), id) for id, host in hosts.items()]
    results: list[tuple[bool, Any]] = await DeferredList(reboots, consumeErrors=True)
    for succeeded, result in results:
        if not succeeded:
            result.raiseException()
    return None


def _rebooting(books: Books, call: Call, ids: Sequence[str]) -> Outcome:
    own = owned.every(books, call, ids)
    for id in ids:
        if after(own[id].state, Event.REBOOT) is None or own[id].host is None:
            text = f"The instance '{id}' is {own[id].state.value}; it cannot be rebooted"
            raise CloudError(Code.INSTANCE_STATE, text)
    return Outcome({id: own[id].host for id in ids}, tuple(ids))


def answered(asked: Deferred[T], instance: str) -> Deferred[T]:
    """A host that does not answer is Unavailable: clients try that again."""

    def unreachable(failure: Failure) -> T:
        failure.trap(BusFault)
        text = f"The host of the instance '{instance}' does not answer; try again"
        raise CloudError(Code.HOST_UNREACHABLE, text) from failure.value

    return asked.addErrback(unreachable)


async def get_console_output(call: Call, asked: GetConsoleOutput) -> Mapping[str, Any] | None:
    (id,) = owned.checked([asked.InstanceId])
    instance = (await call.look(owned.every, call, [id]))[id]
    output, at = b"", instance.changed
    if instance.host is not None:
        try:
            text = await answered(call.cloud.compute_of(instance.host).console(InstanceName(id)), id)
            output, at = text.output, text.timestamp
        except CloudError as refused:
            if refused.code is not Code.INSTANCE_UNKNOWN:  # a host that has cleaned up has no console any more
                raise
    return {"InstanceId": id, "Timestamp": at, "Output": base64.b64encode(output).decode()}


ACTIONS = {
    "TerminateInstances": Action(terminate_instances, Named, FORCED),
    "StopInstances": Action(stop_instances, Named, FORCED),
    "StartInstances": Action(start_instances, Named, {"AdditionalInfo": Ignored("reserved by EC2, without meaning")}),
    "RebootInstances": Action(reboot_instances, Named),
    "GetConsoleOutput": Action(
        get_console_output, GetConsoleOutput, {"Latest": Ignored("the answer is always the latest output")}
    ),
}
