import json
import subprocess
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudcore.domain.firewall import Packet, compile_rules, passes
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


ROUTER = replace(a_port(3, "10.90.0.4", ("sg-0b",)), source_dest_check=False)
WEB = Group("sg-0b", 1, (Rule("sgr-2", "tcp", 80, 80, "0.0.0.0/0"),
                         Rule("sgr-3", "tcp", 443, 443, "0.0.0.0/0", egress=True)))  # fmt: skip
ROUTED = compile_rules([PORT, ROUTER], [OPEN, WEB])
BY_ROUTER = {"iifname": ROUTER.tap, "ether saddr": ROUTER.mac, "ether type": "ip"}


@pytest.mark.parametrize(("values", "wanted"), [
    (BY_ROUTER | {"ip saddr": ROUTER.address}, "accept"),
    (BY_ROUTER | {"ip saddr": "192.0.2.1"}, "accept"),
    (BY_ROUTER | {"ip saddr": "172.17.0.2"}, "accept"),
    (BY_ROUTER | {"ip saddr": PORT.address}, "drop"),
    (BY_ROUTER | {"ip saddr": "10.90.0.1"}, "drop"),
    (BY_ROUTER | {"ip saddr": "10.91.0.7"}, "drop"),
    (BY_ROUTER | {"ip saddr": "169.254.169.254"}, "drop"),
    (BY_ROUTER | {"ip saddr": "127.0.0.1"}, "drop"),
    (BY_ROUTER | {"ip saddr": "224.0.0.1"}, "drop"),
    (BY_ROUTER | {"ip saddr": "0.0.0.0"}, "drop"),
    (BY_ROUTER | {"ip saddr": "192.0.2.1", "ether saddr": PORT.mac}, "drop"),
    (BY_ROUTER | {"ip saddr": "192.0.2.1", "udp sport": 67, "udp dport": 68}, "drop"),
    (BY_ROUTER | {"ether type": "arp", "arp saddr ether": ROUTER.mac, "arp saddr ip": "192.0.2.1"}, "drop"),
    (SELF | {"ip saddr": "192.0.2.1"}, "drop"),
])  # fmt: skip
def test_without_its_check_a_port_speaks_for_whoever_is_beyond(values, wanted):
    shape = replace(SHAPE, elastic="10.91.0.0/24")
    assert Reading(full(shape, ROUTED), "bridge").verdict("pre", Frame(values)) == wanted


def passed_on(packet: Packet, ports) -> Frame:
    """As `inet forward` sees what goes over the bridge from one port to another."""
    macs = {port.instance: port.mac for port in ports}
    return ip_frame(packet, iifname="ccb0", oifname="ccb0", **{"ether saddr": macs[packet.by],
                                                               "ether daddr": macs[packet.at]})  # fmt: skip


@pytest.mark.parametrize(("packet", "wanted"), [
    (Packet("192.0.2.1", PORT.address, 6, 443, by=ROUTER.instance, at=PORT.instance), "accept"),
    (Packet("192.0.2.1", PORT.address, 6, 80, by=ROUTER.instance, at=PORT.instance), "drop"),  # not by its egress rules
    (Packet(PORT.address, "192.0.2.1", 6, 80, by=PORT.instance, at=ROUTER.instance), "accept"),
    (Packet(PORT.address, "192.0.2.1", 6, 81, by=PORT.instance, at=ROUTER.instance), "drop"),  # nor its ingress rules
    (Packet(ROUTER.address, "192.0.2.1", 6, 443, by=ROUTER.instance, at=PORT.instance), "drop"),  # its check is on
    (Packet(PORT.address, "10.90.0.9", 6, 80, by=PORT.instance, at=ROUTER.instance), "drop"),
])  # fmt: skip
def test_what_is_passed_on_meets_the_rules_of_whoever_passes_it(packet, wanted):
    reading = Reading(full(SHAPE, ROUTED), "inet")
    assert reading.verdict("forward", passed_on(packet, (PORT, ROUTER))) == wanted
    assert passes(ROUTED, FIXED, packet) == (wanted == "accept")


@settings(max_examples=300, deadline=None)
@given(hosts(), packets, st.data())
def test_model_and_filter_agree_on_what_is_passed_on(host, packet, data):
    ports = host[0]
    if len(ports) < 2:
        return
    sender, receiver = data.draw(st.permutations(ports))[:2]
    packet = replace(packet, by=sender.instance, at=receiver.instance)
    rules, frame = compile_rules(ports, host[1]), passed_on(packet, ports)
    bridge = Frame({"iifname": sender.tap, "ether saddr": sender.mac, "ether type": "ip", "ip saddr": packet.source})
    seen = (Reading(full(SHAPE, rules), "bridge").verdict("pre", bridge),
            Reading(full(SHAPE, rules), "inet").verdict("forward", frame))  # fmt: skip
    handed = packet.destination == receiver.address or packet.destination not in [port.address for port in ports]
    if handed:
        assert (seen == ("accept", "accept")) == passes(rules, FIXED, packet)


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
