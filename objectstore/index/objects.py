"""Objects in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from twisted.internet.defer import Deferred, succeed

from objectstore.conditions import ALWAYS, Conditions, judge_copy_source, judge_write
from objectstore.index.buckets import require_bucket
from objectstore.index.committing import Committer
from objectstore.index.model import Blob, Entry, Page, Source, Stored, Window
from objectstore.index.paging import LAST, grouped, successor
from objectstore.index.references import add_blob, refer, release
from objectstore.index.schema import pack_checksum, pack_headers, unpack_checksum, unpack_headers
from objectstore.refusals import Refused, no_such_key

FIND = "select key, size, etag, modified, headers, checksum, blob, data from objects where bucket=? and key=?"
FROM = "select key, size, etag, modified from objects where bucket=? and key>=? and key<? order by key"
FROM_AFTER = "select key, size, etag, modified from objects where bucket=? and key>? and key<? order by key"


class SqliteObjects:
    def __init__(self, committer: Committer, reader: sqlite3.Connection, seconds: Callable[[], float]) -> None:
        self._committer, self._reader, self._seconds = committer, reader, seconds

    def find(self, bucket: str, key: bytes) -> Deferred[Stored | None]:
        return succeed(lookup(self._reader, bucket, key))

    def page(self, bucket: str, window: Window) -> Deferred[Page[Entry]]:
        stop = successor(window.prefix) or LAST

        def rows_from(key: bytes, strict: bool) -> Iterator[Entry]:
            sql = FROM_AFTER if strict else FROM
            return map(Entry._make, self._reader.execute(sql, (bucket, key, stop)))

        return succeed(grouped(window, rows_from))

    def put(self, bucket: str, row: Stored, blob: Blob | None, conditions: Conditions = ALWAYS) -> Deferred[None]:
        def work(db: sqlite3.Connection) -> None:
            judge_and_require(db, bucket, row.key, conditions)
            if blob:
                add_blob(db, blob)
            write(db, bucket, row)

        return self._committer.transact(work)

    def delete(self, bucket: str, keys: Sequence[tuple[bytes, Conditions]]) -> Deferred[list[str]]:
        def work(db: sqlite3.Connection) -> list[str]:
            now = int(self._seconds())
            return [remove(db, bucket, key, conditions, now) for key, conditions in keys]

        return self._committer.transact(work)

    def copy(self, source: Source, bucket: str, row: Stored, keep_headers: bool,
             conditions: Conditions = ALWAYS) -> Deferred[Stored]:
        def work(db: sqlite3.Connection) -> Stored:
            found = lookup(db, source.bucket, source.key)
            if found is None:
                raise no_such_key()
            judge_copy_source(source.conditions, found.etag, found.modified)
            judge_and_require(db, bucket, row.key, conditions)
            headers = found.headers if keep_headers else row.headers
            made = replace(found, key=row.key, modified=row.modified, headers=headers)
            if made.blob:
                refer(db, made.blob)
            write(db, bucket, made)
            return made

        return self._committer.transact(work)


def lookup(db: sqlite3.Connection, bucket: str, key: bytes) -> Stored | None:
    row = db.execute(FIND, (bucket, key)).fetchone()
    if row is None:
        return None
    key, size, etag, modified, headers, checksum, blob, data = row
    return Stored(key, size, etag, modified, unpack_headers(headers), unpack_checksum(checksum), blob, data)


def judge_and_require(db: sqlite3.Connection, bucket: str, key: bytes, conditions: Conditions) -> None:
    require_bucket(db, bucket)
    if conditions:
        old = db.execute("select etag from objects where bucket=? and key=?", (bucket, key)).fetchone()
        judge_write(conditions, old and old[0])


def write(db: sqlite3.Connection, bucket: str, row: Stored) -> None:
    """The row, in place of the one before it, whose blob loses a reference."""
    old = db.execute("select blob from objects where bucket=? and key=?", (bucket, row.key)).fetchone()
    db.execute("insert or replace into objects values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
               (bucket, row.key, row.size, row.etag, row.modified, pack_headers(row.headers),
                pack_checksum(row.checksum), row.blob, row.data))
    if old and old[0]:
        release(db, old[0], row.modified)


def remove(db: sqlite3.Connection, bucket: str, key: bytes, conditions: Conditions, now: int) -> str:
    """A key that is not there is gone, whatever the condition."""
    old = db.execute("select etag, blob from objects where bucket=? and key=?", (bucket, key)).fetchone()
    if old is None:
        return ""
    try:
        judge_write(conditions, old[0])
    except Refused as refused:
        return refused.code
    db.execute("delete from objects where bucket=? and key=?", (bucket, key))
    if old[1]:
        release(db, old[1], now)
    return ""
