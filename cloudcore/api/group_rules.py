"""What the four Authorize and Revoke actions ask, as rules; and rules as the answers show them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cloudcore.api import groups_of_project
from cloudcore.api.calls import Call
from cloudcore.domain import addresses, firewall, group_rules
from cloudcore.domain.ids import default_vpc
from cloudcore.domain.security_groups import DescribedRule, Rule, SecurityGroup
from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books


@dataclass(frozen=True, slots=True)
class Range:
    CidrIp: str | None = None
    Description: str | None = None


@dataclass(frozen=True, slots=True)
class SixRange:
    CidrIpv6: str | None = None
    Description: str | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    GroupId: str | None = None
    GroupName: str | None = None
    UserId: str | None = None
    VpcId: str | None = None
    Description: str | None = None


@dataclass(frozen=True, slots=True)
class Permission:
    IpProtocol: str | None = None
    FromPort: int | None = None
    ToPort: int | None = None
    IpRanges: tuple[Range, ...] = ()
    Ipv6Ranges: tuple[SixRange, ...] = ()
    UserIdGroupPairs: tuple[Pair, ...] = ()


@dataclass(frozen=True, slots=True)
class Terms:
    """Rules as asked, before the groups they name are looked up."""

    protocol: str
    from_port: int
    to_port: int
    description: str
    cidr: str | None = None
    pair: Pair | None = None


def terms(permissions: Sequence[Permission], revoking: bool) -> list[Terms]:
    """Raises BAD_VALUE, MISSING_PARAMETER; UNSUPPORTED for IPv6, which when it is to be revoked is merely unknown."""
    found: list[Terms] = []
    for one in permissions:
        if one.IpProtocol is None:
            raise CloudError(Code.MISSING_PARAMETER, "The request must contain IpPermissions.N.IpProtocol")
        if one.Ipv6Ranges and not revoking:
            raise CloudError(Code.UNSUPPORTED, "The parameter IpPermissions.Ipv6Ranges is not supported")
        if one.Ipv6Ranges:
            text = f"The specified rule '{one.Ipv6Ranges[0].CidrIpv6}' does not exist in this security group"
            raise CloudError(Code.RULE_UNKNOWN, text)
        if not one.IpRanges and not one.UserIdGroupPairs:
            raise CloudError(Code.MISSING_PARAMETER, "A rule needs a source: IpRanges or UserIdGroupPairs")
        protocol, from_port, to_port = group_rules.terms(one.IpProtocol, one.FromPort, one.ToPort)
        found += [
            Terms(protocol, from_port, to_port, description(each.Description), cidr=_cidr(each.CidrIp))
            for each in one.IpRanges
        ]
        found += [
            Terms(protocol, from_port, to_port, description(pair.Description), pair=pair)
            for pair in one.UserIdGroupPairs
        ]
    return found


def _cidr(text: str | None) -> str:
    return str(addresses.network(text or ""))


def description(text: str | None) -> str:
    if len(text or "") > 255:
        raise CloudError(Code.BAD_VALUE, "A rule's description has at most 255 characters")
    return text or ""


def rules(books: Books, call: Call, group: str, asked: Sequence[Terms], egress: bool,
          new_id: Callable[[], str]) -> list[DescribedRule]:  # fmt: skip
    """Raises GROUP_UNKNOWN for a group that is not this project's."""
    made = []
    for one in asked:
        source = None
        if one.pair is not None:
            if one.pair.UserId not in (None, call.project):
                named = one.pair.GroupId or one.pair.GroupName
                raise CloudError(Code.GROUP_UNKNOWN, f"The security group '{named}' does not exist")
            ids, names = ([one.pair.GroupId], []) if one.pair.GroupId else ([], [one.pair.GroupName or ""])
            (source,) = groups_of_project.ids(books, call, ids, names)
        rule = Rule(new_id(), one.protocol, one.from_port, one.to_port, one.cidr, source, egress)
        firewall.permission(rule)  # what passes here the hosts can load
        made.append(DescribedRule(rule, group, one.description))
    return made


# -- answers ----------------------------------------------------------------------------------------------------------


def rule_view(call: Call, one: DescribedRule, tags: list[dict[str, str]]) -> dict[str, Any]:
    """A SecurityGroupRule."""
    rule, source = one.rule, None
    if rule.source_group:
        source = {"GroupId": rule.source_group, "UserId": call.project, "VpcId": default_vpc(call.project)}
    return {
        "SecurityGroupRuleId": rule.id,
        "GroupId": one.group,
        "GroupOwnerId": call.project,
        "IsEgress": rule.egress,
        "IpProtocol": rule.protocol,
        "FromPort": rule.from_port,
        "ToPort": rule.to_port,
        "CidrIpv4": rule.cidr,
        "ReferencedGroupInfo": source,
        "Description": one.description or None,
        "Tags": tags,
    }  # fmt: skip


def revoked_view(one: DescribedRule) -> dict[str, Any]:
    rule = one.rule
    return {
        "SecurityGroupRuleId": rule.id,
        "GroupId": one.group,
        "IsEgress": rule.egress,
        "IpProtocol": rule.protocol,
        "FromPort": rule.from_port,
        "ToPort": rule.to_port,
        "CidrIpv4": rule.cidr,
        "ReferencedGroupId": rule.source_group,
        "Description": one.description or None,
    }


def permissions_view(group: SecurityGroup, egress: bool) -> list[dict[str, Any]]:
    """Rules of the same protocol and ports are one IpPermission."""
    found: dict[tuple[str, int, int], dict[str, Any]] = {}
    for one in group.rules:
        rule = one.rule
        if rule.egress is not egress:
            continue
        ports = {} if rule.protocol == "-1" else {"FromPort": rule.from_port, "ToPort": rule.to_port}
        permission = found.setdefault((rule.protocol, rule.from_port, rule.to_port), {
            "IpProtocol": rule.protocol, **ports, "UserIdGroupPairs": [], "IpRanges": [], "Ipv6Ranges": [],
            "PrefixListIds": []})  # fmt: skip
        described = one.description or None
        if rule.cidr:
            permission["IpRanges"].append({"CidrIp": rule.cidr, "Description": described})
        else:
            pair = {"UserId": group.project, "GroupId": rule.source_group, "Description": described}
            permission["UserIdGroupPairs"].append(pair)
    return list(found.values())
