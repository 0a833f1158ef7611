"""What every object index must do, whatever it is made of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from objectstore.checksums import Checksum
from objectstore.conditions import ALWAYS, Conditions
from objectstore.index.model import Blob, Bucket, Entry, Index, Page, Part, Piece, Source, Stored, Upload, Window
from objectstore.index.paging import grouped
from objectstore.index.sqlite import SqliteIndex
from objectstore.refusals import Refused

NOW = 1_700_000_000
ABSENT, ANY = Conditions(none_match=frozenset({"*"})), Conditions(match=frozenset({"*"}))


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    made = SqliteIndex(tmp_path / "index.db", reactor.callFromThread, lambda: NOW)
    yield made.index
    made.close()


def an_object(key: bytes = b"k", blob: str | None = None, etag: str = "e") -> Stored:
    checksum = Checksum("CRC32", "NhCmhg==")
    headers = (("content-type", "text/plain"), ("x-amz-meta-a", "\udcff é"))
    return Stored(key, 3, etag, NOW, headers, checksum, blob, None if blob else b"abc")


def a_blob(name: str) -> Blob:
    return Blob(name, 3, b"12345678")


def an_upload(name: str = "u", key: bytes = b"k") -> Upload:
    return Upload(name, "b", key, "AIDA", "alice", NOW, (("content-type", "text/plain"),), "CRC32", "COMPOSITE")


def a_part(number: int, blob: str) -> Part:
    return Part(number, 3, "0" * 32, "NhCmhg==", NOW, blob)


async def with_bucket(index: Index) -> Index:
    await index.buckets.create(Bucket("b", "p", NOW))
    return index


async def code(answer: Deferred[Any]) -> str:
    try:
        await answer
    except Refused as refused:
        return refused.code
    return ""


async def garbage(index: Index) -> set[str]:
    return set(await index.blobs.due(NOW + 1, 100))


async def test_a_bucket_belongs_to_one_project(index: Index) -> None:
    first = await index.buckets.create(Bucket("b", "p", NOW))
    assert await index.buckets.create(Bucket("b", "p", NOW + 5)) == first
    assert await code(index.buckets.create(Bucket("b", "q", NOW))) == "BucketAlreadyExists"
    assert await index.buckets.find("b") == first
    assert await index.buckets.of_project("p") == [first]
    assert await index.buckets.of_project("q") == []
    await index.buckets.delete("b")
    assert await code(index.buckets.delete("b")) == "NoSuchBucket"
    assert await index.buckets.find("b") is None


async def test_no_object_without_its_bucket_and_no_bucket_goes_with_an_object_in_it(index: Index) -> None:
    assert await code(index.objects.put("b", an_object(), None)) == "NoSuchBucket"
    await with_bucket(index)
    await index.objects.put("b", an_object(), None)
    assert await code(index.buckets.delete("b")) == "BucketNotEmpty"
    await index.objects.delete("b", [(b"k", ALWAYS)])
    await index.buckets.delete("b")


async def test_an_object_comes_back_as_it_was_put(index: Index) -> None:
    await with_bucket(index)
    for row, blob in ((an_object(), None), (an_object(blob="one"), a_blob("one"))):
        await index.objects.put("b", row, blob)
        assert await index.objects.find("b", b"k") == row
    assert await index.blobs.pieces("one") == [Piece("one", 3, b"12345678")]
    assert await index.objects.find("b", b"K") is None


async def test_a_condition_is_judged_where_it_is_written(index: Index) -> None:
    await with_bucket(index)
    assert await code(index.objects.put("b", an_object(), None, ANY)) == "NoSuchKey"
    racing = [code(index.objects.put("b", an_object(etag=str(number)), None, ABSENT)) for number in range(20)]
    outcomes = await gatherResults([Deferred.fromCoroutine(one) for one in racing])
    assert sorted(outcomes) == [""] + ["PreconditionFailed"] * 19
    match = Conditions(match=frozenset({"other"}))
    assert await index.objects.delete("b", [(b"k", match), (b"absent", match)]) == ["PreconditionFailed", ""]


async def test_a_refused_change_leaves_its_neighbours_in_the_batch_alone(index: Index) -> None:
    await with_bucket(index)
    changes = [code(index.objects.put("b" if number % 2 else "none", an_object(b"%d" % number), None))
               for number in range(40)]
    outcomes = await gatherResults([Deferred.fromCoroutine(one) for one in changes])
    assert outcomes == ["NoSuchBucket", ""] * 20
    page = await index.objects.page("b", Window(100))
    assert len(page.found) == 20


async def test_what_nobody_refers_to_is_garbage_and_only_that(index: Index) -> None:
    await with_bucket(index)
    await index.objects.put("b", an_object(blob="one"), a_blob("one"))
    copied = await index.objects.copy(Source("b", b"k"), "b", an_object(b"copy"), keep_headers=True)
    assert (copied.blob, copied.headers) == ("one", an_object().headers)
    await index.objects.put("b", an_object(blob="two"), a_blob("two"))
    assert await garbage(index) == set()
    await index.objects.delete("b", [(b"copy", ALWAYS)])
    assert await garbage(index) == {"one"}
    assert await index.blobs.known(["one", "two", "three"]) == {"one", "two"}  # a reader may still hold it
    await index.blobs.forget(["one"])
    assert await index.blobs.known(["one", "two"]) == {"two"}
    assert await garbage(index) == set()
    assert await code(index.objects.copy(Source("b", b"none"), "b", an_object(), True)) == "NoSuchKey"


async def test_a_copy_onto_itself_keeps_its_bytes(index: Index) -> None:
    await with_bucket(index)
    await index.objects.put("b", an_object(blob="one"), a_blob("one"))
    await index.objects.copy(Source("b", b"k"), "b", Stored(b"k", 0, "", NOW, (("content-type", "a/b"),)), False)
    found = await index.objects.find("b", b"k")
    assert found is not None
    assert (found.blob, found.headers) == ("one", (("content-type", "a/b"),))
    assert await garbage(index) == set()


async def test_an_upload_becomes_one_object_and_lets_go_of_the_rest(index: Index) -> None:
    await with_bucket(index)
    assert await code(index.uploads.put_part("u", a_part(1, "x"), a_blob("x"))) == "NoSuchUpload"
    upload = an_upload()
    await index.uploads.create(upload)
    assert await index.uploads.find("b", b"k", "u") == upload
    assert await index.uploads.find("b", b"other", "u") is None
    for number, blob in ((2, "two"), (1, "old"), (1, "one"), (3, "left out")):
        await index.uploads.put_part("u", a_part(number, blob), a_blob(blob))
    assert await garbage(index) == {"old"}
    assert [part.number for part in await index.uploads.parts("u", 1, 1)] == [2]
    chosen = [a_part(1, "one"), a_part(2, "two")]
    row = an_object(blob="manifest", etag="whole")
    stale = [a_part(1, "old"), a_part(2, "two")]
    assert await code(index.uploads.complete(upload, stale, row, ALWAYS)) == "InvalidPart"
    await index.objects.put("b", an_object(), None)
    assert await code(index.uploads.complete(upload, chosen, row, ABSENT)) == "PreconditionFailed"
    await index.uploads.complete(upload, chosen, row, ALWAYS)
    assert await code(index.uploads.complete(upload, chosen, row, ALWAYS)) == "NoSuchUpload"
    assert await index.uploads.completed("b", b"k", "u") == "whole"
    assert await index.uploads.completed("b", b"other", "u") is None
    assert [piece.blob for piece in await index.blobs.pieces("manifest")] == ["one", "two"]
    assert await garbage(index) == {"old", "left out"}
    await index.objects.delete("b", [(b"k", ALWAYS)])
    assert await garbage(index) == {"old", "left out", "manifest", "one", "two"}


async def test_an_aborted_upload_and_a_deleted_bucket_release_their_parts(index: Index) -> None:
    await with_bucket(index)
    for name in ("u", "v"):
        await index.uploads.create(an_upload(name))
        await index.uploads.put_part(name, a_part(1, name), a_blob(name))
    await index.uploads.abort("u")
    assert await code(index.uploads.abort("u")) == "NoSuchUpload"
    assert await garbage(index) == {"u"}
    await index.buckets.delete("b")
    assert await garbage(index) == {"u", "v"}


async def test_uploads_are_listed_by_key_then_id_in_pages(index: Index) -> None:
    await with_bucket(index)
    names = [(b"a", "1"), (b"a", "2"), (b"a", "3"), (b"b/c", "4"), (b"b/d", "5"), (b"e", "6")]
    for key, name in reversed(names):
        await index.uploads.create(an_upload(name, key))
    seen, after, after_id = [], b"", ""
    while True:
        page = await index.uploads.page("b", Window(2, after=after, after_id=after_id))
        seen += [(upload.key, upload.id) for upload in page.found]
        if page.last is None:
            break
        after, after_id = page.last, page.last_id
    assert seen == names
    grouped_page = await index.uploads.page("b", Window(10, delimiter=b"/"))
    assert grouped_page.prefixes == [b"b/"]
    assert [upload.id for upload in grouped_page.found] == ["1", "2", "3", "6"]
    assert [upload.id for upload in (await index.uploads.page("b", Window(10, after=b"a"))).found] == ["4", "5", "6"]


async def test_it_is_all_there_after_it_was_opened_again(tmp_path: Path) -> None:
    first = SqliteIndex(tmp_path / "index.db", reactor.callFromThread, lambda: NOW)
    await with_bucket(first.index)
    await first.index.objects.put("b", an_object(), None)
    first.close()
    second = SqliteIndex(tmp_path / "index.db", reactor.callFromThread, lambda: NOW)
    assert await second.index.objects.find("b", b"k") == an_object()
    assert second.index.page_key == first.index.page_key
    second.close()


keys = st.lists(st.binary(max_size=6).map(lambda key: bytes(b"/ab\xff"[byte % 4] for byte in key)), max_size=30)
windows = st.tuples(st.sampled_from([b"", b"a", b"/", b"a/", b"\xff", b"zz"]), st.sampled_from([b"", b"/", b"ab"]),
                    st.integers(1, 7))


def model(keys: set[bytes], prefix: bytes, delimiter: bytes) -> list[tuple[bytes, bool]]:
    """Everything at once: names with whether they are common prefixes, in byte order."""
    found = set()
    for key in keys:
        if key.startswith(prefix):
            end = key.find(delimiter, len(prefix)) if delimiter else -1
            found.add((key, False) if end < 0 else (key[: end + len(delimiter)], True))
    return sorted(found)


def all_pages(page_after: Any, limit: int) -> list[tuple[bytes, bool]]:
    seen: list[tuple[bytes, bool]] = []
    after: bytes | None = b""
    while after is not None:
        page: Page[Entry] = page_after(after)
        here = sorted([(entry.key, False) for entry in page.found] + [(name, True) for name in page.prefixes])
        assert len(here) <= limit
        assert page.last is None or (len(here) == limit and page.last == here[-1][0])
        seen += here
        after = page.last
    return seen


@given(keys, windows)
def test_pages_laid_end_to_end_are_the_listing_each_name_once(names: list[bytes],
                                                             window: tuple[bytes, bytes, int]) -> None:
    prefix, delimiter, limit = window
    rows = [Entry(key, 0, "", 0) for key in sorted(set(names) - {b""})]

    def page_after(after: bytes) -> Page[Entry]:
        return grouped(Window(limit, prefix, delimiter, after), lambda at, strict: (
            row for row in rows if row.key.startswith(prefix) and (row.key > at if strict else row.key >= at)))

    assert all_pages(page_after, limit) == model({row.key for row in rows}, prefix, delimiter)


async def test_the_index_pages_as_the_model_does(index: Index) -> None:
    await with_bucket(index)
    names = {bytes(b"/ab\xff"[(number >> shift) % 4] for shift in range(0, 2 * size, 2))
             for size in (1, 2, 3) for number in range(4**size)}
    await gatherResults([index.objects.put("b", an_object(name), None) for name in names])
    for prefix in (b"", b"a", b"a/", b"\xff", b"zz"):
        for delimiter in (b"", b"/", b"ab"):
            def page_after(after: bytes, window: tuple[bytes, bytes] = (prefix, delimiter)) -> Page[Entry]:
                result: list[Page[Entry]] = []
                index.objects.page("b", Window(7, *window, after)).addCallback(result.append)
                return result[0]

            assert all_pages(page_after, 7) == model(names, prefix, delimiter)
