"""Elastic addresses: allocated to a project, associated with an instance, moved, given back. Where one leads to is
durable with the answer and reaches hosts by the operation `address`, whose subject is the address itself and whose
generation is its revision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloudcore.api import tagging
from cloudcore.api.calls import Call, Outcome
from cloudcore.api.describing import TAG_FILTERS, Asked, Filter, Kind, Row, describe
from cloudcore.api.registry import Action, accepted
from cloudcore.domain import quotas
from cloudcore.domain.elastic_addresses import ElasticAddress
from cloudcore.domain.ids import instance_of, interface_of, new_id, well_formed
from cloudcore.domain.instances import Instance, State
from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books
from cloudcore.store.elastic_addresses import ShownElastic
from cloudcore.store.pages import Wanted

ENDING = (State.SHUTTING_DOWN, State.TERMINATED)
POOL = "amazon"  # the one public pool, by the name that clients know


@dataclass(frozen=True, slots=True)
class AllocateAddress:
    NetworkBorderGroup: str | None = None
    TagSpecifications: tuple[tagging.TagSpecification, ...] = ()


@dataclass(frozen=True, slots=True)
class ReleaseAddress:
    AllocationId: str | None = None
    PublicIp: str | None = None
    NetworkBorderGroup: str | None = None


@dataclass(frozen=True, slots=True)
class AssociateAddress:
    AllocationId: str | None = None
    PublicIp: str | None = None
    InstanceId: str | None = None
    NetworkInterfaceId: str | None = None
    PrivateIpAddress: str | None = None
    AllowReassociation: bool = True


@dataclass(frozen=True, slots=True)
class DisassociateAddress:
    AssociationId: str | None = None
    PublicIp: str | None = None


@dataclass(frozen=True, slots=True)
class DescribeAddresses:
    AllocationIds: tuple[str, ...] = ()
    PublicIps: tuple[str, ...] = ()
    Filters: tuple[Filter, ...] = ()


@dataclass(frozen=True, slots=True)
class DescribeAddressesAttribute:
    AllocationIds: tuple[str, ...] = ()
    MaxResults: int | None = None
    NextToken: str | None = None


# -- given to a project, and given back -------------------------------------------------------------------------------


async def allocate_address(call: Call, asked: AllocateAddress) -> Mapping[str, Any] | None:
    _check_border(call, asked.NetworkBorderGroup)
    return await call.change(_allocate, tagging.of_specifications(asked.TagSpecifications, "elastic-ip"))


def _check_border(call: Call, group: str | None) -> None:
    if group not in (None, call.cloud.region):
        text = f"The network border group '{group}' does not exist; '{call.cloud.region}' does"
        raise CloudError(Code.BAD_VALUE, text)


def _allocate(books: Books, call: Call, tags: Mapping[str, str]) -> Outcome:
    if not books.quotas.take(call.project, call.cloud.limits, elastic_addresses=1):
        limit = books.quotas.usage(call.project)[quotas.ELASTIC][1]
        raise CloudError(Code.ELASTIC_QUOTA, f"You may have {limit} elastic addresses")
    id = new_id("elastic-ip", call.cloud.random)
    elastic = books.elastic.claim(call.cloud.elastic_cidr, call.project, id)
    books.tags.begin(call.project, {id: "elastic-ip"}, tags)
    answer = {"PublicIp": elastic.address, "AllocationId": id, "Domain": "vpc", "PublicIpv4Pool": POOL,
              "NetworkBorderGroup": call.cloud.region}  # fmt: skip
    return Outcome(answer, (id,))


async def release_address(call: Call, asked: ReleaseAddress) -> Mapping[str, Any] | None:
    _check_border(call, asked.NetworkBorderGroup)
    return await call.change(_release, asked)


def _release(books: Books, call: Call, asked: ReleaseAddress) -> Outcome:
    elastic = _one(books, call, asked.AllocationId, asked.PublicIp)
    if elastic.instance is not None:
        text = f"The address '{elastic.address}' is in use: it is associated with '{elastic.instance}'"
        raise CloudError(Code.ELASTIC_IN_USE, text)
    books.elastic.release(elastic)
    books.tags.drop(elastic.id)
    books.quotas.release(call.project, elastic_addresses=1)
    return Outcome(None, (elastic.id,))


def _one(books: Books, call: Call, id: str | None, address: str | None) -> ElasticAddress:
    """Raises MISSING_PARAMETER, BAD_COMBINATION, ALLOCATION_UNKNOWN, ELASTIC_UNKNOWN."""
    if id is not None and address is not None:
        raise CloudError(Code.BAD_COMBINATION, "AllocationId and PublicIp exclude each other")
    if id is not None:
        found = books.elastic.of_project(call.project, [id]).get(id)
        if found is None:
            raise CloudError(Code.ALLOCATION_UNKNOWN, f"The allocation ID '{id}' does not exist")
        return found
    if address is None:
        raise CloudError(Code.MISSING_PARAMETER, "The request must contain either AllocationId or PublicIp")
    return _at(books, call, address)


def _at(books: Books, call: Call, address: str) -> ElasticAddress:
    found = books.elastic.at(call.project, [address]).get(address)
    if found is None:
        raise CloudError(Code.ELASTIC_UNKNOWN, f"Address '{address}' not found")
    return found


# -- where it leads to ------------------------------------------------------------------------------------------------


async def associate_address(call: Call, asked: AssociateAddress) -> Mapping[str, Any] | None:
    instance, interface = asked.InstanceId, asked.NetworkInterfaceId
    if instance is None and interface is None:
        raise CloudError(Code.MISSING_PARAMETER, "The request must contain either InstanceId or NetworkInterfaceId")
    if instance is not None and not well_formed("instance", instance):
        raise CloudError(Code.INSTANCE_MALFORMED, f"Invalid id: \"{instance}\" (expecting \"i-...\")")
    if instance is not None and interface not in (None, interface_of(instance)):
        text = f"The network interface '{interface}' is not one of the instance '{instance}'"
        raise CloudError(Code.BAD_COMBINATION, text)
    named = instance_of(interface) if interface and well_formed("network-interface", interface) else ""
    return await call.change(_associate, asked, instance or named)


def _associate(books: Books, call: Call, asked: AssociateAddress, id: str) -> Outcome:
    """What the instance had before leaves it, and stays the project's; so EC2 does it, too."""
    elastic = _one(books, call, asked.AllocationId, asked.PublicIp)
    instance = books.instances.of_project(call.project, [id]).get(id)
    if instance is None and asked.InstanceId is None:
        text = f"The network interface ID '{asked.NetworkInterfaceId}' does not exist"
        raise CloudError(Code.INTERFACE_UNKNOWN, text)
    _check_instance(instance, id, asked.PrivateIpAddress)
    if elastic.instance == id:
        return Outcome({"AssociationId": elastic.association}, (elastic.id, id))
    others = list(books.elastic.of_instances([id]).values())
    if not asked.AllowReassociation and (others or elastic.instance is not None):
        what = f"address '{elastic.address}'" if elastic.instance is not None else f"instance '{id}'"
        raise CloudError(Code.ALREADY_ASSOCIATED, f"The {what} is associated already")
    operations = [_told(books, call, books.elastic.disassociate(other)) for other in others]
    association = new_id("elastic-ip-association", call.cloud.random)
    operations.append(_told(books, call, books.elastic.associate(elastic, id, association)))
    return Outcome({"AssociationId": association}, (elastic.id, id), tuple(operations))


