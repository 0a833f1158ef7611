"""What an operation is given and what it gives back; nothing of HTTP's machinery."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from cloudcore.domain.callers import Caller
from objectstore.access import Access
from objectstore.blobs import BlobDirectory, BlobWriter
from objectstore.checksums import Algorithm, Checksum, b64
from objectstore.index.model import Bucket, Index
from objectstore.payloads import Payload
from objectstore.refusals import Refused
from objectstore.transfer import FileBody

XML = ("Content-Type", "application/xml")


@dataclass(frozen=True, slots=True)
class Store:
    """What operations work with. `seconds` is the clock's; `new_id` makes upload ids of at least 64 random bits."""

    index: Index
    blobs: BlobDirectory
    access: Access
    seconds: Callable[[], float]
    new_id: Callable[[], str]
    regions: tuple[str, ...]  # our own first


@dataclass(frozen=True, slots=True)
class Request:
    """Routed, authenticated and authorised. `bucket` is None only where the operation needs none yet."""

    method: str
    path: str
    bucket_name: str
    key: bytes
    query: Mapping[str, str]
    headers: Mapping[str, str]
    caller: Caller
    payload: Payload
    bucket: Bucket | None
    body: bytes = b""

    def number(self, name: str, default: int, highest: int) -> int:
        """A query parameter from 0; more than `highest` counts as that. Raises InvalidArgument."""
        value = self.query.get(name, "")
        if not value:
            return default
        if not (value.isascii() and value.isdigit()) or len(value) > 10 or int(value) > 0x7FFFFFFF:
            raise Refused("InvalidArgument", f"The value '{value}' of {name} is not a number from 0 to 2147483647")
        return min(int(value), highest)


@dataclass(frozen=True, slots=True)
class Answer:
    """Header values hold what came in, byte for byte (see cloudcore.signing.heads)."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | FileBody = b""
    size: int | None = None  # Content-Length where there is no body to measure: HEAD


@dataclass(frozen=True, slots=True)
class Received:
    """A body that is whole and is what its sender said; small ones in `data`, others durable in `writer`'s file."""

    size: int
    md5: str
    digests: Mapping[str, bytes]
    data: bytes | None = None
    writer: BlobWriter | None = None
    crcs: bytes = b""

    def checksum(self, algorithm: Algorithm) -> Checksum:
        return Checksum(algorithm.name, b64(self.digests[algorithm.name]))


@dataclass(frozen=True, slots=True)
class Intake:
    """A judged upload: which checksums to compute beside the announced ones, and what to do once the body is there.

    `commit` raises Refused when the object or part must not be; then nothing of the body remains.
    """

    algorithms: tuple[Algorithm, ...]
    commit: Callable[[Received], Awaitable[Answer]]
    may_be_inline: bool = False
