"""Ranges, conditions, checksums, names, documents and tokens, by value and by property."""

from __future__ import annotations

import base64
import time
import zlib
from contextlib import suppress
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from objectstore.checksums import ALGORITHMS, b64, composite, joined, read_b64
from objectstore.conditions import ALWAYS, Conditions, etags, judge_copy_source, judge_read, judge_write, moment
from objectstore.documents import NAMESPACE, document, error_document, group, parse_xml, tag
from objectstore.headers import kept_headers, overridden
from objectstore.index.model import Piece
from objectstore.listing import Shown, seal, unseal
from objectstore.names import split_path, valid_bucket
from objectstore.ranges import read_range
from objectstore.refusals import STATUS, Refused
from objectstore.transfer import cut


def refusal(call: object, *arguments: object) -> str:
    with pytest.raises(Refused) as raised:
        call(*arguments)  # type: ignore[operator]
    return raised.value.code


@pytest.mark.parametrize(("header", "total", "wanted"), [
    ("bytes=0-0", 10, (0, 1)), ("bytes=5-", 10, (5, 5)), ("bytes=-3", 10, (7, 3)), ("bytes=-30", 10, (0, 10)),
    ("bytes=3-100", 10, (3, 7)), ("bytes=5-4", 10, None), ("bytes=-", 10, None), ("bytes=a-b", 10, None),
    ("bytes=0-1,3-4", 10, None), ("items=0-1", 10, None), (None, 10, None), ("bytes=0-" + "9" * 30, 10, None)])
def test_a_range_names_bytes_or_the_whole(header: str | None, total: int, wanted: tuple[int, int] | None) -> None:
    span = read_range(header, total)
    assert (span and (span.offset, span.count)) == wanted


@pytest.mark.parametrize(("header", "total"), [("bytes=10-", 10), ("bytes=-0", 10), ("bytes=0-", 0), ("bytes=-1", 0)])
def test_a_range_outside_is_refused(header: str, total: int) -> None:
    assert refusal(read_range, header, total) == "InvalidRange"


@given(st.lists(st.integers(0, 20), max_size=6), st.integers(0, 130), st.integers(0, 130))
def test_extents_cover_just_the_bytes_wanted(sizes: list[int], offset: int, count: int) -> None:
    whole = bytes(range(sum(sizes)))
    starts = [sum(sizes[:number]) for number in range(len(sizes))]
    pieces = [Piece(str(number), size) for number, size in enumerate(sizes)]
    got = b"".join(whole[starts[int(extent.piece.blob)] + extent.offset :][: extent.count]
                   for extent in cut(pieces, offset, count))
    assert got == whole[offset : offset + count]


def test_an_etag_condition_outranks_its_date() -> None:
    judge_read(Conditions(match=frozenset({"e"}), unmodified_since=0), "e", 100)
    judge_read(Conditions(none_match=frozenset({"x"}), modified_since=200), "e", 100)
    assert refusal(judge_read, Conditions(modified_since=100), "e", 100) == "NotModified"
    assert refusal(judge_read, Conditions(unmodified_since=99), "e", 100) == "PreconditionFailed"
    assert refusal(judge_read, Conditions(none_match=frozenset({"*"})), "e", 100) == "NotModified"
    assert refusal(judge_copy_source, Conditions(none_match=frozenset({"e"})), "e", 100) == "PreconditionFailed"
    judge_write(ALWAYS, None)
    judge_write(Conditions(none_match=frozenset({"*"})), None)
    assert refusal(judge_write, Conditions(match=frozenset({"*"})), None) == "NoSuchKey"
    assert refusal(judge_write, Conditions(none_match=frozenset({"e"})), "e") == "PreconditionFailed"
    assert etags('"a", W/"b",c') == {"a", "b", "c"}
    assert moment("Thu, 01 Jan 1970 00:01:40 GMT") == 100
    assert moment("soon") is None


@given(name=st.sampled_from(["CRC32", "CRC32C", "CRC64NVME"]), pieces=st.lists(st.binary(max_size=50), max_size=5))
def test_the_crc_of_the_whole_follows_from_those_of_its_pieces(name: str, pieces: list[bytes]) -> None:
    algorithm = ALGORITHMS[name]

    def crc(data: bytes) -> str:
        hashed = algorithm.new()
        hashed.update(data)
        return b64(hashed.digest())

    assert joined(algorithm, [(crc(piece), len(piece)) for piece in pieces]) == crc(b"".join(pieces))


