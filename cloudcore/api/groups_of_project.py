"""Which groups a caller means, by id or by name, and the default group that each project has from its first use on."""

from __future__ import annotations

from collections.abc import Sequence

from cloudcore.api.calls import Call
from cloudcore.domain.ids import new_id, well_formed
from cloudcore.domain.security_groups import DEFAULT_NAME, DescribedRule, Rule, SecurityGroup
from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books
from cloudcore.store.instances import LostRace

ANYWHERE = "0.0.0.0/0"


def ids(books: Books, call: Call, group_ids: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """In the order given, each once. Raises GROUP_MALFORMED, GROUP_UNKNOWN."""
    return tuple(named(books, call, group_ids, names))


def named(books: Books, call: Call, group_ids: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """{id: name}, in the order given. Raises GROUP_MALFORMED, GROUP_UNKNOWN."""
    for id in group_ids:
        if not well_formed("security-group", id):
            raise CloudError(Code.GROUP_MALFORMED, f"Invalid id: \"{id}\" (expecting \"sg-...\")")
    own = books.groups.own_names(call.project, group_ids)
    by_name = books.groups.named(call.project, names)
    if DEFAULT_NAME in names and DEFAULT_NAME not in by_name:
        by_name[DEFAULT_NAME] = default(books, call)
    for id in group_ids:
        if id not in own:
            raise CloudError(Code.GROUP_UNKNOWN, f"The security group '{id}' does not exist")
    for name in names:
        if name not in by_name:
            raise CloudError(Code.GROUP_UNKNOWN, f"The security group '{name}' does not exist in the default VPC")
    return {**{id: own[id] for id in group_ids}, **{by_name[name]: name for name in names}}


def default(books: Books, call: Call) -> str:
    """The id of the project's default group, made where it is missing."""
    found = books.groups.named(call.project, [DEFAULT_NAME]).get(DEFAULT_NAME)
    if found is not None:
        return found
    id = new_id("security-group", call.cloud.random)
    among = DescribedRule(Rule(new_id("security-group-rule", call.cloud.random), "-1", -1, -1, source_group=id), id)
    group = SecurityGroup(id, call.project, DEFAULT_NAME, "default VPC security group", 1, books.now(),
                          (among, open_egress(call, id)))  # fmt: skip
    try:
        books.groups.insert(group)
    except CloudError as refused:
        if refused.code is Code.GROUP_DUPLICATE:  # another transaction made it at this moment
            raise LostRace(id) from None
        raise
    return id


def open_egress(call: Call, group: str) -> DescribedRule:
    """What a new group begins with: everything may leave."""
    id = new_id("security-group-rule", call.cloud.random)
    return DescribedRule(Rule(id, "-1", -1, -1, ANYWHERE, egress=True), group)


def default_exists(books: Books, project: str) -> bool:
    return bool(books.groups.named(project, [DEFAULT_NAME]))


def make_default(books: Books, call: Call) -> None:
    default(books, call)
