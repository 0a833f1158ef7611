"""RunInstances: one transaction makes the intent durable (client token, instances and their volumes, quota, operations,
tags, audit), and only then comes the answer. What happens next is the conductor's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cloudcore.api import (
    block_devices,
    client_tokens,
    groups_of_project,
    image_names,
    instance_views,
    launch_volumes,
    metadata_options,
    port_changes,
    profile_associations,
    tagging,
    user_data,
)
from cloudcore.api.calls import Call, Outcome
from cloudcore.api.registry import Action, Fate, Ignored, accepted
from cloudcore.domain import quotas
from cloudcore.domain.ids import default_subnet, interface_of, mac_address, new_id, well_formed
from cloudcore.domain.instance_types import DEFAULT_TYPE, InstanceType, fits
from cloudcore.domain.instances import Instance, State
from cloudcore.domain.placement import Demand
from cloudcore.domain.security_groups import DEFAULT_NAME
from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books
from cloudcore.store.instance_pages import InstancePages, ShownInstance
from cloudcore.store.instances import LostRace
from cloudcore.store.pages import Wanted
from cloudcore.store.requests import Token

MOST_AT_ONCE = 1000
SCARCE = {quotas.INSTANCES: Code.INSTANCE_QUOTA, quotas.VCPUS: Code.VCPU_QUOTA}


@dataclass(frozen=True, slots=True)
class Placement:
    AvailabilityZone: str | None = None


@dataclass(frozen=True, slots=True)
class Interface:
    DeviceIndex: int | None = None
    SubnetId: str | None = None
    Groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Monitoring:
    Enabled: bool = False


@dataclass(frozen=True, slots=True)
class RunInstances:
    MinCount: int
    MaxCount: int
    ImageId: str | None = None
    InstanceType: str | None = None
    KeyName: str | None = None
    UserData: str | None = None
    SecurityGroupIds: tuple[str, ...] = ()
    SecurityGroups: tuple[str, ...] = ()
    SubnetId: str | None = None
    NetworkInterfaces: tuple[Interface, ...] = ()
    Placement: Placement | None = None
    BlockDeviceMappings: tuple[block_devices.BlockDevice, ...] = ()
    TagSpecifications: tuple[tagging.TagSpecification, ...] = ()
    InstanceInitiatedShutdownBehavior: str | None = None
    DisableApiTermination: bool = False
    DisableApiStop: bool = False
    MetadataOptions: metadata_options.MetadataOptions | None = None
    Monitoring: Monitoring | None = None
    IamInstanceProfile: profile_associations.ProfileNamed | None = None
    ClientToken: str | None = None


TAGGED = ("instance", "volume", "network-interface")
FATES: Mapping[str, Fate] = {
    **block_devices.FATES,
    "AdditionalInfo": Ignored("reserved by EC2, without meaning"),
    "CapacityReservationSpecification.CapacityReservationPreference": accepted("open", "none"),
    "CreditSpecification.CpuCredits": Ignored("no type here is burstable; Terraform sends it for every t type"),
    "EbsOptimized": accepted(False),
    "EnclaveOptions.Enabled": accepted(False),
    "HibernationOptions.Configured": accepted(False),
    "MaintenanceOptions.AutoRecovery": accepted("default", "disabled"),
    "MetadataOptions.HttpProtocolIpv6": accepted("disabled"),
    "NetworkInterfaces.AssociatePublicIpAddress": accepted(False),
    "NetworkInterfaces.DeleteOnTermination": accepted(True),
    "NetworkInterfaces.Description": Ignored("an interface lives and ends with its instance"),
    "NetworkInterfaces.InterfaceType": accepted("interface"),
    "Placement.Tenancy": accepted("default"),
    "PrivateDnsNameOptions.HostnameType": accepted("ip-name"),
}


@dataclass(frozen=True, slots=True)
class Order:
    """What was asked, checked as far as it can be without the database."""

    asked: RunInstances
    kind: InstanceType
    zone: str | None
    groups: tuple[str, ...]
    user_data: bytes | None
    tags: Mapping[str, Mapping[str, str]]  # by kind
    attributes: Mapping[str, Any]  # of the instance, beyond those of every launch
    token: Token | None


async def run_instances(call: Call, asked: RunInstances) -> Mapping[str, Any] | None:
    return await call.change(_launch, _order(call, asked))


def _order(call: Call, asked: RunInstances) -> Order:
    if not 1 <= asked.MinCount <= asked.MaxCount:
        text = f"MinCount {asked.MinCount} and MaxCount {asked.MaxCount} must be at least 1, and MinCount not greater"
        raise CloudError(Code.BAD_VALUE, text)
    if asked.MaxCount > MOST_AT_ONCE:
        raise CloudError(Code.BAD_VALUE, f"Value ({asked.MaxCount}) for parameter MaxCount is over {MOST_AT_ONCE}")
    if not asked.ImageId:
        raise CloudError(Code.MISSING_PARAMETER, "The request must contain the parameter ImageId")
    image_names.check_id(asked.ImageId)
    kind = _kind(call, asked.InstanceType)
    if asked.InstanceInitiatedShutdownBehavior not in (None, "stop", "terminate"):
        text = f"Invalid value '{asked.InstanceInitiatedShutdownBehavior}' for InstanceInitiatedShutdownBehavior"
        raise CloudError(Code.BAD_VALUE, text)
    profile_associations.check_pass(call, asked.IamInstanceProfile)
    subnet, groups = _network(asked)
    tags = tagging.by_kind(asked.TagSpecifications, TAGGED)
    return Order(asked, kind, _zone(call, asked.Placement, subnet), groups, user_data.decoded(asked.UserData), tags,
                 _attributes(asked, tags["instance"]), client_tokens.token(call, asked.ClientToken))  # fmt: skip


def _kind(call: Call, name: str | None) -> InstanceType:
    kind = call.cloud.types.get(name or DEFAULT_TYPE)
    if kind is None and name is None:
        raise CloudError(Code.MISSING_PARAMETER, "The request must contain the parameter InstanceType")
    if kind is None:
        raise CloudError(Code.BAD_VALUE, f"Invalid value '{name}' for InstanceType.")
    return kind


def _attributes(asked: RunInstances, tags: Mapping[str, str]) -> dict[str, Any]:
    options = metadata_options.changes(asked.MetadataOptions)
    if options.get("metadata_tags"):
        port_changes.check_readable(tags)
    monitored = asked.Monitoring is not None and asked.Monitoring.Enabled
    return {**options, "protected": asked.DisableApiTermination, "stop_protected": asked.DisableApiStop,
            "monitored": monitored}  # fmt: skip


def _network(asked: RunInstances) -> tuple[str | None, tuple[str, ...]]:
    """(subnet, group ids), which may stand on the only interface instead."""
    if not asked.NetworkInterfaces:
        return asked.SubnetId, asked.SecurityGroupIds
    if asked.SubnetId or asked.SecurityGroupIds or asked.SecurityGroups:
        text = "Network interfaces and an instance-level subnet ID or security groups may not be specified together"
        raise CloudError(Code.BAD_COMBINATION, text)
    if len(asked.NetworkInterfaces) > 1 or asked.NetworkInterfaces[0].DeviceIndex not in (None, 0):
        raise CloudError(Code.UNSUPPORTED, "An instance has one network interface, with DeviceIndex 0")
    only = asked.NetworkInterfaces[0]
    return only.SubnetId, only.Groups


def _zone(call: Call, placement: Placement | None, subnet: str | None) -> str | None:
    """None: wherever there is room."""
    zone = placement.AvailabilityZone if placement else None
    if zone is not None and zone not in call.cloud.zones:
        raise CloudError(Code.ZONE_UNKNOWN, f"Invalid availability zone: [{zone}]")
    if subnet is None:
        return zone
    if not well_formed("subnet", subnet):
        raise CloudError(Code.SUBNET_MALFORMED, f"Invalid id: \"{subnet}\" (expecting \"subnet-...\")")
    within = {default_subnet(call.project, one): one for one in call.cloud.zones}.get(subnet)
    if within is None:
        raise CloudError(Code.SUBNET_UNKNOWN, f"The subnet ID '{subnet}' does not exist")
    if zone not in (None, within):
        raise CloudError(Code.BAD_VALUE, f"The subnet '{subnet}' is in {within}, not in the availability zone {zone}")
    return within


def _launch(books: Books, call: Call, order: Order) -> Outcome:
    earlier = books.requests.earlier(order.token) if order.token else None
    if earlier is not None:
        return Outcome(_again(books, call, earlier), tuple(earlier), repeated=True)
    image = books.images.visible(call.project, order.asked.ImageId or "")
    plan = launch_volumes.planned(books, call, image, order.kind, order.asked.BlockDeviceMappings)
    _check_room(books, call, order, plan)
    pair = books.key_pairs.named(call.project, order.asked.KeyName) if order.asked.KeyName else None
    profile = profile_associations.named(books, call, order.asked.IamInstanceProfile)
    names = order.asked.SecurityGroups if order.groups or order.asked.SecurityGroups else (DEFAULT_NAME,)
    groups = groups_of_project.named(books, call, order.groups, names)
    count = _take_quota(books, call, order, plan)
    reservation, now, random = new_id("reservation", call.cloud.random), books.now(), call.cloud.random
    made = []
    for index in range(count):
        id = new_id("instance", random)
        made.append(Instance(
            id=id, project=call.project, reservation=reservation, launch_index=index, cell=call.cloud.cell,
            image=image.id, instance_type=order.kind.name, vcpus=order.kind.vcpus, memory_mib=order.kind.memory_mib,
            disk_gib=plan.root_gib, zone=order.zone, key_name=pair.name if pair else None,
            key_id=pair.id if pair else None, state=State.PENDING, generation=1, created=now, changed=now,
            mac=mac_address(id), user_data=order.user_data, requester=call.caller.user_name,
            shutdown_behaviour=order.asked.InstanceInitiatedShutdownBehavior or "stop",
            client_token=order.asked.ClientToken or "",
            profile=profile.id if profile else None, **order.attributes))  # fmt: skip
    books.instances.insert(made, tuple(groups))
    ids = [one.id for one in made]
    profiles = profile_associations.begun(books, call, profile, ids)
    disks = launch_volumes.begun(books, call, plan, made, order.tags["volume"])
    books.tags.begin(call.project, dict.fromkeys(ids, "instance"), order.tags["instance"])
    interfaces = dict.fromkeys(map(interface_of, ids), "network-interface")
    books.tags.begin(call.project, interfaces, order.tags["network-interface"])
    operations = [books.operations.begin("launch", one.id, 1, call.project, call.request_id) for one in made]
    if order.token:
        books.requests.keep(order.token, ids)
    member = tuple(sorted(groups.items()))
    shown = [ShownInstance(one, member, one.zone, None, profiles.get(one.id), disks[one.id]) for one in made]
    answer = _answer(call, shown, dict.fromkeys(ids, order.tags["instance"]))
    return Outcome(answer, tuple(ids), tuple(operations))


def _check_room(books: Books, call: Call, order: Order, plan: launch_volumes.Plan) -> None:
    """Raises INSTANCE_TYPE_TOO_LARGE, CAPACITY, ADDRESSES_EXHAUSTED: what shows at once need not be waited for."""
    kind = order.kind
    if not fits(kind, books.hosts.capacities(), order.zone):
        place = f" of {order.zone}" if order.zone else ""
        text = f"The instance type '{kind.name}' is larger than every host{place}"
        raise CloudError(Code.INSTANCE_TYPE_TOO_LARGE, text)
    if books.hosts.all_full(Demand(kind.vcpus, kind.memory_mib, plan.gigabytes), order.zone):
        place = order.zone or call.cloud.region
        text = f"There is no room for an instance of type '{kind.name}' in {place} at the moment"
        raise CloudError(Code.CAPACITY, text)
    if books.addresses.exhausted():
        raise CloudError(Code.ADDRESSES_EXHAUSTED, "There is no free address in the network for another instance")


def _take_quota(books: Books, call: Call, order: Order, plan: launch_volumes.Plan) -> int:
    """How many instances may be made. Raises INSTANCE_QUOTA, VCPU_QUOTA, VOLUME_QUOTA."""
    each, limits = {quotas.INSTANCES: 1, quotas.VCPUS: order.kind.vcpus, quotas.VOLUMES: len(plan.disks),
                    quotas.GIGABYTES: plan.gigabytes}, call.cloud.limits  # fmt: skip
    least, most = order.asked.MinCount, order.asked.MaxCount
    if _taken(books, call, each, most):
        return most
    room = books.quotas.room(call.project, limits, *each)
    count = quotas.fitting(least, most, each, room)
    if count is None:
        scarce = quotas.scarcest(each, room)
        code = SCARCE.get(scarce, Code.VOLUME_QUOTA)
        text = f"You have room for {max(0, room[scarce])} more {scarce} and asked for {least * each[scarce]}"
        raise CloudError(code, text)
    if not _taken(books, call, each, count):
        raise LostRace(call.project)
    return count


def _taken(books: Books, call: Call, each: Mapping[str, int], count: int) -> bool:
    amounts = {name.replace("-", "_"): count * need for name, need in each.items()}
    return books.quotas.take(call.project, call.cloud.limits, **amounts)


def _again(books: Books, call: Call, ids: list[str]) -> Mapping[str, Any]:
    """The same ids in their current state. Raises LAUNCHED_AND_ENDED when none of them lives."""
    shown = books.over(InstancePages).page(call.project, Wanted(ids=ids, limit=len(ids)), float("inf"))
    if all(one.instance.state is State.TERMINATED for one in shown):
        text = f"The client token was used before for a launch that has ended: {', '.join(ids[:5])}"
        raise CloudError(Code.LAUNCHED_AND_ENDED, text)
    shown = sorted(shown, key=lambda one: one.instance.launch_index)
    return _answer(call, shown, books.tags.of(call.project, ids))


def _answer(call: Call, shown: list[ShownInstance], tags: Mapping[str, Mapping[str, str]]) -> Mapping[str, Any]:
    items = [instance_views.item(call, one, tagging.shown(tags.get(one.instance.id, {}))) for one in shown]
    return instance_views.reservation(call, items, shown[0].instance)


ACTIONS = {"RunInstances": Action(run_instances, RunInstances, FATES)}
