"""What a port says changes under a running guest: its host hears of it, in order, whatever else happens."""

import pytest

from cloudcore.domain.instances import Event, State
from cloudcore.domain.metadata_tree import Options, options
from tests.conductor.world import PROJECT, World, make_group

OTHER = "sg-00000000000000002"


@pytest.fixture
def world():
    world = World()
    yield world
    world.stop()


def running(world):
    [instance] = world.launch()
    world.run(2)
    assert world.state(instance) is State.RUNNING
    return instance


def port(world, instance):
    return world.hosts[0].ports[instance]


def regroup(world, instance, groups):
    def work(books):
        found = books.instances.reshape_port(books.instances.find(instance))
        books.instances.join(instance, groups)
        return books.operations.begin("replug", found.id, found.generation, PROJECT, "request-4")

    world.hint(world.store.run(work))


def test_metadata_options_reach_a_running_guests_port(world):
    world.start()
    instance = running(world)
    assert options(port(world, instance).metadata) == Options()
    world.reshape(instance, metadata_tokens="required", metadata_hops=2)
    world.run(1)
    assert options(port(world, instance).metadata) == Options("required", "enabled", 2)
    row = world.find(instance)
    assert (row.port_applied, row.port_revision, row.state) == (1, 1, State.RUNNING)
    assert world.open_operations() == 0


def test_the_source_check_reaches_a_running_guests_port(world):
    world.start()
    instance = running(world)
    assert port(world, instance).source_dest_check
    world.reshape(instance, source_dest_check=False)
    world.run(1)
    assert not port(world, instance).source_dest_check


def test_a_change_while_the_host_is_away_is_told_when_it_is_back_and_only_the_last(world):
    world.start()
    instance = running(world)
    world.hosts[0].deaf = True
    world.reshape(instance, metadata_tokens="required")
    world.run(1)
    world.reshape(instance, metadata_endpoint="disabled")
    world.run(5)
    assert world.find(instance).port_applied == 0
    world.hosts[0].deaf = False
    world.run(60, 0.5)
    assert options(port(world, instance).metadata) == Options("required", "disabled", 1)
    assert world.find(instance).port_applied == 2
    assert world.open_operations() == 0


def test_a_stop_does_not_supersede_what_the_host_has_to_hear(world):
    world.start()
    instance = running(world)
    world.reshape(instance, hint=False, metadata_tokens="required")
    world.request(instance, Event.STOP)
    world.run(5)
    assert world.state(instance) is State.STOPPED
    assert options(port(world, instance).metadata).tokens == "required"


def test_a_change_before_there_is_a_place_comes_with_the_port(world):
    [instance] = world.launch(hint=False)
    world.reshape(instance, hint=False, metadata_tokens="required")
    world.start()
    world.run(3)
    assert options(port(world, instance).metadata).tokens == "required"
    assert world.find(instance).port_applied == 1


def test_new_groups_reach_the_port_with_their_rules(world):
    world.store.run(make_group, OTHER, "other")
    world.start()
    instance = running(world)
    regroup(world, instance, [OTHER])
    world.run(2)
    assert port(world, instance).groups == (OTHER,)
    assert world.hosts[0].groups[OTHER][1] == (world.find(instance).address,)


def test_the_guest_reads_its_tags_where_it_may(world):
    world.start()
    instance = running(world)
    world.store.run(lambda books: books.tags.put(PROJECT, {instance: "instance"}, {"role": "web"}))
    world.reshape(instance, metadata_tags=True)
    world.run(1)
    assert port(world, instance).metadata["meta-data"]["tags"] == {"instance": {"role": "web"}}


def stopped_with(world, **changes):
    instance = running(world)
    world.request(instance, Event.STOP)
    world.run(2)
    world.store.run(lambda books: books.instances.modify(books.instances.find(instance), **changes))
    world.request(instance, Event.START)
    world.run(3)
    return instance


def test_a_new_type_is_claimed_and_booted_at_the_next_start(world):
    world.start()
    instance = stopped_with(world, instance_type="t3.large", vcpus=2, memory_mib=4096)
    assert world.state(instance) is State.RUNNING
    ensured = world.hosts[0].ensured[-1]
    assert (ensured.power, ensured.vcpus, ensured.memory_mib) == ("running", 2, 4096)
    assert world.host("host-1").used_memory_mib == 4096
    assert port(world, instance).metadata["meta-data"]["instance-type"] == "t3.large"


def test_new_user_data_is_there_at_the_next_start(world):
    world.start()
    instance = stopped_with(world, user_data=b"new")
    assert port(world, instance).user_data == b"new"


def test_a_type_that_its_host_has_no_room_for_stays_stopped_and_says_why(world):
    world.start()
    instance = stopped_with(world, instance_type="m5.4xlarge", vcpus=16, memory_mib=10**6)
    row = world.find(instance)
    assert (row.state, row.reason_code) == (State.STOPPED, "Server.InsufficientInstanceCapacity")
    assert "has no room for m5.4xlarge" in row.reason
    assert world.host("host-1").used_memory_mib == 128