def _check_instance(instance: Instance | None, id: str, private: str | None) -> None:
    if instance is None:
        raise CloudError(Code.INSTANCE_UNKNOWN, f"The instance ID '{id}' does not exist")
    if instance.state in ENDING:
        text = f"The instance '{id}' is {instance.state.value}; no address can lead to it"
        raise CloudError(Code.INSTANCE_STATE, text)
    if private not in (None, instance.address):
        raise CloudError(Code.BAD_VALUE, f"The address '{private}' is not one of the instance '{id}'")


async def disassociate_address(call: Call, asked: DisassociateAddress) -> Mapping[str, Any] | None:
    if (asked.AssociationId is None) == (asked.PublicIp is None):
        raise CloudError(Code.MISSING_PARAMETER, "The request must contain either AssociationId or PublicIp")
    return await call.change(_disassociate, asked)


def _disassociate(books: Books, call: Call, asked: DisassociateAddress) -> Outcome:
    """By the address it may be repeated; an association that is gone is unknown."""
    if asked.AssociationId is not None:
        found = books.elastic.associated(call.project, asked.AssociationId)
        if found is None:
            text = f"The association ID '{asked.AssociationId}' does not exist"
            raise CloudError(Code.ASSOCIATION_UNKNOWN, text)
    else:
        found = _at(books, call, asked.PublicIp or "")
    if found.instance is None:
        return Outcome(None, (found.id,))
    operation = _told(books, call, books.elastic.disassociate(found))
    return Outcome(None, (found.id, found.instance), (operation,))


