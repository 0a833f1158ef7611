"""The bus between processes, over RabbitMQ. Declarations and consumers are in `consumers`, the wire in `client`.

Answers come by RabbitMQ's direct reply-to: no queue to declare, and an address that only the server of the command
knows. A command carries its deadline as expiration, so the broker drops what waited too long. Servers acknowledge after
the answer: when one dies, another gets the command. Facts are confirmed by the broker before `tell` fires.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any
from uuid import uuid4

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, fail, maybeDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from txamqp.client import ChannelClosed, Closed

from cloudcore.bus.amqp.client import ChannelTimeout, Client, Delivery
from cloudcore.bus.amqp.connection import HEARTBEAT, Broker, Connection
from cloudcore.bus.amqp.consumers import COMMANDS, FACTS, Consumer, command_queue, declare_exchanges, reader_queue
from cloudcore.bus.amqp.tables import encode_properties
from cloudcore.bus.topics import check
from cloudcore.rpc.codec import LIMIT
from cloudcore.rpc.faults import BusFault, Disconnected, InternalFault, NobodyListens, PastDeadline, TimedOut

REPLY_TO = "amq.rabbitmq.reply-to"
PREFETCH = 64  # commands at work in one server of a topic, facts at work in one reader
TELL = 10.0  # seconds for the broker to take a fact, which covers its restart
DRAIN = 5.0  # seconds that a stopping bus waits for its own answers
AGAIN = 1.0  # seconds until a consumer that the broker ended is tried again
JSON = "application/json"


class AmqpBus(Service):
    """Satisfies `cloudcore.rpc.contract.Bus`; `broker` is a Broker or its amqp:// or amqps:// URL.

    Before `startService`, and while the broker is away, commands and facts wait within their time.
    """

    log = Logger()

    def __init__(self, reactor: Any, broker: Broker | str, limit: int = LIMIT, prefetch: int = PREFETCH,
                 heartbeat: int = HEARTBEAT) -> None:  # fmt: skip
        where = Broker.from_url(broker) if isinstance(broker, str) else broker
        self._reactor, self._limit, self._prefetch = reactor, limit, prefetch
        self._connection = Connection(reactor, where, self._prepare, self._lost, heartbeat)
        self._consumers: list[Consumer] = []
        self._pending: dict[str, tuple[str, Deferred[bytes]]] = {}
        self._numbers: Iterator[int] = count(1)
        self._commands: Any = None
        self._facts: Any = None
        self._again: set[IDelayedCall] = set()
        self._busy = 0
        self._idle: Deferred[None] | None = None
        self._stopped = False

    def startService(self) -> None:
        self._stopped = False
        super().startService()
        self._connection.startService()

    def stopService(self) -> Deferred[None]:
        """New messages are refused, those at work are answered (within DRAIN), then the connection ends."""
        super().stopService()
        self._stopped = True
        return Deferred.fromCoroutine(self._stop())

    def serve(self, topic: str, handler: Callable[[bytes], Deferred[bytes]]) -> Deferred[None]:
        def arrived(client: Client, channel: Any, delivery: Delivery) -> None:
            done = self._work(handler, client, channel, delivery)
            done.addCallbacks(lambda body: (body, None), self._failed, errbackArgs=(topic,))
            done.addCallback(self._answer, client, delivery)
            self._finish(done, client, channel, delivery)

        return self._consume(Consumer(check(topic), command_queue, arrived, self._prefetch))

    def read(self, topic: str, handler: Callable[[bytes], Deferred[None] | None]) -> Deferred[None]:
        def arrived(client: Client, channel: Any, delivery: Delivery) -> None:
            self._finish(self._work(handler, client, channel, delivery), client, channel, delivery)

        return self._consume(Consumer(check(topic), reader_queue, arrived, self._prefetch))

    def command(self, topic: str, body: bytes, timeout: float) -> Deferred[bytes]:
        return self._send(topic, body, timeout, self._ask)

    def tell(self, topic: str, body: bytes) -> Deferred[None]:
        return self._send(topic, body, TELL, self._tell)

    # sending

    def _send(self, topic: str, body: bytes, timeout: float, how: Callable[[str, bytes, float], Any]) -> Deferred[Any]:
        def expired(result: Any, seconds: float) -> Any:
            raise TimedOut(f"{topic}: no answer within {seconds:g} s")

        try:
            check(topic, body, self._limit)
            if self._stopped:
                raise Disconnected("the bus has stopped")
        except BusFault:
            return fail(Failure())
        work = how(topic, body, self._reactor.seconds() + timeout)
        return Deferred.fromCoroutine(work).addTimeout(timeout, self._reactor, expired)

    async def _passage(self) -> Client:
        while True:
            client = await self._connection.ready()
            try:
                await client.valve.passage()
            except Closed:
                continue
            if not client.closed:
                return client

    async def _ask(self, topic: str, body: bytes, deadline: float) -> bytes:
        client = await self._passage()
        number = str(next(self._numbers))
        patience = max(1, int((deadline - self._reactor.seconds()) * 1000))
        properties = encode_properties(
            content_type=JSON, delivery_mode=1, correlation_id=number, reply_to=REPLY_TO, expiration=str(patience)
        )
        answer: Deferred[bytes] = Deferred()
        self._pending[number] = topic, answer
        try:
            client.publish(self._commands.id, (COMMANDS, topic), body, properties, mandatory=True)
            return await answer
        finally:
            self._pending.pop(number, None)

    async def _tell(self, topic: str, body: bytes, deadline: float) -> None:
        client = await self._passage()
        try:
            await client.publish_confirmed(self._facts.id, (FACTS, topic), body, FACT)
        except Closed as problem:
            raise Disconnected(f"{topic}: {problem}") from None

    def _returned(self, delivery: Delivery) -> None:
        """Only commands are mandatory: there is no queue for the topic."""
        topic, answer = self._pending.pop(delivery.properties.get("correlation_id", ""), ("", None))
        if answer:
            answer.errback(NobodyListens(topic))

    def _answered(self, delivery: Delivery) -> None:
        topic, answer = self._pending.pop(delivery.properties.get("correlation_id", ""), ("", None))
        if answer is None:
            return  # it came after the caller's time
        if delivery.properties.get("type") == FAULT:
            answer.errback(InternalFault(delivery.body.decode("utf-8", "replace")[:60]))
        else:
            answer.callback(delivery.body)

    # receiving

    def _work(self, handler: Callable[[bytes], Any], client: Client, channel: Any, delivery: Delivery) -> Deferred[Any]:
        self._busy += 1
        if delivery.oversize or len(delivery.body) > self._limit:
            self.log.warn("a message on {key} was dropped: too large", key=delivery.routing_key.decode())
            return fail(PastDeadline("too large"))
        return maybeDeferred(handler, delivery.body)

    def _failed(self, failure: Failure, topic: str) -> tuple[bytes, str | None] | None:
        """The body and type of the answer, or nothing to answer."""
        if failure.check(PastDeadline):
            return None
        reference = uuid4().hex[:12]
        self.log.failure("the handler of {topic} failed, {reference}", failure, topic=topic, reference=reference)
        return reference.encode(), FAULT

    def _answer(self, answer: tuple[bytes, str | None] | None, client: Client, delivery: Delivery) -> None:
        reply_to = delivery.properties.get("reply_to")
        if answer is None or not reply_to or client.closed:
            return
        body, kind = answer
        if len(body) > self._limit:
            raise ValueError(f"an answer of {len(body)} bytes to {delivery.routing_key.decode()}")
        properties = encode_properties(
            content_type=JSON, correlation_id=delivery.properties.get("correlation_id"), type=kind
        )
        client.publish(self._commands.id, ("", reply_to), body, properties)

    def _finish(self, done: Deferred[Any], client: Client, channel: Any, delivery: Delivery) -> None:
        def acknowledge(result: object) -> None:
            self._busy -= 1
            if client.channels.get(channel.id) is channel and not client.closed:
                client.ack(channel.id, delivery.tag)
            if self._idle and not self._busy:
                self._idle.callback(None)

        done.addErrback(self._unheard, delivery).addBoth(acknowledge)

    def _unheard(self, failure: Failure, delivery: Delivery) -> None:
        if not failure.check(CancelledError, PastDeadline):
            self.log.failure("a message on {key} was lost on us", failure, key=delivery.routing_key.decode())

    # keeping it up

    async def _prepare(self, client: Client) -> None:
        client.returned = self._returned
        client.channel_lost = lambda number, reason: self._channel_lost(client, number, reason)
        client.cancelled = lambda number, tag: self._channel_lost(client, number, Closed("its queue is gone"))
        commands = self._commands = await client.open_channel()
        await declare_exchanges(client, commands)
        client.consumers[commands.id, b"r"] = self._answered
        await client.ask(commands, "basic_consume", queue=REPLY_TO, consumer_tag="r", no_ack=True)
        self._facts = await client.open_channel()
        await client.ask(self._facts, "confirm_select")
        attached: set[Consumer] = set()
        while rest := [consumer for consumer in self._consumers if consumer not in attached]:  # more may come meanwhile
            attached.add(rest[0])
            await self._attach(client, rest[0])

    def _consume(self, consumer: Consumer) -> Deferred[None]:
        self._consumers.append(consumer)
        if self._connection.client:
            self._attach_later(self._connection.client, consumer)
        return consumer.live

    def _attach_later(self, client: Client, consumer: Consumer) -> None:
        def lost(failure: Failure) -> None:
            failure.trap(Closed)
            client.transport.abortConnection()  # the next connection attaches it

        Deferred.fromCoroutine(self._attach(client, consumer)).addErrback(lost)

    async def _attach(self, client: Client, consumer: Consumer) -> None:
        """A topic that the broker refuses must not take the others with it."""
        try:
            await consumer.attach(client)
        except ChannelTimeout:
            raise
        except ChannelClosed as problem:
            self.log.warn("the broker refuses {topic}: {problem}", topic=consumer.topic, problem=problem)
            if consumer.live.called:
                self._try_again(client, consumer)
            else:
                self._consumers.remove(consumer)
                self._settle(consumer.live, Failure(BusFault(f"{consumer.topic}: {problem}")))
        else:
            if not consumer.live.called:
                self._settle(consumer.live, None)

    def _channel_lost(self, client: Client, number: int, reason: Exception) -> None:
        if client.closed:
            return
        if any(channel and channel.id == number for channel in (self._commands, self._facts)):
            self.log.error("the broker closed a channel that everything needs: {reason}", reason=reason)
            client.transport.abortConnection()
            return
        for consumer in self._consumers:
            if consumer.channel and consumer.channel.id == number and consumer.live.called:
                self.log.warn("the broker ended {topic}: {reason}", topic=consumer.topic, reason=reason)
                self._try_again(client, consumer)

    def _try_again(self, client: Client, consumer: Consumer) -> None:
        def again() -> None:
            self._again.discard(call)
            if self.running and self._connection.client is client:
                self._attach_later(client, consumer)

        call = self._reactor.callLater(AGAIN, again)
        self._again.add(call)

    def _lost(self) -> None:
        pending, self._pending = self._pending, {}
        for topic, answer in pending.values():
            self._settle(answer, Failure(Disconnected(f"{topic}: the connection to the broker broke")))

    def _settle(self, waiting: Deferred[Any], result: Any) -> None:
        """On a turn of its own: whoever waits may stop the bus, and must not do so from within the bus's own steps."""

        def settle() -> None:
            if not waiting.called:
                waiting.callback(result)  # a Failure too

        self._reactor.callLater(0, settle)

    async def _stop(self) -> None:
        for call in self._again:
            call.cancel()
        self._again.clear()
        client = self._connection.client
        try:
            if client:
                for consumer in self._consumers:
                    await consumer.detach(client)
            if self._busy and client:
                self._idle = Deferred()
                await self._idle.addTimeout(DRAIN, self._reactor)
        except (Closed, TimeoutError) as problem:
            self.log.warn("stopped with {busy} messages at work: {problem!r}", busy=self._busy, problem=problem)
        self._lost()
        await self._connection.stopService()


FAULT = "fault"  # the type of an answer whose body is the reference of an error
FACT = encode_properties(content_type=JSON, delivery_mode=1)
