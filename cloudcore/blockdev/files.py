"""Volumes as files: DIRECTORY/<volume>/disk.qcow2, and beside it hard links of the layers that it lies over, each named
by its SHA-256, so that whatever the image cache throws away, a volume stays whole.

A volume comes into being by the rename of its whole directory, made and synced aside, and ends by the rename of it out
of the way. What a crash leaves aside is swept by whoever comes next: he who works there holds a lock on it. So several
processes may work in one DIRECTORY.

The chain of a volume is read from the headers: ours by making, and those of layers judged when they were fetched. A
guest writes within a format that is always named, so it reaches no header; and should it get out of its QEMU, which
may write to all of the file, no other name than that of a layer beside it is followed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from cloudcore.blockdev.copying import Source, copied, place
from cloudcore.blockdev.driver import BaseLayer, Opened
from cloudcore.blockdev.imgtool import ImageTool, sync_directory
from cloudcore.domain.image_header import HEAD, backing_of, elsewhere, qcow2_header
from cloudcore.errors import CloudError, Code

log = Logger()

InThread = Callable[[Callable[[], Any]], Deferred[Any]]
Result = TypeVar("Result")

GIB = 2**30
DISK = "disk.qcow2"
ASIDE = ".aside-"  # begins the names of directories that are being made or removed
NAME = re.compile(r"[a-z][a-z0-9-]{0,63}")
LAYER = re.compile(r"[0-9a-f]{64}")
PASSABLE = 0o711  # QEMU runs as another user and has to get through
RESERVE = 256 * 2**20  # bytes of the disk that no new volume may take: journals and clean-up must still work
LONGEST_CHAIN = 64
COMPRESSED = 3  # how many times more a layer may hold than it takes


class FileVolumes:
    """A BlockDriver. `directory` is best on the file system of the image cache; elsewhere layers are copied into each
    volume. `in_thread(work)` runs what blocks off the reactor."""

    def __init__(self, reactor: Any, directory: Path, in_thread: InThread) -> None:
        self._directory = directory.absolute()
        self._in_thread: InThread = lambda work: in_thread(lambda: on_disk(work))
        self._images = ImageTool(reactor)
        self._turns: dict[str, DeferredLock] = {}
        self._swept = False

    def make(self, volume: str, size: int, layers: tuple[BaseLayer, ...]) -> Deferred[None]:
        return self._in_turn(volume, lambda: self._make(self._home(volume), size, layers))

    def remove(self, volume: str) -> Deferred[None]:
        return self._in_turn(volume, lambda: self._in_thread(lambda: self._remove(self._home(volume))))

    def grow(self, volume: str, size: int) -> Deferred[None]:
        return self._in_turn(volume, lambda: self._grow(volume, size))

    def opened(self, volume: str) -> Deferred[Opened | None]:
        return self._in_thread(lambda: opened(self._home(volume) / DISK))

    def present(self) -> Deferred[dict[str, int]]:
        return self._in_thread(self._present)

    def copy(self, volume: str, target: str, parent: BaseLayer | None) -> Deferred[None]:
        return Deferred.fromCoroutine(self._copy(volume, Path(target), parent))

    def free(self) -> Deferred[int]:
        return self._in_thread(self._free)

    # one volume -----------------------------------------------------------------------------------------------------

    def _home(self, volume: str) -> Path:
        if not NAME.fullmatch(volume):
            raise CloudError(Code.VOLUME_MALFORMED, f"{volume[:80]!r} cannot be the name of a volume")
        return self._directory / volume

    def _in_turn(self, volume: str, work: Callable[[], Any]) -> Deferred[Any]:
        """What is done to one volume is done one after the other."""
        turn = self._turns.setdefault(volume, DeferredLock())

        def over(result: Result) -> Result:
            if not turn.locked and not turn.waiting and self._turns.get(volume) is turn:
                del self._turns[volume]
            return result

        return turn.run(lambda: Deferred.fromCoroutine(_awaited(work))).addBoth(over)

    async def _make(self, home: Path, size: int, layers: tuple[BaseLayer, ...]) -> None:
        if await self._in_thread((home / DISK).exists):
            return
        size = whole_gib(max(size, layers[0].virtual_size if layers else 0))
        aside, held = await self._in_thread(lambda: self._begun(layers))
        try:
            base = (layers[0].sha256, layers[0].format) if layers else None
            await self._images.create(aside / DISK, size, base)
            await self._in_thread(lambda: self._finished(aside, home))
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        finally:
            os.close(held)

    async def _grow(self, volume: str, size: int) -> None:
        disk = self._home(volume) / DISK
        wanted, (chain, now) = whole_gib(size), await self._in_thread(lambda: (opened(disk), virtual_size(disk)))
        if chain is None or now is None:
            raise CloudError(Code.VOLUME_UNKNOWN, f"{volume} is not on this host")
        if now < wanted:
            await self._images.resize(disk, "qcow2", wanted)

    async def _copy(self, volume: str, target: Path, parent: BaseLayer | None) -> None:
        disk = self._home(volume) / DISK
        chain, size = await self._in_thread(lambda: (opened(disk), virtual_size(disk)))
        if chain is None or size is None:
            raise CloudError(Code.VOLUME_UNKNOWN, f"{volume} is not on this host")
        nearest = Path(chain.backing[0][0]).name if chain.backing else ""
        await copied(self._images, self._in_thread, Source(disk, "qcow2", size, nearest), target, parent)

    # what runs in threads -------------------------------------------------------------------------------------------

    def _begun(self, layers: tuple[BaseLayer, ...]) -> tuple[Path, int]:
        self._prepare()
        if self._free() <= 0:
            raise CloudError(Code.CAPACITY, f"no space left for volumes in {self._directory}")
        aside, held = _aside(self._directory)
        try:
            for layer in layers:
                place(Path(layer.path), aside / layer.sha256)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            os.close(held)
            raise
        return aside, held

    def _finished(self, aside: Path, home: Path) -> None:
        disk = aside / DISK
        disk.chmod(0o600)
        with disk.open("rb") as file:
            os.fsync(file.fileno())
        aside.chmod(PASSABLE)
        sync_directory(aside)
        try:
            aside.rename(home)
        except OSError as problem:
            if problem.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            shutil.rmtree(aside)  # somebody else has made it meanwhile
        sync_directory(self._directory)

    def _remove(self, home: Path) -> None:
        self._prepare()
        if not home.exists():
            return
        aside, held = _aside(self._directory)
        try:
            home.rename(aside / "volume")
            sync_directory(self._directory)
        except FileNotFoundError:
            pass  # somebody else has removed it meanwhile
        finally:
            shutil.rmtree(aside, ignore_errors=True)
            os.close(held)

    def _present(self) -> dict[str, int]:
        self._prepare()
        homes = [home for home in self._directory.iterdir() if NAME.fullmatch(home.name)]
        sizes = {home.name: virtual_size(home / DISK) for home in homes}
        return {volume: size for volume, size in sizes.items() if size is not None}

    def _free(self) -> int:
        self._prepare()
        return room(self._directory)

    def _prepare(self) -> None:
        if self._swept:
            return
        self._directory.mkdir(parents=True, exist_ok=True)
        self._directory.chmod(PASSABLE)
        for leftover in self._directory.glob(ASIDE + "*"):
            _sweep(leftover)
        self._swept = True


async def _awaited(work: Callable[[], Any]) -> Any:
    return await work()


def on_disk(work: Callable[[], Result]) -> Result:
    """Runs it; what the file system refuses becomes a CloudError."""
    try:
        return work()
    except OSError as problem:
        full = problem.errno in (errno.ENOSPC, errno.EDQUOT)
        raise CloudError(Code.CAPACITY if full else Code.PROGRAM_FAILED, f"volumes: {problem}") from problem


def room(directory: Path) -> int:
    """Bytes that may be taken of its file system."""
    return max(0, shutil.disk_usage(directory).free - RESERVE)


def copied_size(opened: Opened | None, size: int) -> int:
    """Bytes that a copy of the volume of `size` bytes may take, whole and not compressed. None: it is not here."""
    if opened is None or opened.block:
        return size
    held = 0
    for path, share in ((opened.path, 1), *((path, COMPRESSED) for path, _ in opened.backing)):
        with suppress(OSError):
            held += share * os.stat(path).st_blocks * 512
    return min(size, held)


def whole_gib(size: int) -> int:
    return max(1, -(-size // GIB)) * GIB


def opened(disk: Path) -> Opened | None:
    """The chain below `disk` (qcow2), by its headers. None: there is no such file."""
    head = _head(disk)
    if head is None:
        return None
    below: list[tuple[str, str]] = []
    if elsewhere(head):
        raise CloudError(Code.PROGRAM_FAILED, f"{disk} keeps its data elsewhere: not of our making")
    while (named := backing_of(head)) is not None:
        name, format = named
        if len(below) == LONGEST_CHAIN or not LAYER.fullmatch(name) or format not in ("raw", "qcow2"):
            text = f"{disk} lies over {name[:80]!r} as {format[:10]!r}: not of our making"
            raise CloudError(Code.PROGRAM_FAILED, text)
        below.append((str(disk.parent / name), format))
        found = _head(disk.parent / name) if format == "qcow2" else None
        if found is None:
            break
        head = found
    return Opened(str(disk), "qcow2", backing=tuple(below))


def virtual_size(disk: Path) -> int | None:
    head = _head(disk)
    return None if head is None else qcow2_header(head).virtual


def _head(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(HEAD)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _aside(directory: Path) -> tuple[Path, int]:
    """A fresh directory and the descriptor that holds its lock. A sweeper may be quicker: then another."""
    while True:
        aside = Path(tempfile.mkdtemp(prefix=ASIDE, dir=directory))
        try:
            held = os.open(aside, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if aside.exists():
                return aside, held
        except BlockingIOError:
            pass
        os.close(held)


def _sweep(leftover: Path) -> None:
    try:
        held = os.open(leftover, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(leftover, ignore_errors=True)
    except BlockingIOError:
        return  # somebody works in it
    finally:
        os.close(held)
