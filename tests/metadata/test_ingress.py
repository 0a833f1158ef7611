"""From a guest's connect to 169.254.169.254 to its answer: agent, filter, redirect and service together, on a real
bridge."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred

from cloudcore.domain.metadata_tree import Options
from cloudcore.journal.lines import Lines
from cloudcore.metadata.site import MetadataSite
from cloudcore.network.agent import NetworkAgent
from cloudcore.rpc.network import Port, ReleasedPort, WantedNetwork
from tests.metadata.imds import SECRET, a_port, everybody_gone, exchange
from tests.netdev.pretend_host import PretendHost, group, inside, needs_root, off_the_reactor, run

pytestmark = needs_root
TOKEN = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}


@pytest.fixture
def host() -> Iterator[PretendHost]:
    pretend = PretendHost()
    try:
        yield pretend
    finally:
        pretend.close()


class Cloud:
    def __init__(self, host: PretendHost, path: Path) -> None:
        self.host = host
        self.agent = NetworkAgent(reactor, host.driver(), Lines(path / "journal", maybeDeferred))
        self.site = MetadataSite(reactor, self.agent.lookup, SECRET)
        listener = host.listening(host.name, host.shape.metadata_port)
        listener.setblocking(False)
        self.listening = reactor.adoptStreamPort(listener.fileno(), socket.AF_INET, self.site)
        self.agent.startService()

    async def launched(self, number: int, **options: Any) -> tuple[Port, Any]:
        wanted = self.host.port(number, "sg-1")
        told = a_port(wanted.address, f"data of {number}".encode(), **options)
        port = replace(told, instance=wanted.instance, mac=wanted.mac, tap=wanted.tap, hostname=wanted.hostname,
                       groups=("sg-1",))  # fmt: skip
        await self.agent.ensure(WantedNetwork((port,), (group("sg-1"),)))
        return port, self.host.guest(wanted).configured()

    async def close(self) -> None:
        await self.listening.stopListening()
        await everybody_gone(self.site)
        await self.agent.stopService()


def asked(namespace: str, method: str, path: str, headers: Any = (), source: str = "", timeout: float = 2) -> Any:
    """Status and body, or None where nobody answers."""
    with inside(namespace):
        line = socket.socket()
    line.settimeout(timeout)
    connection = http.client.HTTPConnection("169.254.169.254")
    connection.sock = line
    try:
        if source:
            line.bind((source, 0))
        line.connect(("169.254.169.254", 80))
        return exchange(connection, method, path, headers)
    except OSError:
        return None
    finally:
        connection.close()


async def test_each_guest_gets_its_own_answers_and_nobody_elses(host, tmp_path):
    cloud = Cloud(host, tmp_path)
    try:
        _, one = await cloud.launched(1)
        second, two = await cloud.launched(2)
        for number, guest in ((1, one), (2, two)):
            answer = await off_the_reactor(asked, guest.namespace, "GET", "/latest/user-data")
            assert answer.body == f"data of {number}".encode()
        two.ip("addr", "add", f"{one.port.address}/32", "dev", "eth0")
        stolen = await off_the_reactor(asked, two.namespace, "GET", "/latest/user-data", (), one.port.address, 1)
        assert stolen is None
        await cloud.agent.release(ReleasedPort(second.instance, 2))
        assert await off_the_reactor(asked, two.namespace, "GET", "/latest/user-data", (), "", 1) is None
    finally:
        await cloud.close()


@pytest.mark.parametrize(("hop_limit", "reaches_a_container"), [(1, False), (2, True)])
async def test_a_token_does_not_travel_further_than_its_hop_limit(host, tmp_path, hop_limit, reaches_a_container):
    """A container behind the guest's own NAT: the connection is made, the token's packet has no hop left for it."""
    cloud = Cloud(host, tmp_path)
    container = f"{host.name}-in"
    run("ip", "netns", "add", container)
    try:
        _, guest = await cloud.launched(1, options=Options(tokens="required", hop_limit=hop_limit))
        run("ip", "link", "add", "c0", "netns", guest.namespace, "type", "veth", "peer", "name", "eth0",
            "netns", container)  # fmt: skip
        run("ip", "-n", guest.namespace, "addr", "add", "172.31.0.1/24", "dev", "c0")
        guest.ip("link", "set", "c0", "up")
        run("ip", "-n", container, "addr", "add", "172.31.0.2/24", "dev", "eth0")
        run("ip", "-n", container, "link", "set", "eth0", "up")
        run("ip", "-n", container, "route", "add", "default", "via", "172.31.0.1")
        run("ip", "netns", "exec", guest.namespace, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        run("ip", "netns", "exec", guest.namespace, "nft", "add table ip nat; add chain ip nat post "
            "{ type nat hook postrouting priority 100; }; add rule ip nat post oifname eth0 masquerade")  # fmt: skip
        assert (await off_the_reactor(asked, guest.namespace, "PUT", "/latest/api/token", TOKEN)).status == 200
        plain = await off_the_reactor(asked, container, "GET", "/latest/user-data", (), "", 1)
        assert plain.status == 401, "the container does reach the service"
        token = await off_the_reactor(asked, container, "PUT", "/latest/api/token", TOKEN, "", 1)
        assert (token is not None and token.status == 200) is reaches_a_container
    finally:
        await cloud.close()
        run("ip", "netns", "del", container)


async def test_an_address_with_a_new_owner_answers_for_the_new_owner_at_once(host, tmp_path):
    cloud = Cloud(host, tmp_path)
    try:
        first, guest = await cloud.launched(1)
        assert (await off_the_reactor(asked, guest.namespace, "GET", "/latest/user-data")).body == b"data of 1"
        await cloud.agent.release(ReleasedPort(first.instance, 2))
        guest.unplugged()
        heir = replace(first, instance="i-0000000000000000f", mac="06:00:00:00:00:0f", tap="t0000000000000f",
                       user_data=b"of the heir")  # fmt: skip
        await cloud.agent.ensure(WantedNetwork((heir,), (group("sg-1"),)))
        wanted = replace(host.port(15), address=heir.address, instance=heir.instance, mac=heir.mac, tap=heir.tap)
        second = host.guest(wanted).configured()
        assert (await off_the_reactor(asked, second.namespace, "GET", "/latest/user-data")).body == b"of the heir"
    finally:
        await cloud.close()
