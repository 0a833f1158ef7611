"""The real thing, with pretend guests: what passes, what does not, and what is left."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from twisted.internet import reactor

from cloudcore.errors import CloudError, Code
from cloudcore.netdev import machine
from cloudcore.netdev.linux import LinuxNetwork
from cloudcore.netdev.programs import Programs
from cloudcore.netdev.render_nft import METADATA
from tests.netdev.pretend_host import Guest, PretendHost, allow, group, needs_root, off_the_reactor, run

pytestmark = needs_root


@pytest.fixture
def host() -> Iterator[PretendHost]:
    pretend = PretendHost()
    try:
        yield pretend
    finally:
        pretend.close()


async def reaches(host: PretendHost, guest: Guest | str, address: str, port: int) -> bool:
    namespace = guest if isinstance(guest, str) else guest.namespace
    return await off_the_reactor(host.reaches, namespace, address, port)


async def two_guests(host: PretendHost, *groups: Any) -> tuple[LinuxNetwork, Guest, Guest]:
    driver, ports = host.driver(), (host.port(1, "sg-1"), host.port(2, "sg-2"))
    await driver.prepare()
    await driver.ensure(ports, groups)
    one, two = (host.guest(port).configured() for port in ports)
    return driver, one, two


@pytest.mark.deadline(40)
async def test_groups_decide_and_a_revoked_rule_cuts_a_live_flow(host):
    members = ("10.91.0.12",)
    web = group("sg-1", allow("tcp", 80), allow("tcp", 5432, source="sg-2"), allow("icmp", 8, -1, "10.91.0.1/32"))
    plain = group("sg-2", members=members)
    driver, one, two = await two_guests(host, web, plain)
    for port in (80, 81, 5432):
        host.listening(one.namespace, port)
    host.listening(two.namespace, 80)
    assert await reaches(host, two, "10.91.0.11", 80)
    assert not await reaches(host, two, "10.91.0.11", 81)
    assert await reaches(host, two, "10.91.0.11", 5432), "a member of the source group"
    assert not await reaches(host, one, "10.91.0.12", 80), "no rule, nothing"
    assert await reaches(host, host.name, "10.91.0.11", 80), "the host is a peer like any other"
    assert not await reaches(host, host.name, "10.91.0.11", 5432)
    assert await off_the_reactor(host.pings, host.name, "10.91.0.11")
    assert not await off_the_reactor(host.pings, host.name, "10.91.0.12")

    flow = host.socket(two.namespace)
    listener = host.listening(one.namespace, 8001)
    ports = (one.port, two.port)
    await driver.ensure(ports, (group("sg-1", allow("tcp", 8000, 8100), revision=2), plain))
    await off_the_reactor(flow.connect, ("10.91.0.11", 8001))
    served, _ = listener.accept()
    with served:
        served.settimeout(1)
        flow.sendall(b"one")
        assert await off_the_reactor(served.recv, 9) == b"one"
        await driver.ensure(ports, (group("sg-1", revision=3), plain))
        flow.sendall(b"two")
        with pytest.raises(TimeoutError):
            await off_the_reactor(served.recv, 9)
        await driver.ensure(ports, (group("sg-1", allow("tcp", 8001), revision=4), plain))
        served.settimeout(6)
        assert await off_the_reactor(served.recv, 9) == b"two", "authorised again, it goes on"


async def test_egress_is_what_the_groups_say(host):
    closed = replace(group("sg-2"), rules=(replace(allow("tcp", 80), egress=True),))
    _, one, two = await two_guests(host, group("sg-1", allow("-1", -1)), closed)
    for port in (80, 81):
        host.listening(one.namespace, port)
    assert await reaches(host, two, "10.91.0.11", 80)
    assert not await reaches(host, two, "10.91.0.11", 81)


async def test_nothing_passes_between_a_tap_and_a_group_that_is_not_there_yet(host):
    """After a reboot somebody may plug a tap in before we have said a word: the bridge is down until the filter is."""
    driver, port = host.driver(), host.port(1, "sg-1")
    await driver.prepare()
    guest = host.guest(port).configured()
    assert not await off_the_reactor(host.pings, guest.namespace, "10.91.0.1")
    await driver.ensure((port,), (group("sg-1"),))
    assert await off_the_reactor(host.pings, guest.namespace, "10.91.0.1")


async def test_a_guest_cannot_speak_for_another(host):
    driver, one, two = await two_guests(host, group("sg-1"), group("sg-2"))
    assert await off_the_reactor(host.pings, two.namespace, "10.91.0.1")
    two.ip("addr", "add", "10.91.0.11/32", "dev", "eth0")
    assert not await off_the_reactor(host.pings, two.namespace, "10.91.0.1", "-I", "10.91.0.11")
    two.ip("addr", "del", "10.91.0.11/32", "dev", "eth0")
    two.ip("link", "set", "eth0", "address", "06:00:00:00:00:99")
    assert not await off_the_reactor(host.pings, two.namespace, "10.91.0.1")
    two.ip("link", "set", "eth0", "address", two.port.mac)
    assert await off_the_reactor(host.pings, two.namespace, "10.91.0.1")


def ethernet(source: str, kind: int, payload: bytes, destination: str = "ff:ff:ff:ff:ff:ff") -> bytes:
    return bytes.fromhex((destination + source).replace(":", "")) + struct.pack("!H", kind) + payload


def arp(operation: int, mac: str, address: str, asked: str) -> bytes:
    return struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, operation, bytes.fromhex(mac.replace(":", "")),
                       socket.inet_aton(address), bytes(6), socket.inet_aton(asked))  # fmt: skip


async def test_forged_frames_are_never_seen_next_door(host):
    everything = allow("-1", -1)
    _, one, two = await two_guests(host, group("sg-1", everything), group("sg-2", everything))
    mac, other = two.port.mac, "06:00:00:00:00:77"
    ipv4 = bytes.fromhex("450000240000000040fd") + bytes(2)
    udp = struct.pack("!HHHH", 67, 68, 16, 0) + b"FORGED!!"
    forged = {
        "arp for the gateway": ethernet(mac, 0x0806, arp(2, mac, "10.91.0.1", "10.91.0.11") + b"FORGED"),
        "arp for a neighbour": ethernet(mac, 0x0806, arp(1, mac, "10.91.0.11", "10.91.0.1") + b"FORGED"),
        "arp with a foreign mac": ethernet(mac, 0x0806, arp(1, other, "10.91.0.12", "10.91.0.1") + b"FORGED"),
        "a foreign source mac": ethernet(other, 0x0806, arp(1, mac, "10.91.0.12", "10.91.0.1") + b"FORGED"),
        "ipv6": ethernet(mac, 0x86DD, bytes.fromhex("6000000000083a40") + bytes(32) + b"FORGED!!"),
        "a vlan tag": ethernet(mac, 0x8100, b"\x00\x05\x08\x00" + b"FORGED" * 10),
        "an unknown ethertype": ethernet(mac, 0x88B5, b"FORGED" * 10),
        "a dhcp server": ethernet(mac, 0x0800, bytes.fromhex("4500002c00000000") + b"\x40\x11\x00\x00"
                                  + socket.inet_aton("10.91.0.12") + b"\xff" * 4 + udp),
        "a foreign ip source": ethernet(mac, 0x0800, ipv4 + socket.inet_aton("10.91.0.99") + b"\xff" * 4 + b"FORGED!!"),
    }  # fmt: skip
    listener = host.socket(one.namespace, socket.SOCK_RAW, socket.AF_PACKET, socket.htons(3))
    listener.bind(("eth0", 3))
    sender = host.socket(two.namespace, socket.SOCK_RAW, socket.AF_PACKET, socket.htons(3))
    sender.bind(("eth0", 0))

    def seen() -> list[bytes]:
        frames = []
        listener.settimeout(0.3)
        try:
            while True:
                frames.append(listener.recv(2048))
        except TimeoutError:
            return [frame for frame in frames if b"FORGED" in frame]

    sender.send(ethernet(mac, 0x0806, arp(1, mac, "10.91.0.12", "10.91.0.11") + b"FORGED"))
    assert len(await off_the_reactor(seen)) == 1, "its own address may be told"
    for name, frame in forged.items():
        sender.send(frame)
        assert await off_the_reactor(seen) == [], name


def asks_for_a_lease(who: Guest) -> str:
    command = ["busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-t", "4", "-T", "1", "-s", "/bin/true"]
    inside = ["ip", "netns", "exec", who.namespace, *command]
    return subprocess.run(inside, capture_output=True, text=True, timeout=20).stderr


async def test_a_lease_goes_to_its_mac_and_is_taken_back(host):
    driver, port = host.driver(), host.port(1, "sg-1")
    await driver.prepare()
    await driver.ensure((port,), (group("sg-1"),))
    guest = host.guest(port)
    assert "lease of 10.91.0.11 obtained" in await off_the_reactor(asks_for_a_lease, guest)
    assert port.mac in (host.runtime / "leases").read_text()

    await driver.ensure((), ())
    assert "10.91.0.11" not in (host.runtime / "leases").read_text()
    assert "10.91.0.11" not in host.nft("list", "ruleset")
    heir = replace(host.port(2, "sg-1"), address=port.address)
    await driver.ensure((heir,), (group("sg-1"),))
    guest.unplugged()
    again = await off_the_reactor(asks_for_a_lease, host.guest(heir))
    assert "lease of 10.91.0.11 obtained" in again, "an address serves its next owner at once"


async def test_guests_reach_metadata_and_nothing_else_of_the_host(host):
    _, guest, _ = await two_guests(host, group("sg-1"), group("sg-2"))
    for port in (22, 80, 3333, 8773, 8775):
        host.listening(host.name, port)
    assert await reaches(host, guest, METADATA, 80)
    for port in (22, 80, 3333, 8773, 8775):
        assert not await reaches(host, guest, "10.91.0.1", port), port
    assert not await reaches(host, guest, METADATA, 22)


async def test_a_foreign_name_is_refused_at_once(host):
    """A resolver that kept silent would cost each guest many seconds at boot."""
    _, guest, _ = await two_guests(host, group("sg-1"), group("sg-2"))
    asking = host.socket(guest.namespace, socket.SOCK_DGRAM)
    question = b"\x07example\x03org\x00" + struct.pack("!HH", 1, 1)
    asking.sendto(struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + question, ("10.91.0.1", 53))
    answer, _ = await off_the_reactor(asking.recvfrom, 512)
    refused = 5
    assert struct.unpack("!HH", answer[:4])[1] & 15 == refused


async def test_what_leaves_the_host_wears_its_address(host):
    _, guest, _ = await two_guests(host, group("sg-1"), group("sg-2"))
    outside = f"{host.name}-out"
    run("ip", "netns", "add", outside)
    try:
        run("ip", "link", "add", "eth0", "netns", host.name, "type", "veth", "peer", "name", "eth0", "netns", outside)
        for namespace, address in ((host.name, "192.0.2.1/24"), (outside, "192.0.2.2/24")):
            run("ip", "-n", namespace, "addr", "add", address, "dev", "eth0")
            run("ip", "-n", namespace, "link", "set", "eth0", "up")
        listener = host.listening(outside, 99)
        once = await reaches(host, guest, "192.0.2.2", 99)
        assert once or await reaches(host, guest, "192.0.2.2", 99), "a link that is new may lose the first"
        _, peer = listener.accept()
        assert peer[0] == "192.0.2.1"
    finally:
        run("ip", "netns", "del", outside)


async def test_vandalism_is_repaired_and_quiet_passes_load_nothing(host):
    driver, one, two = await two_guests(host, group("sg-1", allow("tcp", 80)), group("sg-2"))
    ports, groups = (one.port, two.port), (group("sg-1", allow("tcp", 80)), group("sg-2"))
    host.listening(one.namespace, 80)
    before = host.nft("-a", "list", "ruleset")
    await driver.ensure(ports, groups)
    assert without_counters(host.nft("-a", "list", "ruleset")) == without_counters(before), "nothing was loaded"
    pid = int((host.runtime / "dnsmasq.pid").read_text())

    host.nft("flush", "ruleset")
    os.kill(pid, 9)
    run("ip", "-n", host.name, "link", "del", host.shape.bridge)
    await driver.prepare()
    await driver.ensure(ports, groups)
    assert await driver.present() == (one.port.instance, two.port.instance)
    assert await reaches(host, two, "10.91.0.11", 80), "the taps are on the bridge again"
    assert not await reaches(host, one, "10.91.0.12", 80)
    assert int((host.runtime / "dnsmasq.pid").read_text()) != pid


async def test_leases_are_given_again_after_the_bridge_was_deleted(host):
    """dnsmasq goes on, but its sockets are bound to a bridge that is no more."""
    driver, port = host.driver(), host.port(1, "sg-1")
    await driver.prepare()
    await driver.ensure((port,), (group("sg-1"),))
    run("ip", "-n", host.name, "link", "del", host.shape.bridge)
    await driver.prepare()
    await driver.ensure((port,), (group("sg-1"),))
    assert "lease of 10.91.0.11 obtained" in await off_the_reactor(asks_for_a_lease, host.guest(port))


def without_counters(text: str) -> str:
    words = text.split()
    return " ".join(word for at, word in enumerate(words) if "packets" not in words[max(0, at - 1) : at + 1]
                    and "bytes" not in words[max(0, at - 1) : at + 1])  # fmt: skip


def the_world(namespace: str) -> dict[str, Any]:
    """What a network namespace holds that we may have changed."""
    return {
        "nft": run("ip", "netns", "exec", namespace, "nft", "list", "ruleset"),
        "links": sorted(link["ifname"] for link in json.loads(run("ip", "-n", namespace, "-j", "link"))),
        "addresses": run("ip", "-n", namespace, "-4", "-br", "addr"),
        "forward": run("ip", "netns", "exec", namespace, "sysctl", "-n", "net.ipv4.ip_forward"),
        "programs": run("ip", "netns", "pids", namespace).split(),
    }


@pytest.mark.parametrize("forwarding", ["0", "1"])
async def test_dismantling_leaves_nothing(host, forwarding):
    run("ip", "-n", host.name, "link", "set", "lo", "up")
    run("ip", "netns", "exec", host.name, "sysctl", "-qw", f"net.ipv4.ip_forward={forwarding}")
    before = the_world(host.name)
    driver = host.driver()
    await driver.prepare()
    await driver.ensure((host.port(1, "sg-1"),), (group("sg-1"),))
    assert the_world(host.name)["forward"] == "1\n"
    await host.driver().dismantle()
    await gone(host.name)
    assert the_world(host.name) == before
    assert not host.runtime.exists()


async def gone(namespace: str) -> None:
    """A daemon without a parent may wait some seconds as a zombie for whoever reaps here."""
    end = time.monotonic() + 8
    while run("ip", "netns", "pids", namespace).split() and time.monotonic() < end:
        await off_the_reactor(time.sleep, 0.05)


async def test_two_clouds_share_a_machine_and_the_last_one_tidies_up(host):
    run("ip", "-n", host.name, "link", "set", "lo", "up")
    run("ip", "netns", "exec", host.name, "sysctl", "-qw", "net.ipv4.ip_forward=0")
    before = the_world(host.name)
    other = PretendHost(8776, name=host.name, octet=92)
    first, second = host.driver(), other.driver()
    for driver, its in ((first, host), (second, other)):
        await driver.prepare()
        await driver.ensure((its.port(1, "sg-1"),), (group("sg-1", allow("tcp", 80)),))
    try:
        guest = other.guest(other.port(1, "sg-1")).configured()
        other.listening(host.name, 8776, other.shape.gateway)
        await first.dismantle()
        assert await second.present() == (other.port(1).instance,)
        assert await reaches(other, guest, METADATA, 80), "the first took nothing from the second"
        assert the_world(host.name)["forward"] == "1\n"
        guest.unplugged()
        await second.dismantle()
        await gone(host.name)
        assert the_world(host.name) == before
    finally:
        other.close()


async def test_an_address_that_somebody_else_put_there_stays(host):
    run("ip", "-n", host.name, "addr", "add", f"{METADATA}/32", "dev", "lo")
    await host.driver().prepare()
    await host.driver().dismantle()
    assert METADATA in run("ip", "-n", host.name, "addr")


async def test_a_device_of_that_name_which_is_no_bridge_is_left_alone(host):
    run("ip", "-n", host.name, "link", "add", host.shape.bridge, "type", "veth", "peer", "name", "x")
    with pytest.raises(CloudError) as caught:
        await host.driver().prepare()
    assert caught.value.code is Code.PROGRAM_FAILED
    assert "is no bridge" in caught.value.text


async def test_neighbours_are_filtered_even_where_bridges_are_not_by_default(host):
    run("ip", "netns", "exec", host.name, "sysctl", "-qw", f"{machine.BRIDGED}=0")
    _, one, two = await two_guests(host, group("sg-1", allow("tcp", 80)), group("sg-2"))
    for port in (80, 81):
        host.listening(one.namespace, port)
    assert await reaches(host, two, "10.91.0.11", 80)
    assert not await reaches(host, two, "10.91.0.11", 81)


async def test_a_stale_neighbour_entry_does_not_outlive_its_owner(host):
    driver, one, two = await two_guests(host, group("sg-1"), group("sg-2"))
    assert await off_the_reactor(host.pings, one.namespace, "10.91.0.1")
    assert one.port.mac in run("ip", "-n", host.name, "neigh")
    await driver.release(one.port.instance)
    assert one.port.mac not in run("ip", "-n", host.name, "neigh")


async def test_a_tap_that_outlives_its_port_is_cut_off_and_a_wanted_one_comes_back(host):
    driver, one, two = await two_guests(host, group("sg-1"), group("sg-2"))
    await driver.release(one.port.instance)
    assert not await off_the_reactor(host.pings, one.namespace, "10.91.0.1")
    assert await off_the_reactor(host.pings, two.namespace, "10.91.0.1")
    await driver.ensure((one.port, two.port), (group("sg-1"), group("sg-2")))
    assert await off_the_reactor(host.pings, one.namespace, "10.91.0.1", "-c5"), "a link that comes up may lose one"
    await driver.ensure((replace(one.port, address="nonsense"), two.port), (group("sg-1"), group("sg-2")))
    assert not await off_the_reactor(host.pings, one.namespace, "10.91.0.1"), "a refused port does not speak either"


@pytest.mark.parametrize("shape", [
    {"bridge": "b" * 16}, {"bridge": ""}, {"cidr": "10.0.0.1/24"}, {"cidr": "10.0.0.0/31"},
])  # fmt: skip
def test_a_shape_that_cannot_be_is_refused_before_anything_is_done(host, shape):
    with pytest.raises(CloudError):
        LinuxNetwork(reactor, replace(host.shape, **shape))


async def test_a_thousand_ports_load_in_one_transaction(host):
    driver = host.driver()
    wide = replace(host.shape, cidr="10.91.0.0/16")
    driver = LinuxNetwork(reactor, wide, host.runtime, prefix=("ip", "netns", "exec", host.name))
    ports = tuple(replace(host.port(number % 256, "sg-1"), instance=f"i-{number:017x}", tap=f"t{number:014x}",
                          mac=f"06:00:00:00:{number >> 8:02x}:{number & 255:02x}",
                          address=f"10.91.{1 + (number >> 8)}.{number & 255}", hostname=f"h{number}")
                  for number in range(1000))  # fmt: skip
    rules = [allow("tcp", 1000 + port, cidr=f"192.0.{port}.0/24") for port in range(10)]
    await driver.prepare()
    await driver.ensure(ports, (group("sg-1", *rules),))
    assert len(await driver.present()) == 1000


async def test_a_program_that_fails_is_named():
    with pytest.raises(CloudError) as caught:
        await Programs(reactor).check("ip", "link", "show", "dev", "cct-not-there")
    assert caught.value.code is Code.PROGRAM_FAILED
    assert "ip link show" in caught.value.text
