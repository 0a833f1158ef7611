"""Security groups and their rules. A change of rules is durable with the answer and reaches the hosts by the operation
`regroup`, whose subject is the group and whose generation is the group's new revision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from cloudcore.api import group_rules, groups_of_project, tagging
from cloudcore.api.calls import Call, Outcome
from cloudcore.api.describing import TAG_FILTERS, Asked, Filter, Kind, Row, describe
from cloudcore.api.group_rules import Pair, Permission, Range, Terms
from cloudcore.api.registry import Action
from cloudcore.domain import quotas
from cloudcore.domain.ids import default_vpc, new_id, well_formed
from cloudcore.domain.security_groups import DescribedRule, SecurityGroup
from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books
from cloudcore.store.instances import LostRace
from cloudcore.store.pages import Wanted

LONGEST = 255  # characters of a name or a description


@dataclass(frozen=True, slots=True)
class CreateSecurityGroup:
    GroupName: str
    Description: str
    VpcId: str | None = None
    TagSpecifications: tuple[tagging.TagSpecification, ...] = ()


@dataclass(frozen=True, slots=True)
class DeleteSecurityGroup:
    GroupId: str | None = None
    GroupName: str | None = None


@dataclass(frozen=True, slots=True)
class DescribeSecurityGroups:
    GroupIds: tuple[str, ...] = ()
    GroupNames: tuple[str, ...] = ()
    Filters: tuple[Filter, ...] = ()
    MaxResults: int | None = None
    NextToken: str | None = None


@dataclass(frozen=True, slots=True)
class DescribeSecurityGroupRules:
    SecurityGroupRuleIds: tuple[str, ...] = ()
    Filters: tuple[Filter, ...] = ()
    MaxResults: int | None = None
    NextToken: str | None = None


@dataclass(frozen=True, slots=True)
class RuleChange:
    """Authorize and Revoke, for either direction; one rule may be written flat, without IpPermissions."""

    GroupId: str | None = None
    GroupName: str | None = None
    IpPermissions: tuple[Permission, ...] = ()
    IpProtocol: str | None = None
    FromPort: int | None = None
    ToPort: int | None = None
    CidrIp: str | None = None
    SourceSecurityGroupName: str | None = None
    SourceSecurityGroupOwnerId: str | None = None
    SecurityGroupRuleIds: tuple[str, ...] = ()
    TagSpecifications: tuple[tagging.TagSpecification, ...] = field(default=())


async def create_security_group(call: Call, asked: CreateSecurityGroup) -> Mapping[str, Any] | None:
    if len(asked.GroupName) > LONGEST or len(asked.Description) > LONGEST or asked.GroupName.startswith("sg-"):
        text = f"A group's name and description have at most {LONGEST} characters, and no name begins with sg-"
        raise CloudError(Code.BAD_VALUE, text)
    if any(one < " " or one == "\x7f" for one in asked.GroupName):  # guests read the names one in a line
        raise CloudError(Code.BAD_VALUE, "A group's name has no control characters")
    _check_vpc(call, asked.VpcId)
    if asked.GroupName == "default":
        raise CloudError(Code.GROUP_DUPLICATE, "The security group 'default' already exists")
    return await call.change(_create, asked, tagging.of_specifications(asked.TagSpecifications, "security-group"))


def _check_vpc(call: Call, vpc: str | None) -> None:
    if vpc is not None and not well_formed("vpc", vpc):
        raise CloudError(Code.VPC_MALFORMED, f"Invalid id: \"{vpc}\" (expecting \"vpc-...\")")
    if vpc not in (None, default_vpc(call.project)):
        raise CloudError(Code.VPC_UNKNOWN, f"The vpc ID '{vpc}' does not exist")


def _create(books: Books, call: Call, asked: CreateSecurityGroup, tags: Mapping[str, str]) -> Outcome:
    if not books.quotas.take(call.project, call.cloud.limits, security_groups=1):
        limit = books.quotas.usage(call.project)[quotas.GROUPS][1]
        raise CloudError(Code.GROUP_QUOTA, f"You may have {limit} security groups")
    id = new_id("security-group", call.cloud.random)
    first = (groups_of_project.open_egress(call, id),)
    books.groups.insert(SecurityGroup(id, call.project, asked.GroupName, asked.Description, 1, books.now(), first))
    books.tags.begin(call.project, {id: "security-group"}, tags)
    return Outcome({"GroupId": id, "Tags": tagging.shown(tags) or None}, (id,))


async def delete_security_group(call: Call, asked: DeleteSecurityGroup) -> Mapping[str, Any] | None:
    return await call.change(_delete, asked)


def one_group(books: Books, call: Call, id: str | None, name: str | None) -> SecurityGroup:
    if (id is None) == (name is None):
        raise CloudError(Code.MISSING_PARAMETER, "The request must contain either GroupId or GroupName")
    (group,) = groups_of_project.ids(books, call, [id] if id else [], [name] if name else [])
    found = books.groups.of_project(call.project, [group]).get(group)
    if found is None:  # it has just been deleted: another try says so
        raise LostRace(group)
    return found


def _delete(books: Books, call: Call, asked: DeleteSecurityGroup) -> Outcome:
    group = one_group(books, call, asked.GroupId, asked.GroupName)
    books.groups.delete(group)
    for resource in (group.id, *(one.rule.id for one in group.rules)):
        books.tags.drop(resource)
    books.quotas.release(call.project, security_groups=1)
    return Outcome({"GroupId": group.id}, (group.id,))


# -- rules ------------------------------------------------------------------------------------------------------------


def _asked_terms(asked: RuleChange, revoking: bool) -> list[Terms]:
    flat = asked.IpProtocol is not None or asked.SourceSecurityGroupName is not None
    if flat and asked.IpPermissions:
        raise CloudError(Code.BAD_COMBINATION, "IpPermissions and a rule of its own exclude each other")
    if not flat:
        return group_rules.terms(asked.IpPermissions, revoking)
    pairs: tuple[Pair, ...] = ()
    if asked.SourceSecurityGroupName is not None:
        pairs = (Pair(GroupName=asked.SourceSecurityGroupName, UserId=asked.SourceSecurityGroupOwnerId),)
    ranges = (Range(asked.CidrIp),) if asked.CidrIp is not None else ()
    whole = Permission(asked.IpProtocol or "-1", asked.FromPort, asked.ToPort, ranges, (), pairs)
    return group_rules.terms([whole], revoking)


async def authorize(call: Call, asked: RuleChange, egress: bool) -> Mapping[str, Any] | None:
    wanted = _asked_terms(asked, revoking=False)
    if not wanted:
        raise CloudError(Code.MISSING_PARAMETER, "The request must contain the parameter IpPermissions")
    tags = tagging.of_specifications(asked.TagSpecifications, "security-group-rule")
    return await call.change(_authorize, asked, wanted, egress, tags)


def _authorize(books: Books, call: Call, asked: RuleChange, wanted: Sequence[Terms], egress: bool,
               tags: Mapping[str, str]) -> Outcome:  # fmt: skip
    group = one_group(books, call, asked.GroupId, asked.GroupName)
    fresh = partial(new_id, "security-group-rule", call.cloud.random)
    added = group_rules.rules(books, call, group.id, wanted, egress, fresh)
    revision = books.groups.add_rules(group.id, added, call.cloud.limits[quotas.RULES])
    books.tags.begin(call.project, {one.rule.id: "security-group-rule" for one in added}, tags)
    views = [group_rules.rule_view(call, one, tagging.shown(tags)) for one in added]
    return regrouped(books, call, group, revision, {"Return": True, "SecurityGroupRules": views})


async def revoke(call: Call, asked: RuleChange, egress: bool) -> Mapping[str, Any] | None:
    wanted = _asked_terms(asked, revoking=True)
    for id in asked.SecurityGroupRuleIds:
        if not well_formed("security-group-rule", id):
            raise CloudError(Code.RULE_ID_MALFORMED, f"Invalid id: \"{id}\" (expecting \"sgr-...\")")
    if bool(wanted) == bool(asked.SecurityGroupRuleIds):
        text = "The request must contain either IpPermissions or SecurityGroupRuleIds"
        raise CloudError(Code.MISSING_PARAMETER, text)
    return await call.change(_revoke, asked, wanted, egress)


def _revoke(books: Books, call: Call, asked: RuleChange, wanted: Sequence[Terms], egress: bool) -> Outcome:
    group = one_group(books, call, asked.GroupId, asked.GroupName)
    unwanted = [one.rule for one in group_rules.rules(books, call, group.id, wanted, egress, lambda: "")]
    own = {one.rule.id: one.rule for one in group.rules}
    for id in asked.SecurityGroupRuleIds:
        if id not in own or own[id].egress is not egress:
            raise CloudError(Code.RULE_ID_UNKNOWN, f"The security group rule ID '{id}' does not exist")
        unwanted.append(own[id])
    revision, gone = books.groups.remove_rules(group.id, unwanted)
    for one in gone:
        books.tags.drop(one.rule.id)
    views = [group_rules.revoked_view(one) for one in gone]
    return regrouped(books, call, group, revision, {"Return": True, "RevokedSecurityGroupRules": views})


def regrouped(books: Books, call: Call, group: SecurityGroup, revision: int, answer: Mapping[str, Any]) -> Outcome:
    operation = books.operations.begin("regroup", group.id, revision, call.project, call.request_id)
    return Outcome(answer, (group.id,), (operation,))


# -- describes --------------------------------------------------------------------------------------------------------


def _group_view(call: Call, group: SecurityGroup, tags: list[dict[str, str]]) -> dict[str, Any]:
    return {
        "GroupId": group.id,
        "GroupName": group.name,
        "Description": group.description,
        "OwnerId": group.project,
        "VpcId": default_vpc(group.project),
        "IpPermissions": group_rules.permissions_view(group, egress=False),
        "IpPermissionsEgress": group_rules.permissions_view(group, egress=True),
        "Tags": tags or None,
    }


def _group_rows(books: Books, call: Call, wanted: Wanted) -> list[Row[SecurityGroup]]:
    return [Row(group.created, group.id, group) for group in books.groups.page(call.project, wanted)]


def _group_filters(prefix: str, member: str) -> dict[str, str]:
    return {
        f"{prefix}.cidr": f"{member}.IpRanges.CidrIp",
        f"{prefix}.from-port": f"{member}.FromPort",
        f"{prefix}.group-id": f"{member}.UserIdGroupPairs.GroupId",
        f"{prefix}.protocol": f"{member}.IpProtocol",
        f"{prefix}.to-port": f"{member}.ToPort",
        f"{prefix}.user-id": f"{member}.UserIdGroupPairs.UserId",
    }


GROUP: Kind[SecurityGroup] = Kind(
    fetch=_group_rows,
    view=_group_view,
    noun="security group",
    tags="security-group",
    unknown=Code.GROUP_UNKNOWN,
    malformed=Code.GROUP_MALFORMED,
    columns={"group-id": "id", "group-name": "name", "description": "description"},
    filters={
        **TAG_FILTERS,
        **_group_filters("ip-permission", "IpPermissions"),
        **_group_filters("egress.ip-permission", "IpPermissionsEgress"),
        "description": "Description",
        "group-id": "GroupId",
        "group-name": "GroupName",
        "owner-id": "OwnerId",
        "vpc-id": "VpcId",
    },
)


def _rule_rows(books: Books, call: Call, wanted: Wanted) -> list[Row[DescribedRule]]:
    return [Row(created, one.rule.id, one) for created, one in books.groups.rules_page(call.project, wanted)]


RULE: Kind[DescribedRule] = Kind(
    fetch=_rule_rows,
    view=group_rules.rule_view,
    noun="security group rule ID",
    tags="security-group-rule",
    unknown=Code.RULE_ID_UNKNOWN,
    malformed=Code.RULE_ID_MALFORMED,
    columns={"group-id": "group_id", "security-group-rule-id": "id"},
    filters={**TAG_FILTERS, "group-id": "GroupId", "security-group-rule-id": "SecurityGroupRuleId"},
)


async def describe_security_groups(call: Call, asked: DescribeSecurityGroups) -> Mapping[str, Any] | None:
    """A project that never had a group gets its default one first, in a rehearsal too: to have it is nobody's wish."""
    if not await call.cloud.database.look(groups_of_project.default_exists, call.project):
        await call.cloud.database.transact(groups_of_project.make_default, call)
    return await call.look(_describe, call, asked)


