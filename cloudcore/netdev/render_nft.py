"""A host's filter as input for `nft -j -f -`: three tables, always loaded whole, in one transaction.

`bridge T` says who may speak from a port and keeps no state. `inet T` says who may reach whom: bridged IPv4 comes
through it by br_netfilter, so that the same rules hold for neighbours on the bridge, for what is routed, and for what
the host itself sends. `ip T` has the redirect to the metadata service, elastic addresses and the masquerade.

Whoever has no source/destination check may pass on what comes from beyond the network, and is handed what goes there,
by its groups' rules; it is known by its MAC, which the bridge has proven.

Three things are as they are for a reason. Sets hold the *names* of taps, so a port's rules are there before its tap
is. Only replies ride on conntrack: what travels in the original direction meets the rules every time, so a revoked
rule cuts its flows at once. And an address of the fixed range without a chain of its own neither speaks nor hears.

All names are ours (ids, checked by domain/firewall.py), and JSON keeps them from ever being read as syntax.
libnftables' JSON schema is in libnftables-json(5).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from typing import Any

from cloudcore.domain.firewall import ANY, ICMP, TCP, UDP, Allowed, RuleSet, Traffic, our_own
from cloudcore.netdev.driver import NetworkShape

METADATA = "169.254.169.254"
NO_ADDRESS = "0.0.0.0"  # noqa: S104  what a guest without a lease speaks from
TO, FROM = "to.", "from."  # prefixes of an instance's two chains; `present` reads them back
ELASTIC_IN, ELASTIC_OUT = "eip_in", "eip_out"  # elastic address to fixed one, and back
FAMILIES = ("bridge", "inet", "ip")
NAMES = {TCP: "tcp", UDP: "udp", ICMP: "icmp"}
ACCEPT: dict[str, Any] = {"accept": None}
DROP: dict[str, Any] = {"drop": None}
COUNT: dict[str, Any] = {"counter": None}

Json = dict[str, Any]


def full(shape: NetworkShape, rules: RuleSet) -> list[Json]:
    """Replaces all three tables atomically, whether or not they exist."""
    commands: list[Json] = []
    for family, render in zip(FAMILIES, (_bridge, _inet, _ip), strict=True):
        table = {"table": {"family": family, "name": shape.table}}
        commands += [{"add": table}, {"delete": table}, {"add": table}]
        commands += [{"add": item} for item in render(_Table(family, shape.table), shape, rules)]
    return commands


def removal(shape: NetworkShape) -> list[Json]:
    """The tables are gone afterwards; adding them first makes that no error when they were not there."""
    tables = [{"table": {"family": family, "name": shape.table}} for family in FAMILIES]
    return [{verb: table} for table in tables for verb in ("add", "delete")]


def of_table(listed: list[Json], table: str) -> list[Json]:
    """Our tables and what is in them, of what `nft -j list ruleset` answered."""
    return [item for item in listed for kind, it in item.items()
            if (it.get("name") if kind == "table" else it.get("table")) == table]  # fmt: skip


def instances(listed: list[Json]) -> tuple[str, ...]:
    """Those that have a chain of their own."""
    chains = (item["chain"]["name"] for item in listed if "chain" in item)
    return tuple(sorted(name.removeprefix(TO) for name in chains if name.startswith(TO)))


def elastics(listed: list[Json]) -> dict[str, str]:
    """{elastic address: fixed address}"""
    maps = (item["map"] for item in listed if "map" in item)
    return {elastic: fixed for one in maps if one["name"] == ELASTIC_IN for elastic, fixed in one.get("elem", ())}


# -- who may speak ----------------------------------------------------------------------------------------------------


def _bridge(table: _Table, shape: NetworkShape, rules: RuleSet) -> Iterator[Json]:
    yield table.set("taps", "ifname", [port.tap for port in rules.ports])
    yield table.set("okmac", ["ifname", "ether_addr"], [{"concat": [port.tap, port.mac]} for port in rules.ports])
    yield table.set("ok4", ["ifname", "ether_addr", "ipv4_addr"],
                    [{"concat": [port.tap, port.mac, port.address]} for port in rules.ports])  # fmt: skip
    yield table.set("unchecked", ["ifname", "ether_addr"],
                    [{"concat": [port.tap, port.mac]} for port in rules.ports if not port.checked])  # fmt: skip
    yield table.set("ours", "ipv4_addr", [_prefix(one) for one in our_own(shape.cidr, shape.elastic)],
                    flags=["interval"])  # fmt: skip
    yield table.chain("pre", "filter", "prerouting", -300)  # before br_netfilter
    yield table.chain("guest")
    yield table.chain("guest_arp")
    tap, mac = _meta("iifname"), _field("ether", "saddr")
    yield table.rule("pre", _is(tap, "@taps"), {"goto": {"target": "guest"}})
    ether = _field("ether", "type")
    yield table.rule("guest", _not({"concat": [tap, mac]}, "@okmac"), COUNT, DROP, comment="mac spoof")
    yield table.rule("guest", _is(ether, "arp"), {"goto": {"target": "guest_arp"}})
    yield table.rule("guest", _is(_field("udp", "sport"), 68), _is(_field("udp", "dport"), 67),
                     _is(_field("ip", "saddr"), NO_ADDRESS), ACCEPT)  # fmt: skip
    yield table.rule("guest", _is(_field("udp", "sport"), 67), COUNT, DROP, comment="rogue dhcp server")
    source = {"concat": [tap, mac, _field("ip", "saddr")]}
    yield table.rule("guest", _is(ether, "ip"), _is(source, "@ok4"), ACCEPT)
    yield table.rule("guest", _is(ether, "ip"), _is({"concat": [tap, mac]}, "@unchecked"),
                     _not(_field("ip", "saddr"), "@ours"), ACCEPT,
                     comment="passed on for others")  # fmt: skip
    yield table.rule("guest", COUNT, DROP, comment="ip spoof, ipv6, other ethertypes")
    sender = {"concat": [tap, _field("arp", "saddr ether"), _field("arp", "saddr ip")]}
    yield table.rule("guest_arp", _is(sender, "@ok4"), ACCEPT)
    yield table.rule("guest_arp", _is(_field("arp", "saddr ip"), NO_ADDRESS),
                     _is({"concat": [tap, _field("arp", "saddr ether")]}, "@okmac"), ACCEPT,
                     comment="address probe")  # fmt: skip
    yield table.rule("guest_arp", COUNT, DROP, comment="arp spoof")


# -- who may reach whom -----------------------------------------------------------------------------------------------


def _inet(table: _Table, shape: NetworkShape, rules: RuleSet) -> Iterator[Json]:
    bridge, source, destination = shape.bridge, _field("ip", "saddr"), _field("ip", "daddr")
    yield table.set("fixed", "ipv4_addr", [_prefix(shape.cidr)], flags=["interval"])
    for group, members in rules.members:
        yield table.set(f"{group}.members", "ipv4_addr", list(members))
    yield table.set("elastic", "ipv4_addr", [_prefix(shape.elastic)] if shape.elastic else [], flags=["interval"])
    yield table.set("led", ["ipv4_addr", "ipv4_addr"],
                    [{"concat": [port.elastic, port.address]} for port in rules.ports if port.elastic])  # fmt: skip
    for name in ("inward", "state", "guarded"):
        yield table.chain(name)
    yield from _groups(table, rules)
    yield from _ports(table, rules)
    yield table.map("in4", [[port.address, {"goto": {"target": TO + port.instance}}] for port in rules.ports])
    yield table.map("out4", [[port.address, {"goto": {"target": FROM + port.instance}}] for port in rules.ports])
    yield table.rule("inward", {"vmap": {"key": destination, "data": "@in4"}})
    yield table.rule("inward", _is(destination, "@fixed"), COUNT, DROP, comment="no such instance here")
    neighbours = _is(_meta("iifname"), bridge), _is(_meta("oifname"), bridge)
    passers = [port for port in rules.ports if not port.checked]
    yield table.map("passed_in", [[port.mac, {"goto": {"target": TO + port.instance}}] for port in passers],
                    "ether_addr")  # fmt: skip
    yield table.map("passed_out", [[port.mac, {"goto": {"target": FROM + port.instance}}] for port in passers],
                    "ether_addr")  # fmt: skip
    yield table.rule("inward", *neighbours, {"vmap": {"key": _field("ether", "daddr"), "data": "@passed_in"}})
    yield table.rule("inward", *neighbours, COUNT, DROP, comment="not an address of whom it is handed to")
    yield table.rule("inward", ACCEPT)
    yield from _state(table)
    yield table.rule("guarded", {"jump": {"target": "state"}})
    yield table.rule("guarded", {"goto": {"target": "inward"}})

    yield table.chain("forward", "filter", "forward", 0)
    yield table.rule("forward", _is(_meta("iifname"), bridge), _is(_meta("nfproto"), "ipv6"), COUNT, DROP)
    yield table.rule("forward", _is(_meta("oifname"), bridge), _is(_meta("nfproto"), "ipv6"), COUNT, DROP)
    yield table.rule("forward", {"jump": {"target": "state"}})
    yield table.rule("forward", {"vmap": {"key": source, "data": "@out4"}})
    yield table.rule("forward", _is(source, "@fixed"), COUNT, DROP, comment="no such instance here")
    yield table.rule("forward", _is(_meta("iifname"), bridge),
                     {"vmap": {"key": _field("ether", "saddr"), "data": "@passed_out"}})  # fmt: skip
    yield table.rule("forward", _is(_meta("iifname"), bridge), COUNT, DROP, comment="not an address of this network")
    yield table.rule("forward", {"goto": {"target": "inward"}})

    yield from _host(table, shape)


def _state(table: _Table) -> Iterator[Json]:
    """Applies only to packets with an address of ours: the host's other traffic is none of our business.

    An address is translated once per flow, and the flow's packets after that by conntrack alone: so that one which goes
    by an elastic address ends when that leads elsewhere, each of its packets is asked whether it still leads there.
    """
    state = {"ct": {"key": "state"}}
    ours = _is(_field("ip", "saddr"), "@fixed"), _is(_field("ip", "daddr"), "@fixed")
    yield table.rule("state", _in(state, "related"), ACCEPT)
    yield table.rule("state", _in(state, "established"), _is({"ct": {"key": "direction"}}, "reply"), ACCEPT)
    for mine in ours:
        yield table.rule("state", _in(state, "invalid"), mine, COUNT, DROP)
    called = {"ct": {"key": "ip daddr", "dir": "original"}}
    yield table.rule("state", _is(called, "@elastic"), _is(_field("ip", "daddr"), "@fixed"),
                     _not({"concat": [called, _field("ip", "daddr")]}, "@led"), COUNT, DROP,
                     comment="the elastic address leads elsewhere now")  # fmt: skip
    worn = {"ct": {"key": "ip daddr", "dir": "reply"}}
    yield table.rule("state", _is(worn, "@elastic"), _is(_field("ip", "saddr"), "@fixed"),
                     _not({"concat": [worn, _field("ip", "saddr")]}, "@led"), COUNT, DROP,
                     comment="its elastic address is another's now")  # fmt: skip


def _host(table: _Table, shape: NetworkShape) -> Iterator[Json]:
    """Guests reach dhcp, dns, redirected metadata and ping of the host, nothing else; the host reaches guests as any
    other peer does: by their groups' rules."""
    yield table.chain("input", "filter", "input", 0)
    state = {"ct": {"key": "state"}}
    yield table.rule("input", {"match": {"op": "!=", "left": _meta("iifname"), "right": shape.bridge}}, ACCEPT)
    yield table.rule("input", _is(_meta("nfproto"), "ipv6"), COUNT, DROP)
    yield table.rule("input", _in(state, "established"), ACCEPT)
    yield table.rule("input", _in(state, "related"), ACCEPT)
    yield table.rule("input", _is(_field("udp", "dport"), 67), ACCEPT)
    for protocol in ("udp", "tcp"):
        yield table.rule("input", _is(_field("ip", "daddr"), shape.gateway), _is(_field(protocol, "dport"), 53), ACCEPT)
    yield table.rule("input", _in({"ct": {"key": "status"}}, "dnat"), _is(_field("ip", "daddr"), shape.gateway),
                     _is(_field("tcp", "dport"), shape.metadata_port), ACCEPT,
                     comment="what the redirect sent, not the port itself")  # fmt: skip
    yield table.rule("input", _is(_field("icmp", "type"), "echo-request"), ACCEPT)
    yield table.rule("input", COUNT, DROP)

    yield table.chain("output", "filter", "output", 0)
    yield table.rule("output", _in({"ct": {"key": "status"}}, "dnat"), _is(_field("ip", "daddr"), "@fixed"),
                     {"goto": {"target": "guarded"}},
                     comment="to an elastic address of ours: the route was found before")  # fmt: skip
    yield table.rule("output", {"match": {"op": "!=", "left": _meta("oifname"), "right": shape.bridge}}, ACCEPT)
    yield table.rule("output", _is(_field("udp", "sport"), 67), _is(_field("udp", "dport"), 68), ACCEPT)
    yield table.rule("output", {"goto": {"target": "guarded"}})


