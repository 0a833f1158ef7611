"""DescribeInstanceAttribute: one attribute at a time, from one table. How they are modified: attribute_changes.py."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cloudcore.api import instance_views, owned
from cloudcore.api.calls import Call
from cloudcore.api.registry import Action, Ignored
from cloudcore.domain.instances import Instance
from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books


@dataclass(frozen=True, slots=True)
class DescribeInstanceAttribute:
    InstanceId: str
    Attribute: str


@dataclass(frozen=True, slots=True)
class DescribeInstanceCreditSpecifications:
    InstanceIds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GetInstanceUefiData:
    InstanceId: str


Shown = tuple[str, Callable[[Instance], Any]]


def _value(of: Callable[[Instance], Any]) -> Callable[[Instance], Any]:
    """None is an attribute without a value: an empty element."""
    return lambda instance: {"Value": of(instance)}


ATTRIBUTES: Mapping[str, Shown] = {
    "disableApiStop": ("DisableApiStop", _value(lambda instance: instance.stop_protected)),
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
    "sourceDestCheck": ("SourceDestCheck", _value(lambda instance: instance.source_dest_check)),
    "sriovNetSupport": ("SriovNetSupport", _value(lambda instance: None)),
    "userData": ("UserData", _value(
        lambda instance: base64.b64encode(instance.user_data).decode() if instance.user_data else None)),
}  # fmt: skip


def _groups(books: Books, call: Call, instance: Instance) -> Mapping[str, Any]:
    names = books.groups.own_names(call.project, books.instances.groups_of(instance.id))
    return {"Groups": [{"GroupId": id, "GroupName": names[id]} for id in sorted(names)]}


def _devices(books: Books, call: Call, instance: Instance) -> Mapping[str, Any]:
    return {"BlockDeviceMappings": instance_views.devices(books.attachments.of_instance(instance.id))}


def _root(books: Books, call: Call, instance: Instance) -> Mapping[str, Any]:
    return {"RootDeviceName": {"Value": instance_views.root_device(books.attachments.of_instance(instance.id))}}


# What is not in the instance's own row.
BESIDE: Mapping[str, Callable[[Books, Call, Instance], Mapping[str, Any]]] = {
    "blockDeviceMapping": _devices, "groupSet": _groups, "rootDeviceName": _root,
}  # fmt: skip


async def describe_instance_attribute(call: Call, asked: DescribeInstanceAttribute) -> Mapping[str, Any] | None:
    if asked.Attribute not in BESIDE and asked.Attribute not in ATTRIBUTES:
        raise CloudError(Code.BAD_VALUE, f"Invalid value '{asked.Attribute}' for Attribute")
    return await call.look(_describe, call, asked)


def _describe(books: Books, call: Call, asked: DescribeInstanceAttribute) -> Mapping[str, Any]:
    instance = owned.one(books, call, asked.InstanceId)
    if asked.Attribute in BESIDE:
        return {"InstanceId": instance.id, **BESIDE[asked.Attribute](books, call, instance)}
    member, value = ATTRIBUTES[asked.Attribute]
    return {"InstanceId": instance.id, member: value(instance)}


async def describe_credit_specifications(
    call: Call, asked: DescribeInstanceCreditSpecifications
) -> Mapping[str, Any] | None:
    """Terraform asks only where a type says that it is burstable, and then forgives this answer alone."""
    raise CloudError(Code.UNSUPPORTED, "No instance type here is burstable: instances have no CPU credits")


async def get_instance_uefi_data(call: Call, asked: GetInstanceUefiData) -> Mapping[str, Any] | None:
    raise CloudError(Code.UNSUPPORTED, "Instances boot by their BIOS: they have no UEFI variables")


ACTIONS = {
    "DescribeInstanceAttribute": Action(describe_instance_attribute, DescribeInstanceAttribute),
    "DescribeInstanceCreditSpecifications": Action(
        describe_credit_specifications, DescribeInstanceCreditSpecifications,
        {name: Ignored("there is nothing to select from") for name in ("Filters", "MaxResults", "NextToken")},
    ),
    "GetInstanceUefiData": Action(get_instance_uefi_data, GetInstanceUefiData),
}  # fmt: skip
