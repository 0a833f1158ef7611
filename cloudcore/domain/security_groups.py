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
