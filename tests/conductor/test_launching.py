"""From pending to running, and every way in which that may fail."""

from collections import Counter

import pytest
from twisted.internet.defer import fail

from cloudcore.conductor.service import Conductor
from cloudcore.domain.instances import Event, State
from cloudcore.domain.operations import GIVES_UP
from cloudcore.errors import CloudError, Code
from cloudcore.rpc.contract import dispatcher
from cloudcore.rpc.scheduler import SCHEDULER, Proposal, Selection
from cloudcore.store.addresses import RESTS
from tests.conductor.world import GROUP, IMAGE, World, accept


@pytest.fixture
def world():
    made = World()
    yield made
    made.stop()


@pytest.fixture
def worlds():
    made = []

    def make(**options):
        made.append(World(**options))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def test_an_instance_comes_up(world):
    world.start()
    [instance] = world.launch()
    world.run(1)
    found = world.find(instance)
    assert (found.state, found.host, found.address, found.generation) == (State.RUNNING, "host-1", "10.90.0.2", 1)
    assert world.open_operations() == 0
    assert world.hosts[0].running == {instance}


def test_the_host_is_told_everything_it_needs(world):
    world.start()
    [instance] = world.launch(user_data=b"#!/bin/sh\n", launch_index=2)
    world.run(1)
    port = world.hosts[0].ports[instance]
    assert (port.address, port.hostname, port.groups, port.user_data) == (
        "10.90.0.2", "ip-10-90-0-2", (GROUP,), b"#!/bin/sh\n")  # fmt: skip
    told = port.metadata["meta-data"]
    assert (told["instance-id"], told["ami-launch-index"], told["security-groups"]) == (instance, "2", "default")
    assert told["placement"] == {"availability-zone": "zone-a", "region": "us-east-2"}
    assert world.hosts[0].groups[GROUP][1] == ("10.90.0.2",)
    guest = world.hosts[0].ensured[0]
    assert (guest.power, guest.image.location, guest.image.sha256) == ("running", IMAGE.source, IMAGE.sha256)


def test_the_sweep_finds_what_no_hint_told(world):
    world.start()
    [instance] = world.launch(hint=False)
    world.run(3)
    assert world.state(instance) is State.RUNNING


def test_many_come_up_at_once_each_with_its_own_address(world):
    world.start()
    instances = world.launch(60)
    world.run(5)
    assert world.states(instances) == {State.RUNNING}
    assert len({world.find(instance).address for instance in instances}) == 60


def test_instances_spread_over_the_hosts(worlds):
    world = worlds(hosts=4)
    world.start()
    instances = world.launch(32)
    world.run(5)
    assert Counter(world.find(instance).host for instance in instances) == {f"host-{n}": 8 for n in range(1, 5)}


def test_far_more_than_fits_leaves_exactly_what_fits_and_nothing_pending(worlds):
    world = worlds(hosts=3, memory_mib=128 * 7)
    world.start()
    instances = world.launch(50)
    world.run(30)
    counted = Counter(world.state(instance) for instance in instances)
    assert counted == {State.RUNNING: 21, State.TERMINATED: 29}
    assert world.used() == (21, 21, 21 * 128)
    assert world.open_operations() == 0


def test_nothing_fits_and_the_reason_says_why(world):
    world.start()
    [instance] = world.launch(memory_mib=100_000)
    world.run(3)
    found = world.find(instance)
    assert (found.state, found.reason_code) == (State.TERMINATED, "Server.InsufficientInstanceCapacity")
    assert "needs 100000 MiB; host-1 has 65536 MiB free" in found.reason
    assert world.used() == (0, 0, 0)


def test_a_launch_before_any_host_is_known_waits_for_one(worlds):
    world = worlds(hosts=1)
    world.hosts[0].deaf = True
    world.start()
    [instance] = world.launch()
    world.run(5)
    assert world.state(instance) is State.PENDING
    world.hosts[0].deaf = False
    world.run(15)
    assert world.state(instance) is State.RUNNING


class Misled:
    """A scheduler that proposes hosts without room, and counts how often it is asked."""

    def __init__(self, good_after):
        self.asked, self.good_after = [], good_after

    def select(self, request):
        self.asked.append(request.not_hosts)
        good = len(self.asked) > self.good_after
        return Selection((Proposal("host-1" if good else f"full-{len(self.asked)}", 0),))


@pytest.mark.parametrize(("good_after", "state"), [(0, State.RUNNING), (2, State.RUNNING), (3, State.TERMINATED)])
def test_three_lost_races_are_enough(world, good_after, state):
    misled = Misled(good_after)
    world.bus._servers["scheduler"] = [dispatcher(SCHEDULER, misled)]
    world.start()
    [instance] = world.launch()
    world.run(3)
    assert world.state(instance) is state
    assert misled.asked == [(), ("full-1",), ("full-1", "full-2")][: good_after + 1]
    if state is State.TERMINATED:
        assert world.find(instance).reason_code == "Server.InsufficientInstanceCapacity"
        assert world.used() == (0, 0, 0)


def test_a_host_that_never_answers_fails_the_launch_in_time(world):
    world.start()
    world.hosts[0].deaf = True
    [instance] = world.launch()
    world.run(GIVES_UP["launch"] - 10, 0.5)
    assert world.state(instance) is State.PENDING
    world.run(40, 0.5)
    found = world.find(instance)
    assert (found.state, found.reason_code) == (State.SHUTTING_DOWN, "Server.InternalError")
    assert "host-unreachable" in found.reason
    assert world.used() == (1, 1, 128)  # quarantined: the host may have started it


