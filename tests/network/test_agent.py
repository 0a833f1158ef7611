from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.task import Clock

from cloudcore.domain.firewall import Packet
from cloudcore.domain.security_groups import Group, Rule
from cloudcore.errors import CloudError, Code
from cloudcore.journal.lines import Lines
from cloudcore.netdev.driver import NetworkShape
from cloudcore.netdev.simulated import SimulatedNetwork
from cloudcore.network.agent import FAILPOINTS, INTERVAL, NetworkAgent
from cloudcore.network.books import Books, packed, unpacked
from cloudcore.rpc.contract import client, dispatcher
from cloudcore.rpc.network import NETWORK, Address, Elastic, Everything, Port, PortSummary, ReleasedPort, WantedNetwork

SHAPE = NetworkShape("ccb0", "cctest", "10.90.0.0/24", "10.90.0.1")
OPEN = Rule("sgr-e", "-1", -1, -1, "0.0.0.0/0", egress=True)
WEB = Group("sg-1", 1, (Rule("sgr-1", "tcp", 80, 80, "0.0.0.0/0"), OPEN), ("10.90.0.11",))
HTTP = Packet("192.0.2.1", "10.90.0.11", 6, 80)


def a_port(number: int = 1, generation: int = 1, groups: tuple[str, ...] = ("sg-1",)) -> Port:
    return Port(f"i-{number:017x}", generation, f"06:00:00:00:{number >> 8:02x}:{number & 255:02x}",
                f"10.90.{number >> 8}.{number + 10 & 255}", f"t{number:014x}", f"ip-{number}", groups,
                {"meta-data": {"instance-id": f"i-{number:017x}"}}, b"#!user data")  # fmt: skip


class Host:
    """One agent after another over the same disk and the same network; `calls` are the driver's."""

    def __init__(self, path: Path) -> None:
        self.path, self.clock = path, Clock()
        self.calls: list[str] = []
        self.refuse: dict[str, Exception] = {}
        self.slow: list[Deferred[None]] | None = None
        self.points: list[str] = []
        self.network = SimulatedNetwork(SHAPE, path / "world.json", self.weather)

    def weather(self, operation: str) -> Deferred[None] | None:
        self.calls.append(operation)
        if operation in self.refuse:
            raise self.refuse[operation]
        if self.slow is not None and operation == "ensure":
            self.slow.append(Deferred())
            return self.slow[-1]
        return None

    def agent(self) -> NetworkAgent:
        agent = NetworkAgent(self.clock, self.network, Lines(self.path / "journal", maybeDeferred), self.points.append)
        agent.startService()
        return agent


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


async def test_a_source_check_goes_off_and_on_and_outlives_the_agent(host):
    inner, router = a_port(1), a_port(2)
    passed_on = Packet("198.51.100.1", inner.address, 6, 80, by=router.instance, at=inner.instance)
    stolen = replace(passed_on, source="10.90.0.99")
    agent = host.agent()
    await agent.ensure(WantedNetwork((inner, router), (WEB,)))
    assert not host.network.passes(passed_on)
    await agent.ensure(WantedNetwork((replace(router, revision=1, source_dest_check=False),)))
    assert host.network.passes(passed_on)
    assert not host.network.passes(stolen), "a neighbour's address is never anybody else's"
    await agent.stopService()
    again = host.agent()
    await again.converged()
    assert host.network.passes(passed_on)
    await again.ensure(WantedNetwork((replace(router, revision=2),)))
    assert not host.network.passes(passed_on)
    await again.stopService()


async def test_a_call_is_answered_once_the_host_is_as_wanted(host):
    agent = host.agent()
    answer = await agent.ensure(WantedNetwork((a_port(),), (WEB,)))
    assert answer.ports == 1
    assert host.network.leases == {"10.90.0.11": a_port().mac}
    assert host.network.passes(HTTP)
    assert host.points == ["network.journaled", "network.applied"]
    await agent.stopService()


async def test_the_filter_is_applied_at_start_before_anybody_asks(host):
    agent = host.agent()
    await agent.ensure(WantedNetwork((a_port(),), (WEB,)))
    await agent.stopService()
    host.network.vandalised()  # a reboot
    again = host.agent()
    assert host.network.passes(HTTP)
    assert (await again.lookup(Address("10.90.0.11"))) == a_port()
    await again.stopService()


async def test_what_somebody_flushed_is_back_within_the_interval(host):
    agent = host.agent()
    await agent.ensure(WantedNetwork((a_port(),), (WEB,)))
    host.network.vandalised()
    host.clock.advance(INTERVAL)
    assert host.network.passes(HTTP)
    await agent.stopService()


