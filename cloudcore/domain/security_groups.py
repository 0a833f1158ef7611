"""Security groups as values that api, conductor and hosts share.

A rule allows what comes in from one CIDR or from the members of one group. Protocol and ports are EC2's:
`protocol` is tcp, udp, icmp, a number as text, or "-1" for all; for icmp `from_port` is the type and `to_port` the code
(-1: any); for others a port range (0-65535; -1 when the protocol has none).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """`cidr` or `source_group`, exactly one; `egress` says which direction it allows."""

    id: str
    protocol: str
    from_port: int
    to_port: int
    cidr: str | None = None
    source_group: str | None = None
    egress: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """What a host must know of a group: its rules, and the fixed addresses of its members wherever they run.

    `revision` grows with each change; a host ignores an older one.
    """

    id: str
    revision: int
    rules: tuple[Rule, ...] = ()
    members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DescribedRule:
    """A rule as its owner sees it."""

    rule: Rule
    group: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class SecurityGroup:
    """A group as its owner sees it."""

    id: str
    project: str
    name: str
    description: str
    revision: int
    created: float  # seconds since the epoch
    rules: tuple[DescribedRule, ...] = ()


DEFAULT_NAME = "default"  # each project has it; it cannot be deleted


def matching(rule: Rule) -> tuple[bool, str, int, int, str, str]:
    """What makes two rules of one group the same. Protocol -1 means all, whatever the ports say."""
    ports = (-1, -1) if rule.protocol == "-1" else (rule.from_port, rule.to_port)
    return rule.egress, rule.protocol, *ports, rule.cidr or "", rule.source_group or ""
