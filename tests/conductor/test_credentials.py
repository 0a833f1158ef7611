"""Keys for the roles of instances: durable before a host hears of them, replaced in time, gone when they should be."""

import pytest

from cloudcore.auth.instances import LIFETIME, RENEWED
from cloudcore.auth.sql import derived_credential
from cloudcore.conductor.credentials import LOOKED
from cloudcore.domain.instance_profiles import NO_PROFILE, UNTRUSTED
from cloudcore.domain.instances import Event, State
from tests.conductor.test_crashes import Once, die
from tests.conductor.world import GROUP, LIMITS, PROFILE, PROJECT, TRUST, World, associate, make_profile, reshaped

OTHERS = TRUST.replace("ec2.", "lambda.")


@pytest.fixture
def world():
    world = World()
    world.store.run(make_profile)
    yield world
    world.stop()


def launch(world, number=1):
    """With the profile, as the api launches."""
    made = [world.an_instance(profile=PROFILE.id) for _ in range(number)]

    def accept(books):
        books.instances.insert(made, (GROUP,))
        books.profile_associations.begin(PROFILE, [(f"iip-assoc-{one.id}", one.id) for one in made])
        assert books.quotas.take(PROJECT, LIMITS, instances=number, vcpus=number)
        return [books.operations.begin("launch", one.id, 1, PROJECT, "request-1") for one in made]

    world.hint(world.store.run(accept)[0])
    return [one.id for one in made]


def running(world):
    [instance] = launch(world)
    world.run(3)
    assert world.state(instance) is State.RUNNING
    return instance


def role(world, instance):
    """What the host was told."""
    return world.hosts[0].ports[instance].role


def keys(world):
    """(id, instance), oldest first."""
    found = "SELECT id, instance FROM instance_keys ORDER BY created, id"
    return world.store.run(lambda books: [tuple(row) for row in books._connection.exec_driver_sql(found)])


def opens(world, key):
    """Whether the Auth Manager would take it; that it expires is judged elsewhere."""
    return world.store.run(derived_credential, key) is not None


def change(world, work):
    """Something that instances with the profile must hear, as the api does it."""

    def changed(books):
        work(books)
        return [reshaped(books, one.id, {}) for one in books.profile_associations.holders(PROFILE.id)]

    for operation in world.store.run(changed):
        world.hint(operation)
    world.run(2)


def the_role(books):
    return books.roles.named(PROJECT, "server")


def the_profile(books):
    return books.profiles.named(PROJECT, "web")


def test_a_guest_has_its_key_before_it_runs(world):
    world.start()
    world.hosts[0].stuck = True  # takes orders and starts nothing
    [instance] = launch(world)
    world.run(3)
    held = role(world, instance)
    assert (held.code, held.role, held.profile_arn) == ("Success", "server", PROFILE.arn)
    assert keys(world) == [(held.access_key, instance)] and opens(world, held.access_key)
    assert (len(held.secret), len(held.token)) == (40, 96)
    row = world.find(instance)
    assert row.port_applied == row.port_revision == 1


def test_neither_a_secret_nor_a_token_is_in_the_database_or_in_a_repr(world):
    world.start()
    instance = running(world)
    held = role(world, instance)
    dump = world.store.run(lambda books: repr(books._connection.exec_driver_sql("SELECT * FROM instance_keys").all()))
    for hidden in (held.secret, held.token):
        assert hidden not in dump
        assert hidden not in repr(world.hosts[0].ports[instance])
    row = world.store.run(lambda books: books.instance_keys.living(held.access_key))
    assert row.key.secret not in repr(row) and row.key.token not in repr(row)


def test_an_instance_without_a_profile_costs_no_key(world):
    world.start()
    [instance] = world.launch()
    world.run(3)
    assert role(world, instance) is None and keys(world) == []
    assert world.find(instance).port_revision == 0


def test_a_key_gets_its_successor_long_before_its_end_and_goes_on_itself(world):
    world.start()
    instance = running(world)
    first = role(world, instance)
    world.run(LIFETIME - RENEWED - 120, 20)
    assert role(world, instance) == first
    world.run(LOOKED + 120, 1)
    second = role(world, instance)
    assert second.access_key != first.access_key and second.expires > first.expires
    assert [id for id, _ in keys(world)] == [first.access_key, second.access_key]
    assert opens(world, first.access_key) and opens(world, second.access_key)
    world.run(LIFETIME - RENEWED + LOOKED, 20)
    assert len(keys(world)) == 2  # the first has expired and is gone, a third has come
    assert not opens(world, first.access_key)
    assert world.find(instance).port_applied == world.find(instance).port_revision
    assert world.open_operations() == 0


def test_however_many_conductors_look_one_key_is_made(world):
    world.start(owner="a")
    world.start(owner="b")
    instance = running(world)
    assert len(keys(world)) == 1
    world.run(LIFETIME - RENEWED + 3 * LOOKED, 20)
    assert len(keys(world)) == 2
    assert role(world, instance).access_key == keys(world)[1][0]