async def test_a_hundred_launches_at_once_are_two_passes(host):
    agent = host.agent()
    host.calls.clear()
    host.slow = []
    calls = [agent.ensure(WantedNetwork((a_port(number),), (WEB,))) for number in range(100)]
    while host.slow:
        host.slow.pop(0).callback(None)
    await gatherResults(calls)
    assert host.calls == ["ensure", "ensure"]
    assert len(await host.network.present()) == 100
    host.slow = None
    await agent.stopService()


async def test_who_asks_during_a_pass_waits_for_the_next_one(host):
    agent = host.agent()
    host.slow = []
    first = agent.ensure(WantedNetwork((a_port(1),), (WEB,)))
    second = agent.ensure(WantedNetwork((a_port(2),), (WEB,)))
    host.slow[0].callback(None)
    assert first.called
    assert not second.called
    host.slow[1].callback(None)
    assert second.called
    host.slow = None
    await agent.stopService()


async def test_a_released_port_is_gone_and_does_not_come_back_by_a_late_message(host):
    agent = host.agent()
    port = a_port(generation=3)
    await agent.ensure(WantedNetwork((port,), (WEB,)))
    assert (await agent.release(ReleasedPort(port.instance, 4))).ports == 0
    assert "network.released" in host.points
    await agent.ensure(WantedNetwork((port,), (WEB,)))
    assert await host.network.present() == ()
    await agent.stopService()
    again = host.agent()
    await again.ensure(WantedNetwork((replace(port, generation=4),), (WEB,)))
    assert await host.network.present() == ()
    await again.stopService()


async def test_releasing_what_nobody_knows_is_a_success(host):
    agent = host.agent()
    assert (await agent.release(ReleasedPort("i-00000000000000bad", 1))).ports == 0
    await agent.stopService()


async def test_an_older_generation_releases_nothing_and_changes_nothing(host):
    agent = host.agent()
    now = a_port(generation=5)
    await agent.ensure(WantedNetwork((now,), (WEB,)))
    await agent.release(ReleasedPort(now.instance, 4))
    await agent.ensure(WantedNetwork((replace(now, generation=4, groups=()),)))
    assert (await agent.present(Everything())).ports == (PortSummary(now.instance, 5),)
    assert await agent.lookup(Address(now.address)) == now
    await agent.stopService()


async def test_within_a_generation_the_later_word_counts(host):
    agent, first = host.agent(), a_port(generation=5)
    later = replace(first, revision=2, metadata={"options": {"tokens": "required"}})
    await agent.ensure(WantedNetwork((first,), (WEB,)))
    for told in (later, replace(first, revision=1), first):
        await agent.ensure(WantedNetwork((told,)))
        assert await agent.lookup(Address(first.address)) == later
    await agent.ensure(WantedNetwork((replace(first, generation=6, revision=1),)))
    assert (await agent.lookup(Address(first.address))).generation == 6
    await agent.stopService()


async def test_an_older_revision_of_a_group_opens_nothing(host):
    agent = host.agent()
    closed = Group("sg-1", 7, (OPEN,))
    await agent.ensure(WantedNetwork((a_port(),), (closed,)))
    await agent.ensure(WantedNetwork((), (WEB,)))
    assert not host.network.passes(HTTP)
    await agent.ensure(WantedNetwork((), (replace(WEB, revision=8),)))
    assert host.network.passes(HTTP)
    await agent.stopService()


async def test_groups_that_no_port_needs_are_dropped_and_peers_are_kept(host):
    agent = host.agent()
    peer = Group("sg-2", 1, (), ("10.90.0.99",))
    mine = Group("sg-1", 1, (Rule("sgr-1", "tcp", 80, 80, None, "sg-2"),))
    await agent.ensure(WantedNetwork((a_port(),), (mine, peer, Group("sg-3", 1))))
    assert host.network.passes(Packet("10.90.0.99", "10.90.0.11", 6, 80)) is False, "not a guest of this host"
    lines = [json.loads(line[9:]) for line in (host.path / "journal").read_bytes().splitlines()]
    assert {line["group"]["id"] for line in lines if "group" in line} == {"sg-1", "sg-2"}
    await agent.release(ReleasedPort(a_port().instance, 2))
    assert agent._books.groups == {}
    await agent.stopService()