def _groups(table: _Table, rules: RuleSet) -> Iterator[Json]:
    """Shared by all ports of a group. What is allowed inward is accepted; outward, the receiver is asked as well."""
    for group in rules.groups:
        inward, outward = f"{group.group}.in", f"{group.group}.out"
        yield table.chain(inward)
        yield table.chain(outward)
        for allowed in group.inward:
            yield from _allowed(table, inward, allowed, "saddr", ACCEPT)
        for allowed in group.outward:
            yield from _allowed(table, outward, allowed, "daddr", {"goto": {"target": "inward"}})


def _ports(table: _Table, rules: RuleSet) -> Iterator[Json]:
    for port in rules.ports:
        for chain, suffix in ((TO + port.instance, ".in"), (FROM + port.instance, ".out")):
            yield table.chain(chain)
            for group in port.groups:
                yield table.rule(chain, {"jump": {"target": group + suffix}})
            yield table.rule(chain, COUNT, DROP)


def _allowed(table: _Table, chain: str, allowed: Allowed, side: str, verdict: Json) -> Iterator[Json]:
    peer, traffic = _field("ip", side), list(_traffic(allowed.traffic))
    if allowed.networks == ("0.0.0.0/0",):
        yield table.rule(chain, _is(_meta("nfproto"), "ipv4"), *traffic, verdict)
    elif allowed.networks:
        yield table.rule(chain, _is(peer, {"set": [_prefix(one) for one in allowed.networks]}), *traffic, verdict)
    for group in allowed.groups:
        yield table.rule(chain, _is(peer, f"@{group}.members"), *traffic, verdict)


