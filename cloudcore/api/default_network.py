"""What surrounds the default VPC of each account: one route table, internet gateway, network ACL, set of DHCP options.
They say how the flat network behaves, follow from the account, and are no rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from cloudcore.api.calls import Call
from cloudcore.api.describing import TAG_FILTERS, Asked, Filter, Kind, Row, View, describe, listed
from cloudcore.api.registry import Action
from cloudcore.domain.ids import beside_vpc, default_subnet, default_vpc, well_formed
from cloudcore.domain.metadata_tree import DOMAIN
from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books
from cloudcore.store.pages import Wanted

ANYWHERE = "0.0.0.0/0"
LAST = 32767  # the number of the rule that EC2 puts behind all others: what none allows is denied


@dataclass(frozen=True, slots=True)
class DescribeRouteTables:
    RouteTableIds: tuple[str, ...] = ()
    Filters: tuple[Filter, ...] = ()
    MaxResults: int | None = None
    NextToken: str | None = None


@dataclass(frozen=True, slots=True)
class DescribeInternetGateways:
    InternetGatewayIds: tuple[str, ...] = ()
    Filters: tuple[Filter, ...] = ()
    MaxResults: int | None = None
    NextToken: str | None = None


@dataclass(frozen=True, slots=True)
class DescribeNetworkAcls:
    NetworkAclIds: tuple[str, ...] = ()
    Filters: tuple[Filter, ...] = ()
    MaxResults: int | None = None
    NextToken: str | None = None


@dataclass(frozen=True, slots=True)
class DescribeDhcpOptions:
    DhcpOptionsIds: tuple[str, ...] = ()
    Filters: tuple[Filter, ...] = ()
    MaxResults: int | None = None
    NextToken: str | None = None


@dataclass(frozen=True, slots=True)
class DescribeVpcAttribute:
    VpcId: str
    Attribute: str


# -- how each looks ---------------------------------------------------------------------------------------------------


def _after_prefix(id: str) -> str:
    return id.partition("-")[2]


def _route_table(call: Call, id: str, tags: list[dict[str, str]]) -> View:
    """Guests reach one another, and by the masquerade of their host everything else."""
    main = {"Main": True, "RouteTableAssociationId": f"rtbassoc-{_after_prefix(id)}", "RouteTableId": id,
            "AssociationState": {"State": "associated"}}  # fmt: skip
    local = {"DestinationCidrBlock": call.cloud.cidr, "GatewayId": "local", "Origin": "CreateRouteTable",
             "State": "active"}  # fmt: skip
    outward = {"DestinationCidrBlock": ANYWHERE, "GatewayId": beside_vpc(call.project, "internet-gateway"),
               "Origin": "CreateRoute", "State": "active"}  # fmt: skip
    return {"RouteTableId": id, "VpcId": default_vpc(call.project), "OwnerId": call.project, "Associations": [main],
            "Routes": [local, outward], "PropagatingVgws": [], "Tags": tags}  # fmt: skip


def _internet_gateway(call: Call, id: str, tags: list[dict[str, str]]) -> View:
    attachment = {"State": "available", "VpcId": default_vpc(call.project)}
    return {"InternetGatewayId": id, "OwnerId": call.project, "Attachments": [attachment], "Tags": tags}


def _network_acl(call: Call, id: str, tags: list[dict[str, str]]) -> View:
    """It lets everything pass: security groups decide."""
    subnets = [default_subnet(call.project, zone) for zone in call.cloud.zones]
    entries = [{"CidrBlock": ANYWHERE, "Egress": egress, "Protocol": "-1", "RuleAction": action, "RuleNumber": number}
               for egress in (True, False) for number, action in ((100, "allow"), (LAST, "deny"))]  # fmt: skip
    return {
        "NetworkAclId": id, "VpcId": default_vpc(call.project), "OwnerId": call.project, "IsDefault": True,
        "Associations": [{"NetworkAclAssociationId": f"aclassoc-{_after_prefix(subnet)}", "NetworkAclId": id,
                          "SubnetId": subnet} for subnet in subnets],
        "Entries": entries, "Tags": tags,
    }  # fmt: skip


def _dhcp_options(call: Call, id: str, tags: list[dict[str, str]]) -> View:
    said = {"domain-name": DOMAIN, "domain-name-servers": "AmazonProvidedDNS"}
    return {"DhcpOptionsId": id, "OwnerId": call.project, "Tags": tags,
            "DhcpConfigurations": [{"Key": key, "Values": [{"Value": value}]} for key, value in said.items()]}


def _only(books: Books, call: Call, wanted: Wanted, kind: str) -> list[Row[str]]:
    id = beside_vpc(call.project, kind)
    return listed([Row(0.0, id, id)], wanted)


def _kind(kind: str, view: Callable[[Call, str, list[dict[str, str]]], View], noun: str, unknown: Code,
          filters: Mapping[str, str]) -> Kind[str]:  # fmt: skip
    return Kind(fetch=partial(_only, kind=kind), view=view, noun=noun, tags=kind, unknown=unknown, stored=False,
                filters={**TAG_FILTERS, "owner-id": "OwnerId", **filters})  # fmt: skip


ROUTE_TABLE = _kind("route-table", _route_table, "routeTable ID", Code.ROUTE_TABLE_UNKNOWN, {
    "association.gateway-id": "Associations.GatewayId",
    "association.main": "Associations.Main",
    "association.route-table-association-id": "Associations.RouteTableAssociationId",
    "association.route-table-id": "Associations.RouteTableId",
    "association.subnet-id": "Associations.SubnetId",
    "route-table-id": "RouteTableId",
    "route.destination-cidr-block": "Routes.DestinationCidrBlock",
    "route.gateway-id": "Routes.GatewayId",
    "route.instance-id": "Routes.InstanceId",
    "route.nat-gateway-id": "Routes.NatGatewayId",
    "route.origin": "Routes.Origin",
    "route.state": "Routes.State",
    "vpc-id": "VpcId",
})  # fmt: skip
INTERNET_GATEWAY = _kind("internet-gateway", _internet_gateway, "internetGateway ID", Code.INTERNET_GATEWAY_UNKNOWN, {
    "attachment.state": "Attachments.State",
    "attachment.vpc-id": "Attachments.VpcId",
    "internet-gateway-id": "InternetGatewayId",
})  # fmt: skip
NETWORK_ACL = _kind("network-acl", _network_acl, "networkAcl ID", Code.NETWORK_ACL_UNKNOWN, {
    "association.association-id": "Associations.NetworkAclAssociationId",
    "association.network-acl-id": "Associations.NetworkAclId",
    "association.subnet-id": "Associations.SubnetId",
    "default": "IsDefault",
    "entry.cidr": "Entries.CidrBlock",
    "entry.egress": "Entries.Egress",
    "entry.protocol": "Entries.Protocol",
    "entry.rule-action": "Entries.RuleAction",
    "entry.rule-number": "Entries.RuleNumber",
    "network-acl-id": "NetworkAclId",
    "vpc-id": "VpcId",
})  # fmt: skip
DHCP_OPTIONS = _kind("dhcp-options", _dhcp_options, "dhcpOption ID", Code.DHCP_OPTIONS_UNKNOWN, {
    "dhcp-options-id": "DhcpOptionsId",
    "key": "DhcpConfigurations.Key",
    "value": "DhcpConfigurations.Values.Value",
})  # fmt: skip


async def _describe(call: Call, kind: Kind[str], member: str, asked: Asked) -> Mapping[str, Any]:
    found = await call.look(describe, call, kind, asked)
    return {member: found.items, "NextToken": found.token}


async def describe_route_tables(call: Call, asked: DescribeRouteTables) -> Mapping[str, Any] | None:
    wanted = Asked(asked.RouteTableIds, asked.Filters, asked.MaxResults, asked.NextToken)
    return await _describe(call, ROUTE_TABLE, "RouteTables", wanted)


async def describe_internet_gateways(call: Call, asked: DescribeInternetGateways) -> Mapping[str, Any] | None:
    wanted = Asked(asked.InternetGatewayIds, asked.Filters, asked.MaxResults, asked.NextToken)
    return await _describe(call, INTERNET_GATEWAY, "InternetGateways", wanted)


async def describe_network_acls(call: Call, asked: DescribeNetworkAcls) -> Mapping[str, Any] | None:
    wanted = Asked(asked.NetworkAclIds, asked.Filters, asked.MaxResults, asked.NextToken)
    return await _describe(call, NETWORK_ACL, "NetworkAcls", wanted)


async def describe_dhcp_options(call: Call, asked: DescribeDhcpOptions) -> Mapping[str, Any] | None:
    wanted = Asked(asked.DhcpOptionsIds, asked.Filters, asked.MaxResults, asked.NextToken)
    return await _describe(call, DHCP_OPTIONS, "DhcpOptions", wanted)


VPC_ATTRIBUTES: Mapping[str, tuple[str, bool]] = {
    "enableDnsHostnames": ("EnableDnsHostnames", True),  # the names that leases come with are resolved
    "enableDnsSupport": ("EnableDnsSupport", True),
    "enableNetworkAddressUsageMetrics": ("EnableNetworkAddressUsageMetrics", False),
}


async def describe_vpc_attribute(call: Call, asked: DescribeVpcAttribute) -> Mapping[str, Any] | None:
    if asked.Attribute not in VPC_ATTRIBUTES:
        raise CloudError(Code.BAD_VALUE, f"Invalid value '{asked.Attribute}' for Attribute")
    if not well_formed("vpc", asked.VpcId):
        raise CloudError(Code.VPC_MALFORMED, f"Invalid id: \"{asked.VpcId}\" (expecting \"vpc-...\")")
    if asked.VpcId != default_vpc(call.project):
        raise CloudError(Code.VPC_UNKNOWN, f"The vpc ID '{asked.VpcId}' does not exist")
    member, value = VPC_ATTRIBUTES[asked.Attribute]
    return {"VpcId": asked.VpcId, member: {"Value": value}}


ACTIONS = {
    "DescribeRouteTables": Action(describe_route_tables, DescribeRouteTables),
    "DescribeInternetGateways": Action(describe_internet_gateways, DescribeInternetGateways),
    "DescribeNetworkAcls": Action(describe_network_acls, DescribeNetworkAcls),
    "DescribeDhcpOptions": Action(describe_dhcp_options, DescribeDhcpOptions),
    "DescribeVpcAttribute": Action(describe_vpc_attribute, DescribeVpcAttribute),
}
