"""References to blobs, inside somebody's transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from objectstore.index.model import Blob, Part


def add_blob(db: sqlite3.Connection, blob: Blob) -> None:
    db.execute("insert into blobs values (?, ?, 1, ?, null)", (blob.name, blob.size, blob.crcs))


def add_manifest(db: sqlite3.Connection, name: str, parts: Sequence[Part]) -> None:
    """Takes over the references that the parts held."""
    members = json.dumps([part.blob for part in parts])
    db.execute("insert into blobs values (?, ?, 1, null, ?)", (name, sum(part.size for part in parts), members))


def refer(db: sqlite3.Connection, blob: str) -> None:
    db.execute("update blobs set refs=refs+1 where name=?", (blob,))


def release(db: sqlite3.Connection, blob: str, now: int) -> None:
    """One reference less; at none the file may go, once this transaction is durable. The row stays until it is gone,
    for those who are still reading."""
    refs, parts = db.execute("update blobs set refs=refs-1 where name=? returning refs, parts", (blob,)).fetchone()
    if refs == 0:
        db.execute("insert into garbage values (?, ?)", (blob, now))
        for member in json.loads(parts) if parts else ():
            release(db, member, now)
