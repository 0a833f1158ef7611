"""Stopping, starting, ending: by request, by the guest itself, by its host; and what is given back."""

import pytest

from cloudcore.domain.instances import Event, State
from cloudcore.rpc.compute import GuestSummary
from cloudcore.rpc.conductor import Facts, GuestFact
from tests.conductor.world import GROUP, World, make_group


@pytest.fixture
def world():
    made = World(hosts=2)
    made.start()
    yield made
    made.stop()


def running(world, **changes):
    [instance] = world.launch(**changes)
    world.run(1)
    assert world.state(instance) is State.RUNNING
    host = next(host for host in world.hosts if host.name == world.find(instance).host)
    return instance, host


def test_terminate_gives_everything_back(world):
    instance, host = running(world)
    world.request(instance, Event.TERMINATE)
    world.run(2)
    found = world.find(instance)
    assert (found.state, found.address, found.host) == (State.TERMINATED, None, host.name)
    assert world.used() == (0, 0, 0)
    assert host.left == set()
    assert world.store.run(lambda books: books.instances.groups_of(instance)) == ()


def test_stop_and_start_keep_place_and_address(world):
    instance, host = running(world)
    address = world.find(instance).address
    world.request(instance, Event.STOP)
    world.run(2)
    assert world.state(instance) is State.STOPPED
    assert host.guests[instance].state == "stopped"
    world.request(instance, Event.START)
    world.run(2)
    found = world.find(instance)
    assert (found.state, found.address, found.host, found.reason) == (State.RUNNING, address, host.name, None)
    assert host.guests[instance] == GuestSummary(instance, found.generation, "running")
    assert world.open_operations() == 0


def test_a_pending_instance_without_a_place_is_terminated_at_once(world):
    for host in world.hosts:
        host.deaf = True
    world.abandon()
    [instance] = world.launch(hint=False)
    world.request(instance, Event.TERMINATE)
    world.start()
    world.run(2)
    assert world.state(instance) is State.TERMINATED
    assert world.used() == (0, 0, 0)


def test_one_stopped_before_it_had_a_place_gets_one_at_its_start(world):
    world.abandon()
    [instance] = world.launch(hint=False)
    world.request(instance, Event.STOP)
    world.start()
    world.run(2)
    assert (world.state(instance), world.find(instance).host) == (State.STOPPED, None)
    world.request(instance, Event.START)
    world.run(2)
    assert world.state(instance) is State.RUNNING


def test_a_guest_that_powers_off_stays_stopped(world):
    instance, host = running(world)
    host.power_off_inside(instance)
    world.run(2)
    found = world.find(instance)
    assert (found.state, found.reason_code) == (State.STOPPED, "Client.InstanceInitiatedShutdown")
    assert host.ensured[-1].power == "stopped"
    assert host.ensured[-1].generation == found.generation == 2
    assert world.open_operations() == 0


def test_a_guest_that_powers_off_ends_where_it_was_launched_so(world):
    instance, host = running(world, shutdown_behaviour="terminate")
    host.power_off_inside(instance)
    world.run(2)
    found = world.find(instance)
    assert (found.state, found.reason_code) == (State.TERMINATED, "Client.InstanceInitiatedShutdown")
    assert world.used() == (0, 0, 0)
    assert host.left == set()


def test_a_guest_that_crashes_is_kept_whatever_a_shutdown_means(world):
    instance, host = running(world, shutdown_behaviour="terminate")
    host.crash(instance)
    world.run(2)
    found = world.find(instance)
    assert (found.state, found.reason_code) == (State.STOPPED, "Server.InternalError")
    assert host.ensured[-1].power == "stopped"
    assert world.open_operations() == 0


def test_a_guest_that_its_host_cannot_launch_again_is_stopped(world):
    instance, host = running(world)
    host.tell(instance, host.guests[instance].generation, "failed", "the disk is missing")
    world.run(2)
    found = world.find(instance)
    assert (found.state, found.reason) == (State.STOPPED, "Server.InternalError: the disk is missing")
    assert world.open_operations() == 0


def test_a_start_that_fails_leaves_it_stopped_with_the_reason(world):
    instance, host = running(world)
    world.request(instance, Event.STOP)
    world.run(2)
    host.refuses = "no memory"
    world.request(instance, Event.START)
    world.run(2)
    found = world.find(instance)
    assert (found.state, found.reason) == (State.STOPPED, "Server.InternalError: no memory")
    assert world.open_operations() == 0


def test_a_stop_is_repeated_until_the_host_obeys(world):
    instance, host = running(world)
    host.deaf = True
    world.request(instance, Event.STOP)
    world.run(600, 0.5)
    assert world.state(instance) is State.STOPPING
    host.deaf = False
    world.run(30)
    assert world.state(instance) is State.STOPPED


