"""Elastic addresses on their way to hosts: one at a time has it, and what is wished in the end is what is."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudcore.conductor.leading import held_by
from cloudcore.domain.instances import Event, State
from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books
from tests.conductor.world import ELASTIC_POOL, PROJECT, World, allocate, lead


@pytest.fixture
def world() -> Iterator[World]:
    made = World(hosts=3, memory_mib=300)  # two guests each
    made.start()
    yield made
    made.stop()


def running(world: World, number: int) -> list[str]:
    """Instances, each on the host where it came to be."""
    ids = world.launch(number)
    world.run(5)
    assert world.states(ids) == {State.RUNNING}
    return ids


def apart(world: World) -> list[str]:
    """Two on different hosts."""
    ids = running(world, 4)
    first = world.find(ids[0]).host
    return [ids[0], next(id for id in ids if world.find(id).host != first)]


def led(world: World) -> list[tuple[str, str, str]]:
    return sorted((host.name, *one) for host in world.hosts for one in host.leads.items())


def tell(world: World, address: str, instance: str | None, seconds: float = 1.0) -> None:
    world.hint(world.store.run(lead, address, instance))
    world.run(seconds)


def of(world: World, instance: str) -> str:
    return world.find(instance).host or ""


def test_it_is_led_moved_and_led_nowhere(world: World) -> None:
    one, two = apart(world)
    address = world.store.run(allocate)
    tell(world, address, one)
    assert led(world) == [(of(world, one), address, one)]
    tell(world, address, two)
    assert led(world) == [(of(world, two), address, two)]
    tell(world, address, None)
    assert led(world) == []
    assert world.open_operations() == 0
    assert world.store.run(lambda books: books.elastic.find(address)).holder is None


def test_without_any_hint_the_sweep_finds_it(world: World) -> None:
    (one,) = running(world, 1)
    address = world.store.run(allocate)
    world.store.run(lead, address, one)
    world.run(3)
    assert led(world) == [(of(world, one), address, one)]


def test_a_silent_host_keeps_it_until_it_says_that_it_is_gone(world: World) -> None:
    """At no moment do two hosts answer to one address."""
    one, two = apart(world)
    address = world.store.run(allocate)
    tell(world, address, one)
    silent = next(host for host in world.hosts if host.name == of(world, one))
    silent.deaf = True
    tell(world, address, two, 60)
    assert led(world) == [(silent.name, address, one)]
    silent.deaf = False
    world.run(30)
    assert led(world) == [(of(world, two), address, two)]


def test_it_survives_stop_and_start_and_ends_with_the_instance(world: World) -> None:
    (one,) = running(world, 1)
    address = world.store.run(allocate)
    tell(world, address, one)
    for event, state in ((Event.STOP, State.STOPPED), (Event.START, State.RUNNING)):
        world.request(one, event)
        world.run(3)
        assert world.state(one) is state
        assert led(world) == [(of(world, one), address, one)]
    world.request(one, Event.TERMINATE)
    world.run(5)
    assert led(world) == []
    elastic = world.store.run(lambda books: books.elastic.find(address))
    assert (elastic.instance, elastic.association, elastic.holder, elastic.project) == (None, None, None, PROJECT)
    assert world.open_operations() == 0


def test_one_that_is_not_placed_yet_gets_it_when_it_is(world: World) -> None:
    for host in world.hosts:
        host.deaf = True
    world.run(1)
    (one,) = world.launch(memory_mib=128)
    address = world.store.run(allocate)
    tell(world, address, one, 5)
    assert led(world) == []
    for host in world.hosts:
        host.deaf = False
        host.beat()
    world.run(40)
    assert led(world) == [(of(world, one), address, one)]


def test_a_host_that_forgot_everything_is_told_again(world: World) -> None:
    (one,) = running(world, 1)
    address = world.store.run(allocate)
    tell(world, address, one)
    host = next(host for host in world.hosts if host.name == of(world, one))
    host.elastics.clear()
    host.epoch += 1
    host.beat()
    world.run(3)
    assert led(world) == [(host.name, address, one)]


def test_a_held_address_is_given_to_nobody_else(world: World) -> None:
    """Released, rested, and yet kept back: the host that had it has not said that it is gone."""
    (one,) = running(world, 1)
    address = world.store.run(allocate)
    tell(world, address, one)
    host = next(host for host in world.hosts if host.name == of(world, one))
    host.deaf = True
    tell(world, address, None)
    world.store.run(lambda books: books.elastic.release(books.elastic.at(PROJECT, [address])[address]))

    def claim(books: Books) -> str:
        return books.elastic.claim(ELASTIC_POOL, PROJECT, f"eipalloc-{int(books.now() * 10):017x}").address

    world.run(70, 1.0)
    others = set()
    for _ in range(5):
        others.add(world.store.run(claim))
        world.run(0.5)
    assert address not in others
    with pytest.raises(CloudError) as caught:
        world.store.run(claim)
    assert caught.value.code is Code.ELASTIC_EXHAUSTED
    host.deaf = False
    world.run(30)
    assert world.store.run(claim) == address
    assert world.store.run(lambda books: books.elastic.find(address)).revision == 2, "it never begins anew"


def test_what_a_host_holds_and_should_not_is_told_as_gone(world: World) -> None:
    one, two = apart(world)
    address = world.store.run(allocate)
    tell(world, address, one)
    world.store.run(lead, address, two)
    (told,) = world.store.run(held_by, of(world, one))
    assert (told.address, told.instance, told.revision) == (address, None, 2)


WISHES = st.lists(st.tuples(st.sampled_from([0, 1]), st.sampled_from([None, 0, 1, 2]), st.floats(0, 2)), max_size=6)


@settings(max_examples=10, deadline=None)
@given(WISHES, st.integers(0, 2**32))
def test_whatever_is_wished_in_whatever_weather_the_last_wish_holds(wishes, seed) -> None:
    """Messages come twice, late or never; at each moment each address is on one host."""
    chance = random.Random(seed)  # noqa: S311  # one seed: a draw for each message is more than an example may take

    def faults(topic: str) -> tuple[float, ...]:
        if calm or not topic.startswith("network."):
            return (0.0,)
        return chance.choice([(0.0,), (0.0,), (0.1, 0.9), (1.5,), ()])

    calm = [True]
    world = World(hosts=3, memory_mib=300, faults=faults)
    try:
        world.start()
        ids = running(world, 3)
        pool = [world.store.run(allocate)]
        world.run(1.1)
        pool.append(world.store.run(allocate))
        calm.clear()
        wished: dict[str, str | None] = {}
        for which, to, wait in wishes:
            address, instance = pool[which], None if to is None else ids[to]
            if instance in wished.values() or (instance is None and wished.get(address) is None):
                continue
            wished[address] = instance
            world.hint(world.store.run(lead, address, instance))
            for _ in range(int(wait * 10)):
                world.run(0.1)
                homes = [address for _, address, _ in led(world)]
                assert len(homes) == len(set(homes))
        calm.append(True)
        world.run(60, 0.5)
        assert led(world) == sorted((of(world, id), address, id) for address, id in wished.items() if id)
        assert world.open_operations() == 0
    finally:
        world.stop()
