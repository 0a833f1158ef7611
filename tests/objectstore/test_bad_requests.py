"""What the door refuses, byte by byte; and that it still stands afterwards."""

from __future__ import annotations

import importlib.util
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import abstract, tcp
from twisted.web import http

from cloudcore.signing.heads import Head
from cloudcore.signing.signer import presign
from cloudcore.signing.sigv4 import read_claim
from tests.objectstore.wire import UNSIGNED_PAYLOAD, Reply, Wire, head_of, rendered, signed, signer

MIB = 1 << 20


@pytest.fixture
def wire(running: Any) -> Iterator[Wire]:
    made = Wire(running.http)
    yield made
    made.close()


def ask(wire: Wire, head: Head, body: bytes = b"", more: bytes = b"") -> Reply:
    wire.send(rendered(head, more) + body)
    return wire.reply(head.method)


def get(wire: Wire, target: str = "/", **headers: str) -> Head:
    return head_of("GET", target, wire.port, **headers)


def put(wire: Wire, bucket: str, body: bytes, **headers: str) -> Head:
    return head_of("PUT", f"/{bucket}/k", wire.port, content_length=str(len(body)), **headers)


def test_s04_every_way_to_sign_wrongly_has_its_answer(wire: Wire) -> None:
    now = time.time()
    assert ask(wire, get(wire)).code == "AccessDenied"
    wrong = replace(signer(), secret="another")  # noqa: S106
    assert ask(wire, signed(get(wire), by=wrong)).code == "SignatureDoesNotMatch"
    assert ask(wire, signed(get(wire), by=signer("unknown"))).code == "SignatureDoesNotMatch"
    assert ask(wire, signed(get(wire), at=now - 960)).code == "RequestTimeTooSkewed"
    assert ask(wire, signed(get(wire), at=now + 960)).code == "RequestTimeTooSkewed"
    assert ask(wire, signed(get(wire), by=signer(region="eu-west-9"))).code == "AuthorizationHeaderMalformed"
    assert ask(wire, signed(get(wire), by=replace(signer(), service="ec2"))).code == "InvalidRequest"
    other = replace(signed(get(wire)), query="prefix=x")
    assert ask(wire, other).code == "SignatureDoesNotMatch"
    unsigned = signed(get(wire))
    assert ask(wire, unsigned, more=b"x-amz-meta-a: b\r\n").code == "AccessDenied"
    assert ask(wire, unsigned, more=b"x-amz-date: 20200101T000000Z\r\n").code == "InvalidRequest"
    assert ask(wire, get(wire, authorization="AWS key:signature")).code == "InvalidRequest"
    assert ask(wire, get(wire, authorization="AWS4-HMAC-SHA256 nonsense")).code == "AuthorizationHeaderMalformed"
    assert ask(wire, signed(get(wire, x_amz_security_token="t"))).code == "InvalidToken"  # noqa: S106
    assert ask(wire, signed(get(wire))).status == 200


def test_a_presigned_url_expires_and_may_not_stream(wire: Wire, bucket: str) -> None:
    def url(at: float, **headers: str) -> Head:
        head = head_of("GET", f"/{bucket}", wire.port, **headers)
        path, _, query = presign(head, signer(), at, 60).partition("?")
        return replace(head, path=path, query=query)

    assert ask(wire, url(time.time())).status == 200
    assert ask(wire, url(time.time() - 61)).code == "AccessDenied"
    assert ask(wire, url(time.time() + 1000)).code == "RequestTimeTooSkewed"
    streaming = url(time.time(), x_amz_content_sha256="STREAMING-UNSIGNED-PAYLOAD-TRAILER")
    assert ask(wire, streaming).code == "InvalidRequest"
    assert ask(wire, replace(url(time.time()), method="DELETE")).code == "SignatureDoesNotMatch"


@pytest.mark.parametrize("size", [100, MIB])
def test_a_body_other_than_announced_is_refused_and_leaves_nothing(wire: Wire, bucket: str, size: int) -> None:
    body = b"x" * size
    head = put(wire, bucket, body)
    assert ask(wire, signed(head, b"another"), body).code == "XAmzContentSHA256Mismatch"
    assert ask(wire, signed(head, "UNSIGNED"), body).code == "InvalidRequest"
    assert ask(wire, signed(head, UNSIGNED_PAYLOAD), body).status == 200
    assert ask(wire, signed(head_of("DELETE", f"/{bucket}/k", wire.port))).status == 204
    two = put(wire, bucket, body, x_amz_checksum_crc32="AAAAAA==", x_amz_checksum_sha1="AAAA")
    assert ask(wire, signed(two, body), body).code == "InvalidRequest"
    assert ask(wire, signed(put(wire, bucket, body, x_amz_checksum_md4="AA"), body), body).code == "InvalidRequest"
    assert ask(wire, signed(head_of("GET", f"/{bucket}/k", wire.port))).code == "NoSuchKey"


