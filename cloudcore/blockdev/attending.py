"""One program for each volume, in a directory of its own: DIRECTORY/<volume>/ holds its pid file, its log and its key.

The programs outlive us: guests go on while we are restarted. Who comes back asks for the same and finds it running.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock

from cloudcore.blockdev.files import NAME, on_disk
from cloudcore.errors import CloudError, Code
from cloudcore.process.supervising import Detached, Remembered, Supervised

InThread = Callable[[Callable[[], Any]], Deferred[Any]]

STEP = 0.05  # seconds between looks whether it has started
PATIENCE = 4.0


@dataclass(frozen=True, slots=True)
class Task:
    """`argv` of the program; `keys` is the content of its key file (`key_name`), which it alone may read. `socket` is
    removed before each start, since a killed program leaves it behind."""

    argv: tuple[str, ...]
    keys: str
    key_name: str = "keys.psk"
    socket: str = ""


class Attended:
    """`owner` is whose the directories are (uid, gid), when the programs run as somebody else."""

    def __init__(self, reactor: Any, directory: Path, in_thread: InThread, owner: tuple[int, int] | None = None
                 ) -> None:  # fmt: skip
        self._reactor, self._directory, self._owner = reactor, directory.absolute(), owner
        self._in_thread: InThread = lambda work: in_thread(lambda: on_disk(work))
        self._running: dict[str, tuple[Task, Supervised]] = {}
        self._turns: dict[str, DeferredLock] = {}

    def home(self, volume: str) -> Path:
        if not NAME.fullmatch(volume):
            raise CloudError(Code.VOLUME_MALFORMED, f"{volume[:80]!r} cannot be the name of a volume")
        return self._directory / volume

    def run(self, volume: str, task: Task, started: Callable[[], Any]) -> Deferred[None]:
        """As `task` says, whatever ran before; fires once `started()` (or what it awaits) is true. CloudErrors:
        UNAVAILABLE (not yet; the program's last words are the text), PROGRAM_FAILED."""
        return self._turn(volume).run(lambda: Deferred.fromCoroutine(self._run(volume, task, started)))

    def end(self, volume: str) -> Deferred[None]:
        return self._turn(volume).run(lambda: Deferred.fromCoroutine(self._end(volume)))

    def present(self) -> Deferred[frozenset[str]]:
        """The volumes that have a program, or had one of which something is left."""
        return self._in_thread(self._present)

    async def end_all(self) -> None:
        for volume in self._present():
            await self.end(volume)

    def _present(self) -> frozenset[str]:
        names = [path.name for path in self._directory.iterdir()] if self._directory.is_dir() else []
        return frozenset(filter(NAME.fullmatch, names))

    async def leave(self) -> None:
        """The programs go on by themselves."""
        while self._running:
            _, (_, supervised) = self._running.popitem()
            await supervised.stopService()

    def _turn(self, volume: str) -> DeferredLock:
        self.home(volume)
        return self._turns.setdefault(volume, DeferredLock())

    async def _run(self, volume: str, task: Task, started: Callable[[], Any]) -> None:
        home, known = self.home(volume), self._running.get(volume)
        if known is None or known[0] != task:
            await self._replace(home, task, known[1] if known else None)
            await self._in_thread(lambda: self._furnish(home, task))
            supervised = self._supervised(home, task)
            self._running[volume] = (task, supervised)
            try:
                supervised.startService()
            except CloudError:
                del self._running[volume]
                raise
        end = self._reactor.seconds() + PATIENCE
        while self._reactor.seconds() < end:
            if await started():
                return
            await self._pause()
        said = await self._in_thread(lambda: last_line(home))
        raise CloudError(Code.UNAVAILABLE, f"{volume}: {said}")

    async def _replace(self, home: Path, task: Task, supervised: Supervised | None) -> None:
        """What ran before ends, unless it is what is wanted: ours or that of who was here before us."""
        remembered = await self._in_thread(lambda: Remembered.read(home / "pid"))
        same = remembered is not None and remembered.argv == task.argv
        if supervised is None and remembered is not None and not same:
            supervised = self._supervised(home, task)
        if supervised is not None:
            await (supervised.stopService() if same else supervised.end())

    async def _end(self, volume: str) -> None:
        home = self.home(volume)
        _, supervised = self._running.pop(volume, (None, None))
        if supervised is None and await self._in_thread((home / "pid").exists):
            supervised = self._supervised(home, Task((), ""))
        if supervised is not None:
            await supervised.end()
        await self._in_thread(lambda: shutil.rmtree(home) if home.exists() else None)
        self._turns.pop(volume, None)

    def _supervised(self, home: Path, task: Task) -> Supervised:
        def before() -> None:
            if task.socket:
                (home / task.socket).unlink(missing_ok=True)

        return Supervised(self._reactor, task.argv, Detached(home / "pid", home / "log"), before)

    def _furnish(self, home: Path, task: Task) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        self._directory.chmod(0o711)
        home.mkdir(exist_ok=True)
        home.chmod(0o700)
        key = home / task.key_name
        key.unlink(missing_ok=True)
        descriptor = os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(task.keys)
        if self._owner is not None:
            for path in (home, key):
                os.chown(path, *self._owner)

    def _pause(self) -> Deferred[None]:
        pause: Deferred[None] = Deferred()
        self._reactor.callLater(STEP, pause.callback, None)
        return pause


def last_line(home: Path) -> str:
    try:
        lines = (home / "log").read_text(errors="replace").strip().splitlines()
    except FileNotFoundError:
        lines = []
    return lines[-1][:300] if lines else "it has not started yet"
