"""DescribeInstanceAttribute and ModifyInstanceAttribute: one attribute at a time, from one table."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cloudcore.api.calls import Call, Outcome
from cloudcore.api.instance_views import ROOT_DEVICE
from cloudcore.api.registry import Action, accepted
from cloudcore.domain.ids import well_formed
from cloudcore.domain.instances import Instance, State
from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books


@dataclass(frozen=True, slots=True)
class DescribeInstanceAttribute:
    InstanceId: str
    Attribute: str


@dataclass(frozen=True, slots=True)
class Flag:
    Value: bool | None = None


@dataclass(frozen=True, slots=True)
class Text:
    Value: str | None = None


@dataclass(frozen=True, slots=True)
class ModifyInstanceAttribute:
    """The attribute as a member of its own, or by its name in `Attribute` with `Value`."""

    InstanceId: str
    Attribute: str | None = None
    Value: str | None = None
    DisableApiTermination: Flag | None = None
    InstanceInitiatedShutdownBehavior: Text | None = None


Shown = tuple[str, Callable[[Instance], Any]]


def _value(of: Callable[[Instance], Any]) -> Callable[[Instance], Any]:
    """None is an attribute without a value: an empty element."""
    return lambda instance: {"Value": of(instance)}


ATTRIBUTES: Mapping[str, Shown] = {
    "blockDeviceMapping": ("BlockDeviceMappings", lambda instance: []),
    "disableApiStop": ("DisableApiStop", _value(lambda instance: False)),
    "disableApiTermination": ("DisableApiTermination", _value(lambda instance: instance.protected)),
    "ebsOptimized": ("EbsOptimized", _value(lambda instance: False)),
    "enaSupport": ("EnaSupport", _value(lambda instance: True)),
    "enclaveOptions": ("EnclaveOptions", lambda instance: {"Enabled": False}),
    "instanceInitiatedShutdownBehavior": (
        "InstanceInitiatedShutdownBehavior", _value(lambda instance: instance.shutdown_behaviour)),
    "instanceType": ("InstanceType", _value(lambda instance: instance.instance_type)),
    "kernel": ("KernelId", _value(lambda instance: None)),
    "productCodes": ("ProductCodes", lambda instance: []),
    "ramdisk": ("RamdiskId", _value(lambda instance: None)),
    "rootDeviceName": ("RootDeviceName", _value(lambda instance: ROOT_DEVICE)),
    "sourceDestCheck": ("SourceDestCheck", _value(lambda instance: True)),
    "sriovNetSupport": ("SriovNetSupport", _value(lambda instance: None)),
    "userData": ("UserData", _value(
        lambda instance: base64.b64encode(instance.user_data).decode() if instance.user_data else None)),
}  # fmt: skip


def _own(books: Books, call: Call, id: str) -> Instance:
    if not well_formed("instance", id):
        raise CloudError(Code.INSTANCE_MALFORMED, f"Invalid id: \"{id}\" (expecting \"i-...\")")
    found = books.instances.of_project(call.project, [id]).get(id)
    if found is None:
        raise CloudError(Code.INSTANCE_UNKNOWN, f"The instance ID '{id}' does not exist")
    return found


async def describe_instance_attribute(call: Call, asked: DescribeInstanceAttribute) -> Mapping[str, Any] | None:
    if asked.Attribute != "groupSet" and asked.Attribute not in ATTRIBUTES:
        raise CloudError(Code.BAD_VALUE, f"Invalid value '{asked.Attribute}' for Attribute")
    return await call.look(_describe, call, asked)


def _describe(books: Books, call: Call, asked: DescribeInstanceAttribute) -> Mapping[str, Any]:
    instance = _own(books, call, asked.InstanceId)
    if asked.Attribute == "groupSet":
        names = books.groups.own_names(call.project, books.instances.groups_of(instance.id))
        return {"InstanceId": instance.id, "Groups": [{"GroupId": id, "GroupName": names[id]} for id in sorted(names)]}
    member, value = ATTRIBUTES[asked.Attribute]
    return {"InstanceId": instance.id, member: value(instance)}


async def modify_instance_attribute(call: Call, asked: ModifyInstanceAttribute) -> Mapping[str, Any] | None:
    asked = _spelt_out(asked)
    behaviour, protection = asked.InstanceInitiatedShutdownBehavior, asked.DisableApiTermination
    if behaviour is not None and behaviour.Value not in ("stop", "terminate"):
        raise CloudError(Code.BAD_VALUE, f"Invalid value '{behaviour.Value}' for InstanceInitiatedShutdownBehavior")
    if behaviour is not None and protection is not None:
        raise CloudError(Code.BAD_COMBINATION, "Modify one attribute at a time")
    return await call.change(_modify, asked)


def _spelt_out(asked: ModifyInstanceAttribute) -> ModifyInstanceAttribute:
    """The attribute as a member, also where it came by name."""
    match asked.Attribute:
        case None:
            return asked
        case "disableApiTermination":
            if asked.Value not in ("true", "false"):
                raise CloudError(Code.BAD_VALUE, f"Invalid value '{asked.Value}' for disableApiTermination")
            return replace(asked, DisableApiTermination=Flag(asked.Value == "true"))
        case "instanceInitiatedShutdownBehavior":
            return replace(asked, InstanceInitiatedShutdownBehavior=Text(asked.Value))
    raise CloudError(Code.UNSUPPORTED, f"The attribute '{asked.Attribute}' cannot be modified")


def _modify(books: Books, call: Call, asked: ModifyInstanceAttribute) -> Outcome:
    instance = _own(books, call, asked.InstanceId)
    if instance.state in (State.SHUTTING_DOWN, State.TERMINATED):
        text = f"The instance '{instance.id}' is {instance.state.value}; its attributes cannot be modified"
        raise CloudError(Code.INSTANCE_STATE, text)
    if asked.DisableApiTermination is not None:
        instance = books.instances.protect(instance, bool(asked.DisableApiTermination.Value))
    behaviour = asked.InstanceInitiatedShutdownBehavior
    if behaviour is not None and behaviour.Value is not None:
        instance = books.instances.on_shutdown(instance, behaviour.Value)
    return Outcome(None, (instance.id,))


ACTIONS = {
    "DescribeInstanceAttribute": Action(describe_instance_attribute, DescribeInstanceAttribute),
    "ModifyInstanceAttribute": Action(modify_instance_attribute, ModifyInstanceAttribute, {
        "DisableApiStop.Value": accepted(False), "EbsOptimized.Value": accepted(False),
        "EnaSupport.Value": accepted(True), "EnclaveOptions.Enabled": accepted(False),
        "SourceDestCheck.Value": accepted(True), "SriovNetSupport.Value": accepted("simple"),
    }),
}  # fmt: skip
