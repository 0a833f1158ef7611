"""What a body on its way out holds while its reader takes nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from awscrt.checksums import crc64nvme
from twisted.internet.defer import Deferred, maybeDeferred

from objectstore.blobs import MIB
from objectstore.index.model import Piece
from objectstore.transfer import Extent, FileBody, Push, SendFile, send_body


class Blobs:
    """Buffers that are counted; threads that answer at once."""

    lent = 0

    def borrow(self) -> memoryview:
        self.lent += 1
        return memoryview(bytearray(MIB))

    def give_back(self, buffer: memoryview) -> None:
        self.lent -= 1

    in_thread = staticmethod(maybeDeferred)


class Stalled:
    """A wire whose peer takes nothing until it is told to."""

    def __init__(self, takes_bytes: bool) -> None:
        self.takes_bytes = takes_bytes
        self.sent: list[int] = []
        self.held: list[memoryview] = []
        self.waiting: Deferred[None] | None = None

    def send(self, descriptor: int, offset: int, count: int, view: memoryview) -> Deferred[None]:
        self.sent.append(count)
        self.held.append(view)
        self.waiting = Deferred()
        return self.waiting

    def go_on(self) -> None:
        waiting, self.waiting = self.waiting, None
        if waiting:
            waiting.callback(None)

    def lost(self) -> None: ...


@pytest.mark.parametrize(("wire_class", "held"), [(SendFile, 0), (Push, 2)])
def test_s33_a_reader_that_takes_nothing_holds_no_more_than_its_wire_needs(
        tmp_path: Path, wire_class: type[SendFile] | type[Push], held: int) -> None:  # fmt: skip
    data = os.urandom(2 * MIB + 100)
    (tmp_path / "blob").write_bytes(data)
    crcs = b"".join(crc64nvme(data[at : at + MIB]).to_bytes(8, "big") for at in range(0, len(data), MIB))
    extent = Extent(Piece("blob", len(data), crcs), 10, len(data) - 10)
    body = FileBody([extent], os.open(tmp_path / "blob", os.O_RDONLY))
    blobs: Any = Blobs()
    wire = Stalled(wire_class.takes_bytes)
    done = Deferred.fromCoroutine(send_body(body, blobs, wire))
    assert blobs.lent == held
    assert sum(map(len, wire.held)) == (MIB - 10 if held else 0)
    for _ in range(3):
        wire.go_on()
    assert done.called and blobs.lent == 0
    assert wire.sent == [MIB - 10, MIB, 100]