async def test_only_own_ports_are_looked_up_and_a_contested_address_is_nobodys(host):
    agent = host.agent()
    await agent.ensure(WantedNetwork((a_port(1), replace(a_port(2), address="10.90.0.11"), a_port(3)), (WEB,)))
    for address in ("10.90.0.11", "10.90.0.99", "", "10.90.0.13 "):
        with pytest.raises(CloudError) as caught:
            await agent.lookup(Address(address))
        assert caught.value.code is Code.RESOURCE_UNKNOWN
    assert (await agent.lookup(Address("10.90.0.13"))).instance == a_port(3).instance
    await agent.stopService()


async def test_an_address_follows_its_owner(host):
    agent = host.agent()
    await agent.ensure(WantedNetwork((a_port(1),), (WEB,)))
    await agent.release(ReleasedPort(a_port(1).instance, 2))
    heir = replace(a_port(2), address=a_port(1).address)
    await agent.ensure(WantedNetwork((heir,), (WEB,)))
    assert (await agent.lookup(Address(heir.address))).instance == heir.instance
    await agent.stopService()


async def test_a_driver_that_fails_is_told_to_the_caller_and_tried_again(host):
    agent = host.agent()
    host.refuse["ensure"] = CloudError(Code.PROGRAM_FAILED, "nft: out of memory")
    with pytest.raises(CloudError) as caught:
        await agent.ensure(WantedNetwork((a_port(),), (WEB,)))
    assert caught.value.code is Code.PROGRAM_FAILED
    host.refuse.clear()
    host.clock.advance(INTERVAL)
    assert host.network.passes(HTTP)
    await agent.stopService()


async def test_a_host_that_cannot_be_prepared_yet_is_prepared_later(host):
    host.refuse["prepare"] = CloudError(Code.PROGRAM_FAILED, "ip: no")
    agent = host.agent()
    host.refuse.clear()
    await agent.ensure(WantedNetwork((a_port(),), (WEB,)))
    assert host.network.passes(HTTP)
    await agent.stopService()


async def test_the_journal_is_rewritten_when_it_has_grown(host):
    agent = host.agent()
    for generation in range(1, 2101):
        await agent.ensure(WantedNetwork((a_port(generation=generation),), (WEB,)))
    await agent.stopService()
    assert len((host.path / "journal").read_bytes().splitlines()) < 200
    again = host.agent()
    assert (await again.lookup(Address("10.90.0.11"))).generation == 2100
    await again.stopService()


async def test_a_torn_journal_is_read_as_far_as_it_is_good(host):
    agent = host.agent()
    await agent.ensure(WantedNetwork((a_port(1),), (WEB,)))
    await agent.stopService()
    with (host.path / "journal").open("ab") as file:
        file.write(b'0badc0de {"port":{"inst')
    again = host.agent()
    assert (await again.present(Everything())).ports == (PortSummary(a_port(1).instance, 1),)
    await again.stopService()


async def test_it_is_served_by_its_contract(host):
    agent = host.agent()

    class Wire:
        def command(self, topic: str, body: bytes, timeout: float) -> Deferred[bytes]:
            return dispatcher(NETWORK, agent)(body)

    remote: Any = client(NETWORK, Wire(), "network.h1")
    assert (await remote.ensure(WantedNetwork((a_port(),), (WEB,)))).ports == 1
    assert await remote.lookup(Address("10.90.0.11")) == a_port()
    with pytest.raises(CloudError):
        await remote.lookup(Address("10.90.0.12"))
    await agent.stopService()


def test_the_failpoints_are_named():
    assert FAILPOINTS == ("network.journaled", "network.applied", "network.released")


numbers = st.integers(1, 3)
records = st.one_of(
    st.builds(lambda number, generation: a_port(number, generation), numbers, numbers),
    st.builds(lambda number, generation: ReleasedPort(a_port(number).instance, generation), numbers, numbers),
    st.builds(lambda revision: replace(WEB, revision=revision), numbers),
)


@settings(max_examples=200)
@given(st.lists(records, max_size=12))
def test_books_say_the_same_after_they_were_written_down(told):
    """Written as they came, or rewritten whole: what is read back is what was known; twice equals once."""
    first, replayed, rewritten = Books(), Books(), Books()
    for record in told:
        first.apply(record)
    for record in told + told:
        replayed.apply(unpacked(json.loads(json.dumps(packed(record)))))
    for record in first.records():
        rewritten.apply(unpacked(packed(record)))
    assert all(set(one.wanted()[0]) == set(first.wanted()[0]) for one in (replayed, rewritten))
    assert all(set(one.wanted()[1]) == set(first.wanted()[1]) for one in (replayed, rewritten))


