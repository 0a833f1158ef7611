"""Volumes from their wish to their end, by themselves and in instances."""

import pytest

from cloudcore.conductor.attaching import pause
from cloudcore.domain.instances import Event, State
from cloudcore.domain.volumes import Attachment, AttachmentState, VolumeEvent, VolumeState
from tests.conductor import wishes
from tests.conductor.deeds import do, far, held, host_of, launched, near, only, state
from tests.conductor.wishes import at_rest, changed

# -- by itself --------------------------------------------------------------------------------------------------------


def test_a_volume_is_made_on_a_host_and_goes_from_it(world):
    made = do(world, wishes.create, 5)
    found = changed(world, made)
    assert (found.state, found.host in ("host-1", "host-2")) == (VolumeState.AVAILABLE, True)
    at_rest(world)
    do(world, wishes.delete, made)
    assert changed(world, made) is None
    at_rest(world)
    assert world.used() == (0, 0, 0)


def test_a_host_that_cannot_make_it_leaves_it_in_error_and_it_can_be_deleted(world):
    for host in world.hosts:
        host.storage.full = "the disk is full"
    made = do(world, wishes.create)
    found = changed(world, made)
    assert (found.state, found.reason) == (VolumeState.ERROR, "the disk is full")
    at_rest(world)
    do(world, wishes.delete, made)
    assert changed(world, made) is None
    at_rest(world)


def test_a_volume_that_fits_nowhere_is_in_error_and_says_why(world):
    made = do(world, wishes.create, 5000)
    found = changed(world, made)
    assert (found.state, found.host) == (VolumeState.ERROR, None)
    assert "needs 5000 GiB of disk" in found.reason
    at_rest(world)


def test_a_host_that_is_away_is_waited_for_and_then_given_up(world):
    for host in world.hosts:
        host.storage.away = True
    made = do(world, wishes.create, seconds=100)
    assert state(world, made) is VolumeState.CREATING
    world.run(220, 1.0)
    assert state(world, made) is VolumeState.ERROR
    assert "within 280 s" in changed(world, made).reason


def test_a_host_that_works_may_take_its_time(world):
    for host in world.hosts:
        host.storage.lazy = 400
    made = do(world, wishes.create, seconds=300)
    assert state(world, made) is VolumeState.CREATING
    world.run(300)
    assert state(world, made) is VolumeState.AVAILABLE
    at_rest(world)


def test_a_volume_that_is_deleted_while_it_is_made_goes(world):
    for host in world.hosts:
        host.storage.lazy = 5
    made = do(world, wishes.create, seconds=2)
    do(world, wishes.delete, made, seconds=20)
    assert changed(world, made) is None
    at_rest(world)


# -- made by a launch -------------------------------------------------------------------------------------------------


def test_what_a_launch_makes_lies_on_its_host_and_ends_with_it(world):
    instance, (root, data) = launched(world, (3, 7), keep=(1,))
    assert world.state(instance) is State.RUNNING
    assert {(state(world, one), held(world, one), changed(world, one).host) for one in (root, data)} == {
        (VolumeState.IN_USE, "attached", world.find(instance).host)}  # fmt: skip
    at_rest(world)
    world.request(instance, Event.TERMINATE)
    world.run(5)
    assert (changed(world, root), state(world, data), held(world, data)) == (None, VolumeState.AVAILABLE, None)
    at_rest(world)
    do(world, wishes.delete, data)
    at_rest(world)
    assert world.used() == (0, 0, 0)


def test_room_is_claimed_for_an_instance_and_its_volumes_together(world):
    instance, _ = launched(world, (900, 200))
    assert world.state(instance) is State.TERMINATED
    assert "GiB of disk" in world.find(instance).reason
    at_rest(world)
    assert world.used() == (0, 0, 0)


def test_volumes_of_a_launch_that_never_had_a_place_go_whatever_was_wished_for_later(world):
    _, made = launched(world, (3, 3), keep=(0, 1), memory_mib=10**6)
    assert [changed(world, one) for one in made] == [None, None]
    at_rest(world)


def test_a_launch_that_its_host_refuses_gives_everything_back(world):
    for host in world.hosts:
        host.refuses = "no kernel"
    instance, (root, kept) = launched(world, (3, 4), keep=(1,), seconds=6)
    assert world.state(instance) is State.TERMINATED
    assert (changed(world, root), state(world, kept)) == (None, VolumeState.AVAILABLE)
    at_rest(world)


def test_an_instance_that_is_stopped_and_started_has_its_volumes_again(world):
    instance, made = launched(world, (3, 4))
    for event, expected in ((Event.STOP, State.STOPPED), (Event.START, State.RUNNING)):
        world.request(instance, event)
        world.run(3)
        assert world.state(instance) is expected
        assert {held(world, one) for one in made} == {"attached"}
        at_rest(world)