def _told(books: Books, call: Call, elastic: ElasticAddress) -> str:
    return books.operations.begin("address", elastic.address, elastic.revision, call.project, call.request_id)


# -- describes --------------------------------------------------------------------------------------------------------


def _rows(books: Books, call: Call, wanted: Wanted) -> Sequence[Row[ShownElastic]]:
    found = books.elastic.page(call.project, wanted)
    return [Row(one.elastic.created, one.elastic.id, one) for one in found]


def _view(call: Call, shown: ShownElastic, tags: list[dict[str, str]]) -> dict[str, Any]:
    one = shown.elastic
    view: dict[str, Any] = {
        "PublicIp": one.address, "AllocationId": one.id, "Domain": "vpc", "PublicIpv4Pool": POOL,
        "NetworkBorderGroup": call.cloud.region, "Tags": tags or None,
    }  # fmt: skip
    if one.instance is not None:
        view |= {"InstanceId": one.instance, "AssociationId": one.association, "PrivateIpAddress": shown.private,
                 "NetworkInterfaceId": interface_of(one.instance),
                 "NetworkInterfaceOwnerId": one.project}  # fmt: skip
    return view


ADDRESS: Kind[ShownElastic] = Kind(
    fetch=_rows,
    view=_view,
    noun="allocation ID",
    tags="elastic-ip",
    unknown=Code.ALLOCATION_UNKNOWN,
    malformed=Code.ALLOCATION_UNKNOWN,
    page=None,
    columns={"allocation-id": "id", "association-id": "association", "instance-id": "instance",
             "public-ip": "address"},
    filters={
        **TAG_FILTERS,
        "allocation-id": "AllocationId",
        "association-id": "AssociationId",
        "domain": "Domain",
        "instance-id": "InstanceId",
        "network-border-group": "NetworkBorderGroup",
        "network-interface-id": "NetworkInterfaceId",
        "network-interface-owner-id": "NetworkInterfaceOwnerId",
        "private-ip-address": "PrivateIpAddress",
        "public-ip": "PublicIp",
    },
)  # fmt: skip

ATTRIBUTE: Kind[ShownElastic] = Kind(  # no reverse names are kept, so no PtrRecord is ever there
    fetch=_rows,
    view=lambda call, shown, tags: {"PublicIp": shown.elastic.address, "AllocationId": shown.elastic.id},
    noun=ADDRESS.noun,
    tags=ADDRESS.tags,
    unknown=ADDRESS.unknown,
    malformed=ADDRESS.malformed,
    page=(1, 1000),
    filters={},
)


async def describe_addresses(call: Call, asked: DescribeAddresses) -> Mapping[str, Any] | None:
    return await call.look(_described, call, asked)


def _described(books: Books, call: Call, asked: DescribeAddresses) -> Mapping[str, Any]:
    ids = asked.AllocationIds + tuple(_at(books, call, address).id for address in asked.PublicIps)
    return {"Addresses": describe(books, call, ADDRESS, Asked(ids, asked.Filters)).items}


async def describe_addresses_attribute(call: Call, asked: DescribeAddressesAttribute) -> Mapping[str, Any] | None:
    wanted = Asked(asked.AllocationIds, (), asked.MaxResults, asked.NextToken)
    found = await call.look(describe, call, ATTRIBUTE, wanted)
    return {"Addresses": found.items, "NextToken": found.token}


ACTIONS = {
    "AllocateAddress": Action(
        allocate_address, AllocateAddress,
        {"Domain": accepted("vpc", "standard"), "PublicIpv4Pool": accepted(POOL)},
    ),
    "ReleaseAddress": Action(release_address, ReleaseAddress),
    "AssociateAddress": Action(associate_address, AssociateAddress),
    "DisassociateAddress": Action(disassociate_address, DisassociateAddress),
    "DescribeAddresses": Action(describe_addresses, DescribeAddresses),
    "DescribeAddressesAttribute": Action(
        describe_addresses_attribute, DescribeAddressesAttribute, {"Attribute": accepted("domain-name")}
    ),
}  # fmt: skip