def test_what_was_quarantined_is_given_back_when_the_host_returns(world):
    world.start()
    world.hosts[0].deaf = True
    [instance] = world.launch()
    world.run(320, 0.5)
    world.hosts[0].deaf = False
    world.run(60, 0.5)
    assert world.state(instance) is State.TERMINATED
    assert world.used() == (0, 0, 0)
    assert world.hosts[0].left == set()


def test_a_host_that_cannot_fails_the_launch_with_its_reason(world):
    world.start()
    world.hosts[0].refuses = "the image is truncated"
    [instance] = world.launch()
    world.run(3)
    found = world.find(instance)
    assert (found.state, found.reason_code) == (State.TERMINATED, "Server.InternalError")
    assert "the image is truncated" in found.reason
    assert world.used() == (0, 0, 0)


def test_a_lost_fact_is_asked_for(world):
    world.start()
    world.hosts[0].mute = True
    [instance] = world.launch()
    world.run(5)
    assert world.state(instance) is State.PENDING
    world.run(10)
    assert world.state(instance) is State.RUNNING
    world.request(instance, Event.TERMINATE)
    world.run(30)
    assert world.state(instance) is State.TERMINATED


def test_addresses_that_rest_are_waited_for(worlds):
    world = worlds(cidr="10.90.0.0/29")
    world.start()
    first = world.launch(5)
    world.run(3)
    for instance in first:
        world.request(instance, Event.TERMINATE)
    world.run(3)
    [instance] = world.launch()
    world.run(RESTS - 10)
    assert world.state(instance) is State.PENDING
    world.run(20)
    assert world.state(instance) is State.RUNNING


def test_no_address_at_all_is_a_reason(worlds):
    world = worlds(cidr="10.90.0.0/29")
    world.start()
    world.launch(5)
    world.run(3)
    [instance] = world.launch()
    world.run(3)
    found = world.find(instance)
    assert (found.state, found.reason_code) == (State.TERMINATED, "Server.InsufficientFreeAddressesInSubnet")
    assert world.used() == (5, 5, 5 * 128)


def test_a_zone_without_hosts_is_a_reason(world):
    world.start()
    [instance] = world.launch(zone="zone-b")
    world.run(3)
    assert "must be in zone zone-b; host-1 is in zone zone-a" in world.find(instance).reason


@pytest.mark.parametrize("faults", [
    pytest.param(lambda topic: (0.0, 0.7), id="doubled"),
    pytest.param(lambda topic: (0.4,), id="late"),
    pytest.param(lambda topic: () if topic in ("conductor", "conductor.facts") else (0.0,), id="no hints, no facts"),
])  # fmt: skip
def test_messages_may_come_twice_late_or_never(worlds, faults):
    world = worlds(faults=faults)
    world.start()
    instances = world.launch(5)
    world.run(40)
    assert world.states(instances) == {State.RUNNING}
    for instance in instances:
        world.request(instance, Event.TERMINATE)
    world.run(60)
    assert world.states(instances) == {State.TERMINATED}
    assert world.used() == (0, 0, 0)
    assert world.hosts[0].left == set()


def test_every_third_message_lost_is_no_harm(worlds):
    counted = Counter()

    def faults(topic):
        counted[topic] += 1
        return () if counted[topic] % 3 == 0 else (0.0,)

    world = worlds(hosts=2, faults=faults)
    world.start()
    instances = world.launch(10)
    world.run(120)
    assert world.states(instances) == {State.RUNNING}


def test_two_conductors_share_the_work_and_do_nothing_twice(worlds):
    world = worlds(hosts=2)
    world.start(owner="one", concurrency=3)
    world.start(owner="two", concurrency=3)
    instances = world.launch(30)
    world.run(10)
    assert world.states(instances) == {State.RUNNING}
    started = Counter(guest.instance for host in world.hosts for guest in host.ensured)
    assert set(started.values()) == {1}
    assert world.used() == (30, 30, 30 * 128)


def test_a_silent_host_takes_no_place_from_the_others(worlds):
    world = worlds(hosts=2, memory_mib=128 * 40)
    world.start(concurrency=4)
    first = world.launch(20)
    world.run(5)
    silent, other = world.hosts
    silent.deaf = True
    for instance in first:
        if world.find(instance).host == silent.name:
            world.request(instance, Event.TERMINATE, hint=False)
    world.run(25)  # all places wait once for the host that died
    started = world.clock.seconds()
    instances = [world.an_instance(zone="zone-a") for _ in range(20)]
    world.store.run(lambda books: books.hosts.enable(silent.name, False))
    world.store.run(accept, instances)
    world.run(8)
    assert world.states([one.id for one in instances]) == {State.RUNNING}
    assert {world.find(one.id).host for one in instances} == {other.name}
    assert world.clock.seconds() - started < 10


def test_a_retry_comes_in_time_however_rarely_the_sweep_does(worlds):
    world = worlds()
    world.start(sweep=600.0)
    world.hosts[0].stuck = True
    [instance] = world.launch()
    world.run(1)
    assert len(world.hosts[0].ensured) == 1
    world.run(11)
    assert len(world.hosts[0].ensured) == 2


class AwayAtFirst:
    """A store that cannot answer the first so many times."""

    def __init__(self, store, times):
        self._store, self.left = store, times

    def transact(self, work, *args):
        self.left -= 1
        if self.left >= 0:
            return fail(CloudError(Code.UNAVAILABLE, "no database"))
        return self._store.transact(work, *args)

    def look(self, work, *args):
        return self._store.look(work, *args)

    glance = look


@pytest.mark.parametrize("times", [1, 2, 3, 7])
def test_a_database_that_is_away_at_first_only_delays(world, times):
    conductor = Conductor(world.clock, world.bus, AwayAtFirst(world.store, times))
    world.conductors.append(conductor)
    conductor.startService()
    [instance] = world.launch(hint=False)
    world.run(40)
    assert world.state(instance) is State.RUNNING
