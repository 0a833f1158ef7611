"""The index's values and Protocols. Every change is one transaction that decides before it writes its first row and
raises Refused when it decides against; a fired Deferred means durable.

A blob is a file of immutable bytes, or a manifest: a list of blobs that follow one another. Its `refs` count objects,
parts and manifests that point to it; at none it becomes garbage in the same transaction. Keys are bytes and sort so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

from twisted.internet.defer import Deferred

from objectstore.checksums import Checksum
from objectstore.conditions import ALWAYS, Conditions

Headers = tuple[tuple[str, str], ...]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bucket:
    name: str
    project: str  # the owning project's id
    created: int  # seconds since the epoch


@dataclass(frozen=True, slots=True)
class Stored:
    """An object: its bytes are `data` (small ones) or lie in `blob`."""

    key: bytes
    size: int
    etag: str  # without quotes
    modified: int  # seconds since the epoch
    headers: Headers = ()  # to be given back: content-type and its like, x-amz-meta-*
    checksum: Checksum | None = None
    blob: str | None = None
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class Blob:
    """A file: `crcs` is the CRC64NVME of each MiB, eight bytes each."""

    name: str
    size: int
    crcs: bytes


@dataclass(frozen=True, slots=True)
class Piece:
    """One member of a manifest, or the only one of a plain blob."""

    blob: str
    size: int
    crcs: bytes = b""


class Entry(NamedTuple):
    """A line of a listing; a page makes a thousand, so it is cheaper than a dataclass."""

    key: bytes
    size: int
    etag: str
    modified: int


@dataclass(frozen=True, slots=True)
class Window:
    """Which part of a listing: keys that begin with `prefix`, strictly after `after`, grouped at `delimiter`."""

    limit: int
    prefix: bytes = b""
    delimiter: bytes = b""
    after: bytes = b""
    after_id: str = ""  # of uploads: several may have one key


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """`found` and common prefixes are each in byte order; `last` is where the next page begins, None at the end."""

    found: list[T]
    prefixes: list[bytes]
    last: bytes | None = None
    last_id: str = ""


@dataclass(frozen=True, slots=True)
class Upload:
    id: str
    bucket: str
    key: bytes
    owner: str  # the initiator's user id
    owner_name: str
    created: int
    headers: Headers
    algorithm: str
    kind: str  # of its checksum: FULL_OBJECT or COMPOSITE


@dataclass(frozen=True, slots=True)
class Part:
    number: int
    size: int
    etag: str  # MD5 in hex
    checksum: str  # Base64, by the upload's algorithm
    modified: int
    blob: str


@dataclass(frozen=True, slots=True)
class Source:
    """An object to copy, as it was when it was judged."""

    bucket: str
    key: bytes
    conditions: Conditions = ALWAYS


class BucketIndex(Protocol):
    def create(self, bucket: Bucket) -> Deferred[Bucket]:
        """The bucket, or the one of that name that its project already has. BucketAlreadyExists: it is another's."""

    def find(self, name: str) -> Deferred[Bucket | None]: ...

    def of_project(self, project: str) -> Deferred[list[Bucket]]: ...

    def delete(self, name: str) -> Deferred[None]:
        """Also aborts its uploads. NoSuchBucket, BucketNotEmpty."""


class ObjectIndex(Protocol):
    def find(self, bucket: str, key: bytes) -> Deferred[Stored | None]: ...

    def page(self, bucket: str, window: Window) -> Deferred[Page[Entry]]: ...

    def put(self, bucket: str, row: Stored, blob: Blob | None, conditions: Conditions = ALWAYS) -> Deferred[None]:
        """NoSuchBucket, PreconditionFailed, NoSuchKey."""

    def delete(self, bucket: str, keys: Sequence[tuple[bytes, Conditions]]) -> Deferred[list[str]]:
        """For each key the code of its refusal, "" when it is gone now, whether or not it was there."""

    def copy(self, source: Source, bucket: str, row: Stored, keep_headers: bool,
             conditions: Conditions = ALWAYS) -> Deferred[Stored]:
        """What now stands in `bucket`: the source's bytes under `row`'s key, date and (unless kept) headers.

        NoSuchKey, PreconditionFailed, NoSuchBucket.
        """


class UploadIndex(Protocol):
    def create(self, upload: Upload) -> Deferred[None]:
        """NoSuchBucket."""

    def find(self, bucket: str, key: bytes, upload: str) -> Deferred[Upload | None]: ...

    def page(self, bucket: str, window: Window) -> Deferred[Page[Upload]]: ...

    def put_part(self, upload: str, part: Part, blob: Blob) -> Deferred[None]:
        """Replaces a part of that number. NoSuchUpload."""

    def parts(self, upload: str, after: int = 0, limit: int = 10_000) -> Deferred[list[Part]]: ...

    def complete(self, upload: Upload, parts: Sequence[Part], row: Stored, conditions: Conditions) -> Deferred[None]:
        """The object `row` (whose blob names the manifest to write) from just these parts; others are released.

        NoSuchUpload, InvalidPart when a part is no longer what it was, NoSuchBucket, PreconditionFailed.
        """

    def completed(self, bucket: str, key: bytes, upload: str) -> Deferred[str | None]:
        """The ETag that a Complete of the last day made; for those who ask again."""

    def abort(self, upload: str) -> Deferred[None]:
        """NoSuchUpload."""


class BlobLedger(Protocol):
    def pieces(self, name: str) -> Deferred[list[Piece]]:
        """The files that hold a blob's bytes, in order; none when it is unknown."""

    def known(self, names: Sequence[str]) -> Deferred[frozenset[str]]: ...

    def due(self, before: int, limit: int) -> Deferred[list[str]]:
        """Garbage that came up before then, in seconds since the epoch."""

    def forget(self, names: Sequence[str]) -> Deferred[None]:
        """Their files are gone."""


@dataclass(frozen=True, slots=True)
class Index:
    """The four families; `page_key` is the store's own secret that makes page tokens opaque."""

    buckets: BucketIndex
    objects: ObjectIndex
    uploads: UploadIndex
    blobs: BlobLedger
    page_key: bytes
