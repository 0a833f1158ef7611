"""Garbage, sweeps, the committer's batches, and who may, without a socket."""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.python.threadpool import ThreadPool

from cloudcore.domain.callers import Caller
from cloudcore.domain.policy import permits
from objectstore.access import Access
from objectstore.blobs import MIB, BlobDirectory, Corrupt, read_checked, translated
from objectstore.checksums import ALGORITHMS
from objectstore.conditions import ALWAYS
from objectstore.copying import fill
from objectstore.garbage import collect, sweep
from objectstore.index.committing import Committer
from objectstore.index.model import Bucket, Piece, Stored
from objectstore.index.sqlite import SqliteIndex
from objectstore.refusals import Refused

NOW = 1_700_000_000


@pytest.fixture
def pool() -> Iterator[ThreadPool]:
    made = ThreadPool(0, 8)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def blobs(tmp_path: Path, pool: ThreadPool) -> BlobDirectory:
    return BlobDirectory(reactor, pool, tmp_path / "blobs")


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Any]:
    made = SqliteIndex(tmp_path / "index.db", reactor.callFromThread, lambda: NOW)
    yield made.index
    made.close()


def names(blobs: BlobDirectory) -> set[str]:
    return {path.name for path in blobs.root.glob("*/*")}


async def write(blobs: BlobDirectory, data: bytes) -> Any:
    writer, at = blobs.writer(len(data), {"CRC32": ALGORITHMS["CRC32"].new()}), 0
    while at < len(data):
        waiting: Deferred[None] = Deferred()
        writer.on_room = lambda waiting=waiting: None if waiting.called else waiting.callback(None)
        done = fill(writer, memoryview(data)[at:])
        at += done
        if not done:
            await waiting
    return await writer.finished


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, MIB - 1, MIB, MIB + 1, 9 * MIB + 7])
async def test_a_blob_of_any_size_reads_back(blobs: BlobDirectory, size: int) -> None:
    data = os.urandom(size)
    written = await write(blobs, data)
    assert blobs.path(written.blob.name).read_bytes() == data
    piece = Piece(written.blob.name, size, written.blob.crcs)
    descriptor, buffer = blobs.open(piece.blob), blobs.borrow()
    got = b"".join(bytes(read_checked(descriptor, piece, number, buffer)) for number in range(-(-size // MIB)))
    assert got == data
    if size:
        with pytest.raises(Corrupt):
            read_checked(descriptor, Piece(piece.blob, size, bytes(8)), 0, buffer)
        with pytest.raises(Corrupt):
            read_checked(descriptor, Piece(piece.blob, size + 1, piece.crcs), size // MIB, buffer)
    os.close(descriptor)


async def test_a_discarded_writer_leaves_no_file_whenever_it_is_discarded(blobs: BlobDirectory) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for filled in (0, 100, MIB, 3 * MIB):
        writer = blobs.writer(4 * MIB, {})
        fill(writer, memoryview(bytes(filled)))
        writer.discard()
        writer.discard()
    whole = blobs.writer(MIB, {})
    fill(whole, memoryview(bytes(MIB)))
    await whole.finished
    whole.discard()
    await until_gone(blobs)
    assert len(os.listdir("/proc/self/fd")) <= before


async def until_gone(blobs: BlobDirectory) -> None:
    """Files are unlinked in a thread."""
    for _ in range(500):
        if not names(blobs) and not blobs.active:
            return
        waiting: Deferred[None] = Deferred()
        reactor.callLater(0.01, waiting.callback, None)
        await waiting
    raise AssertionError((names(blobs), blobs.active))


async def test_a_write_that_fails_leaves_nothing_and_a_full_disk_has_its_own_code(blobs: BlobDirectory) -> None:
    writer = blobs.writer(1 << 55, {})  # more than any file system takes: fallocate fails
    fill(writer, memoryview(bytes(MIB)))
    with pytest.raises(Refused, match="InsufficientStorage"):
        await writer.finished
    writer.discard()
    await until_gone(blobs)
    assert not blobs.broken
    full = translated(OSError(errno.ENOSPC, "No space left on device"))
    assert isinstance(full, Refused)
    assert full.status == 507


async def test_after_a_failed_sync_no_upload_is_taken(blobs: BlobDirectory) -> None:
    blobs.broken = True
    with pytest.raises(Refused, match="ServiceUnavailable"):
        blobs.writer(MIB, {})


async def test_garbage_waits_for_its_readers_and_then_goes(blobs: BlobDirectory, index: Any) -> None:
    await index.buckets.create(Bucket("b", "p", NOW))
    blob = (await write(blobs, b"x" * 100)).blob
    await index.objects.put("b", Stored(b"k", 100, "e", NOW, blob=blob.name), blob)
    await index.objects.delete("b", [(b"k", ALWAYS)])
    assert await collect(blobs, index.blobs, NOW + 899) == 0
    assert names(blobs) == {blob.name}
    assert await collect(blobs, index.blobs, NOW + 901) == 1
    assert names(blobs) == set()
    assert await collect(blobs, index.blobs, NOW + 901) == 0


async def test_a_sweep_takes_what_has_no_row_is_old_and_is_not_being_written(blobs: BlobDirectory, index: Any) -> None:
    await index.buckets.create(Bucket("b", "p", NOW))
    kept = (await write(blobs, b"x")).blob
    await index.objects.put("b", Stored(b"k", 1, "e", NOW, blob=kept.name), kept)
    orphan = (await write(blobs, b"y")).blob.name
    busy = (await write(blobs, b"z")).blob.name
    blobs.active.discard(orphan)
    assert await sweep(blobs, index.blobs, time.time() - 3600) == 0
    assert await sweep(blobs, index.blobs, time.time() + 60) == 1
    assert names(blobs) == {kept.name, busy}


async def test_r6_a_sweep_that_would_take_too_much_takes_nothing(blobs: BlobDirectory, index: Any) -> None:
    for number in range(65):
        blobs.path(f"{number:032x}").write_bytes(b"")
    assert await sweep(blobs, index.blobs, time.time() + 60) == 0
    assert len(names(blobs)) == 65


@pytest.fixture
def committer(tmp_path: Path) -> Iterator[Committer]:
    made = Committer(tmp_path / "c.db", reactor.callFromThread)
    made.start()
    yield made
    made.close()


def insert(number: int, fail: type[Exception] | None = None) -> Callable[[sqlite3.Connection], int]:
    def work(db: sqlite3.Connection) -> int:
        db.execute("insert into t values (?)", (number,))
        if fail:
            raise fail("after the first write")
        return number

    return work


async def test_an_accident_in_a_batch_costs_only_the_one_that_had_it(committer: Committer) -> None:
    await committer.transact(lambda db: db.execute("create table t (n integer)") and None)
    seen: list[Any] = []
    answers = [committer.transact(insert(number, ValueError if number == 7 else None)).addBoth(seen.append)
               for number in range(20)]
    await gatherResults(answers)
    assert sum(isinstance(one, int) for one in seen) == 19
    rows = await committer.transact(lambda db: [n for (n,) in db.execute("select n from t order by n")])
    assert rows == [number for number in range(20) if number != 7]


class DiskError(sqlite3.OperationalError):
    sqlite_errorcode = sqlite3.SQLITE_IOERR


async def test_f13_after_an_io_error_nothing_is_tried_again(committer: Committer) -> None:
    await committer.transact(lambda db: db.execute("create table t (n integer)") and None)
    for number in (1, 2):
        with pytest.raises(DiskError):
            await committer.transact(insert(number, DiskError if number == 1 else None))


def test_access_is_denied_by_default() -> None:
    def caller(*roles: str) -> Caller:
        return Caller("K", "U", "name", "1", "one", frozenset(roles), frozenset(roles))

    access = Access(permits)
    assert access.allowed(caller("user"), "s3:GetObject", "1")
    assert access.allowed(caller("user"), "s3:ListAllMyBuckets", None)
    assert not access.allowed(caller("user"), "s3:GetObject", "2")
    assert access.allowed(caller("admin"), "s3:GetObject", "2")
    assert not access.allowed(caller(), "s3:GetObject", "1")
    assert not Access(lambda who, action: False).allowed(caller("admin"), "s3:GetObject", "1")
    access.expect(None, "2")
    with pytest.raises(Refused):
        access.expect("1", "2")
