"""Where things can be: regions, zones, the default network of an account, limits. Nothing here is a
row, but all of it is described by the one engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloudcore.api.calls import Call
from cloudcore.api.describing import TAG_FILTERS, Asked, Filter, Kind, Row, describe, listed
from cloudcore.api.registry import Action, Ignored
from cloudcore.domain import addresses, quotas
from cloudcore.domain.ids import beside_vpc, default_subnet, default_vpc
from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books
from cloudcore.store.pages import Wanted


@dataclass(frozen=True, slots=True)
class DescribeRegions:
    RegionNames: tuple[str, ...] = ()
    Filters: tuple[Filter, ...] = ()


@dataclass(frozen=True, slots=True)
class DescribeAvailabilityZones:
    ZoneNames: tuple[str, ...] = ()
    ZoneIds: tuple[str, ...] = ()
    Filters: tuple[Filter, ...] = ()


@dataclass(frozen=True, slots=True)
class DescribeVpcs:
    VpcIds: tuple[str, ...] = ()
    Filters: tuple[Filter, ...] = ()
    MaxResults: int | None = None
    NextToken: str | None = None


@dataclass(frozen=True, slots=True)
class DescribeSubnets:
    SubnetIds: tuple[str, ...] = ()
    Filters: tuple[Filter, ...] = ()
    MaxResults: int | None = None
    NextToken: str | None = None


@dataclass(frozen=True, slots=True)
class DescribeAccountAttributes:
    AttributeNames: tuple[str, ...] = ()


def _named(names: Sequence[str], wanted: Wanted) -> list[Row[str]]:
    return listed([Row(0.0, name, name) for name in names], wanted)


# -- regions and zones ------------------------------------------------------------------------------------------------


def zone_id(zone: str) -> str:
    """`us-east-2a` is `use2-az1`: continent, direction's letters, number, and the letter as a number."""
    region, letter = zone[:-1], zone[-1]
    parts = region.split("-")
    short = "".join(part if len(part) <= 2 or part.isdigit() else part[0] for part in parts)
    return f"{short}-az{ord(letter) - ord('a') + 1}"


REGION: Kind[str] = Kind(
    fetch=lambda books, call, wanted: _named([call.cloud.region], wanted),
    view=lambda call, region, tags: {
        "RegionName": region, "Endpoint": call.cloud.endpoint(), "OptInStatus": "opt-in-not-required",
    },
    noun="region name",
    unknown=Code.BAD_VALUE,
    page=None,
    stored=False,
    filters={"endpoint": "Endpoint", "opt-in-status": "OptInStatus", "region-name": "RegionName"},
)  # fmt: skip

ZONE: Kind[str] = Kind(
    fetch=lambda books, call, wanted: _named(call.cloud.zones, wanted),
    view=lambda call, zone, tags: {
        "ZoneName": zone, "ZoneId": zone_id(zone), "State": "available", "RegionName": call.cloud.region,
        "GroupName": f"{call.cloud.region}-zg-1", "NetworkBorderGroup": call.cloud.region,
        "OptInStatus": "opt-in-not-required", "ZoneType": "availability-zone", "Messages": [],
    },
    noun="availability zone",
    unknown=Code.BAD_VALUE,
    page=None,
    stored=False,
    filters={"group-name": "GroupName", "opt-in-status": "OptInStatus", "region-name": "RegionName", "state": "State",
             "zone-id": "ZoneId", "zone-name": "ZoneName", "zone-type": "ZoneType"},
)  # fmt: skip


async def describe_regions(call: Call, asked: DescribeRegions) -> Mapping[str, Any] | None:
    found = await call.look(describe, call, REGION, Asked(asked.RegionNames, asked.Filters))
    return {"Regions": found.items}


async def describe_availability_zones(call: Call, asked: DescribeAvailabilityZones) -> Mapping[str, Any] | None:
    by_id = {zone_id(zone): zone for zone in call.cloud.zones}
    names = asked.ZoneNames + tuple(by_id.get(id, id) for id in asked.ZoneIds)
    found = await call.look(describe, call, ZONE, Asked(names, asked.Filters))
    return {"AvailabilityZones": found.items}


# -- the default network ----------------------------------------------------------------------------------------------


def _vpc_view(call: Call, vpc: str, tags: list[dict[str, str]]) -> dict[str, Any]:
    association = {"AssociationId": "vpc-cidr-assoc-" + vpc.removeprefix("vpc-"), "CidrBlock": call.cloud.cidr,
                   "CidrBlockState": {"State": "associated"}}  # fmt: skip
    return {"VpcId": vpc, "OwnerId": call.project, "State": "available", "CidrBlock": call.cloud.cidr,
            "DhcpOptionsId": beside_vpc(call.project, "dhcp-options"), "InstanceTenancy": "default", "IsDefault": True,
            "CidrBlockAssociationSet": [association], "Tags": tags}  # fmt: skip


