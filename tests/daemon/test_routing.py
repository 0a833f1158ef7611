"""Whose a request is, and where it ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudcore.daemon.routing import HEAD, Requests, is_for_s3

SCOPE = "AKIA/20260101/us-east-2/{}/aws4_request"


def head(line: str, **headers: str) -> bytes:
    lines = [f"{line} HTTP/1.1", "Host: cloud:8773", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def signed(service: str) -> str:
    return f"AWS4-HMAC-SHA256 Credential={SCOPE.format(service)}, SignedHeaders=host, Signature=00"


CASES = [  # what, for S3?
    (head("POST /", Authorization=signed("ec2")), False),
    (head("POST /", Authorization=signed("sts")), False),
    (head("POST /", authorization=signed("iam")), False),
    (head("POST /", Authorization=signed("ssm")), False),
    (head("GET /", Authorization=signed("s3")), True),
    (head("PUT /bucket/key?partNumber=1", AUTHORIZATION=signed("s3")), True),
    (head("POST /bucket?delete", Authorization=signed("s3")), True),
    (head("GET /bucket", Authorization="AWS AKIA:c2lnbmF0dXJl"), True),
    (head("GET /bucket", Authorization="Basic YTpi"), False),
    (head("GET /bucket", Authorization="AWS4-HMAC-SHA256 nonsense"), False),
    (head("GET /?Action=DescribeInstances&Version=2016-11-15"), False),
    (head(f"GET /?Action=GetCallerIdentity&X-Amz-Credential={SCOPE.format('sts').replace('/', '%2F')}"), False),
    (head(f"GET /b/k?X-Amz-Credential={SCOPE.format('s3').replace('/', '%2F')}&X-Amz-Expires=60"), True),
    (head(f"GET /b/k?X-Amz-Credential={SCOPE.format('ec2')}"), False),
    (head("GET /b/k?AWSAccessKeyId=AKIA&Signature=x&Expires=1"), True),
    (head("POST /"), False),
    (head("POST /bucket"), True),
    (head("GET /bucket/public"), True),
    (head("GET /healthz"), False),
    (b"nonsense\r\n\r\n", False),
    (b"\r\n\r\n", False),
]


@pytest.mark.parametrize(("what", "s3"), CASES)
def test_a_request_goes_to_whom_its_signature_names(what: bytes, s3: bool) -> None:
    assert is_for_s3(what) is s3


PLAIN = head("POST /", **{"Content-Length": "5"})
CHUNKED = head("PUT /b/k", **{"Transfer-Encoding": "chunked"})
BARE = head("GET /b/k")
STREAM = (PLAIN + b"a=b\r\n" + CHUNKED + b"4;x=y\r\nGET \r\n0B\r\nhello\r\nhead\r\n0\r\nTrailer: x\r\n\r\n" + BARE
          + b"\r\n" + BARE + CHUNKED + b"0\r\n\r\n" + PLAIN + b"12345")  # fmt: skip
HEADS = [PLAIN, CHUNKED, BARE, BARE, CHUNKED, PLAIN]


def cut(pieces: list[bytes]) -> tuple[list[bytes], bytes]:
    """(heads, everything) of what the pieces are cut into."""
    requests, heads, whole = Requests(), [], b""
    for piece in pieces:
        for begins, data in requests.feed(piece):
            assert data
            whole += data
            heads += [data] if begins else []
    return heads, whole


@given(st.lists(st.integers(0, len(STREAM)), max_size=30))
def test_requests_are_found_however_the_bytes_arrive_and_none_is_lost(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    heads, whole = cut([STREAM[one:other] for one, other in zip(edges, edges[1:], strict=False)])
    assert heads == HEADS
    assert whole == STREAM.replace(BARE + b"\r\n" + BARE, BARE + BARE)  # blank lines between requests mean nothing


def test_byte_by_byte() -> None:
    assert cut([bytes([one]) for one in STREAM])[0] == HEADS


@pytest.mark.parametrize("headers", [
    {"Content-Length": "5", "Transfer-Encoding": "chunked"}, {"Content-Length": "-1"}, {"Content-Length": "five"},
    {"Content-Length": "5", "content-length": "6"}, {"Transfer-Encoding": "gzip"}, {"Content-Length ": "5"},
    {"Content-Length": "1" * 20}])  # fmt: skip
def test_after_a_length_that_cannot_be_trusted_nothing_is_cut(headers: dict[str, str]) -> None:
    first = head("POST /b/k", **headers)
    heads, whole = cut([first + b"hello" + BARE, BARE])
    assert heads == [first]
    assert whole == first + b"hello" + BARE + BARE


def test_nor_after_a_chunk_that_is_none() -> None:
    heads, _ = cut([CHUNKED + b"xyz\r\n" + BARE])
    assert heads == [CHUNKED]
    heads, _ = cut([CHUNKED, b"1" * 3000, BARE])
    assert heads == [CHUNKED]


def test_a_head_without_end_is_passed_on_to_be_refused() -> None:
    requests = Requests()
    found = [piece for _ in range(3) for piece in requests.feed(b"x" * (HEAD // 2))]
    assert [begins for begins, _ in found] == [True]
    assert not requests.begun