def _traffic(wanted: Traffic) -> Iterator[Json]:
    if wanted.protocol == ANY:
        return
    yield _is(_meta("l4proto"), NAMES.get(wanted.protocol, wanted.protocol))
    if wanted.low == ANY:
        return
    if wanted.protocol == ICMP:
        yield _is(_field("icmp", "type"), wanted.low)
        if wanted.high != ANY:
            yield _is(_field("icmp", "code"), wanted.high)
        return
    ports: Any = wanted.low if wanted.low == wanted.high else {"range": [wanted.low, wanted.high]}
    yield _is(_field("th", "dport"), ports)


# -- how addresses change ---------------------------------------------------------------------------------------------


def _ip(table: _Table, shape: NetworkShape, rules: RuleSet) -> Iterator[Json]:
    """A guest that has an elastic address wears it outside, and before neighbours that it calls by theirs; one without
    wears the host's. Neighbours that call each other by fixed addresses see those."""
    led = [(port.elastic, port.address) for port in rules.ports if port.elastic]
    yield table.addresses(ELASTIC_IN, [[elastic, fixed] for elastic, fixed in led])
    yield table.addresses(ELASTIC_OUT, [[fixed, elastic] for elastic, fixed in led])
    destination, source = _field("ip", "daddr"), _field("ip", "saddr")
    inward = {"dnat": {"addr": {"map": {"key": destination, "data": f"@{ELASTIC_IN}"}}}}
    outward = {"snat": {"addr": {"map": {"key": source, "data": f"@{ELASTIC_OUT}"}}}}
    yield table.chain("pre", "nat", "prerouting", -100)
    yield table.rule("pre", _is(_meta("iifname"), shape.bridge), _is(_field("ip", "daddr"), METADATA),
                     _is(_field("tcp", "dport"), 80),
                     {"dnat": {"addr": shape.gateway, "port": shape.metadata_port}})  # fmt: skip
    yield table.rule("pre", inward)
    yield table.chain("out", "nat", "output", -100)
    yield table.rule("out", inward)
    yield table.chain("post", "nat", "postrouting", 100)
    inside, outside = _prefix(shape.cidr), _not(_meta("oifname"), shape.bridge)
    called = [_in({"ct": {"key": "status"}}, "dnat"), _is(source, inside), _is(destination, inside)]
    yield table.rule("post", *called, outward)
    yield table.rule("post", *called, {"masquerade": None})
    yield table.rule("post", _is(source, inside), _not(destination, inside), outside, outward)
    yield table.rule("post", _is(source, inside), _not(destination, inside), outside, {"masquerade": None})