# -- attached and detached --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["here", "elsewhere"])
@pytest.mark.parametrize("power", ["running", "stopped"])
def test_a_volume_is_attached_and_detached(world, where, power):
    instance, _ = launched(world)
    made = far(world, instance) if where == "elsewhere" else near(world, instance)
    if power == "stopped":
        world.request(instance, Event.STOP)
        world.run(3)
    do(world, wishes.attach, made, instance)
    assert (state(world, made), held(world, made)) == (VolumeState.IN_USE, "attached")
    at_rest(world)
    if power == "stopped":
        world.request(instance, Event.START)
        world.run(3)
        at_rest(world)
    do(world, wishes.detach, made)
    assert (state(world, made), held(world, made)) == (VolumeState.AVAILABLE, None)
    at_rest(world)


def test_a_volume_that_the_guest_cannot_take_is_available_again_and_says_why(world):
    instance, _ = launched(world)
    made = do(world, wishes.create)
    host = host_of(world, world.find(instance).host)
    host.rejects[made] = "no free slot"
    do(world, wishes.attach, made, instance)
    found = changed(world, made)
    assert (found.state, found.reason, held(world, made)) == (VolumeState.AVAILABLE, "no free slot", None)
    at_rest(world)
    host.rejects.clear()
    do(world, wishes.attach, made, instance)
    assert held(world, made) == "attached"
    assert changed(world, made).reason == "no free slot"  # of the last time that something went wrong


def test_a_volume_that_its_host_cannot_serve_is_available_again(world):
    instance, _ = launched(world)
    made = far(world, instance)
    host_of(world, changed(world, made).host).storage.sizes.pop(made)
    do(world, wishes.attach, made, instance)
    assert (state(world, made), held(world, made)) == (VolumeState.AVAILABLE, None)
    assert "no such volume" in changed(world, made).reason


def test_a_guest_that_does_not_let_go_keeps_it_until_it_stops(world):
    instance, _ = launched(world)
    made = do(world, wishes.create)
    do(world, wishes.attach, made, instance)
    host_of(world, world.find(instance).host).keeps.add(made)
    do(world, wishes.detach, made, seconds=60)
    assert (state(world, made), held(world, made)) == (VolumeState.IN_USE, "detaching")
    world.request(instance, Event.STOP)
    world.run(15)
    assert (state(world, made), held(world, made)) == (VolumeState.AVAILABLE, None)
    at_rest(world)


def test_force_takes_it_away_from_a_guest_that_does_not_let_go(world):
    instance, _ = launched(world)
    made = do(world, wishes.create)
    do(world, wishes.attach, made, instance)
    host_of(world, world.find(instance).host).keeps.add(made)
    do(world, wishes.detach, made, force=True)
    assert state(world, made) is VolumeState.AVAILABLE
    at_rest(world)


def test_a_host_that_is_away_hears_of_it_when_it_is_back(world):
    instance, _ = launched(world)
    made = do(world, wishes.create)
    host = host_of(world, world.find(instance).host)
    host.deaf = True
    do(world, wishes.attach, made, instance, seconds=40)
    assert held(world, made) == "attaching"
    host.deaf = False
    host.beat()
    world.run(40)
    assert held(world, made) == "attached"
    at_rest(world)


def test_an_instance_that_ends_takes_what_is_still_coming_with_it(world):
    instance, _ = launched(world)
    made = far(world, instance)
    host_of(world, changed(world, made).host).storage.away = True
    do(world, wishes.attach, made, instance, seconds=2)
    world.request(instance, Event.TERMINATE)
    world.run(15)
    assert (state(world, made), held(world, made)) == (VolumeState.AVAILABLE, None)
    host_of(world, changed(world, made).host).storage.away = False
    world.run(30)
    at_rest(world)


def test_a_volume_that_came_to_an_instance_in_its_last_moment_is_available_again(world):
    """The api saw it running, and committed after it had ended."""
    instance, _ = launched(world)
    made = near(world, instance)
    world.request(instance, Event.TERMINATE)
    world.run(5)

    def too_late(books):
        moved = books.volumes.move(books.volumes.find(made), VolumeEvent.ATTACH)
        books.attachments.insert([Attachment(moved.id, instance, "/dev/sdz", AttachmentState.ATTACHING, books.now())])
        books.operations.begin("redisk", instance, books.attachments.bump(instance), moved.project, "request")

    do(world, too_late)
    assert (state(world, made), held(world, made)) == (VolumeState.AVAILABLE, None)
    at_rest(world)


def test_a_volume_moves_from_the_guest_of_another_host_to_one_of_its_own(world):
    """What was served elsewhere is withheld before it is opened here."""
    one, _ = launched(world)
    made = far(world, one)
    only(world, changed(world, made).host)
    two, _ = launched(world)
    for instance in (one, two, one):
        do(world, wishes.attach, made, instance)
        assert held(world, made) == "attached"
        do(world, wishes.detach, made, seconds=1.5)
    world.run(5)
    at_rest(world)


def test_a_volume_host_that_is_away_does_not_keep_other_volumes_from_a_guest_that_has_one_of_it(world):
    instance, _ = launched(world)
    distant = far(world, instance)
    do(world, wishes.attach, distant, instance)
    host_of(world, changed(world, distant).host).storage.away = True
    other = near(world, instance)
    do(world, wishes.attach, other, instance, seconds=40)
    assert held(world, other) == "attached"
    world.request(instance, Event.STOP)
    world.run(40)
    assert world.state(instance) is State.STOPPED


