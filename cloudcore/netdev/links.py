"""What has to change about a bridge and its taps, by what `ip -j` says of them. Pure: lines for `ip -batch -`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from cloudcore.domain.addresses import bridge_mac
from cloudcore.domain.firewall import PortFilter
from cloudcore.netdev.driver import NetworkShape

Links = Mapping[str, Mapping[str, Any]]  # by name


def bridge_settings(shape: NetworkShape) -> Iterator[str]:
    """Pinned MAC and MTU, filtered by br_netfilter whatever other bridges do, and the gateway's address."""
    mac, length = bridge_mac(shape.gateway), shape.cidr.partition("/")[2]
    yield f"link set {shape.bridge} address {mac} mtu {shape.mtu} type bridge nf_call_iptables 1"
    yield f"addr replace {shape.gateway}/{length} dev {shape.bridge}"


def elastic_repairs(held: Iterable[Mapping[str, Any]], shape: NetworkShape,
                    ports: Iterable[PortFilter]) -> Iterator[str]:  # fmt: skip
    """Elastic addresses are the bridge's own, each alone: so the host answers for them on every wire, and they go when
    the bridge goes. `held` is the bridge's addr_info."""
    wanted = {port.elastic for port in ports if port.elastic}
    there = {one["local"]: one["prefixlen"] for one in held if one.get("family") == "inet"}
    for address in sorted(there.keys() - wanted - {shape.gateway}):
        yield f"addr del {address}/{there[address]} dev {shape.bridge}"
    for address in sorted(wanted - there.keys()):
        yield f"addr add {address}/32 dev {shape.bridge}"


def number(links: Links, bridge: str) -> int:
    """By which the kernel knows it; another whenever it is made anew. 0: there is none."""
    return int(links.get(bridge, {}).get("ifindex", 0))


def strangers(links: Links, bridge: str, ports: Iterable[PortFilter]) -> list[str]:
    """What is on the bridge and has no rules of its own: a released port's tap, a refused one's, somebody's cable."""
    taps = {port.tap for port in ports}
    return [name for name, link in links.items() if link.get("master") == bridge and name not in taps]


def tap_repairs(links: Links, bridge: str, ports: Iterable[PortFilter]) -> Iterator[str]:
    """Taps that lost their bridge come back, and each may reach itself by its elastic address (hairpin). A tap that is
    somewhere else is left alone."""
    for port in ports:
        tap = links.get(port.tap)
        if tap is None or tap.get("master") not in (None, bridge):
            continue
        if tap.get("master") is None:
            yield f"link set {port.tap} master {bridge}"
        if not tap.get("linkinfo", {}).get("info_slave_data", {}).get("hairpin"):
            yield f"link set {port.tap} type bridge_slave hairpin on"


def neighbour_repairs(known: Iterable[Mapping[str, Any]], bridge: str, ports: Iterable[PortFilter]) -> Iterator[str]:
    """No neighbour entry names the former owner of an address: its next owner would be unreachable for a minute."""
    macs = {port.address: port.mac for port in ports}
    for entry in known:
        if "lladdr" in entry and macs.get(entry["dst"]) != entry["lladdr"]:
            yield f"neigh del {entry['dst']} dev {bridge}"
