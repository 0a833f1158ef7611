"""The aws-chunked body: bytes in, payload out, no sockets.

    chunk    = hex-size [;chunk-signature=HEX] CRLF payload CRLF
    last     = 0 [;chunk-signature=HEX] CRLF *(name:value CRLF) CRLF

It comes with a Content-Length, or (boto3 over https) inside HTTP's own chunks, whose borders have nothing to do with
these. Trailers follow the size line of 0 at once; a signed one ends with x-amz-trailer-signature. After the last blank
line nothing may follow. Chunk signatures form a chain that begins with the request's own signature.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from typing import Protocol

from cloudcore.signing.heads import EMPTY_BODY
from cloudcore.signing.sigv4 import BadSignature, Claim, Kind

LINE = 4096  # bytes of one size or trailer line
TRAILERS = 16
TRAILER_SIGNATURE = "x-amz-trailer-signature"
HEX = frozenset(b"0123456789abcdefABCDEF")


class BadBody(Exception):
    """The body breaks its own rules, or is not as long as it said."""


class Chain(Protocol):
    """Judges each chunk, in order, and then the trailers. Raises BadSignature."""

    def chunk(self, signature: str, digest: bytes) -> None: ...

    def trailers(self, signature: str, canonical: bytes) -> None: ...


class SignatureChain:
    """STREAMING-AWS4-HMAC-SHA256-PAYLOAD: every signature covers the one before it."""

    def __init__(self, claim: Claim, secret: str) -> None:
        self._key, self._stamp, self._scope, self._previous = (
            claim.signing_key(secret), claim.stamp, claim.scope, claim.signature)

    def chunk(self, signature: str, digest: bytes) -> None:
        self._next("AWS4-HMAC-SHA256-PAYLOAD", signature, f"{EMPTY_BODY}\n{digest.hex()}")

    def trailers(self, signature: str, canonical: bytes) -> None:
        self._next("AWS4-HMAC-SHA256-TRAILER", signature, hashlib.sha256(canonical).hexdigest())

    def _next(self, kind: str, given: str, rest: str) -> None:
        to_sign = f"{kind}\n{self._stamp}\n{self._scope}\n{self._previous}\n{rest}"
        wanted = hmac.digest(self._key, to_sign.encode(), "sha256").hex()
        if not hmac.compare_digest(wanted.encode(), given.encode("utf-8", "replace")):
            raise BadSignature(Kind.WRONG, "The signature of a chunk or trailer does not match")
        self._previous = wanted


class AwsChunked:
    """`length` is X-Amz-Decoded-Content-Length. With a chain every chunk must be signed; `announced` are the names in
    the signed X-Amz-Trailer header, and only those may come, each once, none missing."""

    def __init__(self, length: int, chain: Chain | None = None, announced: frozenset[str] = frozenset()) -> None:
        self.trailers: dict[str, str] = {}
        self.done = False
        self._length, self._chain, self._announced = length, chain, announced
        self._pending = b""  # of a line that is not complete
        self._state = self._size_line
        self._left, self._signature, self._digest = 0, "", hashlib.sha256()
        self._trailer_signature = ""

    def feed(self, data: bytes | memoryview) -> Iterator[memoryview]:
        """Pieces of payload; they borrow from `data`, so copy what you keep. Raises BadBody, BadSignature.

        A signed piece is handed out before its chunk is judged: act on the body only after `close`.
        """
        view = memoryview(data)
        while view:
            if self.done:
                raise BadBody("bytes after the end")
            if self._state == self._payload:
                piece, view = view[: self._left], view[self._left :]
                self._left -= len(piece)
                if self._chain:
                    self._digest.update(piece)
                if not self._left:
                    self._state = self._payload_end
                yield piece
            else:
                view = self._line(view)

    def close(self) -> None:
        """The body has ended: raises BadBody unless it was whole."""
        if not self.done or self._length:
            raise BadBody("the body ended early")

    def _line(self, view: memoryview) -> memoryview:
        have = len(self._pending)
        taken = bytes(view[: LINE + 2 - have])
        line = self._pending + taken
        end = line.find(b"\r\n", max(0, have - 1))
        if end < 0:
            if len(line) >= LINE + 2:
                raise BadBody("line too long")
            self._pending = line
            return view[len(taken) :]
        self._pending = b""
        self._state(line[:end])
        return view[end + 2 - have :]

    def _size_line(self, line: bytes) -> None:
        size, _, extension = line.partition(b";")
        if not size or len(size) > 16 or not HEX.issuperset(size):
            raise BadBody("chunk size")
        name, _, value = extension.partition(b"=")
        self._signature = value.decode("ascii", "replace") if name == b"chunk-signature" else ""
        if self._chain and not self._signature:
            raise BadBody("unsigned chunk")
        self._left = int(size, 16)
        self._length -= self._left
        if self._length < 0:
            raise BadBody("longer than x-amz-decoded-content-length")
        if self._left:
            self._state = self._payload
        else:
            self._judge_chunk()
            self._state = self._trailer

    def _payload(self, line: bytes) -> None:
        raise AssertionError("payload has no lines")

    def _payload_end(self, line: bytes) -> None:
        if line:
            raise BadBody("chunk longer than its size")
        self._judge_chunk()
        self._state = self._size_line

    def _judge_chunk(self) -> None:
        if self._chain:
            self._chain.chunk(self._signature, self._digest.digest())
            self._digest = hashlib.sha256()

    def _trailer(self, line: bytes) -> None:
        if not line:
            self._judge_trailers()
            self.done = True
            return
        name, colon, value = (part.strip() for part in line.partition(b":"))
        known = name.lower().decode("latin-1")
        if known == TRAILER_SIGNATURE and not self._trailer_signature:
            self._trailer_signature = value.decode("ascii", "replace")
        elif not colon or known not in self._announced or known in self.trailers or len(self.trailers) == TRAILERS:
            raise BadBody("a trailer that X-Amz-Trailer does not announce, or one too many")
        else:
            self.trailers[known] = value.decode("latin-1")

    def _judge_trailers(self) -> None:
        if self.trailers.keys() != self._announced:
            raise BadBody("an announced trailer is missing")
        if self._chain and (self._announced or self._trailer_signature):
            canonical = "".join(f"{name}:{value}\n" for name, value in self.trailers.items())
            self._chain.trailers(self._trailer_signature, canonical.encode("latin-1"))
