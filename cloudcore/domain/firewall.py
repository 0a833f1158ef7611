"""What the security groups of a host mean, as one typed value. The api compiles a rule to judge it, the host compiles
all of them to render its filter: what the first accepts the second can load.

The semantics are EC2's: a port is the union of its groups' rules, what no rule allows is dropped, in both directions;
a rule's peer is a CIDR or the fixed addresses of a group's members; answers to allowed traffic pass. A rule that is
not understood allows nothing, and a port whose address, MAC or tap is malformed or claimed twice is kept out whole:
both are named in `refused`, and neither can keep the rest of the host from its filter.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

from cloudcore.domain import addresses
from cloudcore.domain.security_groups import Group, Rule
from cloudcore.errors import CloudError, Code

NUMBERS = {"tcp": 6, "udp": 17, "icmp": 1}
ICMP, TCP, UDP = 1, 6, 17
ANY = -1
NOBODYS = ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,62}")  # an instance or group id: it becomes part of a chain's name
TAP = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,14}")


class Guarded(Protocol):
    """What the filter must know of a port."""

    @property
    def instance(self) -> str: ...
    @property
    def mac(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def tap(self) -> str: ...
    @property
    def groups(self) -> tuple[str, ...]: ...
    @property
    def elastic(self) -> str | None: ...
    @property
    def source_dest_check(self) -> bool: ...


@dataclass(frozen=True, slots=True, order=True)
class Traffic:
    """`protocol` is an IP protocol number or ANY. `low` and `high` are a port range for TCP and UDP, type and code for
    ICMP; ANY where nothing is asked."""

    protocol: int = ANY
    low: int = ANY
    high: int = ANY


@dataclass(frozen=True, slots=True, order=True)
class Allowed:
    """Traffic and with whom: networks that do not overlap, and ids of groups whose members are meant."""

    traffic: Traffic
    networks: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GroupFilter:
    group: str
    inward: tuple[Allowed, ...]
    outward: tuple[Allowed, ...]


@dataclass(frozen=True, slots=True)
class PortFilter:
    instance: str
    tap: str
    mac: str
    address: str
    groups: tuple[str, ...]  # those that have a GroupFilter
    elastic: str = ""
    checked: bool = True  # False: it may speak for addresses beyond the network, and hear what goes to them


@dataclass(frozen=True, slots=True)
class Refused:
    """`what` is the id of an instance or a rule, or an elastic address."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Everything sorted, so that equal wishes give equal values."""

    ports: tuple[PortFilter, ...] = ()
    groups: tuple[GroupFilter, ...] = ()
    members: tuple[tuple[str, tuple[str, ...]], ...] = ()  # of the groups that some rule names as its peer
    refused: tuple[Refused, ...] = ()


# -- one rule ---------------------------------------------------------------------------------------------------------


def protocol_number(protocol: str) -> int:
    """`tcp`, `udp`, `icmp`, a number as text, or `-1`. Raises CloudError(BAD_VALUE)."""
    if protocol == "-1":
        return ANY
    known = NUMBERS.get(protocol.lower())
    if known is not None:
        return known
    if re.fullmatch(r"0|[1-9][0-9]{0,2}", protocol) and int(protocol) <= 255:
        return int(protocol)
    raise CloudError(Code.BAD_VALUE, f"Invalid value '{protocol[:40]}' for IP protocol. Unknown protocol.")


def traffic(protocol: str, low: int, high: int) -> Traffic:
    """What a protocol and its two numbers mean. Protocols without ports ignore them, as EC2 does.

    Raises CloudError(BAD_VALUE)."""
    number = protocol_number(protocol)
    if number in (TCP, UDP):
        if not (0 <= low <= 65535 and 0 <= high <= 65535):
            raise CloudError(Code.BAD_VALUE, f"Invalid value '{low}-{high}' for portRange: 0-65535 is possible")
        if low > high:
            raise CloudError(Code.BAD_VALUE, f"Invalid TCP/UDP port range ({low}:{high})")
        return Traffic(number) if (low, high) == (0, 65535) else Traffic(number, low, high)
    if number == ICMP:
        if not (ANY <= low <= 255 and ANY <= high <= 255):
            raise CloudError(Code.BAD_VALUE, f"ICMP type {low} and code {high} must be -1 to 255")
        if low == ANY and high != ANY:
            raise CloudError(Code.BAD_VALUE, f"ICMP code {high} needs a type")
        return Traffic(number, low, high)
    return Traffic(number)


