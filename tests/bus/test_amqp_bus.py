"""The AMQP bus when the broker fails, refuses or stalls. What it does on good days is in
tests/contracts/test_bus.py."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater

from cloudcore.bus.amqp.bus import AmqpBus
from cloudcore.bus.amqp.connection import Broker
from cloudcore.rpc.faults import BusFault, Disconnected, NobodyListens, TimedOut
from tests.brokers import RabbitMq

Make = Callable[..., AmqpBus]


@pytest_twisted.async_yield_fixture
async def make(rabbitmq: RabbitMq) -> Any:
    started = []

    def start(broker: Any = None, **options: Any) -> AmqpBus:
        bus = AmqpBus(reactor, broker or rabbitmq.url, **options)
        bus.startService()
        started.append(bus)
        return bus

    yield start
    for bus in started:
        if bus.running:
            await bus.stopService()


@pytest.fixture
def topic() -> str:
    return f"compute.h1.{uuid4().hex[:8]}"


def echo(body: bytes) -> Deferred[bytes]:
    return succeed(body)


def sleep(seconds: float) -> Deferred[None]:
    return deferLater(reactor, seconds)


async def until(condition: Callable[[], Any]) -> None:
    while not condition():
        await sleep(0.02)


@pytest.mark.deadline(90)
async def test_after_a_killed_broker_is_back_everything_works_again(make: Make, topic: str, rabbitmq: RabbitMq) -> None:
    server, caller, heard = make(), make(), []
    work: Deferred[bytes] = Deferred()
    handlers = [lambda body: work, echo]
    await server.serve(topic, lambda body: handlers.pop(0)(body) if len(handlers) > 1 else handlers[0](body))
    await server.read(topic, heard.append)
    interrupted = caller.command(topic, b"interrupted", 60)
    await until(lambda: len(handlers) == 1)

    rabbitmq.kill()
    try:
        with pytest.raises(Disconnected):
            await interrupted
        with pytest.raises(TimedOut):
            await caller.command(topic, b"nobody is there", 0.3)
    finally:
        rabbitmq.start()
    work.callback(b"its caller is gone")
    while True:  # the caller may be back before the server
        try:
            assert await caller.command(topic, b"again", 40) == b"again"
            break
        except (NobodyListens, Disconnected, TimedOut):
            await sleep(0.1)
    while not heard:
        await caller.tell(topic, b"fact")
        await sleep(0.1)
    rabbitmq.wait()


@pytest.mark.deadline(60)
async def test_a_frozen_broker_is_noticed_by_heartbeat(make: Make, topic: str, rabbitmq: RabbitMq) -> None:
    bus = make(heartbeat=1)
    await bus.serve(topic, lambda body: Deferred())
    waiting = bus.command(topic, b"{}", 30)
    await sleep(0.3)
    os.killpg(rabbitmq._node.pid, signal.SIGSTOP)
    try:
        before = reactor.seconds()
        with pytest.raises(Disconnected):
            await waiting
        assert 1.4 < reactor.seconds() - before < 6
    finally:
        os.killpg(rabbitmq._node.pid, signal.SIGCONT)


async def test_heartbeats_keep_an_idle_connection(make: Make, topic: str) -> None:
    bus = make(heartbeat=1)
    await bus.serve(topic, echo)
    client = bus._connection.client
    await sleep(4)
    assert bus._connection.client is client
    assert await bus.command(topic, b"{}", 5) == b"{}"


async def test_what_waited_in_the_broker_beyond_its_deadline_is_never_executed(make: Make, topic: str) -> None:
    heard, first = [], Deferred()

    def slow(body: bytes) -> Deferred[bytes]:
        heard.append(body)
        return first if body == b"first" else succeed(body)

    await make(prefetch=1).serve(topic, slow)
    caller = make()
    one = caller.command(topic, b"first", 10)
    with pytest.raises(TimedOut):
        await caller.command(topic, b"second", 0.3)
    first.callback(b"done")
    assert await one == b"done"
    assert await caller.command(topic, b"third", 5) == b"third"
    assert heard == [b"first", b"third"]


async def test_the_command_of_a_server_that_died_goes_to_another(make: Make, topic: str) -> None:
    dying, stuck = make(), []
    await dying.serve(topic, lambda body: stuck.append(body) or Deferred())
    answer = make().command(topic, b"{}", 15)
    await until(lambda: stuck)
    await make().serve(topic, lambda body: succeed(b"by the other"))
    dying._connection.client.transport.abortConnection()
    dying._consumers.clear()  # it never comes back
    assert await answer == b"by the other"


async def test_a_stopping_server_answers_what_it_has_begun(make: Make, topic: str) -> None:
    server, begun = make(), []
    await server.serve(topic, lambda body: begun.append(body) or deferLater(reactor, 0.3, lambda: b"done"))
    caller = make()
    answer = caller.command(topic, b"{}", 10)
    await until(lambda: begun)
    stopped = server.stopService()
    assert await answer == b"done"
    await stopped
    with pytest.raises(NobodyListens):
        await caller.command(topic, b"{}", 10)


async def test_a_deleted_queue_is_declared_again(make: Make, topic: str) -> None:
    bus = make()
    await bus.serve(topic, echo)
    client = bus._connection.client
    channel = await client.open_channel()
    await client.ask(channel, "queue_delete", queue=f"cloudcore.{topic}")
    with pytest.raises(NobodyListens):
        await bus.command(topic, b"{}", 5)
    await sleep(1.5)
    assert await bus.command(topic, b"{}", 5) == b"{}"
    assert bus._connection.client is client


async def test_a_topic_that_the_broker_refuses_harms_no_other(make: Make, topic: str) -> None:
    bus = make()
    await bus.serve(topic, echo)
    client = bus._connection.client
    channel = await client.open_channel()
    await client.ask(channel, "queue_declare", queue=f"cloudcore.{topic}.other", exclusive=True)
    with pytest.raises(BusFault, match="405|406"):
        await bus.serve(f"{topic}.other", echo)
    assert await bus.command(topic, b"{}", 5) == b"{}"
    assert bus._connection.client is client


async def test_a_channel_number_is_free_again_after_a_failure(make: Make) -> None:
    bus = make()
    await bus.tell("facts", b"{}")
    client = bus._connection.client
    numbers = []
    for _ in range(3):
        channel = await client.open_channel()
        numbers.append(channel.id)
        with pytest.raises(Exception, match="404"):
            await client.ask(channel, "queue_declare", queue="no-such-queue", passive=True)
    assert len(set(numbers)) == 1


async def test_commands_wait_for_the_broker_within_their_time(make: Make, topic: str, rabbitmq: RabbitMq) -> None:
    bus = AmqpBus(reactor, rabbitmq.url)
    served, answer = bus.serve(topic, echo), bus.command(topic, b"early", 10)
    bus.startService()
    try:
        await served
        assert await answer == b"early"
    finally:
        await bus.stopService()


async def test_a_wrong_password_is_tried_again_and_never_shown(make: Make, topic: str, rabbitmq: RabbitMq) -> None:
    wrong = Broker("127.0.0.1", rabbitmq.port, "guest", "not-the-password")
    with pytest.raises(TimedOut):
        await make(wrong).command(topic, b"{}", 1)
    assert "not-the-password" not in repr(wrong)


def over_tls(rabbitmq: RabbitMq, host: str, authority: bytes | None) -> Broker:
    return Broker(host, rabbitmq.tls_port, "guest", rabbitmq.password, tls=True, authority=authority)


async def test_tls_carries_commands_both_ways(make: Make, topic: str, rabbitmq: RabbitMq) -> None:
    broker = over_tls(rabbitmq, "localhost", rabbitmq.authority)
    await make(broker).serve(topic, echo)
    body = bytes(250_000)
    assert await make(broker).command(topic, body, 10) == body


@pytest.mark.parametrize(("host", "trusted"), [("127.0.0.1", True), ("localhost", False)])
async def test_a_broker_that_cannot_prove_its_name_is_not_spoken_to(
    make: Make, topic: str, rabbitmq: RabbitMq, host: str, trusted: bool
) -> None:
    broker = over_tls(rabbitmq, host, rabbitmq.authority if trusted else None)
    with pytest.raises(TimedOut):
        await make(broker).command(topic, b"{}", 1)


async def test_a_bus_may_stop_before_it_started_and_start_after_it_stopped(topic: str, rabbitmq: RabbitMq) -> None:
    bus = AmqpBus(reactor, rabbitmq.url)
    await bus.stopService()
    bus.startService()
    await bus.serve(topic, echo)
    await bus.stopService()
    bus.startService()
    try:
        await bus.tell("facts", b"{}")  # connected, hence serving again
        assert await bus.command(topic, b"again", 5) == b"again"
    finally:
        await bus.stopService()


async def test_an_unreachable_broker_lets_the_bus_stop(make: Make, topic: str) -> None:
    bus = make("amqp://guest:guest@127.0.0.1:1/")
    waiting = bus.command(topic, b"{}", 10)
    await sleep(0.2)
    await bus.stopService()
    with pytest.raises(Disconnected):
        await waiting


async def test_many_large_bodies_do_not_overrun_the_transport(make: Make, topic: str) -> None:
    """60 MB pass through valve, prefetch and broker, although each side holds at most its window of them."""
    await make().serve(topic, lambda body: succeed(b"%d" % len(body)))
    caller, size = make(), 200_000
    answers = [caller.command(topic, bytes(size), 19) for _ in range(300)]
    for answer in answers:
        assert await answer == b"%d" % size


@pytest.mark.parametrize("url", ["http://x/", "amqp:///", "rabbit"])
def test_what_is_no_broker_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="a broker is named"):
        Broker.from_url(url)


def test_a_broker_url_names_everything() -> None:
    broker = Broker.from_url("amqps://h%40st:s%2Fcret@rabbit.example:1234/cell1")
    assert (broker.user, broker.password, broker.port, broker.vhost, broker.tls) == (
        "h@st", "s/cret", 1234, "cell1", True
    )  # fmt: skip
