"""DescribeInstances and DescribeInstanceStatus: two views of one kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloudcore.api import instance_views
from cloudcore.api.calls import Call
from cloudcore.api.describing import TAG_FILTERS, Asked, Filter, Kind, Row, describe
from cloudcore.api.registry import Action, accepted
from cloudcore.errors import Code
from cloudcore.store.books import Books
from cloudcore.store.instance_pages import InstancePages, ShownInstance
from cloudcore.store.pages import Wanted

LINGERS = 3600.0 * 2  # seconds that a terminated instance is still shown: waiters and destroyers want to see it


@dataclass(frozen=True, slots=True)
class DescribeInstances:
    InstanceIds: tuple[str, ...] = ()
    Filters: tuple[Filter, ...] = ()
    MaxResults: int | None = None
    NextToken: str | None = None


@dataclass(frozen=True, slots=True)
class DescribeInstanceStatus:
    InstanceIds: tuple[str, ...] = ()
    Filters: tuple[Filter, ...] = ()
    MaxResults: int | None = None
    NextToken: str | None = None
    IncludeAllInstances: bool = False


def fetch(books: Books, call: Call, wanted: Wanted) -> Sequence[Row[ShownInstance]]:
    found = books.over(InstancePages).page(call.project, wanted, LINGERS)
    return [Row(one.instance.created, one.instance.id, one) for one in found]


def _view(call: Call, shown: ShownInstance, tags: list[dict[str, str]]) -> dict[str, Any]:
    """In a reservation of its own; `describe_instances` joins those of one reservation again."""
    one, name = shown.instance, shown.profile.profile_arn.rpartition("/")[2] if shown.profile else None
    aside = {"Tags": tags, "ProfileName": name}
    return instance_views.reservation(call, [instance_views.item(call, shown, tags)], one) | aside


# Paths begin at the reservation; `Tags` and `ProfileName` there are only for filters.
FILTERS = {
    **TAG_FILTERS,
    "architecture": "Instances.Architecture",
    "availability-zone": "Instances.Placement.AvailabilityZone",
    "block-device-mapping.attach-time": "Instances.BlockDeviceMappings.Ebs.AttachTime",
    "block-device-mapping.delete-on-termination": "Instances.BlockDeviceMappings.Ebs.DeleteOnTermination",
    "block-device-mapping.device-name": "Instances.BlockDeviceMappings.DeviceName",
    "block-device-mapping.status": "Instances.BlockDeviceMappings.Ebs.Status",
    "block-device-mapping.volume-id": "Instances.BlockDeviceMappings.Ebs.VolumeId",
    "client-token": "Instances.ClientToken",
    "dns-name": "Instances.PublicDnsName",
    "group-id": "Instances.SecurityGroups.GroupId",
    "group-name": "Instances.SecurityGroups.GroupName",
    "hypervisor": "Instances.Hypervisor",
    "iam-instance-profile.arn": "Instances.IamInstanceProfile.Arn",
    "iam-instance-profile.id": "Instances.IamInstanceProfile.Id",
    "iam-instance-profile.name": "ProfileName",
    "image-id": "Instances.ImageId",
    "instance-id": "Instances.InstanceId",
    "instance-state-code": "Instances.State.Code",
    "instance-state-name": "Instances.State.Name",
    "instance-type": "Instances.InstanceType",
    "instance.group-id": "Instances.SecurityGroups.GroupId",
    "instance.group-name": "Instances.SecurityGroups.GroupName",
    "ip-address": "Instances.PublicIpAddress",
    "key-name": "Instances.KeyName",
    "launch-index": "Instances.AmiLaunchIndex",
    "launch-time": "Instances.LaunchTime",
    "metadata-options.http-tokens": "Instances.MetadataOptions.HttpTokens",
    "monitoring-state": "Instances.Monitoring.State",
    "network-interface.addresses.association.public-ip":
        "Instances.NetworkInterfaces.PrivateIpAddresses.Association.PublicIp",
    "network-interface.addresses.private-ip-address": "Instances.NetworkInterfaces.PrivateIpAddresses.PrivateIpAddress",
    "network-interface.association.ip-owner-id": "Instances.NetworkInterfaces.Association.IpOwnerId",
    "network-interface.association.public-ip": "Instances.NetworkInterfaces.Association.PublicIp",
    "network-interface.group-id": "Instances.NetworkInterfaces.Groups.GroupId",
    "network-interface.group-name": "Instances.NetworkInterfaces.Groups.GroupName",
    "network-interface.mac-address": "Instances.NetworkInterfaces.MacAddress",
    "network-interface.network-interface-id": "Instances.NetworkInterfaces.NetworkInterfaceId",
    "network-interface.owner-id": "Instances.NetworkInterfaces.OwnerId",
    "network-interface.private-dns-name": "Instances.NetworkInterfaces.PrivateDnsName",
    "network-interface.status": "Instances.NetworkInterfaces.Status",
    "network-interface.subnet-id": "Instances.NetworkInterfaces.SubnetId",
    "network-interface.vpc-id": "Instances.NetworkInterfaces.VpcId",
    "owner-id": "OwnerId",
    "placement-group-name": "Instances.Placement.GroupName",
    "platform": "Instances.Platform",
    "private-dns-name": "Instances.PrivateDnsName",
    "private-ip-address": "Instances.PrivateIpAddress",
    "product-code": "Instances.ProductCodes.ProductCodeId",
    "reason": "Instances.StateTransitionReason",
    "reservation-id": "ReservationId",
    "root-device-name": "Instances.RootDeviceName",
    "root-device-type": "Instances.RootDeviceType",
    "source-dest-check": "Instances.SourceDestCheck",
    "state-reason-code": "Instances.StateReason.Code",
    "state-reason-message": "Instances.StateReason.Message",
    "subnet-id": "Instances.SubnetId",
    "tenancy": "Instances.Placement.Tenancy",
    "virtualization-type": "Instances.VirtualizationType",
    "vpc-id": "Instances.VpcId",
}

INSTANCE: Kind[ShownInstance] = Kind(
    fetch=fetch,
    view=_view,
    noun="instance ID",
    tags="instance",
    unknown=Code.INSTANCE_UNKNOWN,
    malformed=Code.INSTANCE_MALFORMED,
    filters=FILTERS,
    columns={"client-token": "client_token", "image-id": "image", "instance-id": "id", "instance-type": "instance_type",
             "key-name": "key_name", "private-ip-address": "address", "reservation-id": "reservation"},
)  # fmt: skip

def _with_time(books: Books, call: Call, wanted: Wanted) -> Sequence[Row[tuple[ShownInstance, float]]]:
    """A status depends on how long ago the last change was, by the clock that wrote it."""
    return [Row(row.created, row.id, (row.value, books.now())) for row in fetch(books, call, wanted)]


STATUS: Kind[tuple[ShownInstance, float]] = Kind(
    fetch=_with_time,
    view=lambda call, timed, tags: instance_views.status(call, *timed) | {"Tags": tags},
    noun=INSTANCE.noun,
    tags=INSTANCE.tags,
    unknown=INSTANCE.unknown,
    malformed=INSTANCE.malformed,
    filters={
        **TAG_FILTERS,
        "availability-zone": "AvailabilityZone",
        "instance-state-code": "InstanceState.Code",
        "instance-state-name": "InstanceState.Name",
        "instance-status.reachability": "InstanceStatus.Details.Status",
        "instance-status.status": "InstanceStatus.Status",
        "system-status.reachability": "SystemStatus.Details.Status",
        "system-status.status": "SystemStatus.Status",
    },
)


async def describe_instances(call: Call, asked: DescribeInstances) -> Mapping[str, Any] | None:
    wanted = Asked(asked.InstanceIds, asked.Filters, asked.MaxResults, asked.NextToken)
    found = await call.look(describe, call, INSTANCE, wanted)
    joined: dict[str, dict[str, Any]] = {}
    for one in found.items:
        del one["Tags"], one["ProfileName"]
        first = joined.setdefault(one["ReservationId"], one)
        if first is not one:
            first["Instances"] += one["Instances"]
    return {"Reservations": list(joined.values()), "NextToken": found.token}


async def describe_instance_status(call: Call, asked: DescribeInstanceStatus) -> Mapping[str, Any] | None:
    """Without IncludeAllInstances only running ones are listed."""
    running = () if asked.IncludeAllInstances else (Filter("instance-state-name", ("running",)),)
    wanted = Asked(asked.InstanceIds, asked.Filters + running, asked.MaxResults, asked.NextToken)
    found = await call.look(describe, call, STATUS, wanted)
    for one in found.items:
        del one["Tags"]
    return {"InstanceStatuses": found.items, "NextToken": found.token}


ACTIONS = {
    "DescribeInstances": Action(describe_instances, DescribeInstances),
    "DescribeInstanceStatus": Action(
        describe_instance_status, DescribeInstanceStatus, {"IncludeManagedResources": accepted(False)}
    ),
}
