"""What we declare on the broker, and how one topic is consumed on a channel of its own.

Two topic exchanges, so that a broker user's permissions can name the routing keys it may use. A command goes to the one
queue of its topic, which its servers share and which vanishes with the last of them: then a mandatory command comes
back at once. It is durable only so that it survives the seconds in which a restarted broker waits for its servers;
commands themselves are transient, since what must survive is in the database. A command that kills its server is
delivered again until its expiry, the caller's patience, and no longer. A fact goes to the exclusive queue of each
reader.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred

from cloudcore.bus.amqp.client import Client, Delivery

COMMANDS, FACTS = "cloudcore.commands", "cloudcore.facts"
QUEUE = {"x-expires": 60_000, "x-max-length": 10_000}  # ms without a server; beyond, the oldest is nearest its deadline
READER = {"x-max-length": 100_000}  # a reader that lags further behind has to compare digests anyway
TAG = "c"

Declare = Callable[[Client, Any, str], Awaitable[str]]


async def declare_exchanges(client: Client, channel: Any) -> None:
    for exchange in (COMMANDS, FACTS):
        await client.ask(channel, "exchange_declare", exchange=exchange, type="topic", durable=True)


async def command_queue(client: Client, channel: Any, topic: str) -> str:
    queue = f"cloudcore.{topic}"
    await client.ask(channel, "queue_declare", queue=queue, durable=True, auto_delete=True, arguments=QUEUE)
    await client.ask(channel, "queue_bind", queue=queue, exchange=COMMANDS, routing_key=topic)
    return queue


async def reader_queue(client: Client, channel: Any, topic: str) -> str:
    declared = await client.ask(channel, "queue_declare", queue="", exclusive=True, auto_delete=True, arguments=READER)
    await client.ask(channel, "queue_bind", queue=declared.queue, exchange=FACTS, routing_key=topic)
    return declared.queue


@dataclass(eq=False)
class Consumer:
    """One topic, served or read. `live` fires when messages can arrive for the first time."""

    topic: str
    declare: Declare
    arrived: Callable[[Client, Any, Delivery], None]
    prefetch: int
    live: Deferred[None] = field(default_factory=Deferred)
    channel: Any = None

    async def attach(self, client: Client) -> None:
        """Raises ChannelClosed where the broker refuses, Closed where it went away."""
        channel = self.channel = await client.open_channel()
        queue = await self.declare(client, channel, self.topic)
        await client.ask(channel, "basic_qos", prefetch_count=self.prefetch)
        client.consumers[channel.id, TAG.encode()] = lambda delivery: self.arrived(client, channel, delivery)
        await client.ask(channel, "basic_consume", queue=queue, consumer_tag=TAG)

    async def detach(self, client: Client) -> None:
        """No new messages; those that arrived may still be answered and acknowledged."""
        if self.channel and client.channels.get(self.channel.id) is self.channel:
            await client.ask(self.channel, "basic_cancel", consumer_tag=TAG)
