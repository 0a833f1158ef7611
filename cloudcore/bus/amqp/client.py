"""txAMQP's client with its hot path rewritten: publish, deliver, ack, confirm, return, cancel, blocked.

Handshake and cold methods (declare, bind, consume, qos, close) stay txAMQP's. What changes: bodies are bytes, one
callback per message instead of about thirty Deferreds, one transport write per message, heartbeats that cost a counter,
limits on what the broker may send, back-pressure from the transport and from a blocking broker, and channels whose
failure reaches everybody who waits on them. `basic.get` would still go through txAMQP's guessing body decoder: consume.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

import txamqp.protocol
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from txamqp.client import ChannelClosed, Closed

from cloudcore.bus.amqp.flow import Pulse, Valve
from cloudcore.bus.amqp.tables import NO_PROPERTIES, U16, U64, decode_properties, short_string

FRAME_HEAD, CONTENT_HEAD = struct.Struct("!BHI"), struct.Struct("!HHQ")
METHOD_ID, TAG_AND_BITS = struct.Struct("!I"), struct.Struct("!QB")
METHOD, HEADER, BODY, HEARTBEAT, END = 1, 2, 3, 8, b"\xce"
CANCEL, PUBLISH, RETURN, DELIVER, ACK, NACK = (60 << 16 | n for n in (30, 40, 50, 60, 80, 120))
LOST = Closed("the connection to the broker is closed")
CLOSE_CHANNEL = struct.pack("!HHHBHH", 20, 40, 200, 0, 0, 0)
CLOSE_CHANNEL_OK = 20 << 16 | 41

FRAME_MAX = 131_072  # bytes of a frame: RabbitMQ's own default, and what we offer where it says 0, "no limit"
BODY_MAX = 1_048_576  # bytes of a body that we hold; the bus's own limit lies well below
SYNCHRONOUS = 10.0  # seconds for the broker to answer a declare, bind, consume; it answers in milliseconds


@dataclass(slots=True)
class Delivery:
    """One message. `consumer` is None where the broker returned it as unroutable; `oversize`: the body was dropped."""

    channel: int
    exchange: bytes
    routing_key: bytes
    consumer: bytes | None = None
    tag: int = 0
    redelivered: bool = False
    reply_code: int = 0
    properties: dict[str, Any] = field(default_factory=dict)
    body: bytes = b""
    oversize: bool = False
    size: int = 0
    chunks: list[bytes] = field(default_factory=list)


class ChannelTimeout(ChannelClosed):
    """The broker did not answer a synchronous method; its channel is gone, since a late answer would fit the next."""


class Client(txamqp.protocol.AMQClient):
    """`consumers` maps (channel, tag as bytes) to a function of one Delivery: fill it before `basic_consume`.

    `returned` hears unroutable messages; `channel_lost(number, reason)` and `cancelled(channel, tag)` tell that the
    broker ended a channel, or a consumer because its queue is gone.
    """

    log = Logger()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, heartbeat=0, **kwargs)
        self.MAX_LENGTH = FRAME_MAX
        self.consumers: dict[tuple[int, bytes], Callable[[Delivery], None]] = {}
        self.returned: Callable[[Delivery], None] = lambda delivery: None
        self.cancelled: Callable[[int, bytes], None] = lambda channel, tag: None
        self.channel_lost: Callable[[int, Exception], None] = lambda channel, reason: None
        self._rest = b""
        self._arriving: dict[int, Delivery] = {}
        self._confirms: dict[int, dict[int, Deferred[bool]]] = {}
        self._published: dict[int, int] = {}
        self._heads: dict[tuple[int, str, str, bool], bytes] = {}
        self._retired: set[int] = set()
        self.valve, self.pulse = Valve(), Pulse(self.clock)
        self._hot = {DELIVER: self._deliver, RETURN: self._return, CANCEL: self._cancel}
        self._hot |= {ACK: self._ack, NACK: self._nack}

    # life of the connection

    def connectionMade(self) -> None:
        super().connectionMade()
        self.transport.registerProducer(self.valve, True)

    def tuned(self, frame_max: int, heartbeat: float) -> None:
        """What both sides agreed on: bytes, and seconds between heartbeats, 0 for none."""
        self.MAX_LENGTH = frame_max
        self.pulse.start(heartbeat, self._send_heartbeat, self._presumed_dead)

    def _send_heartbeat(self) -> None:
        self.transport.write(FRAME_HEAD.pack(HEARTBEAT, 0, 0) + END)

    def _presumed_dead(self) -> None:
        self.log.warn("the broker has been silent for two heartbeats")
        self.transport.abortConnection()

    def do_close(self, reason: Any) -> None:
        self.pulse.stop()
        self.transport.unregisterProducer()
        super().do_close(reason)
        for number in list(self._confirms):
            self._fail_confirms(number, LOST)
        self.valve.fail(LOST)

    def farewell(self) -> Deferred[Any]:
        """Asks the broker to close; fires once it has read all that we sent."""
        arguments = {"reply_code": 200, "reply_text": "goodbye", "class_id": 0, "method_id": 0}
        return Deferred.fromCoroutine(self.ask(self.channels[0], "connection_close", **arguments))

    # channels

    async def open_channel(self) -> Any:
        """A new channel on the lowest free number; its methods go through `ask`."""
        number = next(n for n in range(1, 65_535) if n not in self.channels and n not in self._retired)
        channel = self.channelFactory(number, self.outgoing, self)
        self.channels[number] = channel
        await self.ask(channel, "channel_open")
        return channel

    async def ask(self, channel: Any, method: str, **arguments: Any) -> Any:
        """One synchronous method, within SYNCHRONOUS seconds. Raises ChannelClosed, ChannelTimeout, Closed."""
        expiry = self.clock.callLater(SYNCHRONOUS, self._unanswered, channel, method)
        try:
            return await getattr(channel, method)(**arguments)
        except Closed:
            raise channel.reason if isinstance(channel.reason, ChannelClosed) else LOST from None
        finally:
            if expiry.active():
                expiry.cancel()

    def _unanswered(self, channel: Any, method: str) -> None:
        """Its number rests until the broker has agreed to the close: the answer may still come."""
        self._retired.add(channel.id)
        self.transport.write(FRAME_HEAD.pack(METHOD, channel.id, len(CLOSE_CHANNEL)) + CLOSE_CHANNEL + END)
        self.close_channel(channel, ChannelTimeout(f"{method}: no answer within {SYNCHRONOUS:g} s"))

    def close_channel(self, channel: Any, reason: Exception) -> None:
        """Everybody who waits on the channel hears the reason, and its number is free (unless it rests)."""
        number = channel.id
        self.channels.pop(number, None)
        channel.close(reason)
        self._arriving.pop(number, None)
        self._published.pop(number, None)
        for key in [key for key in self.consumers if key[0] == number]:
            del self.consumers[key]
        self._fail_confirms(number, reason)
        self.channel_lost(number, reason)

    def _fail_confirms(self, number: int, reason: Exception) -> None:
        for waiting in self._confirms.pop(number, {}).values():
            waiting.errback(reason)

    # receiving

    def dataReceived(self, data: bytes) -> None:
        """Frames in, callbacks out. Whatever the bytes, the worst that happens is the end of this connection."""
        raw = self._rest + data if self._rest else data
        at, end = 0, len(raw)
        self.pulse.reads += 1
        try:
            while end - at >= 8:
                kind, channel, length = FRAME_HEAD.unpack_from(raw, at)
                if length > self.MAX_LENGTH:
                    raise ValueError(f"a frame of {length} bytes")  # noqa: TRY301
                stop = at + 7 + length
                if stop >= end:
                    break
                if raw[stop] != 206:
                    raise ValueError("a frame without its end mark")  # noqa: TRY301
                self._frame(kind, channel, raw, at, stop)
                at = stop + 1
        except (ValueError, LookupError, struct.error, RecursionError) as problem:
            at = end
            self._garbage(Failure(problem))
        finally:
            self._rest = raw[at:]

    def _garbage(self, failure: Failure) -> None:
        self.log.warn("the broker sent what is no AMQP: {problem!r}", problem=failure.value)
        self.transport.abortConnection()

    def _frame(self, kind: int, channel: int, raw: bytes, at: int, stop: int) -> None:
        arriving = self._arriving.get(channel)
        if kind == BODY and arriving:
            size = stop - at - 7
            if not arriving.oversize:
                arriving.chunks.append(raw[at + 7 : stop])
            arriving.size -= size
            if arriving.size <= 0:
                self._complete(channel, arriving)
        elif kind == HEADER and arriving:
            (arriving.size,) = U64.unpack_from(raw, at + 11)
            arriving.oversize = arriving.size > BODY_MAX
            arriving.properties = decode_properties(raw, at + 19)
            if not arriving.size:
                self._complete(channel, arriving)
        elif kind == METHOD and (handler := self._hot.get(METHOD_ID.unpack_from(raw, at + 7)[0])):
            handler(channel, raw, at + 11)
        elif kind == METHOD:
            self._cold(channel, raw[at : stop + 1])
        elif kind != HEARTBEAT and channel not in self._retired:
            raise ValueError(f"a frame of kind {kind} on channel {channel}, out of order")

    def _cold(self, channel: int, raw: bytes) -> None:
        """txAMQP makes a channel of any number it hears of; we only want those we opened."""
        if channel in self.channels or not channel:
            try:
                method = self._unpack_frame(raw)
            except Exception as problem:  # txAMQP's decoder raises whatever comes first
                raise ValueError(f"a method frame that cannot be read: {problem!r}") from None
            self.process_frame(method).addErrback(self._garbage)
        elif METHOD_ID.unpack_from(raw, 7)[0] == CLOSE_CHANNEL_OK:
            self._retired.discard(channel)

    def _deliver(self, channel: int, raw: bytes, at: int) -> None:
        at, consumer = at + 1 + raw[at], raw[at + 1 : at + 1 + raw[at]]
        tag, redelivered = TAG_AND_BITS.unpack_from(raw, at)
        at += 9
        at, exchange = at + 1 + raw[at], raw[at + 1 : at + 1 + raw[at]]
        routing_key = raw[at + 1 : at + 1 + raw[at]]
        self._arriving[channel] = Delivery(channel, exchange, routing_key, consumer, tag, bool(redelivered))

    def _return(self, channel: int, raw: bytes, at: int) -> None:
        (code,) = U16.unpack_from(raw, at)
        at += 3 + raw[at + 2]
        at, exchange = at + 1 + raw[at], raw[at + 1 : at + 1 + raw[at]]
        self._arriving[channel] = Delivery(channel, exchange, raw[at + 1 : at + 1 + raw[at]], reply_code=code)

    def _complete(self, channel: int, delivery: Delivery) -> None:
        del self._arriving[channel]
        delivery.body = delivery.chunks[0] if len(delivery.chunks) == 1 else b"".join(delivery.chunks)
        delivery.chunks.clear()
        if delivery.consumer is None:
            self.returned(delivery)
        elif consumer := self.consumers.get((channel, delivery.consumer)):
            consumer(delivery)

    def _ack(self, channel: int, raw: bytes, at: int) -> None:
        for waiting in self._settled(channel, *TAG_AND_BITS.unpack_from(raw, at)):
            waiting.callback(True)

    def _nack(self, channel: int, raw: bytes, at: int) -> None:
        for waiting in self._settled(channel, *TAG_AND_BITS.unpack_from(raw, at)):
            waiting.errback(Closed("the broker refused the message"))

    def _settled(self, channel: int, tag: int, multiple: int) -> list[Deferred[bool]]:
        waiting = self._confirms.get(channel, {})
        tags = list(takewhile(tag.__ge__, waiting)) if multiple & 1 else [tag]  # insertion order is ascending
        return [waiting.pop(known) for known in tags if known in waiting]

    def _cancel(self, channel: int, raw: bytes, at: int) -> None:
        tag = raw[at + 1 : at + 1 + raw[at]]
        self.consumers.pop((channel, tag), None)
        self.cancelled(channel, tag)

    # sending

    def send_frame(self, frame: Any) -> None:
        self.pulse.writes += 1
        txamqp.protocol.FrameReceiver.send_frame(self, frame)

    def publish(self, channel: int, route: tuple[str, str], body: bytes, properties: bytes = NO_PROPERTIES,
                mandatory: bool = False) -> None:  # fmt: skip
        """`route`: exchange and routing key. `properties`: from `encode_properties`."""
        head = self._heads.get((channel, *route, mandatory))
        if head is None:
            method = METHOD_ID.pack(PUBLISH) + b"\0\0" + short_string(route[0]) + short_string(route[1])
            method += b"\x01" if mandatory else b"\x00"
            head = FRAME_HEAD.pack(METHOD, channel, len(method)) + method + END
            if len(self._heads) >= 4096:  # reply addresses come and go
                self._heads.clear()
            self._heads[channel, *route, mandatory] = head
        size, limit = len(body), self.MAX_LENGTH - 8
        parts = [head, FRAME_HEAD.pack(HEADER, channel, 12 + len(properties)), CONTENT_HEAD.pack(60, 0, size)]
        parts += properties, END
        for start in range(0, size, limit):
            chunk = body if size <= limit else body[start : start + limit]
            parts += FRAME_HEAD.pack(BODY, channel, len(chunk)), chunk, END
        self.pulse.writes += 1
        self.transport.write(b"".join(parts))

    def publish_confirmed(self, channel: int, route: tuple[str, str], body: bytes,
                          properties: bytes = NO_PROPERTIES) -> Deferred[bool]:  # fmt: skip
        """Fires once the broker is responsible. `confirm_select` first; keep many in flight, never await one by one."""
        number = self._published[channel] = self._published.get(channel, 0) + 1
        waiting = self._confirms.setdefault(channel, {})[number] = Deferred()
        self.publish(channel, route, body, properties)
        return waiting

    def ack(self, channel: int, tag: int) -> None:
        self.pulse.writes += 1
        head = FRAME_HEAD.pack(METHOD, channel, 13) + METHOD_ID.pack(ACK)
        self.transport.write(head + TAG_AND_BITS.pack(tag, 0) + END)
