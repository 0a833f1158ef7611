"""The table: method, scope and markers decide the operation, its permission and its kind of body.

A marker is a query parameter, or the header x-amz-copy-source. The first row whose markers are all there is taken, so
rows with more markers stand first; a sub-resource that no row names is not offered (501).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from cloudcore.signing.heads import Head
from objectstore import buckets, copying, listings, multipart, objects, writing
from objectstore.names import checked_key, split_path
from objectstore.refusals import Refused
from objectstore.requests import Answer, Intake, Request, Store

MIB = 1 << 20


class Scope(Enum):
    SERVICE = "service"
    BUCKET = "bucket"
    OBJECT = "object"


@dataclass(frozen=True, slots=True)
class Document:
    """A body of at most `limit` bytes, read whole before `perform`."""

    perform: Callable[[Store, Request], Awaitable[Answer]]
    limit: int = 0


@dataclass(frozen=True, slots=True)
class Stream:
    """`begin` judges by the headers and says what becomes of the body."""

    begin: Callable[[Store, Request], Awaitable[Intake]]


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    scope: Scope
    operation: str  # as S3 names it
    action: str  # as the policy names it
    body: Document | Stream
    markers: frozenset[str] = field(default_factory=frozenset)
    needs_bucket: bool = True


def row(method: str, scope: Scope, operation: str, action: str, body: Document | Stream, *markers: str) -> Route:
    return Route(method, scope, operation, "s3:" + action, body, frozenset(markers),
                 scope is not Scope.SERVICE and operation != "CreateBucket")


def unset(operation: str, action: str, marker: str, code: str) -> Route:
    return row("GET", Scope.BUCKET, operation, action, Document(buckets.unset(code)), marker)


S, B, O = Scope.SERVICE, Scope.BUCKET, Scope.OBJECT  # noqa: E741
ROUTES: tuple[Route, ...] = (
    row("GET", S, "ListBuckets", "ListAllMyBuckets", Document(buckets.list_buckets)),
    row("PUT", B, "CreateBucket", "CreateBucket", Document(buckets.create_bucket, MIB)),
    row("HEAD", B, "HeadBucket", "ListBucket", Document(buckets.head_bucket)),
    row("DELETE", B, "DeleteBucket", "DeleteBucket", Document(buckets.delete_bucket)),
    row("GET", B, "GetBucketLocation", "GetBucketLocation", Document(buckets.get_bucket_location), "location"),
    row("GET", B, "GetBucketVersioning", "GetBucketVersioning", Document(buckets.get_bucket_versioning), "versioning"),
    row("GET", B, "GetBucketAcl", "GetBucketAcl", Document(buckets.get_acl), "acl"),
    row("GET", B, "GetBucketRequestPayment", "GetBucketRequestPayment", Document(buckets.get_request_payment),
        "requestPayment"),
    row("GET", B, "GetBucketLogging", "GetBucketLogging", Document(buckets.get_bucket_logging), "logging"),
    row("GET", B, "GetBucketNotificationConfiguration", "GetBucketNotification",
        Document(buckets.get_bucket_notification), "notification"),
    row("GET", B, "GetBucketAccelerateConfiguration", "GetAccelerateConfiguration",
        Document(buckets.get_bucket_accelerate), "accelerate"),
    unset("GetBucketPolicy", "GetBucketPolicy", "policy", "NoSuchBucketPolicy"),
    unset("GetBucketPolicyStatus", "GetBucketPolicyStatus", "policyStatus", "NoSuchBucketPolicy"),
    unset("GetBucketCors", "GetBucketCORS", "cors", "NoSuchCORSConfiguration"),
    unset("GetBucketTagging", "GetBucketTagging", "tagging", "NoSuchTagSet"),
    unset("GetBucketLifecycleConfiguration", "GetLifecycleConfiguration", "lifecycle", "NoSuchLifecycleConfiguration"),
    unset("GetBucketEncryption", "GetEncryptionConfiguration", "encryption",
          "ServerSideEncryptionConfigurationNotFoundError"),
    unset("GetBucketWebsite", "GetBucketWebsite", "website", "NoSuchWebsiteConfiguration"),
    unset("GetPublicAccessBlock", "GetBucketPublicAccessBlock", "publicAccessBlock",
          "NoSuchPublicAccessBlockConfiguration"),
    unset("GetBucketOwnershipControls", "GetBucketOwnershipControls", "ownershipControls",
          "OwnershipControlsNotFoundError"),
    unset("GetObjectLockConfiguration", "GetBucketObjectLockConfiguration", "object-lock",
          "ObjectLockConfigurationNotFoundError"),
    unset("GetBucketReplication", "GetReplicationConfiguration", "replication",
          "ReplicationConfigurationNotFoundError"),
    row("GET", B, "ListMultipartUploads", "ListBucketMultipartUploads", Document(multipart.list_multipart_uploads),
        "uploads"),
    row("GET", B, "ListObjectVersions", "ListBucketVersions", Document(listings.list_object_versions), "versions"),
    row("GET", B, "ListObjectsV2", "ListBucket", Document(listings.list_objects_v2), "list-type"),
    row("GET", B, "ListObjects", "ListBucket", Document(listings.list_objects)),
    row("POST", B, "DeleteObjects", "DeleteObject", Document(objects.delete_objects, 2 * MIB), "delete"),
    row("PUT", O, "UploadPartCopy", "PutObject", Document(copying.upload_part_copy), "uploadId", "partNumber",
        "x-amz-copy-source"),
    row("PUT", O, "UploadPart", "PutObject", Stream(multipart.upload_part), "uploadId", "partNumber"),
    row("PUT", O, "CopyObject", "PutObject", Document(copying.copy_object), "x-amz-copy-source"),
    row("PUT", O, "PutObject", "PutObject", Stream(writing.put_object)),
    row("GET", O, "ListParts", "ListMultipartUploadParts", Document(multipart.list_parts), "uploadId"),
    row("GET", O, "GetObjectAcl", "GetObjectAcl", Document(buckets.get_acl), "acl"),
    row("GET", O, "GetObjectTagging", "GetObjectTagging", Document(objects.get_object_tagging), "tagging"),
    row("GET", O, "GetObject", "GetObject", Document(objects.get_object)),
    row("HEAD", O, "HeadObject", "GetObject", Document(objects.head_object)),
    row("POST", O, "CreateMultipartUpload", "PutObject", Document(multipart.create_multipart_upload), "uploads"),
    row("POST", O, "CompleteMultipartUpload", "PutObject", Document(multipart.complete_multipart_upload, 4 * MIB),
        "uploadId"),
    row("DELETE", O, "AbortMultipartUpload", "AbortMultipartUpload", Document(multipart.abort_multipart_upload),
        "uploadId"),
    row("DELETE", O, "DeleteObject", "DeleteObject", Document(objects.delete_object)),
)
# Query parameters that change what a request is about, whether or not they are offered.
SUBRESOURCES = frozenset({
    "accelerate", "acl", "analytics", "attributes", "cors", "delete", "encryption", "intelligent-tiering", "inventory",
    "legal-hold", "lifecycle", "list-type", "location", "logging", "metadataTable", "metrics", "notification",
    "object-lock", "ownershipControls", "policy", "policyStatus", "publicAccessBlock", "renameObject", "replication",
    "requestPayment", "restore", "retention", "select", "session", "tagging", "torrent", "uploadId", "uploads",
    "versioning", "versions", "website"})
# Parameters of the operations above that clients send with nothing in them.
MAY_BE_EMPTY = frozenset({
    "continuation-token", "delimiter", "encoding-type", "key-marker", "marker", "max-keys", "part-number-marker",
    "prefix", "start-after", "upload-id-marker", "versionId"})


@dataclass(frozen=True, slots=True)
class Routed:
    """Routed and authorised by one tuple: what the signature covers is what is acted upon."""

    route: Route
    bucket: str
    key: bytes
    query: Mapping[str, str]


def find_route(head: Head, domains: tuple[str, ...] = ()) -> Routed:
    """Raises MethodNotAllowed, NotImplemented, InvalidArgument, InvalidURI, KeyTooLongError."""
    bucket, key = _place(head, domains)
    scope = Scope.SERVICE if not bucket else Scope.OBJECT if key else Scope.BUCKET
    query: dict[str, str] = {}
    for name, value in head.parameters():
        if name in query:
            raise Refused("InvalidArgument", f"The query parameter '{name}' is given twice")
        query[name] = value
    present = query.keys() | ({"x-amz-copy-source"} & head.headers.keys())
    candidates = [route for route in ROUTES if route.method == head.method and route.scope is scope]
    asked = sorted(name for name, value in query.items() if is_subresource(name, value))
    for route in candidates:
        if route.markers <= present:
            if not route.markers.issuperset(asked):
                break
            return Routed(route, bucket, key, query)
    if asked or (candidates and head.method == "POST"):
        raise Refused("NotImplemented", f"{head.method} of {', '.join(asked) or 'a form'} is not offered")
    raise Refused("MethodNotAllowed", f"The method {head.method} is not allowed here")


def is_subresource(name: str, value: str) -> bool:
    """A known one, or a bare word: S3 grows new ones, and `GET /bucket?new` is no listing."""
    return name in SUBRESOURCES or (not value and name not in MAY_BE_EMPTY)


def _place(head: Head, domains: tuple[str, ...]) -> tuple[str, bytes]:
    """Path style, or the bucket as a label before one of our domains."""
    host = head.headers.get("host", "").partition(":")[0].lower()
    for domain in domains:
        if host.endswith("." + domain):
            _, key = split_path("/-" + head.path)
            return host[: -len(domain) - 1], checked_key(key)
    return split_path(head.path)
