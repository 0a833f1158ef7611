"""What tests about the filter share: strategies for ports, groups and packets, and EC2's semantics said a second time,
as plainly as possible."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace

from hypothesis import strategies as st

from cloudcore.domain.firewall import Packet
from cloudcore.domain.security_groups import Group, Rule
from cloudcore.netdev.driver import WantedPort

FIXED = "10.90.0.0/28"
INSIDE = [f"10.90.0.{last}" for last in range(2, 8)]
OUTSIDE = ["192.0.2.1", "192.0.2.77", "198.51.100.5", "10.90.1.2"]
GROUPS = ["sg-0a", "sg-0b", "sg-0c", "sg-0d"]
CIDRS = ["0.0.0.0/0", "10.90.0.0/28", "10.90.0.4/31", "10.90.0.3/32", "192.0.2.0/24", "192.0.2.1/32", "192.0.2.0/25"]
NUMBERS = {"tcp": 6, "udp": 17, "icmp": 1, "47": 47, "6": 6}


@st.composite
def rules(draw) -> Rule:
    protocol = draw(st.sampled_from(["tcp", "udp", "icmp", "-1", "47", "6"]))
    if protocol in ("tcp", "udp", "6"):
        low = draw(st.sampled_from([0, 22, 79, 80, 443, 65535]))
        high = draw(st.sampled_from([port for port in (0, 22, 80, 81, 443, 65535) if port >= low]))
    elif protocol == "icmp":
        low = draw(st.sampled_from([-1, 8, 3]))
        high = draw(st.sampled_from([-1, 0])) if low != -1 else -1
    else:
        low = high = draw(st.sampled_from([-1, 0]))
    peer = draw(st.sampled_from(CIDRS + GROUPS))
    cidr, group = (peer, None) if "/" in peer else (None, peer)
    return Rule("sgr-0", protocol, low, high, cidr, group, draw(st.booleans()))


@st.composite
def hosts(draw) -> tuple[tuple[WantedPort, ...], tuple[Group, ...]]:
    """The ports of one host, and all groups with members here and elsewhere."""
    ports = tuple(
        replace(a_port(number, address, tuple(sorted(draw(st.sets(st.sampled_from(GROUPS), max_size=2))))),
                source_dest_check=draw(st.booleans()))
        for number, address in enumerate(sorted(draw(st.sets(st.sampled_from(INSIDE), max_size=4))))
    )
    groups = tuple(
        Group(name, 1, tuple(draw(st.lists(rules(), max_size=5))),
              tuple(sorted({port.address for port in ports if name in port.groups} | draw(
                  st.sets(st.sampled_from(INSIDE[4:]), max_size=1)))))
        for name in sorted(draw(st.sets(st.sampled_from(GROUPS), min_size=2)))
    )  # fmt: skip
    return ports, groups


packets = st.builds(
    lambda source, destination, what: Packet(source, destination, *what),
    st.sampled_from(INSIDE + OUTSIDE), st.sampled_from(INSIDE + OUTSIDE),
    st.sampled_from([(6, 22), (6, 80), (6, 0), (6, 65535), (17, 80), (17, 53), (1, 8, 0), (1, 3, 1), (47,), (50,)]),
)  # fmt: skip


def a_port(number: int = 0, address: str = "10.90.0.2", groups: tuple[str, ...] = ("sg-0a",)) -> WantedPort:
    return WantedPort(f"i-{number:017x}", f"06:00:00:00:00:{number:02x}", address, f"t{number:014x}",
                      "ip-" + address.replace(".", "-"), groups)  # fmt: skip


@dataclass(frozen=True)
class World:
    ports: tuple[WantedPort, ...]
    groups: tuple[Group, ...]

    def permits(self, packet: Packet) -> bool:
        """EC2's words: a packet leaves if some egress rule of some group of its sender allows it, and arrives if some
        ingress rule of some group of its receiver does."""
        return self._side(packet, packet.source, packet.destination, True) and self._side(
            packet, packet.destination, packet.source, False)  # fmt: skip

    def _side(self, packet: Packet, own: str, peer: str, egress: bool) -> bool:
        mine = [port for port in self.ports if port.address == own]
        if not mine:
            return ipaddress.ip_address(own) not in ipaddress.ip_network(FIXED)
        groups = {group.id: group for group in self.groups}
        for name in mine[0].groups:
            for rule in groups[name].rules if name in groups else ():
                if rule.egress == egress and self._matches(rule, packet, peer, groups):
                    return True
        return False

    @staticmethod
    def _matches(rule: Rule, packet: Packet, peer: str, groups: dict[str, Group]) -> bool:
        if rule.protocol != "-1":
            if NUMBERS[rule.protocol] != packet.protocol:
                return False
            if packet.protocol in (6, 17) and not rule.from_port <= packet.low <= rule.to_port:
                return False
            if packet.protocol == 1 and rule.from_port not in (-1, packet.low):
                return False
            if packet.protocol == 1 and rule.to_port not in (-1, packet.high):
                return False
        if rule.cidr is not None:
            return ipaddress.ip_address(peer) in ipaddress.ip_network(rule.cidr)
        return rule.source_group in groups and peer in groups[rule.source_group].members
