"""Multipart uploads. Complete writes a manifest and moves no byte."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cloudcore.signing.heads import raw
from objectstore.buckets import owner, require
from objectstore.checksums import ALGORITHMS, COMPOSITE, DEFAULT, FULL, Algorithm, Checksum, composite, joined, named
from objectstore.documents import Element, document, group, parse_xml, tag
from objectstore.headers import kept_headers
from objectstore.index.model import Blob, Part, Stored, Upload, Window
from objectstore.listing import Shown, iso
from objectstore.listings import common_prefixes
from objectstore.refusals import Refused, no_such_upload
from objectstore.requests import XML, Answer, Intake, Received, Request, Store
from objectstore.writing import write_conditions

MOST_PARTS = 10_000  # this and the next prescribed by S3
SMALLEST = 5 << 20  # bytes of every part but the last
MOST = 1000


@dataclass(frozen=True, slots=True)
class Named:
    """A part as the client names it in Complete."""

    number: int
    etag: str
    checksums: Mapping[str, str]  # by the element's name


def upload_kind(request: Request, algorithm: Algorithm) -> str:
    """Full-object where the checksum can be joined from its parts and only then; composite by default for the rest."""
    kind = request.headers.get("x-amz-checksum-type", FULL if algorithm.name == DEFAULT else COMPOSITE).upper()
    possible = {"CRC64NVME": (FULL,), "SHA1": (COMPOSITE,), "SHA256": (COMPOSITE,)}
    if kind not in possible.get(algorithm.name, (FULL, COMPOSITE)):
        raise Refused("InvalidRequest", f"The checksum type '{kind}' is not valid for {algorithm.name}")
    return kind


async def create_multipart_upload(store: Store, request: Request) -> Answer:
    algorithm = named(request.headers.get("x-amz-checksum-algorithm", DEFAULT))
    kind, caller = upload_kind(request, algorithm), request.caller
    upload = Upload(store.new_id(), request.bucket_name, request.key, caller.user_id, caller.user_name,
                    int(store.seconds()), kept_headers(request.headers), algorithm.name, kind)
    await store.index.uploads.create(upload)
    told = ("x-amz-checksum-algorithm", algorithm.name), ("x-amz-checksum-type", kind)
    return Answer(200, (XML, *told), document(
        "InitiateMultipartUploadResult", tag("Bucket", upload.bucket), tag("Key", upload.key.decode()),
        tag("UploadId", upload.id)))


async def the_upload(store: Store, request: Request) -> Upload:
    found = await store.index.uploads.find(request.bucket_name, request.key, request.query["uploadId"])
    if found is None:
        raise no_such_upload()
    return found


def part_number(request: Request) -> int:
    number = request.number("partNumber", 0, MOST_PARTS + 1)
    if not 1 <= number <= MOST_PARTS:
        raise Refused("InvalidArgument", f"The part number must be from 1 to {MOST_PARTS}")
    return number


async def upload_part(store: Store, request: Request) -> Intake:
    upload, number = await the_upload(store, request), part_number(request)
    algorithm = ALGORITHMS[upload.algorithm]

    async def commit(received: Received) -> Answer:
        writer = received.writer
        if writer is None:
            raise LookupError("parts lie in files")
        checksum = received.checksum(algorithm)
        part = Part(number, received.size, received.md5, checksum.value, int(store.seconds()), writer.name)
        blob = Blob(writer.name, received.size, received.crcs)
        await store.index.uploads.put_part(upload.id, part, blob)
        told = received.checksum(request.payload.algorithm or algorithm)  # without it boto3 names none in Complete
        return Answer(200, (("ETag", f'"{part.etag}"'), (told.header, told.value)))

    return Intake((algorithm,), commit)


async def complete_multipart_upload(store: Store, request: Request) -> Answer:
    wanted = read_parts(request)
    upload = await store.index.uploads.find(request.bucket_name, request.key, request.query["uploadId"])
    if upload is None:
        return await again(store, request, wanted)
    parts = choose(wanted, await store.index.uploads.parts(upload.id), upload)
    etag = combined_etag([part.etag for part in parts])
    checksum: Checksum = await store.blobs.in_thread(combined_checksum, upload, parts)
    announced = request.headers.get(checksum.header)
    if announced is not None and announced.partition("-")[0] != checksum.value.partition("-")[0]:
        raise Refused("BadDigest", f"The object does not match {checksum.header}")
    row = Stored(upload.key, sum(part.size for part in parts), etag, int(store.seconds()), upload.headers, checksum,
                 uuid.uuid4().hex)
    await store.index.uploads.complete(upload, parts, row, write_conditions(request))
    return completed(request, etag, checksum)


async def again(store: Store, request: Request, wanted: Sequence[Named]) -> Answer:
    """The same Complete gets the same answer: the first one may have been lost."""
    etag = await store.index.uploads.completed(request.bucket_name, request.key, request.query["uploadId"])
    if etag is None or etag != combined_etag([part.etag for part in wanted]):
        raise no_such_upload()
    return completed(request, etag, None)


def completed(request: Request, etag: str, checksum: Checksum | None) -> Answer:
    told = tag(ALGORITHMS[checksum.algorithm].element, checksum.value) if checksum else ""
    kind = tag("ChecksumType", checksum.kind) if checksum else ""
    location = f"http://{request.headers.get('host', '')}{request.path}"
    return Answer(200, (XML,), document(
        "CompleteMultipartUploadResult", tag("Location", location), tag("Bucket", request.bucket_name),
        tag("Key", request.key.decode()), tag("ETag", f'"{etag}"'), told, kind))


def read_parts(request: Request) -> list[Named]:
    """In ascending order, each once. Raises MalformedXML, InvalidPartOrder."""
    found = [read_part(element) for element in parse_xml(request.body, "CompleteMultipartUpload").all("Part")]
    if not 1 <= len(found) <= MOST_PARTS:
        raise Refused("MalformedXML", f"A CompleteMultipartUpload names 1 to {MOST_PARTS} parts")
    if any(first.number >= second.number for first, second in zip(found, found[1:], strict=False)):
        raise Refused("InvalidPartOrder", "The parts must be in ascending order")
    return found


def read_part(element: Element) -> Named:
    number, etag = element.get("PartNumber") or "", (element.get("ETag") or "").strip('"')
    if not (number.isascii() and number.isdigit() and len(number) < 6) or not is_md5(etag):
        raise Refused("InvalidPart", f"The part '{number}' with ETag '{etag}' is not valid")
    checksums = {child.name: child.text.strip() for child in element.children if child.name.startswith("Checksum")}
    return Named(int(number), etag.lower(), checksums)


def is_md5(etag: str) -> bool:
    return len(etag) == 32 and all(letter in "0123456789abcdefABCDEF" for letter in etag)


def choose(wanted: Sequence[Named], present: Sequence[Part], upload: Upload) -> list[Part]:
    """Raises InvalidPart, EntityTooSmall."""
    have, element = {part.number: part for part in present}, ALGORITHMS[upload.algorithm].element
    chosen = []
    for name in wanted:
        part = have.get(name.number)
        if part is None or part.etag != name.etag or name.checksums.get(element, part.checksum) != part.checksum:
            raise Refused("InvalidPart", f"The part {name.number} with ETag '{name.etag}' was not uploaded")
        chosen.append(part)
    for part in chosen[:-1]:
        if part.size < SMALLEST:
            raise Refused("EntityTooSmall", f"The part {part.number} has {part.size} bytes; {SMALLEST} are the least")
    return chosen


def combined_etag(etags: Sequence[str]) -> str:
    digest = hashlib.md5(b"".join(map(bytes.fromhex, etags)), usedforsecurity=False).hexdigest()
    return f"{digest}-{len(etags)}"


def combined_checksum(upload: Upload, parts: Sequence[Part]) -> Checksum:
    """Milliseconds for ten parts, a fifth of a second for ten thousand: run it in a thread."""
    algorithm = ALGORITHMS[upload.algorithm]
    if upload.kind == FULL:
        return Checksum(algorithm.name, joined(algorithm, ((part.checksum, part.size) for part in parts)))
    return Checksum(algorithm.name, composite(algorithm, (part.checksum for part in parts)), COMPOSITE)


async def abort_multipart_upload(store: Store, request: Request) -> Answer:
    await store.index.uploads.abort((await the_upload(store, request)).id)
    return Answer(204)


async def list_parts(store: Store, request: Request) -> Answer:
    upload, shown = await the_upload(store, request), Shown(request.query.get("encoding-type"))
    marker, limit = request.number("part-number-marker", 0, MOST_PARTS), request.number("max-parts", MOST, MOST)
    found = await store.index.uploads.parts(upload.id, marker, limit + 1)
    algorithm, parts = ALGORITHMS[upload.algorithm], found[:limit]
    lines = [group("Part", tag("PartNumber", part.number), tag("LastModified", iso(part.modified)),
                   tag("ETag", f'"{part.etag}"'), tag("Size", part.size), tag(algorithm.element, part.checksum))
             for part in parts]
    following = parts[-1].number if parts else marker
    return Answer(200, (XML,), document(
        "ListPartsResult", tag("Bucket", upload.bucket), tag("Key", shown(upload.key)), tag("UploadId", upload.id),
        initiator(upload), owner(require(request.bucket).project, ""), tag("StorageClass", "STANDARD"),
        tag("PartNumberMarker", marker), tag("NextPartNumberMarker", following), tag("MaxParts", limit),
        tag("IsTruncated", len(found) > limit), tag("EncodingType", shown.encoding),
        tag("ChecksumAlgorithm", algorithm.name), tag("ChecksumType", upload.kind), *lines))


async def list_multipart_uploads(store: Store, request: Request) -> Answer:
    query, shown = request.query, Shown(request.query.get("encoding-type"))
    limit = max(1, request.number("max-uploads", MOST, MOST))
    key, upload_id = query.get("key-marker", ""), query.get("upload-id-marker", "")
    window = Window(limit, raw(query.get("prefix", "")), raw(query.get("delimiter", "")), raw(key),
                    upload_id if key else "")
    page = await store.index.uploads.page(request.bucket_name, window)
    project = require(request.bucket).project
    lines = [group("Upload", tag("Key", shown(upload.key)), tag("UploadId", upload.id), initiator(upload),
                   owner(project, ""), tag("StorageClass", "STANDARD"), tag("Initiated", iso(upload.created)),
                   tag("ChecksumAlgorithm", upload.algorithm), tag("ChecksumType", upload.kind))
             for upload in page.found]
    delimiter = query.get("delimiter")
    following = None if page.last is None else tag("NextKeyMarker", shown(page.last)) + tag(
        "NextUploadIdMarker", page.last_id)
    return Answer(200, (XML,), document(
        "ListMultipartUploadsResult", tag("Bucket", request.bucket_name), tag("KeyMarker", shown(key)),
        tag("UploadIdMarker", upload_id), following or "", tag("Prefix", shown(query.get("prefix", ""))),
        tag("Delimiter", delimiter and shown(delimiter)), tag("EncodingType", shown.encoding),
        tag("MaxUploads", limit), tag("IsTruncated", page.last is not None), *lines,
        common_prefixes(page.prefixes, shown)))


def initiator(upload: Upload) -> str:
    return group("Initiator", tag("ID", upload.owner), tag("DisplayName", upload.owner_name))