@given(st.permutations([*(a_port(generation=each) for each in (1, 2, 3)), ReleasedPort(a_port().instance, 4)]))
def test_whatever_the_order_the_release_wins(told):
    books = Books()
    for record in told:
        books.apply(record)
    assert books.wanted()[0] == ()


def test_a_record_of_a_later_release_is_passed_over():
    assert unpacked({"tunnel": {"address": "192.0.2.1"}}) is None


def leads(host: Host) -> dict[str, str]:
    found: list[dict[str, str]] = []
    host.network.elastics().addCallback(found.append)
    return found[0]


def wanted(*elastics: Elastic, ports: tuple[Port, ...] = ()) -> WantedNetwork:
    return WantedNetwork(ports, (WEB,) if ports else (), elastics)


async def test_an_elastic_address_is_told_apart_by_its_revision_and_survives_a_restart(tmp_path):
    host = Host(tmp_path)
    agent, elastic = host.agent(), "10.91.0.5"
    one, two = a_port(1), a_port(2)
    await agent.ensure(wanted(Elastic(elastic, 3, one.instance), ports=(one, two)))
    assert leads(host) == {elastic: one.address}
    assert host.network.passes(replace(HTTP, destination=elastic)), "its group decides, and allows it"
    assert not host.network.passes(replace(HTTP, destination=elastic, low=81))
    await agent.ensure(wanted(Elastic(elastic, 2, two.instance)))
    await agent.ensure(wanted(Elastic(elastic, 3)))
    assert leads(host) == {elastic: one.address}, "late messages change nothing"
    await agent.stopService()
    agent = host.agent()
    await agent.converged()
    assert leads(host) == {elastic: one.address}
    await agent.ensure(wanted(Elastic(elastic, 4, two.instance)))
    assert leads(host) == {elastic: two.address}
    await agent.release(ReleasedPort(two.instance, 1))
    assert leads(host) == {}
    await agent.ensure(wanted(Elastic(elastic, 5)))
    await agent.ensure(wanted(Elastic(elastic, 4, one.instance)))
    assert leads(host) == {}
    host.network.vandalised()
    await agent.ensure(wanted(Elastic(elastic, 6, one.instance)))
    assert leads(host) == {elastic: one.address}
    await agent.stopService()


async def test_metadata_names_the_elastic_address_while_it_leads_there(tmp_path):
    host = Host(tmp_path)
    agent, port = host.agent(), a_port(1)
    await agent.ensure(wanted(ports=(port,)))
    assert "public-ipv4" not in (await agent.lookup(Address(port.address))).metadata["meta-data"]
    await agent.ensure(wanted(Elastic("10.91.0.5", 1, port.instance)))
    assert (await agent.lookup(Address(port.address))).metadata["meta-data"]["public-ipv4"] == "10.91.0.5"
    await agent.ensure(wanted(Elastic("10.91.0.6", 1, port.instance)))
    await agent.ensure(wanted(Elastic("10.91.0.5", 2)))
    assert (await agent.lookup(Address(port.address))).metadata["meta-data"]["public-ipv4"] == "10.91.0.6"
    assert leads(host) == {"10.91.0.6": port.address}
    await agent.ensure(wanted(Elastic("10.91.0.6", 2)))
    assert (await agent.lookup(Address(port.address))).metadata == port.metadata
    await agent.stopService()


ELASTICS = st.builds(Elastic, st.sampled_from(["10.91.0.5", "10.91.0.6"]), st.integers(0, 4),
                     st.sampled_from([None, a_port(1).instance, a_port(2).instance]))  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.lists(ELASTICS, max_size=12), st.booleans())
def test_what_a_journal_says_of_elastic_addresses_is_what_the_books_were(records, compact):
    books, again = Books(), Books()
    for port in (a_port(1), a_port(2)):
        books.apply(port)
        again.apply(port)
    said = []
    for record in records:
        if books.is_news(record):
            said.append(record)
            books.apply(record)
    for line in map(packed, books.records() if compact else said):
        again.apply(unpacked(line))
    assert books.wanted() == again.wanted()
    for port in books.wanted()[0]:
        newest = {}
        for record in said:
            held = newest.get(record.address)
            if held is None or (held.revision, bool(held.instance)) < (record.revision, bool(record.instance)):
                newest[record.address] = record
        mine = {address for address, one in newest.items() if one.instance == port.instance}
        assert (port.elastic in mine) if mine else port.elastic is None
