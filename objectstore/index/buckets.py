"""Buckets in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed

from objectstore.index.committing import Committer
from objectstore.index.model import Bucket
from objectstore.index.references import release
from objectstore.refusals import Refused, no_such_bucket


class SqliteBuckets:
    def __init__(self, committer: Committer, reader: sqlite3.Connection, seconds: Callable[[], float]) -> None:
        self._committer, self._reader, self._seconds = committer, reader, seconds

    def create(self, bucket: Bucket) -> Deferred[Bucket]:
        def work(db: sqlite3.Connection) -> Bucket:
            row = db.execute("select * from buckets where name=?", (bucket.name,)).fetchone()
            if row is None:
                db.execute("insert into buckets values (?, ?, ?)", (bucket.name, bucket.project, bucket.created))
                return bucket
            if row[1] != bucket.project:
                raise Refused("BucketAlreadyExists", f"The bucket name '{bucket.name}' is taken")
            return Bucket(*row)

        return self._committer.transact(work)

    def find(self, name: str) -> Deferred[Bucket | None]:
        row = self._reader.execute("select * from buckets where name=?", (name,)).fetchone()
        return succeed(row and Bucket(*row))

    def of_project(self, project: str) -> Deferred[list[Bucket]]:
        rows = self._reader.execute("select * from buckets where project=? order by name", (project,))
        return succeed([Bucket(*row) for row in rows])

    def delete(self, name: str) -> Deferred[None]:
        def work(db: sqlite3.Connection) -> None:
            require_bucket(db, name)
            if db.execute("select 1 from objects where bucket=? limit 1", (name,)).fetchone():
                raise Refused("BucketNotEmpty", f"The bucket '{name}' is not empty")
            now = int(self._seconds())
            for (upload,) in db.execute("select id from uploads where bucket=?", (name,)).fetchall():
                drop_upload(db, upload, now)
            db.execute("delete from buckets where name=?", (name,))

        return self._committer.transact(work)


def require_bucket(db: sqlite3.Connection, name: str) -> None:
    if db.execute("select 1 from buckets where name=?", (name,)).fetchone() is None:
        raise no_such_bucket(name)


def drop_upload(db: sqlite3.Connection, upload: str, now: int) -> None:
    """The upload and its parts; their blobs lose a reference."""
    for (blob,) in db.execute("select blob from parts where upload=?", (upload,)).fetchall():
        release(db, blob, now)
    db.execute("delete from parts where upload=?", (upload,))
    db.execute("delete from uploads where id=?", (upload,))
