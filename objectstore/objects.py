"""Reading and deleting objects."""

from __future__ import annotations

from email.utils import formatdate

from cloudcore.signing.heads import raw
from objectstore.conditions import ALWAYS, Conditions, etags, judge_read, read_conditions
from objectstore.documents import document, group, parse_xml, tag
from objectstore.headers import overridden
from objectstore.index.model import Headers, Piece, Stored
from objectstore.names import checked_key
from objectstore.ranges import Span, read_range
from objectstore.refusals import Refused, no_such_key
from objectstore.requests import XML, Answer, Request, Store
from objectstore.transfer import FileBody, cut

DELETED_AT_ONCE = 1000  # prescribed by S3
TEXTS = {"PreconditionFailed": "The condition does not hold", "KeyTooLongError": "The key is too long"}


def refuse_version(request: Request) -> None:
    """There are no versions: only `null`, S3's name of the version before there were any."""
    version = request.query.get("versionId", "null")
    if version != "null":
        raise Refused("NoSuchVersion", f"The version '{version}' does not exist")


async def look_up(store: Store, request: Request) -> Stored:
    """Only who may list learns that a key is not there."""
    refuse_version(request)
    found = await store.index.objects.find(request.bucket_name, request.key)
    if found is None:
        owner = request.bucket.project if request.bucket else None
        store.access.authorise(request.caller, "s3:ListBucket", owner)
        raise no_such_key()
    return found


def describe(found: Stored, request: Request, span: Span | None) -> Headers:
    headers = [("ETag", f'"{found.etag}"'), ("Last-Modified", formatdate(found.modified, usegmt=True)),
               ("Accept-Ranges", "bytes"), *overridden(found.headers, request.query)]
    if span:
        headers.append(("Content-Range", span.content_range))
    elif found.checksum and request.headers.get("x-amz-checksum-mode", "").upper() == "ENABLED":
        headers += [(found.checksum.header, found.checksum.value), ("x-amz-checksum-type", found.checksum.kind)]
    return tuple(headers)


async def head_object(store: Store, request: Request) -> Answer:
    found = await look_up(store, request)
    pieces = await store.index.blobs.pieces(found.blob) if found.blob else []
    status, span, headers = _select(found, pieces, request)
    return Answer(status, headers, b"", found.size if span is None else span.count)


async def get_object(store: Store, request: Request) -> Answer:
    """Looks up, opens, then sends; if the file is gone the row has changed, and is looked up once more."""
    for last in (False, True):
        found = await look_up(store, request)
        pieces = await store.index.blobs.pieces(found.blob) if found.blob else []
        status, span, headers = _select(found, pieces, request)
        offset, count = (span.offset, span.count) if span else (0, found.size)
        if found.data is not None:
            return Answer(status, headers, found.data[offset : offset + count])
        extents = cut(pieces, offset, count)
        if not extents:
            return Answer(status, headers)
        try:
            return Answer(status, headers, FileBody(extents, store.blobs.open(extents[0].piece.blob)))
        except FileNotFoundError:
            if last:
                raise
    raise AssertionError("unreachable")


def _select(found: Stored, pieces: list[Piece], request: Request) -> tuple[int, Span | None, Headers]:
    """Status, the bytes wanted (None: all) and headers."""
    judged = ("ETag", f'"{found.etag}"'), ("Last-Modified", formatdate(found.modified, usegmt=True))
    try:
        judge_read(read_conditions(request.headers), found.etag, found.modified)
    except Refused as refused:
        raise Refused(refused.code, refused.text, judged if refused.code == "NotModified" else ()) from None
    if "partNumber" in request.query:
        part, count = _part(found, pieces, request)
        return 206, part, (*describe(found, request, part), *count)
    span = read_range(request.headers.get("range"), found.size)
    return 206 if span else 200, span, describe(found, request, span)


def _part(found: Stored, pieces: list[Piece], request: Request) -> tuple[Span, Headers]:
    number = request.number("partNumber", 0, 10_001)
    several = "-" in found.etag
    sizes = [piece.size for piece in pieces] if several else [found.size]
    if not 1 <= number <= len(sizes):
        raise Refused("InvalidPartNumber", f"The object has no part {request.query['partNumber']}")
    span = Span(sum(sizes[: number - 1]), sizes[number - 1], found.size)
    return span, (("x-amz-mp-parts-count", str(len(sizes))),) if several else ()


async def delete_object(store: Store, request: Request) -> Answer:
    refuse_version(request)
    conditions = Conditions(match=etags(request.headers.get("if-match")))
    code, = await store.index.objects.delete(request.bucket_name, [(request.key, conditions)])
    if code:
        raise Refused(code, TEXTS[code])
    return Answer(204)


async def delete_objects(store: Store, request: Request) -> Answer:
    payload = request.payload
    if payload.md5 is None and payload.algorithm is None and payload.sha256 is None:
        raise Refused("InvalidRequest", "Missing required header for this request: Content-MD5 or a checksum")
    wanted = parse_xml(request.body, "Delete")
    quiet = wanted.get("Quiet") == "true"
    asked: list[tuple[bytes, Conditions, str]] = []
    for element in wanted.all("Object"):
        key = raw(next((child.text for child in element.all("Key")), ""))
        tag_given = element.get("ETag")
        conditions = Conditions(match=etags(tag_given)) if tag_given else ALWAYS
        version = element.get("VersionId") or "null"
        asked.append((key, conditions, "" if version == "null" else "NoSuchVersion"))
    if not 1 <= len(asked) <= DELETED_AT_ONCE or not all(key for key, _, _ in asked):
        raise Refused("MalformedXML", f"A Delete names 1 to {DELETED_AT_ONCE} keys")
    doable = [(checked_key(key), conditions) for key, conditions, refused in asked if not refused]
    outcomes = iter(await store.index.objects.delete(request.bucket_name, doable))
    parts = []
    for key, _, refused in asked:
        code = refused or next(outcomes)
        name = tag("Key", key.decode())
        if code:
            parts.append(group("Error", name, tag("Code", code), tag("Message", TEXTS.get(code, code))))
        elif not quiet:
            parts.append(group("Deleted", name))
    return Answer(200, (XML,), document("DeleteResult", *parts))


async def get_object_tagging(store: Store, request: Request) -> Answer:
    await look_up(store, request)
    return Answer(200, (XML,), document("Tagging", group("TagSet")))
