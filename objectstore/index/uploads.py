"""Multipart uploads in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence

from twisted.internet.defer import Deferred, succeed

from objectstore.conditions import Conditions
from objectstore.index.buckets import drop_upload, require_bucket
from objectstore.index.committing import Committer
from objectstore.index.model import Blob, Page, Part, Stored, Upload, Window
from objectstore.index.objects import judge_and_require, write
from objectstore.index.paging import LAST, grouped, successor
from objectstore.index.references import add_blob, add_manifest, refer, release
from objectstore.index.schema import pack_headers, unpack_headers
from objectstore.refusals import Refused, no_such_upload

REMEMBERED = 86_400  # seconds for which a Complete may be asked again


class SqliteUploads:
    def __init__(self, committer: Committer, reader: sqlite3.Connection, seconds: Callable[[], float]) -> None:
        self._committer, self._reader, self._seconds = committer, reader, seconds

    def create(self, upload: Upload) -> Deferred[None]:
        def work(db: sqlite3.Connection) -> None:
            require_bucket(db, upload.bucket)
            db.execute("insert into uploads values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                       (upload.id, upload.bucket, upload.key, upload.owner, upload.owner_name, upload.created,
                        pack_headers(upload.headers), upload.algorithm, upload.kind))

        return self._committer.transact(work)

    def find(self, bucket: str, key: bytes, upload: str) -> Deferred[Upload | None]:
        sql = "select * from uploads where id=? and bucket=? and key=?"
        row = self._reader.execute(sql, (upload, bucket, key)).fetchone()
        return succeed(row and read_upload(row))

    def page(self, bucket: str, window: Window) -> Deferred[Page[Upload]]:
        stop = successor(window.prefix) or LAST

        def rows_from(key: bytes, strict: bool) -> Iterator[Upload]:
            after = window.after_id if strict and window.after_id else chr(0x10FFFF) if strict else ""
            sql = "select * from uploads where bucket=? and (key, id) > (?, ?) and key<? order by key, id"
            return map(read_upload, self._reader.execute(sql, (bucket, key, after, stop)))

        return succeed(grouped(window, rows_from))

    def put_part(self, upload: str, part: Part, blob: Blob) -> Deferred[None]:
        def work(db: sqlite3.Connection) -> None:
            require_upload(db, upload)
            sql = "select blob from parts where upload=? and number=?"
            old = db.execute(sql, (upload, part.number)).fetchone()
            add_blob(db, blob)
            db.execute("insert or replace into parts values (?, ?, ?, ?, ?, ?, ?)",
                       (upload, part.number, part.size, part.etag, part.checksum, part.modified, part.blob))
            if old:
                release(db, old[0], part.modified)

        return self._committer.transact(work)

    def parts(self, upload: str, after: int = 0, limit: int = 10_000) -> Deferred[list[Part]]:
        sql = ("select number, size, etag, checksum, modified, blob from parts where upload=? and number>? "
               "order by number limit ?")
        return succeed([Part(*row) for row in self._reader.execute(sql, (upload, after, limit))])

    def complete(self, upload: Upload, parts: Sequence[Part], row: Stored, conditions: Conditions) -> Deferred[None]:
        def work(db: sqlite3.Connection) -> None:
            require_upload(db, upload.id)
            judge_and_require(db, upload.bucket, upload.key, conditions)
            now = dict(db.execute("select number, blob from parts where upload=?", (upload.id,)).fetchall())
            if any(now.get(part.number) != part.blob for part in parts):
                raise Refused("InvalidPart", "A part was replaced while the upload was completed")
            for part in parts:
                refer(db, part.blob)
            add_manifest(db, row.blob or "", parts)
            drop_upload(db, upload.id, row.modified)
            write(db, upload.bucket, row)
            db.execute("delete from completed where modified<?", (row.modified - REMEMBERED,))
            db.execute("insert into completed values (?, ?, ?, ?, ?)",
                       (upload.id, upload.bucket, upload.key, row.etag, row.modified))

        return self._committer.transact(work)

    def completed(self, bucket: str, key: bytes, upload: str) -> Deferred[str | None]:
        sql = "select etag from completed where upload=? and bucket=? and key=?"
        row = self._reader.execute(sql, (upload, bucket, key)).fetchone()
        return succeed(row and row[0])

    def abort(self, upload: str) -> Deferred[None]:
        def work(db: sqlite3.Connection) -> None:
            require_upload(db, upload)
            drop_upload(db, upload, int(self._seconds()))

        return self._committer.transact(work)


def read_upload(row: tuple[str, str, bytes, str, str, int, str, str, str]) -> Upload:
    return Upload(*row[:6], unpack_headers(row[6]), *row[7:])


def require_upload(db: sqlite3.Connection, upload: str) -> None:
    if db.execute("select 1 from uploads where id=?", (upload,)).fetchone() is None:
        raise no_such_upload()