def permission(rule: Rule) -> Allowed:
    """One rule, judged. Raises CloudError(BAD_VALUE) naming what is wrong with it."""
    what = traffic(rule.protocol, rule.from_port, rule.to_port)
    if (rule.cidr is None) == (rule.source_group is None):
        raise CloudError(Code.BAD_VALUE, f"rule {rule.id} must name a CIDR block or a group, one of them")
    if rule.cidr is not None:
        return Allowed(what, networks=(str(addresses.network(rule.cidr)),))
    if rule.source_group is None or not NAME.fullmatch(rule.source_group):
        raise CloudError(Code.BAD_VALUE, f"group {rule.source_group!r:.60} is malformed")
    return Allowed(what, groups=(rule.source_group,))


# -- all of them ------------------------------------------------------------------------------------------------------


def compile_rules(ports: Iterable[Guarded], groups: Iterable[Group]) -> RuleSet:
    """Never raises for what a row may hold."""
    refused: list[Refused] = []
    known = {group.id: group for group in groups if NAME.fullmatch(group.id)}
    accepted = _ports(tuple(ports), known, refused)
    used = {group for port in accepted for group in port.groups}
    filters = tuple(_group(known[id], refused) for id in sorted(used))
    peers = {peer for one in filters for allowed in one.inward + one.outward for peer in allowed.groups}
    return RuleSet(accepted, filters, tuple((peer, _members(known.get(peer))) for peer in sorted(peers)),
                   tuple(refused))  # fmt: skip


def _ports(ports: tuple[Guarded, ...], known: dict[str, Group], refused: list[Refused]) -> tuple[PortFilter, ...]:
    taken = Counter(one for port in ports for one in {port.address, port.elastic} if one)
    claimed = Counter(value for port in ports for value in {port.instance, port.mac, port.address, port.tap})
    accepted = []
    for port in sorted(ports, key=lambda one: one.instance):
        why = _objection(port, claimed)
        if why:
            refused.append(Refused(port.instance, why))
            continue
        groups = tuple(sorted({id for id in port.groups if id in known}))
        elastic = port.elastic or ""
        if elastic and (taken[elastic] > 1 or elastic == port.address or not addresses.is_address(elastic)):
            refused.append(Refused(elastic, f"it cannot lead to {port.instance}: malformed, or another's address"))
            elastic = ""
        accepted.append(PortFilter(port.instance, port.tap, port.mac, port.address, groups, elastic,
                                   port.source_dest_check))  # fmt: skip
    return tuple(accepted)


def _objection(port: Guarded, claimed: Counter[str]) -> str:
    malformed = _malformed(port.instance, port.tap, port.mac, port.address)
    if malformed:
        return malformed
    for value in (port.instance, port.tap, port.mac, port.address):
        if claimed[value] > 1:
            return f"{value} is claimed by several ports"
    return ""


@lru_cache(maxsize=2**16)  # a host's ports are judged anew with each change of any of them
def _malformed(instance: str, tap: str, mac: str, address: str) -> str:
    if not NAME.fullmatch(instance):
        return "the instance id is malformed"
    if not TAP.fullmatch(tap):
        return f"tap {tap!r:.40} is no interface name"
    if not addresses.is_mac(mac):
        return f"MAC {mac!r:.40} is malformed"
    if not addresses.is_address(address):
        return f"address {address!r:.40} is malformed"
    return ""


def _group(group: Group, refused: list[Refused]) -> GroupFilter:
    inward: dict[Traffic, list[Allowed]] = {}
    outward: dict[Traffic, list[Allowed]] = {}
    for rule in group.rules:
        try:
            allowed = permission(rule)
        except CloudError as problem:
            refused.append(Refused(rule.id, problem.text))
            continue
        (outward if rule.egress else inward).setdefault(allowed.traffic, []).append(allowed)
    return GroupFilter(group.id, _merged(inward), _merged(outward))


