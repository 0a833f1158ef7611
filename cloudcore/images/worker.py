"""The image worker: reads an object once, judges its beginning before anything else, and says what it is.

A bundle's parts are put together in a file of ours, verified part by part, and go back into the bucket as one object,
so that hosts fetch any image the same way. Serves rpc/images.py.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from twisted.internet.defer import Deferred, DeferredSemaphore

from cloudcore.domain import image_extent
from cloudcore.domain.image_header import QCOW2, TAIL, Judged, judge
from cloudcore.errors import CloudError, Code
from cloudcore.images.downloading import Digest, FileSink, InThread
from cloudcore.images.manifest import LONGEST, Manifest, Part, read_manifest
from cloudcore.images.objects import ObjectStore, Piece
from cloudcore.rpc.images import ImageLocation, InspectedImage

LARGEST = 64 * 2**30  # bytes of an object that may become an image
AT_ONCE = 4
SUFFIX = "manifest.xml"


class ImageWorker:
    """`scratch` is a directory for bundles while they are put together; `largest` in bytes."""

    def __init__(
        self, objects: ObjectStore, scratch: str | Path, in_thread: InThread, largest: int = LARGEST
    ) -> None:
        self._objects, self._scratch, self._in_thread, self._largest = objects, Path(scratch), in_thread, largest
        self._slots = DeferredSemaphore(AT_ONCE)

    def inspect(self, request: ImageLocation) -> Deferred[InspectedImage]:
        return self._slots.run(lambda: Deferred.fromCoroutine(self._inspect(request)))

    async def _inspect(self, request: ImageLocation) -> InspectedImage:
        if request.location.endswith(SUFFIX):
            return await self._bundle(request)
        size = await self._objects.size(request.location, request.project)
        if size > self._largest:
            raise CloudError(Code.IMAGE_INVALID, f"the image is refused: larger than {self._largest} bytes")
        digest = Digest(lambda head: _at_first_sight(head, size))
        await self._objects.get(request.location, digest, self._largest, request.project)
        inspected = _inspected(request, request.location, digest)
        await _check_extent(
            digest, lambda at, count: self._objects.read(request.location, at, count, request.project))
        return inspected

    async def _bundle(self, request: ImageLocation) -> InspectedImage:
        words = Piece()
        try:
            await self._objects.get(request.location, words, LONGEST, request.project)
        except CloudError as problem:
            if problem.code is Code.IMAGE_INVALID:
                raise CloudError(Code.IMAGE_MANIFEST, f"the manifest is refused: {problem.text}") from problem
            raise
        manifest = read_manifest(words.data)
        self._scratch.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix="bundle.", dir=self._scratch)
        try:
            digest = await self._assemble(request, manifest, descriptor)
            place = f"{request.location.removesuffix(SUFFIX).rstrip('.')}.{digest.sha256[:16]}.image"
            inspected = _inspected(request, place, digest)
            await _check_extent(digest, lambda at, count: self._in_thread(lambda: os.pread(descriptor, count, at)))
            await self._objects.put(place, Path(name), digest.sha256, request.project)
        finally:
            os.close(descriptor)
            Path(name).unlink(missing_ok=True)  # noqa: ASYNC240  # one call, on a local disk
        return inspected

    async def _assemble(self, request: ImageLocation, manifest: Manifest, descriptor: int) -> Digest:
        whole = Digest(also=manifest.check.algorithm if manifest.check else None)
        for part in manifest.parts:
            await self._part(request, part, descriptor, whole)
        if manifest.size is not None and whole.size != manifest.size:
            raise CloudError(Code.IMAGE_MANIFEST, f"the parts are {whole.size} bytes, not {manifest.size}")
        if manifest.check is not None and whole.also != manifest.check.digest:
            raise CloudError(Code.IMAGE_MANIFEST, f"the parts together have the digest {whole.also}")
        return whole

    async def _part(self, request: ImageLocation, part: Part, descriptor: int, whole: Digest) -> None:
        beside = request.location.rpartition("/")[0]
        own = Digest(also=part.check.algorithm)
        room = self._largest - whole.size if part.size is None else min(part.size, self._largest - whole.size)
        try:
            await self._objects.get(f"{beside}/{part.filename}", FileSink(descriptor, whole, own), room,
                                    request.project)  # fmt: skip
        except CloudError as problem:
            if problem.code in (Code.RESOURCE_UNKNOWN, Code.IMAGE_INVALID):
                raise CloudError(Code.IMAGE_MANIFEST, f"part {part.filename}: {problem.text}") from problem
            raise
        if part.size not in (None, own.size) or own.also != part.check.digest:
            raise CloudError(Code.IMAGE_MANIFEST, f"part {part.filename} is not what the manifest says")


async def _check_extent(digest: Digest, read: Callable[[int, int], Awaitable[bytes]]) -> None:
    """A qcow2 file that was cut off behind its header is refused (domain/image_extent.py)."""
    if not digest.head.startswith(QCOW2):
        return
    table = await read(*image_extent.table_place(digest.head))
    number, at, length = image_extent.block_place(digest.head, table, digest.size)
    image_extent.check_end(digest.head, number, await read(at, length), digest.size)


def _at_first_sight(head: bytes, size: int) -> None:
    """Refuses before the rest is read; the end, not known yet, is taken for good."""
    judge(head, b"\0" * TAIL, size)


def _inspected(request: ImageLocation, place: str, digest: Digest) -> InspectedImage:
    judged: Judged = judge(digest.head, digest.tail, digest.size)
    if request.sha256 is not None and request.sha256.lower() != digest.sha256:
        raise CloudError(Code.IMAGE_INVALID, f"its SHA-256 is {digest.sha256}, not {request.sha256[:70]}")
    return InspectedImage(place, digest.sha256, digest.size, judged.format, judged.virtual_size)
