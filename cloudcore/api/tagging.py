"""CreateTags, DeleteTags, DescribeTags, and the tags that come with a creating call."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloudcore.api import port_changes
from cloudcore.api.calls import Call, Outcome
from cloudcore.api.describing import Asked, Filter, Kind, Row, describe
from cloudcore.api.registry import Action
from cloudcore.domain.ids import beside_vpc, default_subnet, default_vpc, instance_of, interface_of, kind_of
from cloudcore.domain.instances import State
from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books
from cloudcore.store.pages import Wanted
from cloudcore.store.tags import MOST, Tag

KEY, VALUE = 128, 256  # characters, prescribed

UNKNOWN: Mapping[str, tuple[Code, str]] = {  # what a tag may be put on
    "instance": (Code.INSTANCE_UNKNOWN, "instance ID"),
    "image": (Code.IMAGE_UNKNOWN, "image id"),
    "key-pair": (Code.KEY_PAIR_UNKNOWN, "key pair"),
    "security-group": (Code.GROUP_UNKNOWN, "security group"),
    "security-group-rule": (Code.RULE_ID_UNKNOWN, "security group rule ID"),
    "elastic-ip": (Code.ALLOCATION_UNKNOWN, "allocation ID"),
    "volume": (Code.VOLUME_UNKNOWN, "volume"),
    "snapshot": (Code.SNAPSHOT_UNKNOWN, "snapshot"),
    "import-image-task": (Code.IMPORT_TASK_UNKNOWN, "import task"),
    "import-snapshot-task": (Code.IMPORT_TASK_UNKNOWN, "import task"),
    "vpc": (Code.VPC_UNKNOWN, "vpc ID"),
    "subnet": (Code.SUBNET_UNKNOWN, "subnet ID"),
    "network-interface": (Code.INTERFACE_UNKNOWN, "networkInterface ID"),
    "route-table": (Code.ROUTE_TABLE_UNKNOWN, "routeTable ID"),
    "internet-gateway": (Code.INTERNET_GATEWAY_UNKNOWN, "internetGateway ID"),
    "network-acl": (Code.NETWORK_ACL_UNKNOWN, "networkAcl ID"),
    "dhcp-options": (Code.DHCP_OPTIONS_UNKNOWN, "dhcpOption ID"),
}


@dataclass(frozen=True, slots=True)
class AskedTag:
    Key: str | None = None
    Value: str | None = None


@dataclass(frozen=True, slots=True)
class TagSpecification:
    ResourceType: str | None = None
    Tags: tuple[AskedTag, ...] = ()


@dataclass(frozen=True, slots=True)
class CreateTags:
    Resources: tuple[str, ...]
    Tags: tuple[AskedTag, ...]


@dataclass(frozen=True, slots=True)
class DeleteTags:
    Resources: tuple[str, ...]
    Tags: tuple[AskedTag, ...] = ()


@dataclass(frozen=True, slots=True)
class DescribeTags:
    Filters: tuple[Filter, ...] = ()
    MaxResults: int | None = None
    NextToken: str | None = None


def checked(tags: Sequence[AskedTag]) -> dict[str, str]:
    """{key: value}. Raises BAD_VALUE, TAG_LIMIT."""
    wanted: dict[str, str] = {}
    for tag in tags:
        key, value = tag.Key or "", tag.Value or ""
        if not 1 <= len(key) <= KEY or len(value) > VALUE:
            text = f"Tag keys have 1 to {KEY} characters and values up to {VALUE}: '{key[:KEY]}'"
            raise CloudError(Code.BAD_VALUE, text)
        if key.lower().startswith("aws:"):
            raise CloudError(Code.BAD_VALUE, f"Tag keys starting with 'aws:' are reserved: '{key}'")
        if key in wanted:
            raise CloudError(Code.BAD_VALUE, f"The tag key '{key}' is given more than once")
        wanted[key] = value
    if len(wanted) > MOST:
        raise CloudError(Code.TAG_LIMIT, f"A resource has at most {MOST} tags")
    return wanted


def of_specifications(specifications: Sequence[TagSpecification], resource_type: str) -> dict[str, str]:
    """The tags for the one kind of resource that a creating call makes."""
    return by_kind(specifications, (resource_type,))[resource_type]


def by_kind(specifications: Sequence[TagSpecification], kinds: Collection[str]) -> dict[str, dict[str, str]]:
    """{kind: its tags}, for each of the kinds of resources that a creating call makes."""
    given: dict[str, list[AskedTag]] = {kind: [] for kind in kinds}
    for one in specifications:
        if one.ResourceType is None:
            raise CloudError(Code.MISSING_PARAMETER, "The request must contain TagSpecification.N.ResourceType")
        if one.ResourceType not in given:
            text = f"'{one.ResourceType[:64]}' cannot be tagged by this operation; '{', '.join(kinds)}' can"
            raise CloudError(Code.BAD_VALUE, text)
        given[one.ResourceType] += one.Tags
    return {kind: checked(tags) for kind, tags in given.items()}


def shown(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": tags[key]} for key in sorted(tags)]


async def create_tags(call: Call, asked: CreateTags) -> Mapping[str, Any] | None:
    tags = checked(asked.Tags)

    def work(books: Books, call: Call) -> Outcome:
        kinds = _known(books, call, asked.Resources)
        books.tags.put(call.project, kinds, tags)
        return Outcome(None, tuple(kinds), _retagged(books, call, kinds))

    return await call.change(work)


async def delete_tags(call: Call, asked: DeleteTags) -> Mapping[str, Any] | None:
    unwanted = {tag.Key or "": tag.Value for tag in asked.Tags} or None

    def work(books: Books, call: Call) -> Outcome:
        kinds = _known(books, call, asked.Resources)
        books.tags.remove(call.project, list(kinds), unwanted)
        return Outcome(None, tuple(kinds), _retagged(books, call, kinds))

    return await call.change(work)


def _retagged(books: Books, call: Call, kinds: Mapping[str, str]) -> tuple[str, ...]:
    return port_changes.retagged(books, call, [id for id, kind in kinds.items() if kind == "instance"])


def _known(books: Books, call: Call, resources: Sequence[str]) -> dict[str, str]:
    """{id: kind}, all of them this project's own. Raises what UNKNOWN says, or RESOURCE_MALFORMED."""
    by_kind: dict[str, list[str]] = {}
    for id in dict.fromkeys(resources):
        kind = kind_of(id)
        if kind is None or kind not in UNKNOWN:
            raise CloudError(Code.RESOURCE_MALFORMED, f"The ID '{id}' is not valid")
        by_kind.setdefault(kind, []).append(id)
    for kind, ids in by_kind.items():
        own = _own(books, call, kind, ids)
        for id in ids:
            if id not in own:
                code, noun = UNKNOWN[kind]
                raise CloudError(code, f"The {noun} '{id}' does not exist")
    return {id: kind for kind, ids in by_kind.items() for id in ids}