def _describe(books: Books, call: Call, asked: DescribeSecurityGroups) -> Mapping[str, Any]:
    ids = asked.GroupIds + groups_of_project.ids(books, call, (), asked.GroupNames)
    found = describe(books, call, GROUP, Asked(ids, asked.Filters, asked.MaxResults, asked.NextToken))
    return {"SecurityGroups": found.items, "NextToken": found.token}


async def describe_security_group_rules(call: Call, asked: DescribeSecurityGroupRules) -> Mapping[str, Any] | None:
    wanted = Asked(asked.SecurityGroupRuleIds, asked.Filters, asked.MaxResults, asked.NextToken)
    found = await call.look(describe, call, RULE, wanted)
    return {"SecurityGroupRules": found.items, "NextToken": found.token}


ACTIONS = {
    "CreateSecurityGroup": Action(create_security_group, CreateSecurityGroup),
    "DeleteSecurityGroup": Action(delete_security_group, DeleteSecurityGroup),
    "AuthorizeSecurityGroupIngress": Action(partial(authorize, egress=False), RuleChange),
    "AuthorizeSecurityGroupEgress": Action(partial(authorize, egress=True), RuleChange),
    "RevokeSecurityGroupIngress": Action(partial(revoke, egress=False), RuleChange),
    "RevokeSecurityGroupEgress": Action(partial(revoke, egress=True), RuleChange),
    "DescribeSecurityGroups": Action(describe_security_groups, DescribeSecurityGroups),
    "DescribeSecurityGroupRules": Action(describe_security_group_rules, DescribeSecurityGroupRules),
}
