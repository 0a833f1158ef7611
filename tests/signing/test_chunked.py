"""The aws-chunked decoder: whatever the cuts, the payload comes out whole or not at all."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cloudcore.signing.chunked import AwsChunked, BadBody, SignatureChain
from cloudcore.signing.heads import EMPTY_BODY
from cloudcore.signing.sigv4 import BadSignature, Claim

CLAIM = Claim("KEY4", "20260101", "us-east-2", "s3", "20260101T000000Z", ("host",), "0" * 64, None)
SECRET = "wJalrXUtnFEMI"  # noqa: S105


def encode(pieces: list[bytes], trailers: dict[str, str] | None = None, signed: bool = False) -> bytes:
    """As an SDK writes it."""
    previous, out = CLAIM.signature, b""

    def extension(kind: str, rest: str) -> str:
        nonlocal previous
        to_sign = f"{kind}\n{CLAIM.stamp}\n{CLAIM.scope}\n{previous}\n{rest}"
        previous = hmac.digest(CLAIM.signing_key(SECRET), to_sign.encode(), "sha256").hex()
        return previous

    for piece in [*(piece for piece in pieces if piece), b""]:
        digest = hashlib.sha256(piece).hexdigest()
        mark = ";chunk-signature=" + extension("AWS4-HMAC-SHA256-PAYLOAD", f"{EMPTY_BODY}\n{digest}") if signed else ""
        out += f"{len(piece):x}{mark}\r\n".encode() + piece + (b"\r\n" if piece else b"")
    lines = [f"{name}:{value}" for name, value in (trailers or {}).items()]
    if signed and lines:
        canonical = "".join(line + "\n" for line in lines).encode()
        signature = extension("AWS4-HMAC-SHA256-TRAILER", hashlib.sha256(canonical).hexdigest())
        lines.append(f"x-amz-trailer-signature:{signature}")
    return out + "".join(line + "\r\n" for line in lines).encode() + b"\r\n"


def decode(body: bytes, length: int, cuts: list[int], signed: bool = False,
           announced: frozenset[str] = frozenset()) -> tuple[bytes, dict[str, str]]:
    decoder = AwsChunked(length, SignatureChain(CLAIM, SECRET) if signed else None, announced)
    edges = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    got = b"".join(bytes(piece) for at, end in zip(edges, edges[1:], strict=False)
                   for piece in decoder.feed(body[at:end]))
    decoder.close()
    return got, decoder.trailers


pieces = st.lists(st.binary(max_size=40), max_size=5)
cuts = st.lists(st.integers(0, 1000), max_size=8)
TRAILER = {"x-amz-checksum-crc32": "NhCmhg=="}


@given(pieces, cuts, st.booleans(), st.sampled_from([{}, TRAILER]))
def test_any_cut_yields_the_payload_and_the_trailers(
        parts: list[bytes], at: list[int], signed: bool, trailers: dict[str, str]) -> None:
    payload = b"".join(parts)
    body = encode(parts, trailers, signed)
    assert decode(body, len(payload), at, signed, frozenset(trailers)) == (payload, trailers)


@given(pieces, st.integers(0, 10_000), st.integers(1, 255), cuts)
def test_a_signed_body_with_one_changed_byte_never_passes_as_another(
        parts: list[bytes], where: int, flip: int, at: list[int]) -> None:
    payload, body = b"".join(parts), bytearray(encode(parts, TRAILER, signed=True))
    body[where % len(body)] ^= flip
    try:
        got = decode(bytes(body), len(payload), at, True, frozenset(TRAILER))
    except (BadBody, BadSignature):
        return
    assert got == (payload, TRAILER)  # a blank in a trailer or the case of a digit


@given(pieces, st.integers(1, 60), st.booleans())
def test_a_body_cut_short_is_refused(parts: list[bytes], lost: int, signed: bool) -> None:
    body = encode(parts, TRAILER, signed)
    with pytest.raises(BadBody):
        decode(body[: max(0, len(body) - lost)], len(b"".join(parts)), [], signed, frozenset(TRAILER))


@given(st.binary(max_size=200), cuts, st.booleans())
@example(b"0\r\n\r\n", [], False)
def test_garbage_never_does_more_than_refuse(body: bytes, at: list[int], signed: bool) -> None:
    try:
        got, _ = decode(body, 3, at, signed)
    except (BadBody, BadSignature):
        return
    assert len(got) == 3


@pytest.mark.parametrize("body", [
    b"3\r\nabc\r\n0\r\n\r\nmore", b"4\r\nabcd\r\n0\r\n\r\n", b"2\r\nab\r\n0\r\n\r\n", b"-3\r\nabc\r\n0\r\n\r\n",
    b"0x3\r\nabc\r\n0\r\n\r\n", b"3\r\nabcd\r\n0\r\n\r\n", b"3 \r\nabc\r\n0\r\n\r\n", b"3" * 17 + b"\r\n",
    b"3" * 5000, b"3\r\nabc\r\n0\r\nx-amz-checksum-crc32:a\r\n\r\n", b"3\r\nabc\r\n0\r\nno colon\r\n\r\n", b""])
def test_a_body_that_breaks_the_rules_is_refused(body: bytes) -> None:
    with pytest.raises(BadBody):
        decode(body, 3, [])


def test_an_announced_trailer_must_come_once() -> None:
    announced = frozenset(TRAILER)
    line = b"x-amz-checksum-crc32:NhCmhg==\r\n"
    assert decode(b"0\r\n" + line + b"\r\n", 0, [], announced=announced) == (b"", TRAILER)
    for body in (b"0\r\n\r\n", b"0\r\n" + line * 2 + b"\r\n"):
        with pytest.raises(BadBody):
            decode(body, 0, [], announced=announced)


def test_an_unsigned_chunk_or_trailer_in_a_signed_body_is_refused() -> None:
    with pytest.raises(BadBody):
        decode(encode([b"abc"]), 3, [], signed=True)
    whole = encode([b"abc"], TRAILER, signed=True)
    start = whole.index(b"x-amz-trailer-signature")
    with pytest.raises(BadSignature):
        decode(whole[:start] + b"\r\n", 3, [], signed=True, announced=frozenset(TRAILER))


def test_signed_chunks_may_not_change_places() -> None:
    body = encode([b"aa", b"bb"], signed=True)
    first, second = body.index(b"2;"), body.rindex(b"2;")
    swapped = body[second : second + (second - first)] + body[first:second] + body[2 * second - first :]
    with pytest.raises(BadSignature):
        decode(swapped, 4, [], signed=True)
