"""The loopback's own: its clock, its faults, and that nothing arrives in the turn in which it was sent."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import succeed
from twisted.internet.task import Clock

from cloudcore.bus.loopback import LoopbackBus
from cloudcore.rpc.faults import Disconnected, TimedOut


class Loop:
    def __init__(self, *delays: float) -> None:
        self.clock, self.heard, self.results = Clock(), [], []
        self.bus = LoopbackBus(self.clock, lambda topic: delays)
        self.bus.serve("topic", self.serve)
        self.bus.read("facts", self.heard.append)

    def serve(self, body: bytes) -> Any:
        self.heard.append(body)
        return succeed(b"%d" % len(self.heard))

    def command(self, timeout: float = 5) -> None:
        self.bus.command("topic", b"{}", timeout).addBoth(
            lambda result: self.results.append(getattr(result, "value", result))
        )


def test_nothing_arrives_in_the_same_turn() -> None:
    loop = Loop(0.0)
    loop.command()
    loop.bus.tell("facts", b"fact")
    assert not loop.heard
    loop.clock.advance(0)
    assert (loop.heard, loop.results) == ([b"{}", b"fact"], [b"1"])


def test_a_dropped_command_times_out() -> None:
    loop = Loop()
    loop.command()
    loop.clock.advance(5)
    assert type(loop.results[0]) is TimedOut
    assert not loop.heard


def test_a_doubled_command_is_executed_twice_and_answered_once() -> None:
    loop = Loop(0.0, 3.0)
    loop.command()
    loop.clock.advance(0)
    loop.clock.advance(3)
    assert (loop.heard, loop.results) == ([b"{}", b"{}"], [b"1"])


def test_a_command_that_comes_late_is_never_executed() -> None:
    loop = Loop(5.0, 6.0)
    loop.command(timeout=5)
    loop.clock.pump([1] * 7)
    assert type(loop.results[0]) is TimedOut
    assert not loop.heard


def test_a_stopped_bus_delivers_nothing_and_leaves_no_timer() -> None:
    loop = Loop(1.0)
    loop.command()
    loop.bus.tell("facts", b"fact")
    loop.bus.startService()
    loop.bus.stopService()
    loop.clock.advance(2)
    assert type(loop.results[0]) is Disconnected
    assert not loop.heard
    assert not loop.clock.getDelayedCalls()