def test_a_silent_host_makes_no_storm_and_gets_the_newest(world):
    world.start()
    instance = running(world)
    first = role(world, instance)
    world.hosts[0].deaf = True
    world.run(LIFETIME - RENEWED + 10 * LOOKED, 20)
    assert len(keys(world)) == 2 and role(world, instance) == first
    assert world.open_operations() == 1
    world.hosts[0].deaf = False
    world.run(30, 0.5)
    assert role(world, instance).access_key == keys(world)[1][0]


@pytest.mark.parametrize("failpoint", ["conductor.minted.before", "conductor.minted.after", "conductor.plug.before",
                                       "conductor.plug.after", "conductor.plugged.before"])  # fmt: skip
def test_who_dies_between_making_and_telling_leaves_one_key(world, failpoint):
    once = Once(failpoint, die)
    world.start(once)
    [instance] = launch(world)
    world.run(2)
    assert failpoint in once.visited
    world.abandon()
    world.start()
    world.run(40, 0.5)
    assert world.state(instance) is State.RUNNING
    assert keys(world) == [(role(world, instance).access_key, instance)]


def test_a_running_instance_gets_a_profile_and_loses_it(world):
    world.start()
    [instance] = world.launch()
    world.run(3)
    world.hint(world.store.run(associate, instance))
    world.run(2)
    key = role(world, instance).access_key
    assert opens(world, key)

    def disassociate(books):
        books.profile_associations.end(instance)
        books.instance_keys.drop(instance)
        return reshaped(books, instance, {"profile": None})

    operation = world.store.run(disassociate)
    assert not opens(world, key)  # already, whether the host has heard of it or not
    world.hint(operation)
    world.run(2)
    assert role(world, instance) is None and keys(world) == []


def test_a_key_ends_with_its_instance(world):
    world.start()
    instance = running(world)
    key = role(world, instance).access_key
    world.hosts[0].deaf = True
    world.request(instance, Event.TERMINATE)
    assert not opens(world, key)  # even while its host is silent
    world.hosts[0].deaf = False
    world.run(40, 0.5)
    assert world.state(instance) is State.TERMINATED and keys(world) == []
    assert world.store.run(lambda books: books.profile_associations.of_instances([instance])) == {}
    assert world.used() == (0, 0, 0)


def test_a_role_that_leaves_its_profile_leaves_its_instances(world):
    world.start()
    instance = running(world)
    key = role(world, instance).access_key

    def remove(books):
        books.profiles.remove_role(the_profile(books), the_role(books))

    change(world, remove)
    assert role(world, instance) is None and not opens(world, key)
    change(world, lambda books: books.profiles.add_role(the_profile(books), the_role(books)))
    assert opens(world, role(world, instance).access_key)


def test_a_role_that_does_not_trust_instances_is_not_theirs(world):
    world.start()
    instance = running(world)
    key = role(world, instance).access_key
    change(world, lambda books: books.roles.update(the_role(books), trust=OTHERS))
    held = role(world, instance)
    assert (held.code, held.role, held.access_key, held.secret, held.token) == (UNTRUSTED, "server", "", "", "")
    assert not opens(world, key)
    world.run(5 * LOOKED, 20)
    assert len(keys(world)) == 1 and world.open_operations() == 0  # nobody tries again and again
    change(world, lambda books: books.roles.update(the_role(books), trust=TRUST))
    assert role(world, instance).access_key == key and opens(world, key)


def test_a_deleted_profile_gives_nothing_and_says_so(world):
    world.start()
    instance = running(world)

    def delete(books):
        books.profiles.remove_role(the_profile(books), the_role(books))
        books.instance_keys.drop_of_profile(PROFILE.id)
        books.profiles.delete(the_profile(books))

    change(world, delete)
    held = role(world, instance)
    assert (held.code, held.profile_arn, held.role) == (NO_PROFILE, PROFILE.arn, "")


def test_a_stopped_instance_has_no_new_keys_until_it_starts(world):
    world.start()
    instance = running(world)
    world.request(instance, Event.STOP)
    world.run(3)
    world.run(LIFETIME + LOOKED, 30)
    assert len(keys(world)) == 1
    world.request(instance, Event.START)
    world.run(3)
    assert world.state(instance) is State.RUNNING
    assert keys(world) == [(role(world, instance).access_key, instance)]


def test_a_host_that_lost_its_journal_gets_the_same_key_again(world):
    world.start()
    instance = running(world)
    held = role(world, instance)
    world.hosts[0].ports.clear()
    world.hosts[0].epoch += 1
    world.run(15, 0.5)
    assert role(world, instance) == held and len(keys(world)) == 1


def test_without_a_keyring_nothing_is_made(world):
    world.keyring = None
    world.start()
    instance = running(world)
    world.run(2 * LOOKED, 1)
    assert role(world, instance) is None and keys(world) == [] and world.open_operations() == 0