def test_a_document_is_verified_before_it_is_read(wire: Wire, bucket: str) -> None:
    body = b"<Delete><Object><Key>k</Key></Object></Delete>"
    head = head_of("POST", f"/{bucket}?delete", wire.port, content_length=str(len(body)))
    assert ask(wire, signed(head, b"another"), body).code == "XAmzContentSHA256Mismatch"
    assert ask(wire, signed(head, UNSIGNED_PAYLOAD), body).code == "InvalidRequest"
    assert ask(wire, signed(head, body), body).status == 200


@pytest.mark.parametrize("body", [
    b"", b"<Delete>", b"<Other/>", b"<Delete/>", b"\xff\xfe", b"<Delete><Object><Key></Key></Object></Delete>",
    b"<Delete>" + b"<Object><Key>k</Key></Object>" * 1001 + b"</Delete>",
    b"<!DOCTYPE a [<!ENTITY b 'c'>]><Delete><Object><Key>&b;</Key></Object></Delete>",
    b"<Delete xmlns='http://example.org'><Object><Key>k</Key></Object></Delete>",
    b"<a>" * 1000 + b"</a>" * 1000])
def test_s13_bad_documents(wire: Wire, bucket: str, body: bytes) -> None:
    head = head_of("POST", f"/{bucket}?delete", wire.port, content_length=str(len(body)))
    assert ask(wire, signed(head, body), body).code == "MalformedXML"


def test_s31_a_document_has_a_limit(wire: Wire, bucket: str) -> None:
    head = head_of("POST", f"/{bucket}?delete", wire.port, content_length=str(2 * MIB + 1))
    reply = ask(wire, signed(head, UNSIGNED_PAYLOAD), b" " * (2 * MIB + 1))
    assert reply.code == "MaxMessageLengthExceeded"
    assert ask(wire, signed(get(wire))).status == 200  # the body was read: the connection still serves
    head = head_of("GET", f"/{bucket}", wire.port, content_length="1")
    assert ask(wire, signed(head, b"x"), b"x").code == "MaxMessageLengthExceeded"


def test_x4_a_refused_client_that_waits_for_the_100_never_gets_it(wire: Wire, bucket: str) -> None:
    body = b"x" * MIB
    reply = ask(wire, signed(put(wire, "no-such-bucket", body, expect="100-continue"), body))
    assert (reply.code, reply.closed) == ("NoSuchBucket", True)
    assert wire.at_end()


def test_x4_an_admitted_client_gets_its_100_first(wire: Wire, bucket: str) -> None:
    body = b"x" * MIB
    head = signed(put(wire, bucket, body, expect="100-continue"), body)
    assert ask(wire, head).status == 100
    wire.send(body)
    assert wire.reply().status == 200


def test_x19_after_a_refusal_a_short_body_is_read_and_a_long_one_ends_the_connection(wire: Wire) -> None:
    body = b"x" * 100_000
    assert ask(wire, signed(put(wire, "no-such-bucket", body), body), body).code == "NoSuchBucket"
    assert ask(wire, signed(get(wire))).status == 200
    long = head_of("PUT", "/no-such-bucket/k", wire.port, content_length=str(1 << 30))
    reply = ask(wire, signed(long, UNSIGNED_PAYLOAD))
    assert (reply.code, reply.closed) == ("NoSuchBucket", True)


def test_lengths(wire: Wire, bucket: str) -> None:
    no_length = head_of("PUT", f"/{bucket}/k", wire.port, transfer_encoding="chunked")
    assert ask(wire, signed(no_length, UNSIGNED_PAYLOAD), b"1\r\nx\r\n0\r\n\r\n").code == "MissingContentLength"
    huge = head_of("PUT", f"/{bucket}/k", wire.port, content_length=str((5 << 30) + 1))
    assert ask(Wire(wire.port), signed(huge, UNSIGNED_PAYLOAD)).code == "EntityTooLarge"


def test_s29_two_lengths_are_not_served(wire: Wire, bucket: str) -> None:
    head = signed(put(wire, bucket, b"abc"), b"abc")
    wire.send(rendered(head, b"Transfer-Encoding: chunked\r\n") + b"3\r\nabc\r\n0\r\n\r\n")
    assert wire.reply().status == 400
    assert wire.at_end()


