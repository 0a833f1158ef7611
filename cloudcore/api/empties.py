"""Kinds of which there is nothing here: every describe of them is empty, and what is asked for by id is not there.

Parameters are validated as everywhere. Filters and pages select from nothing, so any of them gives nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from cloudcore.api.calls import Call
from cloudcore.api.registry import Action, Fate, Ignored, Nothing
from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books

WORDS = Ignored("selects from nothing")
SELECTING = ("Filters", "MaxResults", "NextToken")


@dataclass(frozen=True, slots=True)
class Empty:
    """`answer` is the member with the empty list; `ids` are members that name resources, and the refusal of each;
    `words` are further members that only select."""

    answer: str
    ids: Mapping[str, Code] = field(default_factory=dict)
    words: tuple[str, ...] = SELECTING


EMPTIES: Mapping[str, Empty] = {
    "DescribeAggregateIdFormat": Empty("Statuses", {}, ()),
    "DescribeCapacityReservations": Empty(
        "CapacityReservations", {"CapacityReservationIds": Code.CAPACITY_RESERVATION_UNKNOWN}),
    "DescribeCarrierGateways": Empty("CarrierGateways", {"CarrierGatewayIds": Code.CARRIER_GATEWAY_UNKNOWN}),
    "DescribeCustomerGateways": Empty(
        "CustomerGateways", {"CustomerGatewayIds": Code.CUSTOMER_GATEWAY_UNKNOWN}, ("Filters",)),
    "DescribeEgressOnlyInternetGateways": Empty(
        "EgressOnlyInternetGateways", {"EgressOnlyInternetGatewayIds": Code.EGRESS_GATEWAY_UNKNOWN}),
    "DescribeExportTasks": Empty("ExportTasks", {"ExportTaskIds": Code.EXPORT_TASK_UNKNOWN}, ("Filters",)),
    "DescribeFlowLogs": Empty(
        "FlowLogs", {"FlowLogIds": Code.FLOW_LOG_UNKNOWN}, ("Filter", "MaxResults", "NextToken")),
    "DescribeHosts": Empty("Hosts", {"HostIds": Code.DEDICATED_HOST_UNKNOWN}, ("Filter", "MaxResults", "NextToken")),
    "DescribeIdFormat": Empty("Statuses", {}, ("Resource",)),
    "DescribeManagedPrefixLists": Empty("PrefixLists", {"PrefixListIds": Code.PREFIX_LIST_UNKNOWN}),
    "DescribePrefixLists": Empty("PrefixLists", {"PrefixListIds": Code.PREFIX_LIST_UNKNOWN}),
    "DescribePrincipalIdFormat": Empty("Principals", {}, ("Resources", "MaxResults", "NextToken")),
    "DescribeReservedInstances": Empty(
        "ReservedInstances", {"ReservedInstancesIds": Code.RESERVED_INSTANCES_UNKNOWN},
        ("Filters", "OfferingClass", "OfferingType")),
    "DescribeSpotInstanceRequests": Empty(
        "SpotInstanceRequests", {"SpotInstanceRequestIds": Code.SPOT_REQUEST_UNKNOWN}),
    "DescribeSpotPriceHistory": Empty(
        "SpotPriceHistory", {}, (*SELECTING, "AvailabilityZone", "AvailabilityZoneId", "StartTime", "EndTime",
                                 "InstanceTypes", "ProductDescriptions")),
    "DescribeTransitGateways": Empty("TransitGateways", {"TransitGatewayIds": Code.TRANSIT_GATEWAY_UNKNOWN}),
    "DescribeVpcEndpoints": Empty("VpcEndpoints", {"VpcEndpointIds": Code.ENDPOINT_UNKNOWN}),
    "DescribeVpcPeeringConnections": Empty(
        "VpcPeeringConnections", {"VpcPeeringConnectionIds": Code.PEERING_UNKNOWN}),
    "DescribeVpnConnections": Empty("VpnConnections", {"VpnConnectionIds": Code.VPN_CONNECTION_UNKNOWN}, ("Filters",)),
    "DescribeVpnGateways": Empty("VpnGateways", {"VpnGatewayIds": Code.VPN_GATEWAY_UNKNOWN}, ("Filters",)),
}  # fmt: skip


async def describe_nothing(call: Call, asked: Nothing, kind: Empty) -> Mapping[str, Any] | None:
    for member, unknown in kind.ids.items():
        for id in call.given.get(member, ()):
            raise CloudError(unknown, f"'{id}' does not exist")
    return await call.look(_nothing, kind)


def _nothing(books: Books, kind: Empty) -> Mapping[str, Any]:
    return {kind.answer: []}


def _action(kind: Empty) -> Action:
    fates: Mapping[str, Fate] = dict.fromkeys((*kind.ids, *kind.words), WORDS)
    return Action(partial(describe_nothing, kind=kind), Nothing, fates)


ACTIONS = {name: _action(kind) for name, kind in EMPTIES.items()}
