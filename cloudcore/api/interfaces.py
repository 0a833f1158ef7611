"""DescribeNetworkInterfaces: each instance has one interface, which lives and ends with it and needs no row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cloudcore.api import instance_views
from cloudcore.api.calls import Call
from cloudcore.api.describing import TAG_FILTERS, Asked, Filter, Kind, Row, describe
from cloudcore.api.registry import Action, accepted
from cloudcore.domain.ids import instance_of, interface_of, well_formed
from cloudcore.errors import Code
from cloudcore.store.books import Books
from cloudcore.store.instance_pages import InstancePages, ShownInstance
from cloudcore.store.pages import Wanted


@dataclass(frozen=True, slots=True)
class DescribeNetworkInterfaces:
    NetworkInterfaceIds: tuple[str, ...] = ()
    Filters: tuple[Filter, ...] = ()
    MaxResults: int | None = None
    NextToken: str | None = None


def _fetch(books: Books, call: Call, wanted: Wanted) -> Sequence[Row[ShownInstance]]:
    """What is asked of interfaces is asked of their instances; those that are terminated have none any more."""
    ids = None if wanted.ids is None else [instance_of(id) for id in wanted.ids if well_formed("network-interface", id)]
    after = None if wanted.after is None else (wanted.after[0], instance_of(wanted.after[1]))
    found = books.over(InstancePages).page(call.project, replace(wanted, ids=ids, after=after), lingers=0.0)
    return [Row(one.instance.created, interface_of(one.instance.id), one) for one in found]


def _view(call: Call, shown: ShownInstance, tags: list[dict[str, str]]) -> dict[str, Any]:
    """`Tags` is for tag filters alone: here the member is called TagSet."""
    one, zone = shown.instance, shown.zone or call.cloud.zones[0]
    seen = instance_views.interface(call, shown, zone)
    attachment = seen["Attachment"] | {"InstanceId": one.id, "InstanceOwnerId": one.project}
    return seen | {"AvailabilityZone": zone, "Description": "", "RequesterManaged": False, "Ipv6Addresses": [],
                   "Attachment": attachment, "TagSet": tags, "Tags": tags}  # fmt: skip


INTERFACE: Kind[ShownInstance] = Kind(
    fetch=_fetch,
    view=_view,
    noun="networkInterface ID",
    tags="network-interface",
    unknown=Code.INTERFACE_UNKNOWN,
    stored=False,
    columns={"attachment.instance-id": "id", "mac-address": "mac", "private-ip-address": "address"},
    filters={
        **TAG_FILTERS,
        "addresses.primary": "PrivateIpAddresses.Primary",
        "addresses.private-ip-address": "PrivateIpAddresses.PrivateIpAddress",
        "attachment.attach-time": "Attachment.AttachTime",
        "attachment.attachment-id": "Attachment.AttachmentId",
        "attachment.delete-on-termination": "Attachment.DeleteOnTermination",
        "attachment.device-index": "Attachment.DeviceIndex",
        "attachment.instance-id": "Attachment.InstanceId",
        "attachment.instance-owner-id": "Attachment.InstanceOwnerId",
        "attachment.status": "Attachment.Status",
        "availability-zone": "AvailabilityZone",
        "description": "Description",
        "group-id": "Groups.GroupId",
        "group-name": "Groups.GroupName",
        "interface-type": "InterfaceType",
        "mac-address": "MacAddress",
        "network-interface-id": "NetworkInterfaceId",
        "owner-id": "OwnerId",
        "private-dns-name": "PrivateDnsName",
        "private-ip-address": "PrivateIpAddress",
        "requester-managed": "RequesterManaged",
        "source-dest-check": "SourceDestCheck",
        "status": "Status",
        "subnet-id": "SubnetId",
        "vpc-id": "VpcId",
    },
)


async def describe_network_interfaces(call: Call, asked: DescribeNetworkInterfaces) -> Mapping[str, Any] | None:
    wanted = Asked(asked.NetworkInterfaceIds, asked.Filters, asked.MaxResults, asked.NextToken)
    found = await call.look(describe, call, INTERFACE, wanted)
    for one in found.items:
        del one["Tags"]
    return {"NetworkInterfaces": found.items, "NextToken": found.token}


ACTIONS = {
    "DescribeNetworkInterfaces": Action(
        describe_network_interfaces, DescribeNetworkInterfaces, {"IncludeManagedResources": accepted(False)}
    ),
}