def test_a_head_that_is_too_large_ends_the_connection_and_the_next_is_served(wire: Wire, running: Any) -> None:
    wire.send(b"GET / HTTP/1.1\r\nHost: h\r\nX-Long: " + b"x" * 20_000 + b"\r\n\r\n")
    assert wire.reply().status == 400
    many = Wire(running.http)
    many.send(b"GET / HTTP/1.1\r\nHost: h\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"x" * 10_000) for n in range(7)))
    assert many.reply().status == 400
    assert ask(Wire(running.http), get(wire, "/healthz")).body == b"ok\n"


def test_health_needs_no_signature_and_nothing_else_does_without(wire: Wire) -> None:
    assert ask(wire, get(wire, "/healthz")).body == b"ok\n"
    for head in (head_of("HEAD", "/healthz", wire.port), head_of("DELETE", "/healthz", wire.port),
                 get(wire, "/healthz?x=1"), get(wire, "/healthz/"), get(wire, "/x")):
        assert ask(wire, head).status == 403


@pytest.mark.parametrize(("method", "target", "code"), [
    ("PATCH", "/b/k", "MethodNotAllowed"), ("PUT", "/", "MethodNotAllowed"), ("GET", "/b/%ff", "InvalidURI"),
    ("GET", "/%c3%a9/k", "InvalidBucketName"), ("GET", "/b?max-keys=1&max-keys=2", "InvalidArgument"),
    ("POST", "/b", "NotImplemented"), ("GET", "/b/k?torrent", "NotImplemented"), ("PUT", "/b?versioning",
                                                                                 "NotImplemented")])
def test_what_has_no_route(wire: Wire, method: str, target: str, code: str) -> None:
    reply = ask(wire, signed(head_of(method, target, wire.port)))
    assert reply.code == code
    assert reply.headers["x-amz-request-id"] in reply.body.decode()


@pytest.mark.parametrize(("query", "code"), [
    ("max-keys=-1", "InvalidArgument"), ("max-keys=x", "InvalidArgument"), ("encoding-type=x", "InvalidArgument"),
    ("list-type=3", "InvalidArgument"), ("list-type=2&continuation-token=", "InvalidArgument"),
    ("list-type=2&continuation-token=AAAA", "InvalidArgument"), ("list-type=2&continuation-token=%ff%00",
                                                                "InvalidArgument")])
def test_bad_listings(wire: Wire, bucket: str, query: str, code: str) -> None:
    assert ask(wire, signed(get(wire, f"/{bucket}?{query}"))).code == code


def test_a_page_token_of_one_listing_does_not_open_another(as_user: Callable[..., Any], bucket: str) -> None:
    s3 = as_user()
    for key in ("a1", "a2", "b1"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    token = s3.list_objects_v2(Bucket=bucket, Prefix="a", MaxKeys=1)["NextContinuationToken"]
    assert [found["Key"] for found in s3.list_objects_v2(
        Bucket=bucket, Prefix="a", ContinuationToken=token)["Contents"]] == ["a2"]
    with pytest.raises(s3.exceptions.ClientError, match="InvalidArgument"):
        s3.list_objects_v2(Bucket=bucket, ContinuationToken=token)


def streaming(wire: Wire, bucket: str, size: int, kind: str, **headers: str) -> Head:
    head = head_of("PUT", f"/{bucket}/k", wire.port, x_amz_decoded_content_length=str(size),
                   content_encoding="aws-chunked", transfer_encoding="chunked", **headers)
    return signed(head, f"STREAMING-{kind}")


def in_http_chunks(data: bytes, size: int = 70_001) -> bytes:
    """HTTP's own chunks, whose borders have nothing to do with aws-chunked's."""
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def chunked_as_an_sdk(name: str = "alice") -> Callable[..., bytes]:
    """The encoder of the decoder's own tests, with another claim."""
    path = Path(__file__).parents[1] / "signing" / "test_chunked.py"
    spec = importlib.util.spec_from_file_location("chunks_as_an_sdk_writes_them", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def encode(head: Head, pieces: list[bytes], trailers: dict[str, str] | None = None) -> bytes:
        claim = read_claim(head)
        module.CLAIM, module.SECRET = claim, signer(name).secret
        return bytes(module.encode(pieces, trailers, signed=True))

    return encode


@pytest.mark.parametrize("size", [1000, 3 * MIB])
def test_x1_signed_chunks_are_verified(wire: Wire, bucket: str, size: int) -> None:
    encode, pieces = chunked_as_an_sdk(), [b"a" * (size // 2), b"b" * (size - size // 2)]
    plain = streaming(wire, bucket, size, "AWS4-HMAC-SHA256-PAYLOAD")
    body = encode(plain, pieces)
    for spoiled in (body.replace(b"b", b"c", 1), body.replace(b"chunk-signature=", b"chunk-signature=0", 1)):
        reply = ask(wire, plain, in_http_chunks(spoiled))
        assert (reply.status, reply.code) in ((403, "SignatureDoesNotMatch"), (400, "IncompleteBody"))
    assert ask(wire, signed(get(wire, f"/{bucket}/k"))).code == "NoSuchKey"
    assert ask(wire, plain, in_http_chunks(body)).status == 200
    got = ask(wire, signed(get(wire, f"/{bucket}/k")))
    assert got.body == b"".join(pieces)
    assert "content-encoding" not in got.headers
    trailer = {"x-amz-checksum-crc32": "NhCmhg=="}
    with_trailer = streaming(wire, bucket, 5, "AWS4-HMAC-SHA256-PAYLOAD-TRAILER", x_amz_trailer="x-amz-checksum-crc32")
    whole = encode(with_trailer, [b"hello"], trailer)
    assert ask(wire, with_trailer, in_http_chunks(whole)).status == 200
    wrong = encode(with_trailer, [b"hullo"], trailer)
    assert ask(wire, with_trailer, in_http_chunks(wrong)).code == "BadDigest"


@pytest.mark.parametrize("size", [1000, 3 * MIB])
def test_x5_signed_chunks_with_a_length_as_minio_clients_send_them(wire: Wire, bucket: str, size: int) -> None:
    pieces = [b"a" * (size // 2), b"b" * (size - size // 2)]
    framing = len(chunked_as_an_sdk()(signed(get(wire)), pieces))
    head = signed(head_of("PUT", f"/{bucket}/k", wire.port, x_amz_decoded_content_length=str(size),
                          content_encoding="aws-chunked", content_length=str(framing), expect="100-continue"),
                  "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", by=signer("slow"))
    assert ask(wire, head).status == 100
    wire.send(chunked_as_an_sdk("slow")(head, pieces))
    assert wire.reply().status == 200
    assert ask(wire, signed(get(wire, f"/{bucket}/k"))).body == b"".join(pieces)


def test_x19_a_body_that_turns_out_bad_is_not_read_for_ever(wire: Wire, bucket: str) -> None:
    size = 1 << 30
    head = streaming(wire, bucket, size, "UNSIGNED-PAYLOAD-TRAILER", x_amz_trailer="x-amz-checksum-crc32")
    wire.send(rendered(head) + b"3\r\nxx\n\r\n")
    for _ in range(10):
        wire.send(b"100000\r\n" + bytes(MIB) + b"\r\n")
    reply = wire.reply()
    assert (reply.code, reply.closed) == ("IncompleteBody", True)
    again = Wire(wire.port)
    assert ask(again, signed(get(again, f"/{bucket}/k"))).code == "NoSuchKey"


def test_an_unsigned_streaming_body_may_not_be_shorter_longer_or_without_its_trailer(wire: Wire, bucket: str) -> None:
    head = streaming(wire, bucket, 5, "UNSIGNED-PAYLOAD-TRAILER", x_amz_trailer="x-amz-checksum-crc32")
    end = b"0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n"
    for body in (b"4\r\nhell\r\n" + end, b"6\r\nhello!\r\n" + end, b"5\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n",
                 b"5\r\nhello\r\n0\r\nx-amz-meta-a:b\r\n\r\n"):
        assert ask(wire, head, in_http_chunks(body)).code == "IncompleteBody"
    assert ask(wire, head, in_http_chunks(b"5\r\nhello\r\n" + end, size=3)).status == 200
    two = streaming(wire, bucket, 5, "UNSIGNED-PAYLOAD-TRAILER", x_amz_trailer="x-amz-checksum-crc32,x-amz-meta-a")
    assert ask(wire, two, in_http_chunks(b"5\r\nhello\r\n" + end)).code == "InvalidRequest"


def test_head_errors_and_304_have_no_body(wire: Wire, bucket: str) -> None:
    assert ask(wire, signed(head_of("HEAD", f"/{bucket}/none", wire.port))).status == 404
    ask(wire, signed(put(wire, bucket, b"x"), b"x"), b"x")
    etag = ask(wire, signed(head_of("HEAD", f"/{bucket}/k", wire.port))).headers["etag"]
    same = ask(wire, signed(get(wire, f"/{bucket}/k", if_none_match=etag)))
    assert (same.status, same.headers["etag"]) == (304, etag)
    assert ask(wire, signed(get(wire, f"/{bucket}/k"))).body == b"x"


def test_a_bucket_may_stand_in_the_host(wire: Wire, bucket: str) -> None:
    ask(wire, signed(put(wire, bucket, b"x"), b"x"), b"x")
    head = Head("GET", "/k", "", {"host": f"{bucket}.s3.example.org:3333"})
    assert ask(wire, signed(head)).body == b"x"
    assert ask(wire, signed(replace(head, path="/"))).body.count(b"<Key>") == 1


@pytest.mark.parametrize("size", [0, 100, 3 * MIB])
def test_a_body_that_comes_before_the_judgement_is_kept(wire: Wire, bucket: str, size: int) -> None:
    body = b"x" * size
    head = signed(put(wire, bucket, body), body, by=signer("slow"))
    wire.send(rendered(head) + body + rendered(signed(get(wire, f"/{bucket}/k"), by=signer("slow"))))
    assert wire.reply().status == 200
    assert wire.reply().body == body
    wrong = signed(put(wire, bucket, body), b"other", by=signer("slow"))
    assert ask(wire, wrong, body).code == "XAmzContentSHA256Mismatch"


def test_a_client_that_leaves_while_it_is_judged_leaves_nothing(wire: Wire, bucket: str) -> None:
    for size in (0, 100, MIB):
        gone = Wire(wire.port)
        body = b"x" * size
        gone.send(rendered(signed(put(gone, bucket, body), UNSIGNED_PAYLOAD, by=signer("slow"))) + body[:-1])
        gone.close()
    time.sleep(0.3)
    assert ask(wire, signed(get(wire, f"/{bucket}/k"))).status in (200, 404)


def test_s30_noise_of_any_kind_gets_an_answer_or_an_end_and_the_store_stands(running: Any, bucket: str) -> None:
    chance = random.Random(7)  # noqa: S311
    good = [rendered(signed(put(Wire(running.http), bucket, b"abc"), b"abc")) + b"abc",
            rendered(signed(head_of("GET", f"/{bucket}?list-type=2&prefix=a", running.http))),
            rendered(signed(head_of("POST", f"/{bucket}/k?uploads", running.http)))]
    for number in range(150):
        noise = bytearray(chance.choice(good))
        for _ in range(chance.randint(1, 6)):
            at, spoil = chance.randrange(len(noise)), [b"\0", b"\xff", b"\r\n", b"%", b"/", b":", b" ", b"9"]
            noise[at : at + chance.randint(0, 3)] = chance.choice(spoil)
        noisy = Wire(running.http)
        noisy.send(bytes(noise))
        if number % 3 == 0:
            noisy.end()
            noisy.drain()
        noisy.close()
    assert ask(Wire(running.http), get(Wire(running.http), "/healthz")).body == b"ok\n"
    assert running.process.poll() is None


def test_what_the_front_takes_from_twisted_is_still_there(running: Any) -> None:
    """Private names: a new release of Twisted may change them."""
    assert hasattr(http._IdentityTransferDecoder(1, bytes, bytes), "contentLength")
    descriptor = abstract.FileDescriptor(reactor=object())
    assert {"_tempDataBuffer", "dataBuffer", "doWrite", "startWriting"} <= {*dir(tcp.Connection), *vars(descriptor)}
    assert {"_respondToBadRequestAndDisconnect", "allHeadersReceived", "_command"} <= {
        *dir(http.HTTPChannel), *http.HTTPChannel.allHeadersReceived.__code__.co_names,
        *http.HTTPChannel.allContentReceived.__code__.co_names}


def test_two_requests_in_one_packet_are_answered_in_order(wire: Wire, bucket: str) -> None:
    first, second = signed(put(wire, bucket, b"one"), b"one"), signed(get(wire, f"/{bucket}/k"))
    wire.send(rendered(first) + b"one" + rendered(second))
    assert wire.reply().status == 200
    assert wire.reply().body == b"one"




def test_s29_a_folded_header_is_refused(wire: Wire) -> None:
    wire.send(rendered(signed(get(wire)), b"x-other: a\r\n b\r\n"))
    assert wire.reply().status == 400
    assert wire.at_end()


@pytest.mark.parametrize("encoding", ["aws-chunked", "gzip, aws-chunked", "gzip,aws-chunked"])
def test_a_body_that_says_aws_chunked_is_not_stored_with_its_frames(wire: Wire, bucket: str, encoding: str) -> None:
    body = b"1\r\nx\r\n0\r\n\r\n"
    head = signed(put(wire, bucket, body, content_encoding=encoding), UNSIGNED_PAYLOAD)
    assert ask(wire, head, body).code == "InvalidRequest"
