"""One attribute of a network interface at a time. An interface is its instance's only one, so that its attributes are
the instance's: these are the same changes by another name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cloudcore.api.attribute_changes import CHANGES, Flag
from cloudcore.api.calls import Call, Outcome
from cloudcore.api.describing import Asked, describe
from cloudcore.api.interfaces import INTERFACE
from cloudcore.api.registry import Action, accepted
from cloudcore.domain.ids import instance_of, well_formed
from cloudcore.domain.instances import Instance, State
from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books


@dataclass(frozen=True, slots=True)
class ModifyNetworkInterfaceAttribute:
    NetworkInterfaceId: str
    Groups: tuple[str, ...] = ()
    SourceDestCheck: Flag | None = None


@dataclass(frozen=True, slots=True)
class DescribeNetworkInterfaceAttribute:
    NetworkInterfaceId: str
    Attribute: str


ATTRIBUTES: Mapping[str, str] = {  # attribute: its member
    "attachment": "Attachment",
    "description": "Description",
    "groupSet": "Groups",
    "sourceDestCheck": "SourceDestCheck",
}
BARE = ("Attachment", "Groups")  # what is not wrapped in a Value


async def modify_interface_attribute(call: Call, asked: ModifyNetworkInterfaceAttribute) -> Mapping[str, Any] | None:
    check = asked.SourceDestCheck.Value if asked.SourceDestCheck else None
    given = {"groupSet": asked.Groups or None, "sourceDestCheck": check}
    changed = {name: value for name, value in given.items() if value is not None}
    if len(changed) > 1:
        raise CloudError(Code.BAD_COMBINATION, f"Modify one attribute at a time, not {' and '.join(changed)}")
    return await call.change(_modify, asked.NetworkInterfaceId, changed)


def _modify(books: Books, call: Call, id: str, changed: Mapping[str, Any]) -> Outcome:
    instance = _instance(books, call, id)
    operations = [one for name, value in changed.items() for one in CHANGES[name].apply(books, call, instance, value)]
    return Outcome(None, (id,), tuple(operations))


def _instance(books: Books, call: Call, id: str) -> Instance:
    named = instance_of(id) if well_formed("network-interface", id) else ""
    instance = books.instances.of_project(call.project, [named]).get(named)
    if instance is None or instance.state in (State.SHUTTING_DOWN, State.TERMINATED):
        raise CloudError(Code.INTERFACE_UNKNOWN, f"The networkInterface ID '{id}' does not exist")
    return instance


async def describe_interface_attribute(
    call: Call, asked: DescribeNetworkInterfaceAttribute
) -> Mapping[str, Any] | None:
    if asked.Attribute not in ATTRIBUTES:
        raise CloudError(Code.BAD_VALUE, f"Invalid value '{asked.Attribute}' for Attribute: {', '.join(ATTRIBUTES)}")
    found = await call.look(describe, call, INTERFACE, Asked((asked.NetworkInterfaceId,)))
    member = ATTRIBUTES[asked.Attribute]
    value = found.items[0][member]
    return {"NetworkInterfaceId": asked.NetworkInterfaceId, member: value if member in BARE else {"Value": value}}


ACTIONS = {
    "DescribeNetworkInterfaceAttribute": Action(describe_interface_attribute, DescribeNetworkInterfaceAttribute),
    "ModifyNetworkInterfaceAttribute": Action(
        modify_interface_attribute, ModifyNetworkInterfaceAttribute,
        {"Attachment.DeleteOnTermination": accepted(True), "AssociatePublicIpAddress": accepted(False)},
    ),
}  # fmt: skip
