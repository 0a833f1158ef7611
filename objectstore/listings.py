"""Listings of objects, in both versions. Order is by bytes."""

from __future__ import annotations

from cloudcore.signing.heads import raw
from objectstore.buckets import owner, require
from objectstore.documents import document, escape, group, tag
from objectstore.index.model import Entry, Page, Window
from objectstore.listing import Shown, iso, seal, unseal
from objectstore.refusals import Refused
from objectstore.requests import XML, Answer, Request, Store

MOST = 1000  # lines of a page, prescribed by S3


async def find(store: Store, request: Request, after: bytes) -> Page[Entry]:
    limit = request.number("max-keys", MOST, MOST)
    prefix, delimiter = raw(request.query.get("prefix", "")), raw(request.query.get("delimiter", ""))
    if not limit:
        return Page([], [])
    return await store.index.objects.page(request.bucket_name, Window(limit, prefix, delimiter, after))


def lines(page: Page[Entry], shown: Shown, who: str = "") -> str:
    """A page makes a thousand of these; ETags are hexadecimal and need no escaping."""
    contents = "".join(
        f"<Contents><Key>{escape(shown(entry.key))}</Key><LastModified>{iso(entry.modified)}</LastModified>"
        f"<ETag>&quot;{entry.etag}&quot;</ETag><Size>{entry.size}</Size>{who}<StorageClass>STANDARD</StorageClass>"
        "</Contents>" for entry in page.found)
    return contents + common_prefixes(page.prefixes, shown)


def common_prefixes(prefixes: list[bytes], shown: Shown) -> str:
    return "".join(group("CommonPrefixes", tag("Prefix", shown(prefix))) for prefix in prefixes)


async def list_object_versions(store: Store, request: Request) -> Answer:
    """A bucket that never had versioning: each object is its own only version, named null."""
    query, shown = request.query, Shown(request.query.get("encoding-type"))
    marker = query.get("key-marker", "")
    page = await find(store, request, raw(marker))
    who = owner(require(request.bucket).project, "")
    versions = "".join(group(
        "Version", tag("Key", shown(entry.key)), tag("VersionId", "null"), tag("IsLatest", True),
        tag("LastModified", iso(entry.modified)), tag("ETag", f'"{entry.etag}"'), tag("Size", entry.size), who,
        tag("StorageClass", "STANDARD")) for entry in page.found)
    following = None if page.last is None else shown(page.last)
    return Answer(200, (XML,), document(
        "ListVersionsResult", opening(request, shown, page), tag("KeyMarker", shown(marker)),
        tag("NextKeyMarker", following), "" if following is None else tag("NextVersionIdMarker", "null"), versions,
        common_prefixes(page.prefixes, shown)))


def opening(request: Request, shown: Shown, page: Page[Entry]) -> str:
    query = request.query
    delimiter = query.get("delimiter")
    return (tag("Name", request.bucket_name) + tag("Prefix", shown(query.get("prefix", "")))
            + tag("MaxKeys", request.number("max-keys", MOST, MOST)) + tag("Delimiter", delimiter and shown(delimiter))
            + tag("EncodingType", shown.encoding) + tag("IsTruncated", page.last is not None))


async def list_objects(store: Store, request: Request) -> Answer:
    shown = Shown(request.query.get("encoding-type"))
    marker = request.query.get("marker", "")
    page = await find(store, request, raw(marker))
    # S3 gives NextMarker only with a delimiter; the last key serves as well, so it is always given
    following = None if page.last is None else shown(page.last)
    who = owner(require(request.bucket).project, "")
    return Answer(200, (XML,), document(
        "ListBucketResult", opening(request, shown, page), tag("Marker", shown(marker)), tag("NextMarker", following),
        lines(page, shown, who)))


async def list_objects_v2(store: Store, request: Request) -> Answer:
    query = request.query
    if query["list-type"] != "2":
        raise Refused("InvalidArgument", f"The list-type '{query['list-type']}' is not 2")
    shown = Shown(query.get("encoding-type"))
    start, token = query.get("start-after"), query.get("continuation-token")
    listing = raw("\0".join((request.bucket_name, query.get("prefix", ""), query.get("delimiter", ""))))
    if token == "":
        raise Refused("InvalidArgument", "The continuation token is empty")
    after = raw(start or "") if token is None else unseal(store.index.page_key, listing, token)
    page = await find(store, request, after)
    following = None if page.last is None else seal(store.index.page_key, listing, page.last)
    who = owner(require(request.bucket).project, "") if query.get("fetch-owner") == "true" else ""
    return Answer(200, (XML,), document(
        "ListBucketResult", opening(request, shown, page), tag("KeyCount", len(page.found) + len(page.prefixes)),
        tag("StartAfter", start and shown(start)), tag("ContinuationToken", token),
        tag("NextContinuationToken", following), lines(page, shown, who)))