def test_known_checksums() -> None:
    known = {"CRC32": "y/Q5Jg==", "CRC32C": "4waSgw==", "CRC64NVME": "rosUhgp5mIg=",
             "SHA256": "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="}
    for name, value in known.items():
        hashed = ALGORITHMS[name].new()
        hashed.update(b"123456789")
        assert b64(hashed.digest()) == value
    parts = [b64(zlib.crc32(part).to_bytes(4, "big")) for part in (b"a", b"b")]
    raw = b"".join(map(base64.b64decode, parts))
    assert composite(ALGORITHMS["CRC32"], parts) == b64(zlib.crc32(raw).to_bytes(4, "big")) + "-2"
    assert refusal(read_b64, "AA", 4, "x") == refusal(read_b64, "AAAA", 4, "x") == "InvalidRequest"


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_a_token_opens_only_its_own_listing(listing: bytes, cursor: bytes) -> None:
    token = seal(b"key", listing, cursor)
    assert unseal(b"key", listing, token) == cursor
    for key, other, changed in ((b"k2", listing, token), (b"key", listing + b"x", token), (b"key", listing, "AAAA"),
                                (b"key", listing, "A" + token)):
        assert refusal(unseal, key, other, changed) == "InvalidArgument"


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffe\uffff"), max_size=30))
def test_s28_whatever_a_name_holds_the_document_parses_back_to_it(name: str) -> None:
    shown = Shown("url")
    found = ElementTree.fromstring(document("A", tag("B", shown(name)), group("C", tag("D", 1), tag("E", True))))  # noqa: S314
    assert unquote(found[0].text or "") == name
    printable = "".join(letter for letter in name if letter in "\t\n" or letter >= " ")
    plain = parse_xml(document("A", tag("B", printable)), "A").children[0].text
    assert plain == printable
    assert parse_xml(document("A", tag("B", printable)), "A").name == "A"
    ElementTree.fromstring(error_document("C", printable, shown(name), "1"))  # noqa: S314


@given(st.binary(max_size=200))
def test_s13_no_document_whatever_does_more_than_be_refused(body: bytes) -> None:
    for content in (body, b"<A>" + body + b"</A>"):
        with suppress(Refused):
            assert parse_xml(content, "A").name == "A"


def test_s13_bombs_are_cheap() -> None:
    lol = b"<!DOCTYPE a [" + b"".join(
        b"<!ENTITY l%d '%s'>" % (n + 1, b"&l%d;" % n * 10) for n in range(9)) + b"]><A>&l9;</A>"
    external = b"<!DOCTYPE A SYSTEM 'file:///etc/passwd'><A/>"
    started = time.perf_counter()
    for body in (lol, external, b"<A" + b" a='b'" * 3 + b"/>", b"<A>" * 40 + b"</A>" * 40,
                 b"<A>" + b"<b/>" * 60_000 + b"</A>"):
        assert refusal(parse_xml, body, "A") == "MalformedXML"
    assert time.perf_counter() - started < 2
    assert parse_xml(f"<A xmlns='{NAMESPACE}'/>".encode(), "A").name == "A"


@pytest.mark.parametrize("name", ["abc", "a.b", "a-b", "1bucket", "a" * 63])
def test_valid_bucket_names(name: str) -> None:
    assert valid_bucket(name)


def test_a_path_is_split_before_it_is_decoded_and_never_normalised() -> None:
    assert split_path("/b/a%2Fb//../%2e.") == ("b", b"a/b//../..")
    assert split_path("/") == ("", b"")
    assert split_path("/b") == split_path("/b/") == ("b", b"")
    assert split_path("/b//") == ("b", b"/")
    assert split_path("/b%2Fk/x") == ("b/k", b"x")


def test_only_what_can_be_kept_is_taken() -> None:
    assert dict(kept_headers({"content-encoding": "aws-chunked, gzip", "x-amz-meta-a": "b", "x-amz-date": "d"})) == {
        "content-type": "binary/octet-stream", "content-encoding": "gzip", "x-amz-meta-a": "b"}
    assert "content-encoding" not in dict(kept_headers({"content-encoding": "aws-chunked"}))
    assert refusal(kept_headers, {"x-amz-acl": "public-read"}) == "NotImplemented"
    assert refusal(kept_headers, {"x-amz-server-side-encryption": "AES256"}) == "NotImplemented"
    assert overridden((("expires", "1"),), {"response-expires": "2", "other": "3"}) == (("expires", "2"),)


def test_no_client_retries_what_will_not_change() -> None:
    retried = {code for code, status in STATUS.items() if status in (500, 502, 503, 504)}
    assert retried == {"InternalError", "ServiceUnavailable"}