def _own(books: Books, call: Call, kind: str, ids: list[str]) -> set[str]:
    project, wanted = call.project, Wanted(ids=ids, limit=len(ids))
    match kind:
        case "instance":
            return set(books.instances.of_project(project, ids))
        case "image":
            return {image.id for image in books.images.page(project, wanted) if image.project == project}
        case "key-pair":
            return {pair.id for pair in books.key_pairs.page(project, wanted)}
        case "security-group":
            return set(books.groups.of_project(project, ids))
        case "security-group-rule":
            return {one.rule.id for _, one in books.groups.rules_page(project, wanted)}
        case "elastic-ip":
            return set(books.elastic.of_project(project, ids))
        case "volume":
            return set(books.volumes.of_project(project, ids))
        case "snapshot":
            return {one.id for one in books.snapshots.page(project, wanted) if one.project == project}
        case "import-image-task" | "import-snapshot-task":
            return {task.id for task in books.imports.page(project, wanted)}
        case "vpc":
            return {default_vpc(project)}
        case "network-interface":
            own = books.instances.of_project(project, [instance_of(id) for id in ids])
            return {interface_of(one.id) for one in own.values() if one.state is not State.TERMINATED}
        case "route-table" | "internet-gateway" | "network-acl" | "dhcp-options":
            return {beside_vpc(project, kind)}
    return {default_subnet(project, zone) for zone in call.cloud.zones}


def _fetch(books: Books, call: Call, wanted: Wanted) -> list[Row[Tag]]:
    """A tag has no id: its place is `resource key`, and all were made at 0."""
    resource, _, key = wanted.after[1].partition(" ") if wanted.after else ("", "", "")
    found = books.tags.page(call.project, (resource, key) if wanted.after else None, wanted.limit, wanted.equal)
    return [Row(0.0, f"{tag.resource} {tag.key}", tag) for tag in found]


TAG: Kind[Tag] = Kind(
    fetch=_fetch,
    view=lambda call, tag, tags: {
        "Key": tag.key, "ResourceId": tag.resource, "ResourceType": tag.kind, "Value": tag.value,
    },
    filters={"key": "Key", "resource-id": "ResourceId", "resource-type": "ResourceType", "value": "Value"},
    columns={"key": "key", "resource-id": "resource", "resource-type": "kind"},
)  # fmt: skip


async def describe_tags(call: Call, asked: DescribeTags) -> Mapping[str, Any] | None:
    found = await call.look(describe, call, TAG, Asked((), asked.Filters, asked.MaxResults, asked.NextToken))
    return {"Tags": found.items, "NextToken": found.token}


ACTIONS = {
    "CreateTags": Action(create_tags, CreateTags),
    "DeleteTags": Action(delete_tags, DeleteTags),
    "DescribeTags": Action(describe_tags, DescribeTags),
}
