"""ModifyInstanceAttribute and ResetInstanceAttribute: one attribute at a time, from one table.

Protection, shutdown behaviour, groups and the source/destination check change at once. Type and user data need a
stopped instance: its next start makes the guest anew from what is written here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cloudcore.api import groups_of_project, owned, port_changes, user_data
from cloudcore.api.calls import Call, Outcome
from cloudcore.api.registry import Action, accepted
from cloudcore.domain.instances import Instance, State
from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books

Operations = tuple[str, ...]
BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Flag:
    Value: bool | None = None


@dataclass(frozen=True, slots=True)
class Text:
    Value: str | None = None


@dataclass(frozen=True, slots=True)
class Blob:
    Value: bytes | None = None


@dataclass(frozen=True, slots=True)
class KeptVolume:
    DeleteOnTermination: bool | None = None
    VolumeId: str | None = None


@dataclass(frozen=True, slots=True)
class Device:
    DeviceName: str | None = None
    Ebs: KeptVolume | None = None


@dataclass(frozen=True, slots=True)
class ModifyInstanceAttribute:
    """The attribute as a member of its own, or by its name in `Attribute` with `Value`."""

    InstanceId: str
    Attribute: str | None = None
    Value: str | None = None
    BlockDeviceMappings: tuple[Device, ...] = ()
    DisableApiStop: Flag | None = None
    DisableApiTermination: Flag | None = None
    EbsOptimized: Flag | None = None
    EnaSupport: Flag | None = None
    Groups: tuple[str, ...] = ()
    InstanceInitiatedShutdownBehavior: Text | None = None
    InstanceType: Text | None = None
    SourceDestCheck: Flag | None = None
    SriovNetSupport: Text | None = None
    UserData: Blob | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """`member` carries the value, `read` makes it from the text of `Value`, `apply` returns operations now due."""

    member: str
    read: Callable[[str, str], Any]
    apply: Callable[[Books, Call, Instance, Any], Operations]


# -- what each does ---------------------------------------------------------------------------------------------------


def _set(column: str) -> Callable[[Books, Call, Instance, Any], Operations]:
    def apply(books: Books, call: Call, instance: Instance, value: Any) -> Operations:
        books.instances.modify(instance, **{column: value})
        return ()

    return apply


def _only(attribute: str, *values: Any) -> Callable[[Books, Call, Instance, Any], Operations]:
    """What is so anyway; anything else is refused."""

    def apply(books: Books, call: Call, instance: Instance, value: Any) -> Operations:
        if value not in values:
            raise CloudError(Code.UNSUPPORTED, f"The value '{value}' of the attribute {attribute} is not supported")
        return ()

    return apply


def _behaviour(books: Books, call: Call, instance: Instance, value: str) -> Operations:
    if value not in ("stop", "terminate"):
        raise CloudError(Code.BAD_VALUE, f"Invalid value '{value}' for InstanceInitiatedShutdownBehavior")
    books.instances.modify(instance, shutdown_behaviour=value)
    return ()


def _type(books: Books, call: Call, instance: Instance, value: str) -> Operations:
    """The root disk keeps its size. Whether its host has the room shows at the next start."""
    kind = call.cloud.types.get(value)
    if kind is None:
        raise CloudError(Code.BAD_VALUE, f"Invalid value '{value}' for InstanceType.")
    _check_stopped(instance, "instanceType")
    more = kind.vcpus - instance.vcpus
    if more > 0 and not books.quotas.take(call.project, call.cloud.limits, vcpus=more):
        raise CloudError(Code.VCPU_QUOTA, f"You have no room for {more} more vcpus")
    books.quotas.release(call.project, vcpus=max(0, -more))
    books.instances.retype(instance, kind.name, kind.vcpus, kind.memory_mib)
    return ()


def _user_data(books: Books, call: Call, instance: Instance, value: bytes) -> Operations:
    _check_stopped(instance, "userData")
    books.instances.modify(instance, user_data=user_data.bounded(value))
    return ()


def _groups(books: Books, call: Call, instance: Instance, value: tuple[str, ...]) -> Operations:
    wanted = groups_of_project.ids(books, call, value, ())
    return port_changes.regrouped(books, call, instance, wanted)


def _source_dest_check(books: Books, call: Call, instance: Instance, value: bool) -> Operations:
    if value is instance.source_dest_check:
        return ()
    return (port_changes.reshaped(books, call, instance, source_dest_check=value),)


def _devices(books: Books, call: Call, instance: Instance, value: tuple[Device, ...]) -> Operations:
    """Whether a volume ends with its instance is all that can be changed of an attachment."""
    held = {one.device: one for one in books.attachments.of_instance(instance.id)}
    for asked in value:
        found, ebs = held.get(asked.DeviceName or ""), asked.Ebs
        if found is None or (ebs is not None and ebs.VolumeId not in (None, found.volume)):
            text = f"No such volume is currently mapped at '{(asked.DeviceName or '')[:64]}' of '{instance.id}'"
            raise CloudError(Code.BLOCK_DEVICE, text)
        if ebs is not None and ebs.DeleteOnTermination is not None:
            books.attachments.keep(found, ebs.DeleteOnTermination)
    return ()


def _check_stopped(instance: Instance, attribute: str) -> None:
    if instance.state is not State.STOPPED:
        text = f"The instance '{instance.id}' is not in the 'stopped' state, which changing {attribute} needs"
        raise CloudError(Code.INSTANCE_STATE, text)


# -- how `Value` is read ----------------------------------------------------------------------------------------------


def _flag(attribute: str, text: str) -> bool:
    if text not in BOOLEANS:
        raise CloudError(Code.BAD_VALUE, f"Invalid value '{text}' for {attribute}: true or false")
    return BOOLEANS[text]


def _text(attribute: str, text: str) -> str:
    return text


def _base64(attribute: str, text: str) -> bytes:
    return user_data.decoded(text) or b""


def _none(attribute: str, text: str) -> Any:
    raise CloudError(Code.UNSUPPORTED, f"The attribute '{attribute}' cannot be given as a Value")


def _ids(attribute: str, text: str) -> tuple[str, ...]:
    return (text,)


CHANGES: Mapping[str, Change] = {
    "blockDeviceMapping": Change("BlockDeviceMappings", _none, _devices),
    "disableApiStop": Change("DisableApiStop", _flag, _set("stop_protected")),
    "disableApiTermination": Change("DisableApiTermination", _flag, _set("protected")),
    "ebsOptimized": Change("EbsOptimized", _flag, _only("ebsOptimized", False)),
    "enaSupport": Change("EnaSupport", _flag, _only("enaSupport", True)),
    "groupSet": Change("Groups", _ids, _groups),
    "instanceInitiatedShutdownBehavior": Change("InstanceInitiatedShutdownBehavior", _text, _behaviour),
    "instanceType": Change("InstanceType", _text, _type),
    "sourceDestCheck": Change("SourceDestCheck", _flag, _source_dest_check),
    "sriovNetSupport": Change("SriovNetSupport", _text, _only("sriovNetSupport", "simple")),
    "userData": Change("UserData", _base64, _user_data),
}


async def modify_instance_attribute(call: Call, asked: ModifyInstanceAttribute) -> Mapping[str, Any] | None:
    given = _given(asked)
    if len(given) > 1:
        text = f"Modify one attribute at a time, not {' and '.join(sorted(given))}"
        raise CloudError(Code.BAD_COMBINATION, text)
    return await call.change(_modify, asked.InstanceId, given)


def _given(asked: ModifyInstanceAttribute) -> dict[str, Any]:
    """{attribute: value}"""
    found: dict[str, Any] = {}
    for name, change in CHANGES.items():
        member = getattr(asked, change.member)
        value = member if isinstance(member, tuple) else getattr(member, "Value", None)
        if value not in (None, ()):
            found[name] = value
    if asked.Attribute is None:
        return found
    named = CHANGES.get(asked.Attribute)
    if named is None:
        raise CloudError(Code.UNSUPPORTED, f"The attribute '{asked.Attribute}' cannot be modified")
    if asked.Value is not None:
        found[asked.Attribute] = named.read(asked.Attribute, asked.Value)
    return found


def _modify(books: Books, call: Call, id: str, given: Mapping[str, Any]) -> Outcome:
    """None is given where a client sends a value that is empty: then nothing changes."""
    instance = owned.alive(books, call, id)
    operations: Operations = ()
    for name, value in given.items():
        operations += CHANGES[name].apply(books, call, instance, value)
    return Outcome(None, (id,), operations)


# What each attribute is without anybody's doing, by its name. Kernels and RAM disks of their own have none here.
DEFAULTS: Mapping[str, Any] = {"kernel": None, "ramdisk": None, "sourceDestCheck": True}


@dataclass(frozen=True, slots=True)
class ResetInstanceAttribute:
    InstanceId: str
    Attribute: str


async def reset_instance_attribute(call: Call, asked: ResetInstanceAttribute) -> Mapping[str, Any] | None:
    if asked.Attribute not in DEFAULTS:
        text = f"Invalid value '{asked.Attribute}' for Attribute: {', '.join(DEFAULTS)} can be reset"
        raise CloudError(Code.BAD_VALUE, text)
    return await call.change(_reset, asked)


def _reset(books: Books, call: Call, asked: ResetInstanceAttribute) -> Outcome:
    value = DEFAULTS[asked.Attribute]
    if value is not None:
        return _modify(books, call, asked.InstanceId, {asked.Attribute: value})
    _check_stopped(owned.alive(books, call, asked.InstanceId), asked.Attribute)
    return Outcome(None, (asked.InstanceId,))


ACTIONS = {
    "ModifyInstanceAttribute": Action(
        modify_instance_attribute, ModifyInstanceAttribute, {"EnclaveOptions.Enabled": accepted(False)}
    ),
    "ResetInstanceAttribute": Action(reset_instance_attribute, ResetInstanceAttribute),
}
