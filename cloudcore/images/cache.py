"""The images of one host, by content: each fetched once, verified, and kept while there is room.

A file is named by its SHA-256 and is whole: it comes into being by rename after fsync and verification. Guests' disks
hard-link it, so what is in use is known from the link count, even after a crash, and throwing away a name never harms a
guest. Room is made before a fetch, the least recently used first.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from cloudcore.domain.image_header import judge
from cloudcore.errors import CloudError, Code
from cloudcore.images.downloading import Digest, FileSink, InThread, Sink
from cloudcore.rpc.compute import ImageSource

log = Logger()

MODE = 0o644  # QEMU reads it as another user
RESERVE = 256 * 2**20  # bytes of the disk left free


class Objects(Protocol):
    """Where images come from: images/objects.py."""

    async def get(self, location: str, sink: Sink, limit: int, owner: str | None = None) -> int: ...


class HostImageCache:
    """`directory` must be on the file system of the guests' disks; `quota` in bytes."""

    def __init__(self, directory: str | Path, objects: Objects, in_thread: InThread, quota: int = 50 * 2**30) -> None:
        self._directory, self._objects, self._in_thread, self._quota = Path(directory), objects, in_thread, quota
        self._fetching: dict[str, list[Deferred[str]]] = {}
        self._reserved: dict[str, int] = {}
        self._swept = False

    def ensure(self, source: ImageSource) -> Deferred[str]:
        """The path of the verified image. Those who ask while it is fetched share the fetch, and its failure:
        CloudErrors of the object store, IMAGE_INVALID when the bytes are not those registered, CAPACITY."""
        waiting: Deferred[str] = Deferred()
        sharers = self._fetching.get(source.sha256)
        if sharers is not None:
            sharers.append(waiting)
            return waiting
        self._fetching[source.sha256] = [waiting]
        Deferred.fromCoroutine(self._ensure(source)).addBoth(self._share, source.sha256)
        return waiting

    def _share(self, result: str | Failure, sha256: str) -> None:
        for waiting in self._fetching.pop(sha256):
            if not waiting.called:
                waiting.callback(result)

    async def _ensure(self, source: ImageSource) -> str:
        if len(source.sha256) != 64 or set(source.sha256) - set("0123456789abcdef"):
            raise CloudError(Code.IMAGE_INVALID, f"{source.sha256[:80]!r} is no SHA-256")
        path = self._directory / source.sha256
        if not self._swept:
            self._swept = True
            await self._in_thread(self._sweep)
        if await self._in_thread(lambda: _used_now(path)):
            return str(path)
        self._reserved[source.sha256] = source.size
        try:
            await self._in_thread(self._make_room)
            await self._fetch(source, path)
        finally:
            del self._reserved[source.sha256]
        return str(path)

    async def _fetch(self, source: ImageSource, path: Path) -> None:
        descriptor, name = tempfile.mkstemp(suffix=".part", dir=self._directory)
        try:
            digest = Digest()
            await self._objects.get(source.location, FileSink(descriptor, digest), source.size)
            _compare(digest, source)
            await self._in_thread(lambda: _settle(descriptor, Path(name), path))
        except BaseException:
            Path(name).unlink(missing_ok=True)  # noqa: ASYNC240  # one call, on a local disk
            raise
        finally:
            os.close(descriptor)
        log.info("image {id} is here: {size} bytes, {sha256}", id=source.id, size=source.size, sha256=source.sha256)

    def _sweep(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        for leftover in self._directory.glob("*.part"):
            leftover.unlink()

    def _make_room(self) -> None:
        wanted = sum(self._reserved.values())
        kept = []
        for path in self._directory.iterdir():
            found = path.stat()
            if not path.name.endswith(".part"):
                kept.append((found.st_mtime, found.st_size, found.st_nlink, path))
        total = sum(size for _, size, _, _ in kept)
        for _, size, links, path in sorted(kept):
            if self._fits(total + wanted, wanted):
                return
            if links == 1 and path.name not in self._fetching:  # a guest's disk holds the others: nothing is freed
                path.unlink()
                total -= size
        if not self._fits(total + wanted, wanted):
            raise CloudError(Code.CAPACITY, f"no room for {wanted} bytes of images in {self._directory}")

    def _fits(self, total: int, wanted: int) -> bool:
        return total <= self._quota and shutil.disk_usage(self._directory).free - wanted >= RESERVE


def _compare(digest: Digest, source: ImageSource) -> None:
    """What came is what was registered, and judged once more: the registration may be older than the judge."""
    if digest.sha256 != source.sha256 or digest.size != source.size:
        raise CloudError(Code.IMAGE_INVALID, f"{source.location} is not what was registered: SHA-256 {digest.sha256}")
    judged = judge(digest.head, digest.tail, digest.size)
    if (judged.format, judged.virtual_size) != (source.format, source.virtual_size):
        raise CloudError(Code.IMAGE_INVALID, f"{source.location} is {judged.format}, not {source.format}")


def _used_now(path: Path) -> bool:
    """Whether it is there; if so it counts as used just now."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def _settle(descriptor: int, aside: Path, path: Path) -> None:
    """Data to disk, then the name, then the directory (R9)."""
    os.fchmod(descriptor, MODE)
    os.fsync(descriptor)
    aside.rename(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
