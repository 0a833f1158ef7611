"""Finished files of this host into the object store: snapshots of volumes into the bucket of the cloud itself, and what
was put together of a bundle.

A file is read once before, for its SHA-256 and those of its parts, and once while it is sent; it is never in memory.
What is larger than one part goes as an upload in parts (one request may carry 5 GiB at most).
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from twisted.internet.defer import Deferred

from cloudcore.domain.image_header import QCOW2, backing_of, judge
from cloudcore.errors import CloudError, Code
from cloudcore.images.downloading import BATCH, Digest, InThread
from cloudcore.images.objects import ObjectStore, Span, split_location
from cloudcore.rpc.compute import MadeSnapshot, SnapshotPart

PART = 512 * 2**20  # bytes; ten thousand of them are allowed


@dataclass(frozen=True, slots=True)
class Measured:
    whole: Digest
    parts: tuple[str, ...]  # SHA-256 of each PART


class ContentStore:
    """`part` is the size of parts in bytes, at least 5 MiB. Buckets are created when they are first written to."""

    def __init__(self, objects: ObjectStore, in_thread: InThread, part: int = PART) -> None:
        self._objects, self._in_thread, self._part = objects, in_thread, part
        self._ours: set[str] = set()

    def store(self, path: str, part: SnapshotPart) -> Deferred[MadeSnapshot]:
        """The qcow2 at `path` to `part.location`; it may lie over `part.parent`, as its header says. CloudErrors:
        IMAGE_INVALID (it is none, or over something else), UNAVAILABLE, NOT_AUTHORISED (the bucket is not ours)."""
        return Deferred.fromCoroutine(self._store(Path(path), part))

    async def _store(self, path: Path, part: SnapshotPart) -> MadeSnapshot:
        bucket, _ = split_location(part.location)
        measured = await self._in_thread(lambda: measure(path, self._part))
        whole = measured.whole
        named = backing_of(whole.head) if whole.head.startswith(QCOW2) else None
        below = named[0] if named else ""
        if below and (part.parent is None or below != part.parent.top.sha256):
            raise CloudError(Code.IMAGE_INVALID, f"{part.snapshot} lies over {below[:80]!r}, not over its parent")
        judged = judge(whole.head, whole.tail, whole.size, below)
        if bucket not in self._ours:
            await self._objects.create_bucket(bucket)
            self._ours.add(bucket)
        for upload in await self._objects.unfinished(part.location):  # of a process that was killed
            await self._objects.abort(part.location, upload)
        await self.upload(path, part.location, measured)
        return MadeSnapshot(part.snapshot, part.location, whole.sha256, whole.size, judged.format, judged.virtual_size,
                            below)  # fmt: skip

    async def upload(self, path: Path, location: str, measured: Measured | None = None, owner: str | None = None
                     ) -> None:  # fmt: skip
        """Into a bucket that is there, and belongs to the project `owner` if that is given."""
        known = measured or await self._in_thread(lambda: measure(path, self._part))
        with path.open("rb") as file:
            if len(known.parts) == 1:
                await self._objects.put(location, Span(file, 0, known.whole.size, known.parts[0]), owner)
                return
            upload = await self._objects.begin(location, owner)
            try:
                await self._send(file, location, upload, known)
            except CloudError:
                with suppress(CloudError):
                    await self._objects.abort(location, upload)
                raise

    async def _send(self, file: BinaryIO, location: str, upload: str, known: Measured) -> None:
        etags = []
        for number, sha256 in enumerate(known.parts):
            offset = number * self._part
            span = Span(file, offset, min(self._part, known.whole.size - offset), sha256)
            etags.append(await self._objects.put_part(location, upload, number + 1, span))
        await self._objects.complete(location, upload, etags)


def measure(path: Path, part: int) -> Measured:
    """Reads it all. Blocks."""
    whole = Digest()
    parts: list[str] = []
    with path.open("rb") as file:
        while True:
            digest, left = hashlib.sha256(), part
            while left and (data := file.read(min(BATCH, left))):
                digest.update(data)
                whole.take(data)
                left -= len(data)
            if left < part or not parts:
                parts.append(digest.hexdigest())
            if left:
                return Measured(whole, tuple(parts))
