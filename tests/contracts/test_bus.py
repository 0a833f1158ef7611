"""One suite for every bus: the loopback, and AMQP against a real RabbitMQ. A `World` is one cloud's worth of buses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, gatherResults, succeed
from twisted.internet.task import deferLater

from cloudcore.bus.amqp.bus import AmqpBus
from cloudcore.bus.loopback import LoopbackBus
from cloudcore.rpc.contract import Bus
from cloudcore.rpc.faults import Disconnected, InternalFault, NobodyListens, PastDeadline, TimedOut, TooLarge


class World:
    """Hands out buses that hear one another, and topics that no other test uses."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make, self._started = make, []
        self.token = uuid4().hex[:8]

    def bus(self) -> Bus:
        bus = self._make()
        if bus not in self._started:
            self._started.append(bus)
            bus.startService()
        return bus

    def topic(self, name: str = "compute.h1") -> str:
        return f"{name}.{self.token}"

    async def stop(self) -> None:
        for bus in self._started:
            if bus.running:
                await (bus.stopService() or succeed(None))


@pytest_twisted.async_yield_fixture(params=["loopback", "amqp"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "loopback":
        loopback = LoopbackBus(reactor)
        world = World(lambda: loopback)
    else:
        broker = request.getfixturevalue("rabbitmq")
        world = World(lambda: AmqpBus(reactor, broker.url))
    yield world
    await world.stop()


def echo(body: bytes) -> Deferred[bytes]:
    return succeed(body)


def sleep(seconds: float) -> Deferred[None]:
    return deferLater(reactor, seconds)


async def until(condition: Callable[[], Any]) -> None:
    while not condition():
        await sleep(0.01)


async def test_a_command_is_answered(world: World) -> None:
    topic = world.topic()
    await world.bus().serve(topic, lambda body: succeed(body.upper()))
    assert await world.bus().command(topic, b'"reboot"', 5) == b'"REBOOT"'


async def test_a_handler_may_answer_later(world: World) -> None:
    topic = world.topic()
    await world.bus().serve(topic, lambda body: deferLater(reactor, 0.05, lambda: b"done"))
    assert await world.bus().command(topic, b"{}", 5) == b"done"


@pytest.mark.parametrize("body", [b"", "grüße 🌩 \u2028".encode(), bytes(range(256)), b"x" * 262_144],
                         ids=["empty", "unicode", "binary", "256 KiB"])  # fmt: skip
async def test_a_body_arrives_as_it_was_sent(world: World, body: bytes) -> None:
    topic = world.topic()
    await world.bus().serve(topic, echo)
    assert await world.bus().command(topic, body, 5) == body


async def test_a_body_beyond_the_limit_is_not_sent(world: World) -> None:
    heard: list[bytes] = []
    topic = world.topic()
    await world.bus().serve(topic, lambda body: succeed(heard.append(body) or b""))
    with pytest.raises(TooLarge):
        await world.bus().command(topic, b"x" * 262_145, 5)
    with pytest.raises(TooLarge):
        await world.bus().tell(topic, b"x" * 262_145)
    assert await world.bus().command(topic, b"small", 5) == b""
    assert heard == [b"small"]


async def test_many_commands_at_once_get_each_its_own_answer(world: World) -> None:
    topic, bus = world.topic(), world.bus()
    await world.bus().serve(topic, lambda body: deferLater(reactor, int(body) % 7 / 1000, lambda: body))
    answers = await gatherResults([bus.command(topic, b"%d" % n, 10) for n in range(500)])
    assert answers == [b"%d" % n for n in range(500)]


async def test_a_command_that_nobody_serves_fails_at_once(world: World) -> None:
    before = reactor.seconds()
    with pytest.raises(NobodyListens, match=world.token):
        await world.bus().command(world.topic(), b"{}", 15)
    assert reactor.seconds() - before < 5


async def test_a_command_without_answer_times_out(world: World) -> None:
    topic, late = world.topic(), Deferred()
    await world.bus().serve(topic, lambda body: late)
    with pytest.raises(TimedOut) as caught:
        await world.bus().command(topic, b"{}", 0.2)
    assert not isinstance(caught.value, Disconnected)
    late.callback(b"too late, and nobody minds")
    await sleep(0.05)


async def test_a_message_past_its_deadline_gets_no_answer(world: World) -> None:
    topic = world.topic()
    await world.bus().serve(topic, lambda body: fail(PastDeadline("old")))
    with pytest.raises(TimedOut):
        await world.bus().command(topic, b"{}", 0.2)


async def test_a_cancelled_command_is_forgotten(world: World) -> None:
    topic, heard = world.topic(), []
    await world.bus().serve(topic, lambda body: succeed(heard.append(body) or b""))
    bus = world.bus()
    await bus.command(topic, b"first", 5)
    pending = bus.command(topic, b"second", 5)
    pending.addErrback(lambda failure: None)
    pending.cancel()
    await bus.command(topic, b"third", 5)
    assert heard[-1] == b"third"


@pytest.mark.logs_failures(2)
async def test_a_failing_handler_is_logged_and_its_caller_gets_the_reference(world: World) -> None:
    def broken(body: bytes) -> Deferred[bytes]:
        raise ZeroDivisionError("the secret of the handler")

    topic = world.topic()
    await world.bus().serve(topic, broken)
    for _ in range(2):  # the first did no harm to the bus
        with pytest.raises(InternalFault) as caught:
            await world.bus().command(topic, b"{}", 5)
        assert "secret" not in str(caught.value)
        assert len(caught.value.reference) == 12


async def test_servers_of_one_topic_share_its_commands(world: World) -> None:
    topic, heard = world.topic("conductor"), {"first": 0, "second": 0}

    def serving(name: str) -> Callable[[bytes], Deferred[bytes]]:
        def handle(body: bytes) -> Deferred[bytes]:
            heard[name] += 1
            return deferLater(reactor, 0.001, lambda: body)

        return handle

    await world.bus().serve(topic, serving("first"))
    await world.bus().serve(topic, serving("second"))
    bus = world.bus()
    await gatherResults([bus.command(topic, b"%d" % n, 10) for n in range(40)])
    assert sum(heard.values()) == 40
    assert min(heard.values()) > 5


async def test_every_reader_hears_every_fact_in_order(world: World) -> None:
    topic, heard = world.topic("facts"), {"conductor": [], "dashboard": []}
    for name in heard:
        await world.bus().read(topic, heard[name].append)
    teller = world.bus()
    for n in range(50):
        await teller.tell(topic, b"%d" % n)
    await until(lambda: all(len(facts) == 50 for facts in heard.values()))
    assert heard["conductor"] == heard["dashboard"] == [b"%d" % n for n in range(50)]


async def test_a_fact_that_nobody_reads_is_no_error(world: World) -> None:
    await world.bus().tell(world.topic("facts"), b"{}")


@pytest.mark.logs_failures(1)
async def test_a_failing_reader_hears_the_next_fact(world: World) -> None:
    topic, heard = world.topic("facts"), []

    def hear(body: bytes) -> None:
        heard.append(body)
        if body == b"bad":
            raise ZeroDivisionError

    await world.bus().read(topic, hear)
    for body in (b"bad", b"good"):
        await world.bus().tell(topic, body)
    await until(lambda: len(heard) == 2)


async def test_topics_do_not_hear_each_other(world: World) -> None:
    heard: list[bytes] = []
    await world.bus().read(world.topic("facts.a"), heard.append)
    await world.bus().read(world.topic("facts.b"), heard.append)
    await world.bus().serve(world.topic("facts.a"), echo)
    await world.bus().tell(world.topic("facts.a"), b"a")
    await world.bus().command(world.topic("facts.a"), b"command", 5)
    await sleep(0.1)
    assert heard == [b"a"]


@pytest.mark.parametrize("topic", ["", "compute.*", "compute #", "ü", "x" * 201])
async def test_a_topic_that_is_none_is_refused(world: World, topic: str) -> None:
    bus = world.bus()
    for use in (lambda: bus.serve(topic, echo), lambda: bus.command(topic, b"", 1), lambda: bus.tell(topic, b"")):
        with pytest.raises(ValueError, match="is no topic"):
            use()


async def test_whoever_awaits_an_answer_of_a_stopping_bus_hears_of_it(world: World) -> None:
    topic, bus, work = world.topic(), world.bus(), Deferred()
    await world.bus().serve(topic, lambda body: work)
    waiting = bus.command(topic, b"{}", 10)
    await sleep(0.1)
    stopped = bus.stopService() or succeed(None)
    with pytest.raises(Disconnected):
        await waiting
    with pytest.raises(Disconnected):
        await bus.command(topic, b"{}", 10)
    work.callback(b"for nobody")
    await stopped
