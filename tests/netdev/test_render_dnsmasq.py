from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from cloudcore.netdev.driver import NetworkShape, WantedPort
from cloudcore.netdev.render_dnsmasq import Files, Lease, arguments, hosts, leases
from tests.firewalls import a_port

SHAPE = NetworkShape("ccb0", "cctest", "10.90.0.0/16", "10.90.0.1", 1400)
text = st.text(max_size=20)


def test_a_port_is_one_line():
    assert hosts([a_port(2, "10.90.0.5"), a_port(1, "10.90.0.4")]) == (
        "06:00:00:00:00:01,10.90.0.4,ip-10-90-0-4\n06:00:00:00:00:02,10.90.0.5,ip-10-90-0-5\n"
    )


def test_an_address_is_never_named_twice():
    assert hosts([a_port(1), a_port(2)]).count("10.90.0.2,") == 1


@given(st.lists(st.builds(WantedPort, text, text, text, text, text)))
def test_nothing_but_macs_addresses_and_names_reaches_the_file(ports):
    assert hosts(ports) == ""


@given(text)
def test_a_hostile_name_leaves_the_port_out(name):
    line = hosts([replace(a_port(), hostname=name)])
    assert line == "" or line == f"06:00:00:00:00:00,10.90.0.2,{name}\n"
    assert line.count("\n") <= 1
    assert line.count(",") in (0, 2)


def test_leases_are_read_as_dnsmasq_writes_them():
    written = "1790000000 06:00:00:00:00:01 10.90.0.4 ip-10-90-0-4 01:06:00:00:00:00:01\nduid 00:01\n\n"
    assert leases(written) == {Lease("06:00:00:00:00:01", "10.90.0.4")}


def test_it_serves_this_bridge_and_asks_nobody_unless_told():
    given_none = arguments(SHAPE, Files(Path("/run/x")), ())
    assert "--interface=ccb0" in given_none
    assert "--dhcp-range=set:fixed,10.90.0.0,static,255.255.0.0,3600s" in given_none
    assert "--dhcp-option=option:mtu,1400" in given_none
    assert not any(each.startswith("--server") for each in given_none)
    assert "--server=192.0.2.53" in arguments(SHAPE, Files(Path("/run/x")), ("192.0.2.53",))
