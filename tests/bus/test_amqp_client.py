"""The AMQP client on a transport in memory: tables by property, any bytes by fuzzing, channels, confirms, flow."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from txamqp.client import ChannelClosed, Closed

from cloudcore.bus.amqp import client as wire
from cloudcore.bus.amqp.client import BODY_MAX, FRAME_MAX, Client, Delivery
from cloudcore.bus.amqp.delegate import Delegate
from cloudcore.bus.amqp.flow import Pulse, Valve
from cloudcore.bus.amqp.specification import load_spec
from cloudcore.bus.amqp.tables import decode_properties, decode_table, encode_properties, encode_table

SPEC = load_spec()
SHORT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | SHORT | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(SHORT, inner, max_size=4), max_leaves=12,
)  # fmt: skip


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    return struct.pack("!BHI", kind, channel, len(payload)) + payload + b"\xce"


def method(channel: int, major: int, minor: int, arguments: bytes = b"") -> bytes:
    return frame(1, channel, struct.pack("!HH", major, minor) + arguments)


def deliver(channel: int, body: bytes, size: int | None = None) -> bytes:
    head = method(channel, 60, 60, b"\x01c" + struct.pack("!QB", 7, 0) + b"\x01x\x01k")
    header = frame(2, channel, struct.pack("!HHQ", 60, 0, len(body) if size is None else size) + encode_properties())
    return head + header + (frame(3, channel, body) if body else b"")


TUNE = method(0, 10, 30, struct.pack("!HIH", 2047, 0, 60))


class Connected:
    """A client that has opened channel 1 and consumes on it."""

    def __init__(self, heartbeat: int = 0) -> None:
        self.clock, self.heard, self.lost = Clock(), list[Delivery](), list[tuple[int, Exception]]()
        self.client = Client(Delegate(heartbeat), vhost="/", spec=SPEC, clock=self.clock)
        self.transport = Transport()
        self.client.response, self.client.mechanism, self.client.locale = "", "PLAIN", "en_US"
        self.client.makeConnection(self.transport)
        self.client.dataReceived(TUNE)
        self.channel = self.open()
        self.client.consumers[1, b"c"] = self.heard.append
        self.client.channel_lost = lambda number, reason: self.lost.append((number, reason))
        self.transport.clear()

    def open(self) -> Any:
        opening = Deferred.fromCoroutine(self.client.open_channel())
        number = max(self.client.channels)
        self.client.dataReceived(method(number, 20, 11, struct.pack("!I", 0)))
        return opening.result

    def ask(self, name: str, **arguments: Any) -> list[Any]:
        results: list[Any] = []
        Deferred.fromCoroutine(self.client.ask(self.channel, name, **arguments)).addBoth(
            lambda result: results.append(getattr(result, "value", result))
        )
        return results


class Transport(StringTransport):
    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


@given(st.dictionaries(SHORT, VALUES, max_size=5))
def test_tables_come_back_as_they_were(table: dict[str, Any]) -> None:
    raw = encode_table(table)
    assert decode_table(raw, 0) == (table, len(raw))


@given(st.fixed_dictionaries({}, optional={
    "content_type": SHORT, "headers": st.dictionaries(SHORT, VALUES, max_size=3), "delivery_mode": st.integers(0, 255),
    "correlation_id": SHORT, "reply_to": SHORT, "expiration": SHORT, "timestamp": st.integers(0, 2**64 - 1),
    "type": SHORT,
}))  # fmt: skip
def test_properties_come_back_as_they_were(properties: dict[str, Any]) -> None:
    assert decode_properties(encode_properties(**properties), 0) == properties


def test_an_unknown_property_is_refused() -> None:
    with pytest.raises(TypeError, match="colour"):
        encode_properties(colour="red")


FRAMES = st.builds(frame, st.integers(0, 9), st.integers(0, 2), st.binary(max_size=60)) | st.builds(
    method, st.integers(0, 2), st.sampled_from([10, 20, 40, 50, 60, 85]), st.integers(0, 130), st.binary(max_size=40)
)


@given(st.lists(FRAMES | st.binary(max_size=40) | st.just(deliver(1, b"body")), max_size=8), st.integers(1, 50))
def test_any_bytes_end_at_most_the_connection(pieces: list[bytes], step: int) -> None:
    connected = Connected()
    raw = b"".join(pieces)
    for at in range(0, len(raw), step):
        if connected.transport.aborted or connected.transport.disconnecting:
            break
        connected.client.dataReceived(raw[at : at + step])
    connected.client.connectionLost(None)


@given(st.lists(st.binary(max_size=400), min_size=1, max_size=5), st.integers(1, 64))
def test_messages_arrive_whole_however_the_bytes_are_cut(bodies: list[bytes], step: int) -> None:
    connected = Connected()
    raw = b"".join(deliver(1, body) for body in bodies)
    for at in range(0, len(raw), step):
        connected.client.dataReceived(raw[at : at + step])
    assert [delivery.body for delivery in connected.heard] == bodies


@pytest.mark.parametrize("raw", [
    b"HTTP/1.1 400 Bad Request\r\n\r\n", struct.pack("!BHI", 1, 0, FRAME_MAX + 1) + b"x", frame(3, 1, b"body"),
    frame(1, 1, b""), frame(9, 0, b""), method(0, 99, 99), frame(2, 1, b"")[:-1] + b"x",
])  # fmt: skip
def test_what_is_no_amqp_ends_the_connection(raw: bytes) -> None:
    connected = Connected()
    connected.client.dataReceived(raw)
    assert connected.transport.aborted


def test_a_body_beyond_the_limit_is_not_kept() -> None:
    connected = Connected()
    size = BODY_MAX + 1
    connected.client.dataReceived(deliver(1, b"", size))
    for start in range(0, size, 100_000):
        connected.client.dataReceived(frame(3, 1, bytes(min(100_000, size - start))))
    assert [(delivery.oversize, delivery.body) for delivery in connected.heard] == [(True, b"")]
    connected.client.dataReceived(deliver(1, b"next"))
    assert connected.heard[1].body == b"next"


def test_a_large_body_is_cut_into_frames() -> None:
    connected = Connected()
    connected.client.publish(1, ("x", "k"), bytes(300_000))
    sent = connected.transport.value()
    kinds, at = [], 0
    while at < len(sent):
        kind, _, length = struct.unpack_from("!BHI", sent, at)
        assert length <= FRAME_MAX - 8
        kinds.append(kind)
        at += 8 + length
    assert kinds == [1, 2, 3, 3, 3]


def test_the_failure_of_a_channel_reaches_everybody_who_waits_on_it() -> None:
    connected = Connected()
    waiting = connected.ask("queue_declare", queue="q")
    confirm = connected.client.publish_confirmed(1, ("x", "k"), b"body")
    refused: list[Any] = []
    confirm.addErrback(refused.append)
    text = b"\x09not found"
    connected.client.dataReceived(method(1, 20, 40, struct.pack("!H", 404) + text[:1] + text[1:] + bytes(4)))
    assert isinstance(waiting[0], ChannelClosed)
    assert "404" in str(waiting[0])
    assert refused[0].check(ChannelClosed)
    assert connected.lost[0][0] == 1
    assert connected.open().id == 1
    assert not connected.transport.aborted


def test_a_synchronous_call_without_answer_closes_its_channel_until_the_broker_agrees() -> None:
    connected = Connected()
    waiting = connected.ask("queue_declare", queue="q")
    connected.transport.clear()
    connected.clock.advance(wire.SYNCHRONOUS)
    assert isinstance(waiting[0], wire.ChannelTimeout)
    assert connected.transport.value() == frame(1, 1, wire.CLOSE_CHANNEL)
    connected.client.dataReceived(method(1, 50, 11, b"\x01q" + bytes(8)) + deliver(1, b"late"))
    assert not connected.heard
    assert connected.open().id == 2
    connected.client.dataReceived(method(1, 20, 41))
    assert 1 not in connected.client._retired


def test_confirms_fire_one_by_one_and_in_bulk() -> None:
    connected, fired = Connected(), []
    for number in range(1, 5):
        waiting = connected.client.publish_confirmed(1, ("x", "k"), b"")
        waiting.addBoth(lambda result, number=number: fired.append((number, result is True)))
    connected.client.dataReceived(method(1, 60, 80, struct.pack("!QB", 3, 0)))
    connected.client.dataReceived(method(1, 60, 80, struct.pack("!QB", 2, 1)))
    connected.client.dataReceived(method(1, 60, 120, struct.pack("!QB", 4, 0)))
    assert fired == [(3, True), (1, True), (2, True), (4, False)]


def test_a_lost_connection_fails_whatever_waits() -> None:
    connected, failures = Connected(), []
    connected.client.publish_confirmed(1, ("x", "k"), b"").addErrback(failures.append)
    connected.client.valve.close("broker")
    connected.client.valve.passage().addErrback(failures.append)
    waiting = connected.ask("queue_declare", queue="q")
    connected.client.connectionLost(None)
    assert all(failure.check(Closed) for failure in failures)
    assert len(failures) == 2
    assert isinstance(waiting[0], Closed)
    assert not connected.clock.getDelayedCalls()


def test_a_frame_max_of_zero_means_ours_and_a_smaller_one_holds() -> None:
    connected = Connected()
    assert connected.client.MAX_LENGTH == FRAME_MAX
    small = Client(Delegate(0), vhost="/", spec=SPEC, clock=Clock())
    small.makeConnection(Transport())
    small.dataReceived(method(0, 10, 30, struct.pack("!HIH", 0, 4096, 0)))
    assert small.MAX_LENGTH == 4096


def test_a_blocking_broker_closes_the_valve() -> None:
    connected, passed = Connected(), []
    connected.client.dataReceived(method(0, 10, 60, b"\x03low"))
    connected.client.valve.passage().addCallback(passed.append)
    assert not passed
    connected.client.dataReceived(method(0, 10, 61))
    assert passed == [None]


def test_the_valve_opens_when_no_cause_is_left_and_first_come_go_first() -> None:
    valve, passed = Valve(), []
    valve.pauseProducing()
    valve.close("broker")
    for name in "abc":
        valve.passage().addCallback(lambda _, name=name: passed.append(name))
    forgotten = valve.passage()
    forgotten.addErrback(lambda failure: None)
    forgotten.cancel()
    valve.resumeProducing()
    assert not passed
    valve.open("broker")
    assert passed == ["a", "b", "c"]


def test_a_silent_peer_is_dead_after_two_intervals_and_silence_of_ours_is_broken() -> None:
    clock, events = Clock(), []
    pulse = Pulse(clock)
    pulse.start(10, lambda: events.append("beat"), lambda: events.append("dead"))
    for _ in range(4):
        pulse.reads += 1
        clock.advance(5)
    assert events == ["beat"] * 4
    for _ in range(4):
        pulse.writes += 1
        clock.advance(5)
    assert events == ["beat"] * 4 + ["dead"]
    assert not clock.getDelayedCalls()


def test_a_process_that_slept_does_not_take_its_peer_for_dead() -> None:
    clock, events = Clock(), []
    pulse = Pulse(clock)
    pulse.start(10, lambda: None, lambda: events.append("dead"))
    clock.advance(3600)
    assert not events
