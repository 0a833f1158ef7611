import json
import subprocess

import pytest
from hypothesis import given, settings

from cloudcore.domain.firewall import Packet, compile_rules
from cloudcore.domain.security_groups import Group, Rule
from cloudcore.netdev.driver import NetworkShape
from cloudcore.netdev.render_nft import full, instances, of_table, removal
from tests.firewalls import FIXED, INSIDE, World, a_port, hosts, packets
from tests.netdev.nft_reading import Frame, Reading
from tests.netdev.pretend_host import needs_root

SHAPE = NetworkShape("ccb0", "cctest", FIXED, "10.90.0.1")
PORT = a_port(1, "10.90.0.2")
OPEN = Group("sg-0a", 1, tuple(Rule("sgr-1", "-1", -1, -1, "0.0.0.0/0", egress=way) for way in (True, False)))
RULES = compile_rules([PORT], [OPEN])


def ip_frame(packet: Packet, **values) -> Frame:
    """As `inet forward` sees it: what a guest sends comes from the bridge, also to its neighbour."""
    of_guests = "ccb0" if packet.source in INSIDE else "eth0"
    to_guests = "ccb0" if packet.destination in INSIDE else "eth0"
    seen = {"iifname": of_guests, "oifname": to_guests, "nfproto": "ipv4", "l4proto": packet.protocol,
            "ip saddr": packet.source, "ip daddr": packet.destination}  # fmt: skip
    if packet.protocol in (6, 17):
        seen |= {"th dport": packet.low, f"{'tcp' if packet.protocol == 6 else 'udp'} dport": packet.low}
    if packet.protocol == 1:
        seen |= {"icmp type": packet.low, "icmp code": packet.high}
    return Frame(seen | values)


@settings(max_examples=400, deadline=None)
@given(hosts(), packets)
def test_the_rendered_filter_does_what_ec2_says(host, packet):
    verdict = Reading(full(SHAPE, compile_rules(*host)), "inet").verdict("forward", ip_frame(packet))
    assert (verdict == "accept") == World(*host).permits(packet)


@settings(deadline=None)
@given(hosts(), packets)
def test_replies_pass_whatever_the_rules_say(host, packet):
    frame = ip_frame(packet)
    frame.ct = {"state": "established", "direction": "reply", "status": ""}
    assert Reading(full(SHAPE, compile_rules(*host)), "inet").verdict("forward", frame) == "accept"


@settings(deadline=None)
@given(hosts(), packets)
def test_a_live_flow_meets_the_rules_again_with_each_packet(host, packet):
    frame = ip_frame(packet)
    frame.ct = {"state": "established", "direction": "original", "status": ""}
    verdict = Reading(full(SHAPE, compile_rules(*host)), "inet").verdict("forward", frame)
    assert (verdict == "accept") == World(*host).permits(packet)


@settings(deadline=None)
@given(hosts(), packets)
def test_the_host_reaches_a_guest_as_its_rules_say(host, packet):
    from_host = Packet("10.90.0.1", packet.destination, packet.protocol, packet.low, packet.high)
    verdict = Reading(full(SHAPE, compile_rules(*host)), "inet").verdict("output", ip_frame(from_host))
    assert (verdict == "accept") == World(*host)._side(packet, packet.destination, "10.90.0.1", False)


def test_a_guest_with_another_source_on_the_bridge_is_dropped():
    reading = Reading(full(SHAPE, RULES), "inet")
    spoofed = Packet("192.0.2.1", "198.51.100.1", 6, 80)
    assert reading.verdict("forward", ip_frame(spoofed, iifname="ccb0")) == "drop"
    assert reading.verdict("forward", ip_frame(spoofed)) == "accept", "not ours, none of our business"


