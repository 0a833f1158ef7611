"""Elastic addresses in the kernel: who reaches a guest by one, what it wears outside, and how it ends and moves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from cloudcore.netdev.linux import LinuxNetwork
from tests.netdev.pretend_host import Guest, PretendHost, allow, group, needs_root, off_the_reactor, run

pytestmark = needs_root
ELASTIC = "10.141.0.5"
WEB = group("sg-1", allow("tcp", 80))


class Town:
    """A host with two guests, and a machine outside that finds elastic addresses by the host."""

    def __init__(self) -> None:
        self.host = PretendHost()
        self.outside = f"{self.host.name}-out"
        run("ip", "netns", "add", self.outside)
        run("ip", "link", "add", "eth0", "netns", self.host.name, "type", "veth", "peer", "name", "eth0",
            "netns", self.outside)  # fmt: skip
        for namespace, address in ((self.host.name, "192.0.2.1/24"), (self.outside, "192.0.2.2/24")):
            run("ip", "-n", namespace, "addr", "add", address, "dev", "eth0")
            run("ip", "-n", namespace, "link", "set", "eth0", "up")
        run("ip", "-n", self.outside, "route", "add", self.host.shape.elastic, "via", "192.0.2.1")
        self.driver: LinuxNetwork = self.host.driver()
        self.ports = [self.host.port(1, "sg-1"), self.host.port(2, "sg-1")]
        self.guests: list[Guest] = []

    async def built(self) -> Town:
        await self.driver.prepare()
        await self.lead(None)
        self.guests = [self.host.guest(port).configured() for port in self.ports]
        return self

    async def lead(self, to: int | None, groups: Any = WEB) -> None:
        ports = [replace(port, elastic=ELASTIC if number == to else None) for number, port in enumerate(self.ports)]
        await self.driver.ensure(tuple(ports), (groups,))

    async def reaches(self, namespace: str, address: str = ELASTIC, port: int = 80) -> bool:
        return await off_the_reactor(self.host.reaches, namespace, address, port)

    async def caller(self, namespace: str, address: str, listener: Any) -> str | None:
        """As whom the listener sees who calls it from there."""
        if not await self.reaches(namespace, address, listener.getsockname()[1]):
            return None
        served, peer = listener.accept()
        served.close()
        return peer[0]

    def close(self) -> None:
        run("ip", "netns", "del", self.outside)
        self.host.close()


@pytest.fixture
def town() -> Iterator[Town]:
    made = Town()
    try:
        yield made
    finally:
        made.close()


@pytest.mark.deadline(40)
async def test_who_reaches_a_guest_by_its_elastic_address_and_as_whom(town):
    await town.built()
    one, two = (guest.namespace for guest in town.guests)
    listener = town.host.listening(one, 80)
    town.host.listening(one, 81)
    assert not await town.reaches(town.outside)
    await town.lead(0)
    assert await town.caller(town.outside, ELASTIC, listener) == "192.0.2.2", "a guest sees who calls it"
    assert await town.caller(town.host.name, ELASTIC, listener) == ELASTIC
    assert await town.caller(two, ELASTIC, listener) == town.host.shape.gateway
    assert await town.caller(one, ELASTIC, listener) == ELASTIC, "itself"
    assert await town.caller(two, town.ports[0].address, listener) == town.ports[1].address
    for namespace in (town.outside, town.host.name, two, one):
        assert not await town.reaches(namespace, port=81), "its groups decide"


async def test_what_leaves_a_guest_wears_its_elastic_address(town):
    await town.built()
    one, two = (guest.namespace for guest in town.guests)
    await town.lead(0)
    listener = town.host.listening(town.outside, 99)
    assert await town.caller(one, "192.0.2.2", listener) == ELASTIC
    assert await town.caller(two, "192.0.2.2", listener) == "192.0.2.1"
    neighbour = town.host.listening(two, 80)
    assert await town.caller(one, town.ports[1].address, neighbour) == town.ports[0].address
    await town.lead(None)
    assert await town.caller(one, "192.0.2.2", listener) == "192.0.2.1"


@pytest.mark.deadline(40)
async def test_it_moves_to_another_guest_and_cuts_what_was_under_way(town):
    await town.built()
    one, two = (guest.namespace for guest in town.guests)
    listeners = [town.host.listening(one, 80), town.host.listening(two, 80)]
    outside = town.host.listening(town.outside, 99)
    await town.lead(0)
    flows = [town.host.socket(town.outside), town.host.socket(town.host.name), town.host.socket(one)]
    for flow in flows[:2]:
        await off_the_reactor(flow.connect, (ELASTIC, 80))
    await off_the_reactor(flows[2].connect, ("192.0.2.2", 99))
    served = [listeners[0].accept()[0], listeners[0].accept()[0], outside.accept()[0]]
    try:
        for flow, end in zip(flows, served, strict=True):
            end.settimeout(0.6)
            flow.sendall(b"one")
            assert await off_the_reactor(end.recv, 9) == b"one"
        await town.lead(1)
        for flow, end in zip(flows, served, strict=True):
            flow.sendall(b"two")
            with pytest.raises(TimeoutError):
                await off_the_reactor(end.recv, 9)
    finally:
        for end in served:
            end.close()
    assert await town.caller(town.outside, ELASTIC, listeners[1]) == "192.0.2.2"
    assert await town.caller(two, "192.0.2.2", outside) == ELASTIC
    assert await town.caller(one, "192.0.2.2", outside) == "192.0.2.1"


async def test_it_is_gone_with_its_association_and_with_its_guest(town):
    await town.built()
    town.host.listening(town.guests[0].namespace, 80)
    town.host.listening(town.host.name, 80)
    await town.lead(0)
    assert await town.reaches(town.outside)
    await town.lead(None)
    assert ELASTIC not in run("ip", "-n", town.host.name, "addr")
    assert not await town.reaches(town.outside)
    await town.lead(0)
    assert await town.reaches(town.outside)
    await town.driver.release(town.ports[0].instance)
    assert ELASTIC not in run("ip", "-n", town.host.name, "addr")
    assert ELASTIC not in town.host.nft("list", "ruleset")


async def test_what_somebody_took_away_comes_back(town):
    await town.built()
    town.host.listening(town.guests[0].namespace, 80)
    await town.lead(0)
    run("ip", "-n", town.host.name, "addr", "del", f"{ELASTIC}/32", "dev", town.host.shape.bridge)
    town.host.nft("flush", "ruleset")
    await town.driver.prepare()
    await town.lead(0)
    assert await town.reaches(town.outside)
    assert await town.driver.elastics() == {ELASTIC: town.ports[0].address}