# -- words ------------------------------------------------------------------------------------------------------------


class _Table:
    """Objects of one table, without the verb."""

    def __init__(self, family: str, name: str) -> None:
        self._where = {"family": family, "table": name}

    def set(self, name: str, kind: str | list[str], elements: list[Any], flags: Iterable[str] = ()) -> Json:
        more = _some("flags", list(flags)) | _some("elem", elements)
        return {"set": self._where | {"name": name, "type": kind} | more}

    def map(self, name: str, elements: list[Any], kind: str = "ipv4_addr") -> Json:
        return {"map": self._where | {"name": name, "type": kind, "map": "verdict"} | _some("elem", elements)}

    def addresses(self, name: str, elements: list[Any]) -> Json:
        """A map from address to address."""
        return {"map": self._where | {"name": name, "type": "ipv4_addr", "map": "ipv4_addr"} | _some("elem", elements)}

    def chain(self, name: str, kind: str = "", hook: str = "", priority: int = 0) -> Json:
        based = {"type": kind, "hook": hook, "prio": priority, "policy": "accept"} if hook else {}
        return {"chain": self._where | {"name": name} | based}

    def rule(self, chain: str, *expressions: Json, comment: str = "") -> Json:
        return {"rule": self._where | {"chain": chain, "expr": list(expressions)} | _some("comment", comment)}


def _some(key: str, value: Any) -> Json:
    return {key: value} if value else {}


def _meta(key: str) -> Json:
    return {"meta": {"key": key}}


def _field(protocol: str, field: str) -> Json:
    return {"payload": {"protocol": protocol, "field": field}}


def _is(left: Json, right: Any) -> Json:
    return {"match": {"op": "==", "left": left, "right": right}}


def _not(left: Json, right: Any) -> Json:
    return {"match": {"op": "!=", "left": left, "right": right}}


def _in(left: Json, right: Any) -> Json:
    return {"match": {"op": "in", "left": left, "right": right}}


def _prefix(cidr: str) -> Json | str:
    network = ipaddress.IPv4Network(cidr)
    if network.prefixlen == 32:
        return str(network.network_address)
    return {"prefix": {"addr": str(network.network_address), "len": network.prefixlen}}