@pytest.mark.parametrize(("values", "ct", "wanted"), [
    ({"udp sport": 68, "udp dport": 67, "ip daddr": "255.255.255.255"}, {}, "accept"),
    ({"udp dport": 53, "ip daddr": "10.90.0.1"}, {}, "accept"),
    ({"tcp dport": 53, "ip daddr": "10.90.0.1"}, {}, "accept"),
    ({"tcp dport": 8775, "ip daddr": "10.90.0.1"}, {"status": "dnat"}, "accept"),
    ({"tcp dport": 8775, "ip daddr": "10.90.0.1"}, {}, "drop"),
    ({"tcp dport": 22, "ip daddr": "10.90.0.1"}, {}, "drop"),
    ({"tcp dport": 22, "ip daddr": "192.0.2.9"}, {}, "drop"),
    ({"udp dport": 53, "ip daddr": "192.0.2.9"}, {}, "drop"),
    ({"icmp type": 8, "ip daddr": "10.90.0.1"}, {}, "accept"),
    ({"tcp dport": 22, "ip daddr": "10.90.0.1", "iifname": "eth0"}, {}, "accept"),
])  # fmt: skip
def test_guests_reach_of_the_host(values, ct, wanted):
    frame = Frame({"iifname": "ccb0", "nfproto": "ipv4", "ip saddr": "10.90.0.2"} | values)
    frame.ct |= ct
    assert Reading(full(SHAPE, RULES), "inet").verdict("input", frame) == wanted


SELF = {"iifname": PORT.tap, "ether saddr": PORT.mac, "ether type": "ip"}
ARP = {"iifname": PORT.tap, "ether saddr": PORT.mac, "ether type": "arp", "arp saddr ether": PORT.mac}


@pytest.mark.parametrize(("values", "wanted"), [
    (SELF | {"ip saddr": PORT.address}, "accept"),
    (SELF | {"ip saddr": "10.90.0.3"}, "drop"),
    (SELF | {"ip saddr": PORT.address, "ether saddr": "06:00:00:00:00:99"}, "drop"),
    (SELF | {"ip saddr": "0.0.0.0", "udp sport": 68, "udp dport": 67}, "accept"),
    (SELF | {"ip saddr": "0.0.0.0", "udp sport": 68, "udp dport": 53}, "drop"),
    (SELF | {"ip saddr": PORT.address, "udp sport": 67, "udp dport": 68}, "drop"),
    (SELF | {"ether type": "ip6"}, "drop"),
    (SELF | {"ether type": "vlan"}, "drop"),
    (ARP | {"arp saddr ip": PORT.address}, "accept"),
    (ARP | {"arp saddr ip": "10.90.0.3"}, "drop"),
    (ARP | {"arp saddr ip": "10.90.0.1"}, "drop"),
    (ARP | {"arp saddr ip": "0.0.0.0"}, "accept"),
    (ARP | {"arp saddr ip": PORT.address, "arp saddr ether": "06:00:00:00:00:99"}, "drop"),
    (SELF | {"iifname": "eth0", "ether saddr": "02:00:00:00:00:01", "ip saddr": "10.90.0.3"}, "accept"),
])  # fmt: skip
def test_a_port_speaks_only_for_itself(values, wanted):
    assert Reading(full(SHAPE, RULES), "bridge").verdict("pre", Frame(values)) == wanted


def test_the_instances_are_read_back_from_a_listing():
    listed = [item for command in full(SHAPE, RULES) for item in [command.get("add")] if item]
    assert instances(of_table(listed, "cctest")) == (PORT.instance,)
    assert of_table(listed, "other") == []


@needs_root
@settings(max_examples=15, deadline=None)
@given(hosts())
def test_what_compiles_the_kernel_accepts(host):
    """`-c` checks without loading, in a network namespace of its own."""
    commands = json.dumps({"nftables": full(SHAPE, compile_rules(*host)) + removal(SHAPE)})
    subprocess.run(["unshare", "--net", "nft", "-c", "-j", "-f", "-"], check=True, timeout=20, input=commands.encode())
