"""The images of one host, by content: each fetched once, verified, and kept while there is room.

A file is named by its SHA-256 and is whole: it comes into being by rename after fsync and verification. Guests' disks
hard-link it, so what is in use is known from the link count, even after a crash, and throwing away a name never harms a
guest. Room is made before a fetch, the least recently used first. Several processes may share one directory: who
fetches holds a lock on what he has so far.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections import Counter
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from cloudcore.blockdev.driver import BaseLayer
from cloudcore.domain.image_header import HEAD, backing_of, judge
from cloudcore.errors import CloudError, Code
from cloudcore.images.downloading import Digest, FileSink, InThread, Sink
from cloudcore.rpc.compute import DiskSource, ImageSource

log = Logger()

PART = ".part"
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
        self._kept: Counter[str] = Counter()  # layers of sources that are being brought together
        self._reserved: dict[str, int] = {}
        self._swept = False

    def ensure(self, source: ImageSource) -> Deferred[str]:
        """The path of the verified image. Those who ask while it is fetched share the fetch, and its failure:
        CloudErrors of the object store, IMAGE_INVALID when the bytes are not those registered, CAPACITY."""
        return self._ask(source, "")

    def layers(self, source: DiskSource) -> Deferred[tuple[BaseLayer, ...]]:
        """All layers of the source, the top first, each verified and naming just the one below it. Errors as of
        `ensure`. Link them soon: what nobody uses may be thrown away for others."""
        return Deferred.fromCoroutine(self._layers(source))

    async def _layers(self, source: DiskSource) -> tuple[BaseLayer, ...]:
        chain = (source.top, *source.below)
        names = [layer.sha256 for layer in chain]
        self._kept.update(names)
        try:
            found = []
            for layer, below in reversed(list(zip(chain, [*names[1:], ""], strict=True))):
                image = ImageSource(layer.sha256, layer.location, layer.sha256, layer.size, layer.format,
                                    layer.virtual_size)  # fmt: skip
                path = Path(await self._ask(image, below))
                await self._in_thread(partial(_lies_over, path, image, below))
                found.append(BaseLayer(str(path), layer.sha256, layer.format, layer.virtual_size))
        finally:
            self._kept.subtract(names)
            self._kept += Counter()  # drops what is not kept any more
        return tuple(reversed(found))

    def _ask(self, source: ImageSource, below: str) -> Deferred[str]:
        waiting: Deferred[str] = Deferred()
        sharers = self._fetching.get(source.sha256)
        if sharers is not None:
            sharers.append(waiting)
            return waiting
        self._fetching[source.sha256] = [waiting]
        Deferred.fromCoroutine(self._ensure(source, below)).addBoth(self._share, source.sha256)
        return waiting

    def _share(self, result: str | Failure, sha256: str) -> None:
        for waiting in self._fetching.pop(sha256):
            if not waiting.called:
                waiting.callback(result)

    async def _ensure(self, source: ImageSource, below: str) -> str:
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
            await self._fetch(source, path, below)
        finally:
            del self._reserved[source.sha256]
        return str(path)

    async def _fetch(self, source: ImageSource, path: Path, below: str) -> None:
        descriptor, name = tempfile.mkstemp(suffix=PART, dir=self._directory)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            digest = Digest()
            await self._objects.get(source.location, FileSink(descriptor, digest), source.size)
            _compare(digest, source, below)
            await self._in_thread(lambda: _settle(descriptor, Path(name), path))
        except BaseException:
            Path(name).unlink(missing_ok=True)  # noqa: ASYNC240  # one call, on a local disk
            raise
        finally:
            os.close(descriptor)
        log.info("image {id} is here: {size} bytes, {sha256}", id=source.id, size=source.size, sha256=source.sha256)

    def _sweep(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        for leftover in self._directory.glob("*" + PART):
            _sweep(leftover)

    def _make_room(self) -> None:
        wanted = sum(self._reserved.values())
        kept = []
        for path in self._directory.iterdir():
            with suppress(FileNotFoundError):  # another process makes room as well
                found = path.stat()
                if not path.name.endswith(PART):
                    kept.append((found.st_mtime, found.st_size, found.st_nlink, path))
        total = sum(size for _, size, _, _ in kept)
        for _, size, links, path in sorted(kept):
            if self._fits(total + wanted, wanted):
                return
            wanted_now = path.name in self._fetching or path.name in self._kept
            if links == 1 and not wanted_now:  # a guest's disk holds the others: nothing is freed
                path.unlink(missing_ok=True)
                total -= size
        if not self._fits(total + wanted, wanted):
            raise CloudError(Code.CAPACITY, f"no room for {wanted} bytes of images in {self._directory}")

    def _fits(self, total: int, wanted: int) -> bool:
        return total <= self._quota and shutil.disk_usage(self._directory).free - wanted >= RESERVE


def _compare(digest: Digest, source: ImageSource, below: str) -> None:
    """What came is what was registered, and judged once more: the registration may be older than the judge. Whether it
    can boot was asked there."""
    if digest.sha256 != source.sha256 or digest.size != source.size:
        raise CloudError(Code.IMAGE_INVALID, f"{source.location} is not what was registered: SHA-256 {digest.sha256}")
    judged = judge(digest.head, digest.tail, digest.size, below, boots=False)
    if (judged.format, judged.virtual_size) != (source.format, source.virtual_size):
        raise CloudError(Code.IMAGE_INVALID, f"{source.location} is {judged.format}, not {source.format}")


def _lies_over(path: Path, image: ImageSource, below: str) -> None:
    """Also for a file that was here before: what it names is what this source says."""
    with path.open("rb") as file:
        named = backing_of(file.read(HEAD)) if image.format == "qcow2" else None
    if (named[0] if named else "") != below:
        raise CloudError(Code.IMAGE_INVALID, f"{image.location} lies over {named!r:.200}, not over {below!r}")


def _sweep(leftover: Path) -> None:
    """Unless somebody is at it just now."""
    try:
        descriptor = os.open(leftover, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        leftover.unlink(missing_ok=True)
    except BlockingIOError:
        return
    finally:
        os.close(descriptor)


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
