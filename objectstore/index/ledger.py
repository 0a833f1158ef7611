"""Blobs and garbage in SQLite."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from twisted.internet.defer import Deferred, succeed

from objectstore.index.committing import Committer
from objectstore.index.model import Piece


class SqliteLedger:
    def __init__(self, committer: Committer, reader: sqlite3.Connection) -> None:
        self._committer, self._reader = committer, reader

    def pieces(self, name: str) -> Deferred[list[Piece]]:
        row = self._reader.execute("select size, crcs, parts from blobs where name=?", (name,)).fetchone()
        if row is None:
            return succeed([])
        size, crcs, parts = row
        if parts is None:
            return succeed([Piece(name, size, crcs)])
        sql = ("select blobs.name, blobs.size, blobs.crcs from json_each(?) as member "
               "join blobs on blobs.name = member.value order by member.key")
        return succeed([Piece(*found) for found in self._reader.execute(sql, (parts,))])

    def known(self, names: Sequence[str]) -> Deferred[frozenset[str]]:
        sql = "select name from blobs where name in (select value from json_each(?))"
        return succeed(frozenset(name for (name,) in self._reader.execute(sql, (json.dumps(names),))))

    def due(self, before: int, limit: int) -> Deferred[list[str]]:
        sql = "select blob from garbage where after<? order by after limit ?"
        return succeed([name for (name,) in self._reader.execute(sql, (before, limit))])

    def forget(self, names: Sequence[str]) -> Deferred[None]:
        def work(db: sqlite3.Connection) -> None:
            for name in names:
                db.execute("delete from blobs where name=? and refs=0", (name,))
                db.execute("delete from garbage where blob=?", (name,))

        return self._committer.transact(work)
