"""What a connection may cost the store: how long a head may take, how many there may be, and who has to go."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from cloudcore.web.channel import HEAD_WITHIN
from objectstore.front import Factory


class Socket(StringTransport):
    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass


class Upload:
    """A sink that an admitted request writes to."""

    trouble, direct = None, None

    def write(self, data: bytes) -> None:
        pass


class Chain:
    """Admits what is for /mine, and takes its time over the rest."""

    async def admit(self, head: Any, flow: Any) -> Any:
        return Upload() if head.path.startswith("/mine") else await Deferred()


class Door:
    def __init__(self, connections: int = 10) -> None:
        self.clock = Clock()
        chain: Any = Chain()
        blobs: Any = None
        self.factory = Factory(chain, blobs, self.clock, self.clock.seconds, connections)

    def connection(self, data: bytes = b"") -> tuple[Any, Socket]:
        channel = self.factory.buildProtocol(None)
        socket = Socket()
        channel.makeConnection(socket)
        channel.dataReceived(data)
        return channel, socket


def upload(path: str) -> bytes:
    return f"PUT {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1".encode()


def test_s33_a_head_that_dribbles_is_ended_and_a_slow_body_is_not() -> None:
    door = Door()
    dribbling, its = door.connection(b"GET /b")
    body, own = door.connection(upload("/mine/k"))
    for _ in range(9):
        door.clock.advance(1)
        dribbling.dataReceived(b"x")
    assert not its.aborted
    door.clock.advance(HEAD_WITHIN - 9)
    body.dataReceived(b"2")
    door.clock.advance(HEAD_WITHIN)
    assert its.aborted and not own.aborted


def test_s33_one_connection_too_many_costs_the_oldest_that_was_not_admitted() -> None:
    door = Door(3)
    _, admitted = door.connection(upload("/mine/k"))
    _, judged = door.connection(upload("/other/k"))
    _, idle = door.connection()
    _, fourth = door.connection()
    assert (admitted.aborted, judged.aborted, idle.aborted, fourth.aborted) == (False, True, False, False)
    _, fifth = door.connection(upload("/mine/l"))
    assert (admitted.aborted, idle.aborted, fourth.aborted, fifth.aborted) == (False, True, False, False)
    assert len(door.factory.channels) == 3
