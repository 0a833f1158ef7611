"""Copies. A whole object is one more reference and moves no byte; a part is read and written, because its ETag is the
MD5 of its bytes."""

from __future__ import annotations

import os
import re

from twisted.internet.defer import Deferred

from objectstore.blobs import MIB, BlobDirectory, BlobWriter, Written, read_checked
from objectstore.checksums import ALGORITHMS, b64, named
from objectstore.conditions import COPY_NAMES, judge_copy_source, read_conditions
from objectstore.documents import document, tag
from objectstore.headers import kept_headers, refuse_lost
from objectstore.index.model import Part, Source, Stored
from objectstore.listing import iso
from objectstore.multipart import part_number, the_upload
from objectstore.names import split_path
from objectstore.payloads import LARGEST
from objectstore.refusals import Refused, no_such_bucket, no_such_key
from objectstore.requests import XML, Answer, Request, Store
from objectstore.transfer import Extent, cut
from objectstore.writing import checksum_headers, write_conditions

COPY_RANGE = re.compile(r"bytes=([0-9]{1,15})-([0-9]{1,15})")


async def source_of(store: Store, request: Request) -> Source:
    """Authorised apart from the target. Raises InvalidArgument, NoSuchBucket, AccessDenied, NoSuchVersion."""
    path, _, query = request.headers["x-amz-copy-source"].partition("?")
    bucket, key = split_path(path)
    if not bucket or not key:
        raise Refused("InvalidArgument", "x-amz-copy-source must be /bucket/key, each percent-encoded once")
    if query not in ("", "versionId=null"):
        raise Refused("NoSuchVersion", f"The version in '{query}' does not exist")
    found = await store.index.buckets.find(bucket)
    if found is None:
        raise no_such_bucket(bucket)
    store.access.authorise(request.caller, "s3:GetObject", found.project)
    store.access.expect(request.headers.get("x-amz-source-expected-bucket-owner"), found.project)
    return Source(bucket, key, read_conditions(request.headers, COPY_NAMES))


def replaces(request: Request) -> bool:
    directive = request.headers.get("x-amz-metadata-directive", "COPY")
    if directive not in ("COPY", "REPLACE"):
        raise Refused("InvalidArgument", f"The metadata directive '{directive}' is neither COPY nor REPLACE")
    return directive == "REPLACE"


async def copy_object(store: Store, request: Request) -> Answer:
    headers = {name: value for name, value in request.headers.items() if name != "x-amz-tagging-directive"}
    source, replacing = await source_of(store, request), replaces(request)
    kept = kept_headers(headers) if replacing else ()
    refuse_lost(headers)
    if not replacing and (source.bucket, source.key) == (request.bucket_name, request.key):
        raise Refused("InvalidRequest", "A copy onto itself must change something: use the metadata directive REPLACE")
    await refuse_other_algorithm(store, request, source)
    row = Stored(request.key, 0, "", int(store.seconds()), kept)
    made = await store.index.objects.copy(source, request.bucket_name, row, not replacing, write_conditions(request))
    checksum = tag(ALGORITHMS[made.checksum.algorithm].element, made.checksum.value) if made.checksum else ""
    return Answer(200, (XML, *checksum_headers(made.checksum)), document(
        "CopyObjectResult", tag("LastModified", iso(made.modified)), tag("ETag", f'"{made.etag}"'), checksum))


async def refuse_other_algorithm(store: Store, request: Request, source: Source) -> None:
    """A copy keeps its source's checksum; another would mean to read every byte."""
    asked = request.headers.get("x-amz-checksum-algorithm")
    if asked is None:
        return
    found = await store.index.objects.find(source.bucket, source.key)
    if found is None:
        raise no_such_key()
    if found.checksum is None or found.checksum.algorithm != named(asked).name:
        raise Refused("NotImplemented", "A copy keeps the checksum algorithm of its source")


async def upload_part_copy(store: Store, request: Request) -> Answer:
    upload, number, source = await the_upload(store, request), part_number(request), await source_of(store, request)
    found = await store.index.objects.find(source.bucket, source.key)
    if found is None:
        raise no_such_key()
    judge_copy_source(source.conditions, found.etag, found.modified)
    offset, count = copy_range(request.headers.get("x-amz-copy-source-range"), found.size)
    algorithm = ALGORITHMS[upload.algorithm]
    writer = store.blobs.writer(count, {algorithm.name: algorithm.new()})
    try:
        if found.data is not None:
            fill(writer, memoryview(found.data)[offset : offset + count])
        elif found.blob:
            await pour(store.blobs, cut(await store.index.blobs.pieces(found.blob), offset, count), writer)
        written: Written = await writer.finished
        checksum = b64(written.digests[algorithm.name])
        part = Part(number, count, written.md5, checksum, int(store.seconds()), writer.name)
        await store.index.uploads.put_part(upload.id, part, written.blob)
    except Exception:
        writer.discard()
        raise
    finally:
        writer.settle()
    return Answer(200, (XML,), document("CopyPartResult", tag("LastModified", iso(part.modified)),
                                        tag("ETag", f'"{part.etag}"'), tag(algorithm.element, checksum)))


def copy_range(header: str | None, size: int) -> tuple[int, int]:
    """Offset and count; unlike Range it must lie inside of the source."""
    if header is None:
        if size > LARGEST:
            raise Refused("InvalidRequest", f"A part of {size} bytes is too large: give a range")
        return 0, size
    found = COPY_RANGE.fullmatch(header)
    first, last = (int(found[1]), int(found[2])) if found else (1, 0)
    if first > last or last >= size or last - first >= LARGEST:
        raise Refused("InvalidArgument", f"The range '{header}' is not valid for a source of {size} bytes")
    return first, last - first + 1


def fill(writer: BlobWriter, data: memoryview) -> int:
    """As much as there is room for."""
    done = 0
    while done < len(data) and (room := writer.room()) is not None:
        count = min(len(room), len(data) - done)
        room[:count] = data[done : done + count]
        writer.took(count)
        done += count
    return done


async def pour(blobs: BlobDirectory, extents: list[Extent], writer: BlobWriter) -> None:
    """Each MiB is read and checked in a thread, then handed to the writer as it has room."""
    buffer = blobs.borrow()
    try:
        for extent in extents:
            descriptor = blobs.open(extent.piece.blob)
            try:
                end = extent.offset + extent.count
                for number in range(extent.offset // MIB, -(-end // MIB)):
                    view = await blobs.in_thread(read_checked, descriptor, extent.piece, number, buffer)
                    view = view[max(0, extent.offset - number * MIB) : end - number * MIB]
                    while view:
                        view = view[fill(writer, view) :]
                        if view:
                            await room_in(writer)
            finally:
                os.close(descriptor)
    finally:
        blobs.give_back(buffer)


async def room_in(writer: BlobWriter) -> None:
    """Raises what made the writer fail."""
    if writer.failed:
        await writer.finished
    waiting: Deferred[None] = Deferred()
    writer.on_room = lambda: None if waiting.called else waiting.callback(None)
    await waiting