def test_the_root_of_a_stopped_instance_can_be_changed(world):
    instance, (root,) = launched(world)
    world.request(instance, Event.STOP)
    world.run(3)
    do(world, wishes.detach, root)
    assert state(world, root) is VolumeState.AVAILABLE
    at_rest(world)
    do(world, wishes.attach, root, instance, "/dev/sda")
    world.request(instance, Event.START)
    world.run(3)
    assert (world.state(instance), held(world, root)) == (State.RUNNING, "attached")
    at_rest(world)


def test_an_instance_without_volumes_keeps_its_own_disk_whatever_is_attached(world):
    """As one of the first release, which has no rows of volumes."""
    [instance] = world.launch()
    world.run(4)
    host = host_of(world, world.find(instance).host)
    own = instance.replace("i-", "vol-")
    host.storage.sizes[own] = 1
    assert host.lists[instance] == (0, ())
    made = near(world, instance)
    for wish, has in ((wishes.attach, {own, made}), (wishes.detach, {own})):
        do(world, wish, made, *([instance] if wish is wishes.attach else []))
        assert host.disks_of(instance) == has
    world.request(instance, Event.TERMINATE)
    world.run(4)
    assert world.state(instance) is State.TERMINATED
    assert world.used() == (0, 0, 0)


def test_a_guest_with_a_volume_of_a_host_that_is_away_keeps_no_other_from_being_compared(world):
    one, _ = launched(world)
    made = far(world, one)
    only(world, world.find(one).host)
    two, _ = launched(world)
    do(world, wishes.attach, made, one)
    host, other = host_of(world, world.find(one).host), host_of(world, changed(world, made).host)
    other.storage.away = True
    world.abandon()
    for name in (one, two):
        for kept in (host.guests, host.has, host.lists):
            kept.pop(name, None)
    host.epoch += 1
    world.start()
    world.run(40)
    assert host.running == {two}
    other.storage.away = False
    world.run(60)
    assert host.running == {one, two}
    at_rest(world)


# -- growing ----------------------------------------------------------------------------------------------------------


def last(world, volume):
    found = world.store.run(lambda books: books.volumes.modification(volume))
    return found.state, found.ended is not None


@pytest.mark.parametrize("where", ["alone", "running", "stopped"])
def test_a_volume_grows_where_it_is_open(world, where):
    instance, (root,) = launched(world)
    made = do(world, wishes.create) if where == "alone" else root
    if where == "stopped":
        world.request(instance, Event.STOP)
        world.run(3)
    do(world, wishes.modify, made, 9)
    assert (changed(world, made).size_gib, changed(world, made).type) == (9, "gp3")
    assert last(world, made) == ("completed", True)
    at_rest(world)


def test_a_volume_of_another_host_grows_while_its_guest_is_stopped(world):
    """Not before: the guest would not see it. It is served to nobody while it grows, and again with the next start."""
    instance, _ = launched(world)
    made = far(world, instance)
    do(world, wishes.attach, made, instance)
    do(world, wishes.modify, made, 9)
    assert last(world, made) == ("failed", True)
    assert changed(world, made).size_gib < 9
    at_rest(world)
    world.request(instance, Event.STOP)
    world.run(3)
    do(world, wishes.modify, made, 9)
    assert last(world, made) == ("completed", True)
    assert changed(world, made).size_gib == 9
    assert not host_of(world, changed(world, made).host).storage.served(made)
    world.request(instance, Event.START)
    world.run(3)
    assert host_of(world, changed(world, made).host).storage.served(made) == instance
    at_rest(world)


def test_only_another_type_asks_nobody(world):
    made = do(world, wishes.create, 2)
    for host in world.hosts:
        host.storage.away = True
    do(world, wishes.modify, made, 2, "io1", seconds=1)
    assert (changed(world, made).type, last(world, made)) == ("io1", ("completed", True))


@pytest.mark.parametrize("hindrance", ["room", "host"])
def test_a_volume_that_cannot_grow_stays_as_it_is(world, hindrance):
    made = do(world, wishes.create, 2)
    for host in world.hosts:
        host.storage.full = "the disk is full" if hindrance == "host" else None
    do(world, wishes.modify, made, 20 if hindrance == "host" else 5000)
    assert (changed(world, made).size_gib, changed(world, made).type) == (2, "gp2")
    assert last(world, made) == ("failed", True)
    at_rest(world)


def test_a_volume_that_is_deleted_while_it_grows_gives_back_what_was_taken(world):
    made = do(world, wishes.create, 2)
    for host in world.hosts:
        host.storage.away = True
    do(world, wishes.modify, made, 9, seconds=1)
    do(world, wishes.delete, made, seconds=1)
    for host in world.hosts:
        host.storage.away = False
    world.run(40)
    assert changed(world, made) is None
    at_rest(world)


def test_questions_come_more_and_more_slowly():
    assert [pause(attempt) for attempt in (1, 2, 3, 5, 6, 1000)] == [0.5, 1.0, 2.0, 8.0, 10.0, 10.0]
