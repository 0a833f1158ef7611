"""ModifySecurityGroupRules and UpdateSecurityGroupRuleDescriptions: rules that keep their ids and change what they say.
A description is nobody's business but its reader's: no host hears of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from cloudcore.api import group_rules
from cloudcore.api.calls import Call, Outcome
from cloudcore.api.group_actions import one_group, regrouped
from cloudcore.api.group_rules import Pair, Permission, Range
from cloudcore.api.registry import Action
from cloudcore.domain.ids import well_formed
from cloudcore.domain.security_groups import DescribedRule, SecurityGroup, matching
from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books


@dataclass(frozen=True, slots=True)
class Wanted:
    IpProtocol: str | None = None
    FromPort: int | None = None
    ToPort: int | None = None
    CidrIpv4: str | None = None
    ReferencedGroupId: str | None = None
    Description: str | None = None


@dataclass(frozen=True, slots=True)
class Update:
    SecurityGroupRuleId: str
    SecurityGroupRule: Wanted | None = None


@dataclass(frozen=True, slots=True)
class ModifySecurityGroupRules:
    GroupId: str
    SecurityGroupRules: tuple[Update, ...]


@dataclass(frozen=True, slots=True)
class RuleDescription:
    SecurityGroupRuleId: str | None = None
    Description: str | None = None


@dataclass(frozen=True, slots=True)
class UpdateDescriptions:
    GroupId: str | None = None
    GroupName: str | None = None
    IpPermissions: tuple[Permission, ...] = ()
    SecurityGroupRuleDescriptions: tuple[RuleDescription, ...] = ()


async def modify_rules(call: Call, asked: ModifySecurityGroupRules) -> Mapping[str, Any] | None:
    """Each rule is given as a whole: what is not said of it is not kept."""
    _check_ids([one.SecurityGroupRuleId for one in asked.SecurityGroupRules])
    terms = [(one.SecurityGroupRuleId, _terms(one)) for one in asked.SecurityGroupRules]
    return await call.change(_modify, asked.GroupId, terms)


def _check_ids(ids: Sequence[str]) -> None:
    for id in ids:
        if not well_formed("security-group-rule", id):
            raise CloudError(Code.RULE_ID_MALFORMED, f"Invalid id: \"{id}\" (expecting \"sgr-...\")")
    if len(set(ids)) != len(ids):
        raise CloudError(Code.BAD_VALUE, "Each security group rule is given once")


def _terms(one: Update) -> group_rules.Terms:
    wanted = one.SecurityGroupRule
    if wanted is None:
        raise CloudError(Code.MISSING_PARAMETER, "The request must contain SecurityGroupRule.N.SecurityGroupRule")
    if (wanted.CidrIpv4 is None) == (wanted.ReferencedGroupId is None):
        raise CloudError(Code.BAD_COMBINATION, "A rule has either CidrIpv4 or ReferencedGroupId")
    ranges = (Range(wanted.CidrIpv4, wanted.Description),) if wanted.CidrIpv4 is not None else ()
    pairs = () if ranges else (Pair(GroupId=wanted.ReferencedGroupId, Description=wanted.Description),)
    whole = Permission(wanted.IpProtocol, wanted.FromPort, wanted.ToPort, ranges, (), pairs)
    return group_rules.terms([whole], revoking=False)[0]


def _modify(books: Books, call: Call, id: str, terms: Sequence[tuple[str, group_rules.Terms]]) -> Outcome:
    group = one_group(books, call, id, None)
    own = {one.rule.id: one for one in group.rules}
    changed = []
    for rule, wanted in terms:
        if rule not in own:
            raise CloudError(Code.RULE_ID_UNKNOWN, f"The security group rule ID '{rule}' does not exist")
        changed += group_rules.rules(books, call, group.id, [wanted], own[rule].rule.egress, partial(str, rule))
    revision = books.groups.change_rules(group.id, changed)
    return regrouped(books, call, group, revision, {"Return": True})


async def update_descriptions(call: Call, asked: UpdateDescriptions, egress: bool) -> Mapping[str, Any] | None:
    if bool(asked.IpPermissions) == bool(asked.SecurityGroupRuleDescriptions):
        text = "The request must contain either IpPermissions or SecurityGroupRuleDescription"
        raise CloudError(Code.MISSING_PARAMETER, text)
    _check_ids([one.SecurityGroupRuleId or "" for one in asked.SecurityGroupRuleDescriptions])
    terms = group_rules.terms(asked.IpPermissions, revoking=True)
    return await call.change(_describe, asked, terms, egress)


def _describe(books: Books, call: Call, asked: UpdateDescriptions, terms: Sequence[group_rules.Terms],
              egress: bool) -> Outcome:  # fmt: skip
    group = one_group(books, call, asked.GroupId, asked.GroupName)
    named = group_rules.rules(books, call, group.id, terms, egress, str)
    texts = {one.SecurityGroupRuleId or "": group_rules.description(one.Description)
             for one in asked.SecurityGroupRuleDescriptions}  # fmt: skip
    books.groups.describe_rules([*_found(group, named), *_of_ids(group, texts, egress)])
    return Outcome({"Return": True}, (group.id,))


def _found(group: SecurityGroup, named: Sequence[DescribedRule]) -> list[DescribedRule]:
    own = {matching(one.rule): one for one in group.rules}
    for one in named:
        if matching(one.rule) not in own:
            raise CloudError(Code.RULE_UNKNOWN, "The specified rule does not exist in this security group")
    return [replace(own[matching(one.rule)], description=one.description) for one in named]


def _of_ids(group: SecurityGroup, texts: Mapping[str, str], egress: bool) -> list[DescribedRule]:
    own = {one.rule.id: one for one in group.rules if one.rule.egress is egress}
    for id in texts:
        if id not in own:
            raise CloudError(Code.RULE_ID_UNKNOWN, f"The security group rule ID '{id}' does not exist")
    return [replace(own[id], description=text) for id, text in texts.items()]


ACTIONS = {
    "ModifySecurityGroupRules": Action(modify_rules, ModifySecurityGroupRules),
    "UpdateSecurityGroupRuleDescriptionsIngress": Action(
        partial(update_descriptions, egress=False), UpdateDescriptions
    ),
    "UpdateSecurityGroupRuleDescriptionsEgress": Action(partial(update_descriptions, egress=True), UpdateDescriptions),
}