def test_terminate_wins_over_a_stop_under_way(world):
    instance, host = running(world)
    host.stuck = True
    world.request(instance, Event.STOP)
    world.run(1)
    host.stuck = False
    world.request(instance, Event.TERMINATE)
    world.run(2)
    assert world.state(instance) is State.TERMINATED


def test_facts_of_a_replaced_agent_are_not_believed(world):
    instance, host = running(world)
    sink = world.conductors[0]
    host.epoch = 2
    host.beat()
    world.run(1)
    old = Facts(host.name, 1, (GuestFact(instance, 1, "stopped", 7),))
    assert sink.report(old).result.sequence == 7  # settled: it need not come again
    assert world.state(instance) is State.RUNNING


def test_facts_of_a_host_without_a_row_are_asked_for_again(world):
    answer = world.conductors[0].report(Facts("nowhere", 1, (GuestFact("i-1", 1, "started", 3),))).result
    assert (answer.sequence, answer.known) == (0, False)


@pytest.mark.parametrize("generation", [0, 2])
def test_facts_of_another_generation_change_nothing(world, generation):
    instance, host = running(world)
    world.conductors[0].report(Facts(host.name, 1, (GuestFact(instance, generation, "stopped", 7),)))
    assert world.state(instance) is State.RUNNING


def test_facts_of_a_foreign_host_change_nothing(world):
    instance, host = running(world)
    other = next(one for one in world.hosts if one is not host)
    world.conductors[0].report(Facts(other.name, 1, (GuestFact(instance, 1, "stopped", 7),)))
    assert world.state(instance) is State.RUNNING


# -- hosts that come back ---------------------------------------------------------------------------------------------


def test_a_host_that_forgot_everything_is_told_again(world):
    instance, host = running(world)
    host.guests.clear()
    host.ports.clear()
    host.epoch = 2
    host.beat()
    world.run(2)
    assert host.running == {instance}
    assert set(host.ports) == {instance}


def test_a_guest_that_nobody_knows_is_left_alone(world):
    _, host = running(world)
    host.guests["i-stranger"] = GuestSummary("i-stranger", 9, "running")
    host.epoch = 2
    host.beat()
    world.run(2)
    assert host.guests["i-stranger"].state == "running"
    assert "i-stranger" not in {guest.instance for guest in host.ensured}


def test_what_waits_for_a_host_goes_on_when_it_returns(world):
    instance, host = running(world)
    host.deaf = True
    world.request(instance, Event.TERMINATE)
    world.run(100, 0.5)
    host.deaf, host.epoch = False, 2
    host.beat()
    world.run(25)  # one call is under way, waits its ten seconds, and is repeated after ten more
    assert world.state(instance) is State.TERMINATED


def test_a_host_that_agrees_is_told_nothing(world):
    _, host = running(world)
    told = len(host.ensured)
    host.epoch = 2
    host.beat()
    world.run(2)
    assert len(host.ensured) == told


# -- groups -----------------------------------------------------------------------------------------------------------


def members(host):
    return set(host.groups.get(GROUP, (0, ()))[1])


def test_every_host_of_a_group_knows_all_its_members(world):
    instances = world.launch(8)
    world.run(3)
    addresses = {world.find(instance).address for instance in instances}
    assert {world.find(instance).host for instance in instances} == {"host-1", "host-2"}
    assert [members(host) for host in world.hosts] == [addresses, addresses]


def test_members_that_end_are_taken_out_everywhere(world):
    first, second = world.launch(2)
    world.run(3)
    assert world.find(first).host != world.find(second).host
    world.request(first, Event.TERMINATE)
    world.run(3)
    there = next(host for host in world.hosts if host.name == world.find(second).host)
    assert members(there) == {world.find(second).address}


def test_a_group_that_another_one_names_is_told_to_its_hosts(world):
    world.store.run(make_group, "sg-00000000000000002", "web", GROUP)
    without_rules = "DELETE FROM security_group_rules WHERE group_id = ?"
    world.store.run(lambda books: books._connection.exec_driver_sql(without_rules, (GROUP,)))
    first, _ = running(world)
    web = world.an_instance()
    world.store.run(in_group, web, "sg-00000000000000002")
    world.run(3)
    there = next(host for host in world.hosts if host.name == world.find(web.id).host)
    assert world.find(first).host != there.name
    assert members(there) == {world.find(first).address}
    other, _ = running(world)
    world.run(2)
    assert members(there) == {world.find(first).address, world.find(other).address}


def in_group(books, instance, group):
    books.instances.insert([instance], (group,))
    books.operations.begin("launch", instance.id, 1, instance.project, "")


def test_a_silent_host_gets_the_group_when_it_comes_back(world):
    first, second = world.launch(2)
    world.run(3)
    silent = next(host for host in world.hosts if host.name == world.find(first).host)
    silent.deaf = True
    world.request(second, Event.TERMINATE)
    world.run(60)
    assert world.state(second) is State.TERMINATED
    silent.deaf = False
    world.run(30)
    assert members(silent) == {world.find(first).address}
