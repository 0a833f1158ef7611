"""What a connection may cost the api: how long a head may take, how many there may be, and who has to go."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from cloudcore.api.site import Reply
from cloudcore.api.transport import ApiFactory
from cloudcore.web.channel import HEAD_WITHIN


class Socket(StringTransport):
    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


class Answering:
    """An Api whose answers are still to come."""

    async def respond(self, *request: Any) -> Reply:
        return await Deferred()


class Door:
    def __init__(self, connections: int = 10) -> None:
        self.clock = Clock()
        self.factory = ApiFactory(Answering(), self.clock, connections)  # type: ignore[arg-type]
        self.factory.startFactory()

    def connection(self, data: bytes = b"") -> tuple[Any, Socket]:
        channel: Any = self.factory.buildProtocol(None)
        socket = Socket()
        channel.makeConnection(socket)
        channel.dataReceived(data)
        return channel, socket


HEAD = b"GET /?Action=X HTTP/1.1\r\nHost: a\r\n"


def test_s33_a_head_that_dribbles_is_ended_and_one_that_ends_in_time_is_not() -> None:
    door = Door()
    slow, its = door.connection(b"GET /?Action")
    for letter in range(9):
        door.clock.advance(1)
        slow.dataReceived(b"%d" % letter)
    assert not its.aborted
    door.clock.advance(HEAD_WITHIN - 9)
    assert its.aborted
    brisk, own = door.connection(HEAD[:9])
    door.clock.advance(5)
    brisk.dataReceived(HEAD[9:] + b"\r\n")
    door.clock.advance(HEAD_WITHIN)
    assert not own.aborted and brisk.busy


def test_s33_one_connection_too_many_costs_the_oldest_that_waits_and_none_that_is_answered() -> None:
    door = Door(3)
    _, answered = door.connection(HEAD + b"\r\n")
    _, idle = door.connection()
    _, begun = door.connection(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1")
    _, fourth = door.connection()
    assert (answered.aborted, idle.aborted, begun.aborted, fourth.aborted) == (False, True, False, False)
    _, fifth = door.connection(HEAD + b"\r\n")
    assert (answered.aborted, begun.aborted, fourth.aborted, fifth.aborted) == (False, True, False, False)
    assert len(door.factory.channels) == 3


def test_s29_a_folded_header_is_refused() -> None:
    _, socket = Door().connection(HEAD + b" x-amz-date: 1\r\n\r\n")
    assert socket.value().startswith(b"HTTP/1.1 400") and socket.disconnecting
