"""Requests by hand over a socket: what no client library would send."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from dataclasses import dataclass, replace

from cloudcore.signing.heads import EMPTY_BODY, UNSIGNED_PAYLOAD, Head, body_hash
from cloudcore.signing.signer import Signer, sign


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes
    closed: bool  # the server ended the connection after it

    @property
    def code(self) -> str:
        return self.body.partition(b"<Code>")[2].partition(b"</Code>")[0].decode()


class Wire:
    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.port = port
        self._data = b""

    def send(self, data: bytes) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # the answer tells why
            self._socket.sendall(data)

    def line_end(self, mark: bytes) -> bytes:
        while mark not in self._data:
            more = self._socket.recv(65536)
            if not more:
                raise EOFError(self._data)
            self._data += more
        found, _, self._data = self._data.partition(mark)
        return found

    def reply(self, method: str = "GET") -> Reply:
        lines = self.line_end(b"\r\n\r\n").decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        status, length = int(lines[0].split()[1]), int(headers.get("content-length", "0"))
        if method == "HEAD" or status in (100, 204, 304):
            length = 0
        while len(self._data) < length:
            more = self._socket.recv(65536)
            if not more:
                raise EOFError(f"{len(self._data)} of {length} bytes")
            self._data += more
        body, self._data = self._data[:length], self._data[length:]
        return Reply(status, headers, body, headers.get("connection") == "close")

    def at_end(self) -> bool:
        """The server closes without another byte."""
        try:
            return not self._data and self._socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def end(self) -> None:
        """Nothing more will be sent."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def drain(self) -> None:
        """Reads until the server closes."""
        with suppress(ConnectionResetError):
            while self._socket.recv(65536):
                pass

    def close(self) -> None:
        self._socket.close()


def keys(name: str) -> tuple[str, str]:
    """The access key and secret of one of the store's people."""
    return f"CCIA{name.upper():X<16}", f"secret-of-{name:x<30}"


def signer(name: str = "alice", region: str = "us-east-2") -> Signer:
    return Signer(*keys(name), region, "s3")


def head_of(method: str, target: str, port: int, **headers: str) -> Head:
    path, _, query = target.partition("?")
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Head(method, path, query, {"host": f"127.0.0.1:{port}", **named})


def signed(head: Head, payload: str | bytes = EMPTY_BODY, by: Signer | None = None, at: float | None = None) -> Head:
    announced = body_hash(payload) if isinstance(payload, bytes) else payload
    return replace(head, headers=sign(head, by or signer(), time.time() if at is None else at, announced))


def rendered(head: Head, more: bytes = b"") -> bytes:
    target = head.path + ("?" + head.query if head.query else "")
    lines = [f"{head.method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in head.headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n" + more + b"\r\n"


__all__ = ["UNSIGNED_PAYLOAD", "Reply", "Wire", "head_of", "keys", "rendered", "signed", "signer"]