VPC: Kind[str] = Kind(
    fetch=lambda books, call, wanted: _named([default_vpc(call.project)], wanted),
    view=_vpc_view,
    noun="vpc ID",
    tags="vpc",
    unknown=Code.VPC_UNKNOWN,
    malformed=Code.VPC_MALFORMED,
    stored=False,
    aliases={"isDefault": "is-default", "cidrBlock": "cidr-block", "cidr": "cidr-block",
             "dhcpOptionsId": "dhcp-options-id"},
    filters={**TAG_FILTERS, "cidr-block": "CidrBlock", "cidr-block-association.cidr-block": "CidrBlock",
             "dhcp-options-id": "DhcpOptionsId", "is-default": "IsDefault", "owner-id": "OwnerId", "state": "State",
             "vpc-id": "VpcId"},
)  # fmt: skip


def _subnet_rows(books: Books, call: Call, wanted: Wanted) -> list[Row[str]]:
    """The value is the zone."""
    return listed([Row(0.0, default_subnet(call.project, zone), zone) for zone in call.cloud.zones], wanted)


def _subnet_view(call: Call, zone: str, tags: list[dict[str, str]]) -> dict[str, Any]:
    """All zones share the one network that there is."""
    return {
        "SubnetId": default_subnet(call.project, zone),
        "VpcId": default_vpc(call.project),
        "OwnerId": call.project,
        "State": "available",
        "CidrBlock": call.cloud.cidr,
        "AvailableIpAddressCount": addresses.capacity(call.cloud.cidr),
        "AvailabilityZone": zone,
        "AvailabilityZoneId": zone_id(zone),
        "DefaultForAz": True,
        "MapPublicIpOnLaunch": False,
        "AssignIpv6AddressOnCreation": False,
        "Ipv6CidrBlockAssociationSet": [],
        "Tags": tags,
    }


SUBNET: Kind[str] = Kind(
    fetch=_subnet_rows,
    view=_subnet_view,
    noun="subnet ID",
    tags="subnet",
    unknown=Code.SUBNET_UNKNOWN,
    malformed=Code.SUBNET_MALFORMED,
    stored=False,
    aliases={"availabilityZone": "availability-zone", "cidr": "cidr-block", "cidrBlock": "cidr-block",
             "defaultForAz": "default-for-az"},
    filters={**TAG_FILTERS, "availability-zone": "AvailabilityZone", "availability-zone-id": "AvailabilityZoneId",
             "available-ip-address-count": "AvailableIpAddressCount", "cidr-block": "CidrBlock",
             "default-for-az": "DefaultForAz", "map-public-ip-on-launch": "MapPublicIpOnLaunch", "owner-id": "OwnerId",
             "state": "State", "subnet-id": "SubnetId", "vpc-id": "VpcId"},
)  # fmt: skip


async def describe_vpcs(call: Call, asked: DescribeVpcs) -> Mapping[str, Any] | None:
    wanted = Asked(asked.VpcIds, asked.Filters, asked.MaxResults, asked.NextToken)
    found = await call.look(describe, call, VPC, wanted)
    return {"Vpcs": found.items, "NextToken": found.token}


async def describe_subnets(call: Call, asked: DescribeSubnets) -> Mapping[str, Any] | None:
    wanted = Asked(asked.SubnetIds, asked.Filters, asked.MaxResults, asked.NextToken)
    found = await call.look(describe, call, SUBNET, wanted)
    return {"Subnets": found.items, "NextToken": found.token}


# -- limits -----------------------------------------------------------------------------------------------------------


async def describe_account_attributes(call: Call, asked: DescribeAccountAttributes) -> Mapping[str, Any] | None:
    """Only the names asked for, or all; clients read every limit as an integer."""
    limits = await call.look(_limits, call)
    values = {
        "supported-platforms": "VPC",
        "default-vpc": default_vpc(call.project),
        "max-instances": str(limits[quotas.INSTANCES]),
        "vpc-max-security-groups-per-interface": "5",
        "max-elastic-ips": str(limits[quotas.ELASTIC]),
        "vpc-max-elastic-ips": str(limits[quotas.ELASTIC]),
    }
    for name in asked.AttributeNames:
        if name not in values:
            raise CloudError(Code.BAD_VALUE, f"Invalid value '{name}' for AttributeName")
    names = asked.AttributeNames or tuple(values)
    return {"AccountAttributes": [
        {"AttributeName": name, "AttributeValues": [{"AttributeValue": values[name]}]} for name in names
    ]}  # fmt: skip


def _limits(books: Books, call: Call) -> dict[str, int]:
    return {**call.cloud.limits, **{name: limit for name, (_, limit) in books.quotas.usage(call.project).items()}}


ACTIONS = {
    "DescribeRegions": Action(
        describe_regions, DescribeRegions, {"AllRegions": Ignored("there is one, and nobody opts in")}
    ),
    "DescribeAvailabilityZones": Action(
        describe_availability_zones, DescribeAvailabilityZones,
        {"AllAvailabilityZones": Ignored("every zone takes part")},
    ),
    "DescribeVpcs": Action(describe_vpcs, DescribeVpcs),
    "DescribeSubnets": Action(describe_subnets, DescribeSubnets),
    "DescribeAccountAttributes": Action(describe_account_attributes, DescribeAccountAttributes),
}  # fmt: skip
