"""The object store as one service: everything it is made of, started and stopped in order."""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from cloudcore.auth.model import AuthManager
from cloudcore.domain.callers import Caller
from cloudcore.domain.ids import RandomBytes
from objectstore.access import Access
from objectstore.blobs import BlobDirectory, sync_directory
from objectstore.chain import Chain, Doors
from objectstore.front import Factory
from objectstore.garbage import collect, sweep
from objectstore.index.sqlite import SqliteIndex
from objectstore.requests import Store

log = Logger()


@dataclass(frozen=True, slots=True)
class Upkeep:
    """Seconds between rounds; `untouched` is how long a file without a row must have been left alone, `grace` how long
    garbage waits."""

    collect: float = 60
    sweep: float = 86_400
    untouched: float = 3600
    grace: float = 900


@dataclass(frozen=True, slots=True)
class Settings:
    """Which regions and host names are ours, how it is kept in order, and how many threads hash and write."""

    doors: Doors
    upkeep: Upkeep = Upkeep()
    threads: int = 16


class InUse(Exception):
    """Another process has this directory."""


def locked(root: Path) -> int:
    """The descriptor that holds the directory for this process. Raises InUse."""
    descriptor = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise InUse(f"another object store has {root}") from None
    return descriptor


class ObjectStore(Service):
    """Listen with `factory()` between startService and stopService.

    `root` is made when it is missing (index.db, blobs/). `auth` and `permits` decide who may. `random` makes upload
    ids. Start raises InUse, OSError, NewerSchema.
    """

    def __init__(self, reactor: Any, root: Path, auth: AuthManager, permits: Callable[[Caller, str], bool],
                 random: RandomBytes, settings: Settings) -> None:
        self._reactor, self._root, self._auth, self._random = reactor, root, auth, random
        self._access, self._doors, self._upkeep = Access(permits), settings.doors, settings.upkeep
        self._pool = ThreadPool(0, settings.threads, "blobs")
        self._loops: list[LoopingCall] = []
        self._sqlite: SqliteIndex | None = None  # None: not started

    def startService(self) -> None:
        super().startService()
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = locked(self._root)
        self._pool.start()
        self._sqlite = SqliteIndex(self._root / "index.db", self._reactor.callFromThread, self._reactor.seconds)
        self._blobs = BlobDirectory(self._reactor, self._pool, self._root / "blobs")
        sync_directory(self._root)
        index = self._sqlite.index
        store = Store(index, self._blobs, self._access, self._reactor.seconds, self._new_id, self._doors.regions)
        self._chain = Chain(store, self._auth, self._doors, self._reactor.seconds)
        started = self._reactor.seconds()
        self._every(self._upkeep.collect, lambda: collect(
            self._blobs, index.blobs, self._reactor.seconds(), self._upkeep.grace))
        # The lock makes us the only writer: what is older than this start belongs to nobody who still runs.
        self._every(self._upkeep.sweep, lambda: sweep(
            self._blobs, index.blobs, max(started, self._reactor.seconds() - self._upkeep.untouched)))

    def stopService(self) -> None:
        """Commits what waits; uploads under way are lost, as their clients will see."""
        super().stopService()
        if self._sqlite is None:
            return
        for loop in self._loops:
            if loop.running:
                loop.stop()
        self._pool.stop()
        self._sqlite.close()
        self._sqlite = None
        os.close(self._lock)

    def factory(self) -> Factory:
        return Factory(self._chain, self._blobs, self._reactor, self._reactor.seconds)

    def _new_id(self) -> str:
        return self._random(24).hex()

    def _every(self, interval: float, work: Callable[[], Any]) -> None:
        def turn() -> Deferred[Any]:
            return ensureDeferred(work()).addErrback(lambda failure: log.failure("upkeep failed", failure))

        loop = LoopingCall(turn)
        loop.clock = self._reactor
        self._loops.append(loop)
        loop.start(interval)
