"""The image worker: reads an object once, judges its beginning before anything else, and says what it is.

A bundle's parts are put together in a file of ours, verified part by part, and go back into the bucket as one object,
so that hosts fetch any image the same way. To adopt is to copy within the object store: no bytes move. Serves
rpc/images.py.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from twisted.internet.defer import Deferred, DeferredSemaphore

from cloudcore.domain import image_extent
from cloudcore.domain.image_header import QCOW2, TAIL, Judged, judge
from cloudcore.errors import CloudError, Code
from cloudcore.images.contents import ContentStore
from cloudcore.images.downloading import Digest, FileSink, InThread
from cloudcore.images.manifest import LONGEST, Manifest, Part, read_manifest
from cloudcore.images.objects import ObjectStore, Piece, split_location
from cloudcore.rpc.images import Gone, ImageLocation, InspectedImage, Unwanted

LARGEST = 64 * 2**30  # bytes of an object that may become an image
AT_ONCE = 4
SUFFIX = "manifest.xml"
OWN_BUCKETS = frozenset({"cloudcore-snapshots"})


class ImageWorker:
    """`scratch` is a directory for bundles while they are put together; `largest` in bytes."""

    def __init__(
        self, objects: ObjectStore, scratch: str | Path, in_thread: InThread, largest: int = LARGEST
    ) -> None:
        self._objects, self._scratch, self._in_thread, self._largest = objects, Path(scratch), in_thread, largest
        self._contents = ContentStore(objects, in_thread)
        self._slots = DeferredSemaphore(AT_ONCE)
        self._ours: set[str] = set()

    def inspect(self, request: ImageLocation) -> Deferred[InspectedImage]:
        return self._slots.run(lambda: Deferred.fromCoroutine(self._inspect(request)))

    def adopt(self, request: ImageLocation) -> Deferred[InspectedImage]:
        return self._slots.run(lambda: Deferred.fromCoroutine(self._adopt(request)))

    def discard(self, request: Unwanted) -> Deferred[Gone]:
        return Deferred.fromCoroutine(self._discard(request))

    async def _adopt(self, request: ImageLocation) -> InspectedImage:
        """The copy is of what was read, though its owner may replace it meanwhile: by the ETag that it had before."""
        bucket, bundled = own_bucket(request.target), request.location.endswith(SUFFIX)
        etag = "" if bundled else await self._objects.etag(request.location, request.project)
        inspected = await self._inspect(request)
        if bucket not in self._ours:
            await self._objects.create_bucket(bucket)
            self._ours.add(bucket)
        if await self._same(request.target, inspected):
            return replace(inspected, location=request.target)
        etag = etag or await self._objects.etag(inspected.location, request.project)
        await self._objects.copy(inspected.location, request.target, request.project, etag)
        return replace(inspected, location=request.target)

    async def _same(self, location: str, inspected: InspectedImage) -> bool:
        """Whether the very bytes are there already: others rely on what this name says."""
        digest = Digest()
        try:
            await self._objects.get(location, digest, inspected.size)
        except CloudError as problem:
            if problem.code in (Code.RESOURCE_UNKNOWN, Code.IMAGE_INVALID):
                return False
            raise
        return digest.sha256 == inspected.sha256

    async def _discard(self, request: Unwanted) -> Gone:
        """Also what a killed process had sent of it so far."""
        own_bucket(request.location)
        await self._objects.delete(request.location)
        try:
            for upload in await self._objects.unfinished(request.location):
                await self._objects.abort(request.location, upload)
        except CloudError as problem:
            if problem.code is not Code.RESOURCE_UNKNOWN:  # there is no bucket yet
                raise
        return Gone()

    async def _inspect(self, request: ImageLocation) -> InspectedImage:
        if request.location.endswith(SUFFIX):
            return await self._bundle(request)
        size = await self._objects.size(request.location, request.project)
        if size > self._largest:
            raise CloudError(Code.IMAGE_INVALID, f"the image is refused: larger than {self._largest} bytes")
        digest = Digest(lambda head: _at_first_sight(head, size, request.boots))
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
            await self._contents.upload(Path(name), place, owner=request.project)
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


def own_bucket(location: str) -> str:
    """The bucket of the place, which has to be the cloud's own."""
    bucket, _ = split_location(location)
    if bucket not in OWN_BUCKETS:
        raise CloudError(Code.NOT_AUTHORISED, f"{location[:200]} is not in a bucket of the cloud itself")
    return bucket


async def _check_extent(digest: Digest, read: Callable[[int, int], Awaitable[bytes]]) -> None:
    """A qcow2 file that was cut off behind its header is refused (domain/image_extent.py)."""
    if not digest.head.startswith(QCOW2):
        return
    table = await read(*image_extent.table_place(digest.head))
    number, at, length = image_extent.block_place(digest.head, table, digest.size)
    image_extent.check_end(digest.head, number, await read(at, length), digest.size)


def _at_first_sight(head: bytes, size: int, boots: bool) -> None:
    """Refuses before the rest is read; the end, not known yet, is taken for good."""
    judge(head, b"\0" * TAIL, size, boots=boots)


def _inspected(request: ImageLocation, place: str, digest: Digest) -> InspectedImage:
    judged: Judged = judge(digest.head, digest.tail, digest.size, boots=request.boots)
    if request.sha256 is not None and request.sha256.lower() != digest.sha256:
        raise CloudError(Code.IMAGE_INVALID, f"its SHA-256 is {digest.sha256}, not {request.sha256[:70]}")
    return InspectedImage(place, digest.sha256, digest.size, judged.format, judged.virtual_size)
