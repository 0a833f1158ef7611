"""Whose a request is, told by its head, and where one request ends and the next begins. Pure: front.py has the sockets.

The route only picks who verifies: whoever gets a request judges its signature as if it had come to him directly.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import parse_qsl

HEAD = 64 * 1024  # bytes of a request line and its headers; the api and the object store take no more either
SIZE_LINE = 1024
END = b"\r\n\r\n"
SCOPE = re.compile(rb"Credential=[^/,\s]*/[0-9]{8}/[^/,\s]*/([A-Za-z0-9-]+)/aws4_request")
QUERY_SCOPE = re.compile(r"[^/]*/[0-9]{8}/[^/]*/([A-Za-z0-9-]+)/aws4_request")
CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(;[^\r\n]*)?")


def is_for_s3(head: bytes) -> bool:
    """By the scope of its signature; without one, what names an action, or posts to `/`, is for the api."""
    line, _, rest = head.partition(b"\r\n")
    words = line.split(b" ")
    if len(words) != 3:
        return False
    path, _, query = words[1].partition(b"?")
    authorization = _header(rest, b"authorization")
    if authorization is not None:
        scope = SCOPE.search(authorization)
        return scope[1] == b"s3" if scope else authorization.startswith(b"AWS ")
    named = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    if "X-Amz-Credential" in named:
        found = QUERY_SCOPE.fullmatch(named["X-Amz-Credential"])
        return found is not None and found[1] == "s3"
    if "Action" in named or path == b"/healthz":
        return False
    return path != b"/" or words[0] != b"POST"


def _header(lines: bytes, name: bytes) -> bytes | None:
    for line in lines.split(b"\r\n"):
        key, colon, value = line.partition(b":")
        if colon and key.lower() == name:
            return value.strip()
    return None


class Requests:
    """Cuts a connection's bytes at the borders of requests. From a head that cannot be trusted with a length on,
    nothing is cut any more: whoever got it refuses it, and the connection ends with that."""

    def __init__(self) -> None:
        self._head = b""
        self._left = 0  # bytes of a body, or of a chunk with its end
        self._line: bytes | None = None  # of a chunked body, as far as it has come
        self._trailers = self._opaque = False

    @property
    def begun(self) -> bool:
        """Whether part of a head waits for its rest."""
        return bool(self._head)

    def feed(self, data: bytes) -> Iterator[tuple[bool, bytes]]:
        """(a head begins here, bytes), in order and without loss; a head comes whole."""
        while data:
            if self._opaque:
                yield False, data
                return
            if self._left:
                piece, data = data[: self._left], data[self._left :]
                self._left -= len(piece)
                yield False, piece
            elif self._line is not None:
                piece, data = self._of_chunks(data)
                yield False, piece
            else:
                whole, data = self._of_head(data)
                if whole:
                    yield True, whole

    def _of_head(self, data: bytes) -> tuple[bytes, bytes]:
        searched = max(0, len(self._head) - len(END))
        self._head = (self._head + data).lstrip(b"\r\n") if not self._head else self._head + data
        end = self._head.find(END, searched)
        if end < 0:
            if len(self._head) <= HEAD:
                return b"", b""
            self._opaque, whole, self._head = True, self._head, b""
            return whole, b""
        whole, data, self._head = self._head[: end + len(END)], self._head[end + len(END) :], b""
        self._frame(whole)
        return whole, data

    def _frame(self, head: bytes) -> None:
        lengths, codings = [], []
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                lengths.append(value.strip())
            elif name.lower().strip() in (b"transfer-encoding", b"content-length"):
                codings.append(value.strip().lower())
        if codings == [b"chunked"] and not lengths:
            self._line = b""
        elif codings or len(lengths) > 1 or not all(one.isdigit() and len(one) < 19 for one in lengths):
            self._opaque = True
        elif lengths:
            self._left = int(lengths[0])

    def _of_chunks(self, data: bytes) -> tuple[bytes, bytes]:
        """One line of a chunked body, or as much of it as there is."""
        before = self._line or b""
        end = (before + data).find(b"\r\n", max(0, len(before) - 1))
        if end < 0:
            self._line = before + data
            self._opaque = len(self._line) > SIZE_LINE
            return data, b""
        at = end + 2 - len(before)
        piece, data, line, self._line = data[:at], data[at:], (before + data)[:end], b""
        if self._trailers:
            self._line, self._trailers = (b"", True) if line else (None, False)
            return piece, data
        size = CHUNK.fullmatch(line)
        if size is None:
            self._opaque = True
        elif int(size[1], 16):
            self._left = int(size[1], 16) + 2
        else:
            self._trailers = True
        return piece, data