def _merged(found: dict[Traffic, list[Allowed]]) -> tuple[Allowed, ...]:
    """One Allowed for each kind of traffic; networks within others vanish, for nft refuses sets that overlap."""
    return tuple(sorted(Allowed(what, _collapsed(each), tuple(sorted({id for one in each for id in one.groups})))
                        for what, each in found.items()))  # fmt: skip


def _collapsed(each: list[Allowed]) -> tuple[str, ...]:
    networks = [ipaddress.IPv4Network(network) for one in each for network in one.networks]
    return tuple(map(str, ipaddress.collapse_addresses(networks)))


def _members(group: Group | None) -> tuple[str, ...]:
    return tuple(sorted({one for one in group.members if addresses.is_address(one)})) if group else ()


# -- judging a packet -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Packet:
    """The first packet of a flow. For TCP and UDP `low` is the destination port; for ICMP `low` is type, `high`
    code. `by` and `at` are the instances whose ports it comes from and is handed to, where the addresses do not tell:
    what a guest passes on for others."""

    source: str
    destination: str
    protocol: int
    low: int = 0
    high: int = 0
    by: str = ""
    at: str = ""


def arriving(rules: RuleSet, packet: Packet) -> Packet:
    """The packet as the filter meets it: what is sent to an elastic address goes to the fixed one behind it."""
    behind = {port.elastic: port.address for port in rules.ports if port.elastic}
    return replace(packet, destination=behind.get(packet.destination, packet.destination))


def our_own(fixed: str, elastic: str = "") -> tuple[str, ...]:
    """Networks for whose addresses nobody speaks but who has one: the guests' and the elastic addresses, and those that
    mean this machine, this link, many receivers or nobody. The network is flat and its guests are strangers to one
    another, so this holds without the source/destination check too."""
    return tuple(one for one in (fixed, elastic, *NOBODYS) if one)


def passes(rules: RuleSet, fixed: str, packet: Packet, elastic: str = "") -> bool:
    """Whether this host lets the packet through between guests, or between a guest and the world. `fixed` is the CIDR
    of the guests: an address in it that has no port here neither speaks nor hears."""
    ports = {port.address: port for port in rules.ports}
    by_name = {port.instance: port for port in rules.ports}
    beyond = [ipaddress.IPv4Network(one) for one in our_own(fixed, elastic)]
    members = dict(rules.members)
    groups = {one.group: one for one in rules.groups}
    within = ipaddress.IPv4Network(fixed)

    def judged(own: str, peer: str, outward: bool) -> bool:
        port, name = ports.get(own), packet.by if outward else packet.at
        if name and (port is None or port.instance != name):
            port = by_name.get(name)
            not_its = beyond if outward else [within]
            if port is None or port.checked or any(ipaddress.IPv4Address(own) in one for one in not_its):
                return False
        if port is None:
            return ipaddress.IPv4Address(own) not in within
        return any(_covers(allowed, peer, packet, members) for id in port.groups
                   for allowed in (groups[id].outward if outward else groups[id].inward))  # fmt: skip

    return judged(packet.source, packet.destination, True) and judged(packet.destination, packet.source, False)


def _covers(allowed: Allowed, peer: str, packet: Packet, members: dict[str, tuple[str, ...]]) -> bool:
    what = allowed.traffic
    if what.protocol not in (ANY, packet.protocol):
        return False
    if what.protocol in (TCP, UDP) and what.low != ANY and not what.low <= packet.low <= what.high:
        return False
    if what.protocol == ICMP and (what.low not in (ANY, packet.low) or what.high not in (ANY, packet.high)):
        return False
    address = ipaddress.IPv4Address(peer)
    return any(peer in members[id] for id in allowed.groups) or any(
        address in ipaddress.IPv4Network(network) for network in allowed.networks)  # fmt: skip
