"""The door: opens the file and puts the families together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from objectstore.index.buckets import SqliteBuckets
from objectstore.index.committing import Committer, connect
from objectstore.index.ledger import SqliteLedger
from objectstore.index.model import Index
from objectstore.index.objects import SqliteObjects
from objectstore.index.schema import prepare
from objectstore.index.uploads import SqliteUploads


class SqliteIndex:
    """Owns the file: `index` between construction and `close`. Reads happen in the calling thread (7 to 12
    microseconds a row), on a connection of their own, and see a commit at once."""

    def __init__(self, path: Path, in_reactor: Callable[..., Any], seconds: Callable[[], float]) -> None:
        self._reader = connect(path)
        page_key = prepare(self._reader)
        self._committer = Committer(path, in_reactor)
        self._committer.start()
        both = (self._committer, self._reader)
        self.index = Index(SqliteBuckets(*both, seconds), SqliteObjects(*both, seconds), SqliteUploads(*both, seconds),
                           SqliteLedger(*both), page_key)

    def close(self) -> None:
        self._committer.close()
        self._reader.close()
