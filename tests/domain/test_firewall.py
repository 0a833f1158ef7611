from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudcore.domain.firewall import Allowed, Packet, Traffic, compile_rules, passes, permission, traffic
from cloudcore.domain.security_groups import Group, Rule
from cloudcore.errors import CloudError, Code
from tests.firewalls import FIXED, World, a_port, hosts, packets

OPEN = Rule("sgr-e", "-1", -1, -1, "0.0.0.0/0", egress=True)


@settings(max_examples=400, deadline=None)
@given(hosts(), packets)
def test_what_passes_is_what_ec2_says(host, packet):
    assert passes(compile_rules(*host), FIXED, packet) == World(*host).permits(packet)


@given(hosts(), st.randoms())
def test_the_order_of_rows_does_not_matter(host, random):
    ports, groups = host
    shuffled = [replace(group, rules=tuple(random.sample(group.rules, len(group.rules)))) for group in groups]
    random.shuffle(shuffled)
    assert compile_rules(reversed(ports), shuffled) == compile_rules(ports, groups)


@given(hosts())
def test_networks_of_one_kind_of_traffic_never_overlap(host):
    import ipaddress

    for group in compile_rules(*host).groups:
        for allowed in group.inward + group.outward:
            networks = [ipaddress.ip_network(one) for one in allowed.networks]
            assert not any(a.overlaps(b) for a in networks for b in networks if a is not b)


def test_a_port_without_groups_neither_speaks_nor_hears():
    rules = compile_rules([a_port(groups=())], [])
    assert not passes(rules, FIXED, Packet("10.90.0.2", "192.0.2.1", 6, 80))
    assert not passes(rules, FIXED, Packet("192.0.2.1", "10.90.0.2", 6, 80))


def test_an_unknown_group_allows_nothing():
    rules = compile_rules([a_port(groups=("sg-0f",))], [])
    assert rules.ports[0].groups == ()


def test_a_rule_that_is_not_understood_allows_nothing_and_is_named():
    bad = Rule("sgr-bad", "tcp", 90, 80, "0.0.0.0/0")
    good = Rule("sgr-good", "tcp", 22, 22, "0.0.0.0/0")
    rules = compile_rules([a_port()], [Group("sg-0a", 1, (bad, good, OPEN))])
    assert [one.what for one in rules.refused] == ["sgr-bad"]
    assert passes(rules, FIXED, Packet("192.0.2.1", "10.90.0.2", 6, 22))
    assert not passes(rules, FIXED, Packet("192.0.2.1", "10.90.0.2", 6, 85))


@pytest.mark.parametrize("field", [
    {"mac": "ff:ff:ff:ff:ff:ff"}, {"mac": "x"}, {"address": "10.90.0.2/24"}, {"address": ""}, {"tap": "t; drop"},
    {"tap": "t" * 16}, {"tap": ""}, {"instance": "i-1\n"}, {"instance": ""},
])  # fmt: skip
def test_a_malformed_port_is_kept_out_and_the_others_are_not(field):
    good = a_port(2, "10.90.0.5")
    rules = compile_rules([replace(a_port(), **field), good], [Group("sg-0a", 1, (OPEN,))])
    assert [port.instance for port in rules.ports] == [good.instance]
    assert len(rules.refused) == 1


@pytest.mark.parametrize("field", ["address", "mac", "tap", "instance"])
def test_what_two_ports_claim_neither_gets(field):
    first, second, third = a_port(1, "10.90.0.3"), a_port(2, "10.90.0.4"), a_port(3, "10.90.0.5")
    rules = compile_rules([first, replace(second, **{field: getattr(first, field)}), third], [])
    assert [port.instance for port in rules.ports] == [third.instance]


def test_a_group_with_a_hostile_id_is_as_absent():
    rules = compile_rules([a_port(groups=("sg-0a }",))], [Group("sg-0a }", 1, (OPEN,))])
    assert rules.groups == ()


@pytest.mark.parametrize(("rule", "meaning"), [
    (("tcp", 22, 22), Traffic(6, 22, 22)), (("TCP", 0, 65535), Traffic(6)), (("17", 53, 53), Traffic(17, 53, 53)),
    (("icmp", -1, -1), Traffic(1)), (("icmp", 8, -1), Traffic(1, 8, -1)), (("-1", 22, 22), Traffic()),
    (("47", 1, 2), Traffic(47)),
])  # fmt: skip
def test_protocols_and_ports_mean(rule, meaning):
    assert traffic(*rule) == meaning


@pytest.mark.parametrize("rule", [
    ("tcp", -1, -1), ("tcp", 80, 22), ("udp", 0, 65536), ("icmp", 256, 0), ("icmp", -1, 0), ("256", 0, 0), ("", 0, 0),
    ("tcp ", 1, 1), ("-2", 0, 0), ("06", 0, 0), ("icmp", 8, 256), ("sctp", 0, 0),
])  # fmt: skip
def test_what_means_nothing_is_refused(rule):
    with pytest.raises(CloudError) as caught:
        traffic(*rule)
    assert caught.value.code is Code.BAD_VALUE


@pytest.mark.parametrize("peer", [
    {}, {"cidr": "0.0.0.0/0", "source_group": "sg-1"}, {"cidr": "::/0"}, {"cidr": "10.0.0.0"}, {"cidr": "10.0.0.0/33"},
    {"source_group": "sg 1"}, {"source_group": ""},
])  # fmt: skip
def test_a_rule_has_exactly_one_peer_that_exists(peer):
    with pytest.raises(CloudError):
        permission(Rule("sgr-1", "tcp", 1, 1, **peer))


def test_a_permission_is_canonical():
    assert permission(Rule("sgr-1", "tcp", 1, 2, "10.1.2.3/8")) == Allowed(Traffic(6, 1, 2), ("10.0.0.0/8",))
