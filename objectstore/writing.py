"""Putting objects."""

from __future__ import annotations

from objectstore.checksums import ALGORITHMS, DEFAULT, Algorithm, Checksum
from objectstore.conditions import Conditions, etags, judge_write
from objectstore.headers import kept_headers
from objectstore.index.model import Blob, Stored
from objectstore.refusals import Refused
from objectstore.requests import Answer, Intake, Received, Request, Store


def write_conditions(request: Request) -> Conditions:
    return Conditions(etags(request.headers.get("if-match")), etags(request.headers.get("if-none-match")))


def algorithm_of(request: Request) -> Algorithm:
    return request.payload.algorithm or ALGORITHMS[DEFAULT]


def blob_of(received: Received) -> Blob | None:
    return Blob(received.writer.name, received.size, received.crcs) if received.writer else None


def checksum_headers(checksum: Checksum | None) -> tuple[tuple[str, str], ...]:
    return ((checksum.header, checksum.value), ("x-amz-checksum-type", checksum.kind)) if checksum else ()


async def put_object(store: Store, request: Request) -> Intake:
    """Judged early, so that a body that will be refused need not come; decided in the transaction."""
    headers, conditions, algorithm = kept_headers(request.headers), write_conditions(request), algorithm_of(request)
    if not request.key:
        raise Refused("MethodNotAllowed", "The key is empty")
    if conditions:
        found = await store.index.objects.find(request.bucket_name, request.key)
        judge_write(conditions, found.etag if found else None)

    async def commit(received: Received) -> Answer:
        blob, checksum = blob_of(received), received.checksum(algorithm)
        row = Stored(request.key, received.size, received.md5, int(store.seconds()), headers, checksum,
                     blob.name if blob else None, received.data)
        await store.index.objects.put(request.bucket_name, row, blob, conditions)
        return Answer(200, (("ETag", f'"{row.etag}"'), *checksum_headers(checksum)))

    return Intake((algorithm,), commit, may_be_inline=True)
