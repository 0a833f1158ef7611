"""How a body says what it is: the closed set of payload modes, and the checks that a whole body must pass.

    x-amz-content-sha256                          body                     signed by
    64 hex digits                                 as it is                 the hash, checked at the end
    UNSIGNED-PAYLOAD (and every presigned URL)    as it is                 nobody
    STREAMING-AWS4-HMAC-SHA256-PAYLOAD[-TRAILER]  aws-chunked              a signature per chunk
    STREAMING-UNSIGNED-PAYLOAD-TRAILER            aws-chunked              nobody; checksum in the trailer

Any other value, and streaming behind a presigned URL, is refused (S04).
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass

from cloudcore.signing.chunked import AwsChunked, SignatureChain
from cloudcore.signing.heads import UNSIGNED_PAYLOAD, Head
from cloudcore.signing.sigv4 import Claim
from objectstore.checksums import BY_HEADER, Algorithm, named, read_b64
from objectstore.refusals import Refused

HEX = re.compile(r"[0-9a-f]{64}")
SIGNED_CHUNKS = ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER")
STREAMING = (*SIGNED_CHUNKS, "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
NO_VALUES = frozenset({"x-amz-checksum-algorithm", "x-amz-checksum-type", "x-amz-checksum-mode"})
LARGEST = 5 << 30  # bytes of an object or part in one request, prescribed by S3


def announced_hash(head: Head, claim: Claim) -> str:
    """What the request says about its body, which is what the signature covers. Raises InvalidRequest."""
    if claim.presigned:
        value = dict(head.parameters()).get("X-Amz-Content-Sha256",
                                            head.headers.get("x-amz-content-sha256", UNSIGNED_PAYLOAD))
        modes: tuple[str, ...] = (UNSIGNED_PAYLOAD,)
    else:
        if "x-amz-content-sha256" not in head.headers:
            raise Refused("InvalidRequest", "Missing required header for this request: x-amz-content-sha256")
        value = head.headers["x-amz-content-sha256"]
        modes = (UNSIGNED_PAYLOAD, *STREAMING)
    if value not in modes and not HEX.fullmatch(value):
        raise Refused("InvalidRequest", f"The value '{value}' of x-amz-content-sha256 is not valid here")
    return value


@dataclass(frozen=True, slots=True)
class Payload:
    """`length` is None when the client did not say. `expected` maps a checksum's algorithm to its raw value; None means
    that it comes in the trailer."""

    length: int | None
    sha256: bytes | None = None
    md5: bytes | None = None
    algorithm: Algorithm | None = None
    checksum: bytes | None = None
    decoder: AwsChunked | None = None

    def check(self, md5: str, digests: Mapping[str, bytes]) -> None:
        """Raises BadDigest, XAmzContentSHA256Mismatch. Call it after the decoder was closed."""
        if self.sha256 is not None and not hmac.compare_digest(self.sha256, digests["SHA256"]):
            raise Refused("XAmzContentSHA256Mismatch", "The body does not match x-amz-content-sha256")
        if self.md5 is not None and self.md5.hex() != md5:
            raise Refused("BadDigest", "The body does not match Content-MD5")
        if self.algorithm is None:
            return
        wanted = self.checksum
        if wanted is None and self.decoder:
            value = self.decoder.trailers[self.algorithm.header]
            wanted = read_b64(value, self.algorithm.width, self.algorithm.header)
        if wanted is not None and wanted != digests[self.algorithm.name]:
            raise Refused("BadDigest", f"The body does not match {self.algorithm.header}")


def read_payload(head: Head, claim: Claim, secret: str, announced: str) -> Payload:
    """Raises MissingContentLength, InvalidRequest, InvalidDigest, EntityTooLarge."""
    headers = head.headers
    streaming = announced in STREAMING
    length = _length(headers.get("x-amz-decoded-content-length" if streaming else "content-length"))
    if streaming and length is None:
        raise Refused("MissingContentLength", "A streaming body needs X-Amz-Decoded-Content-Length")
    algorithm, checksum = _declared(headers)
    trailer = frozenset(name.strip().lower() for name in headers.get("x-amz-trailer", "").split(",") if name.strip())
    if trailer:
        if not announced.endswith("-TRAILER") or len(trailer) != 1 or not trailer <= BY_HEADER.keys() or algorithm:
            raise Refused("InvalidRequest", "X-Amz-Trailer must name one checksum, for a body that has a trailer")
        algorithm = BY_HEADER[next(iter(trailer))]
    decoder = None
    if streaming:
        chain = SignatureChain(claim, secret) if announced in SIGNED_CHUNKS else None
        decoder = AwsChunked(length or 0, chain, trailer)
    elif "aws-chunked" in map(str.strip, headers.get("content-encoding", "").split(",")):
        raise Refused("InvalidRequest", "An aws-chunked body needs a STREAMING value of x-amz-content-sha256")
    sha256 = bytes.fromhex(announced) if HEX.fullmatch(announced) else None
    md5 = headers.get("content-md5")
    return Payload(length, sha256, None if md5 is None else read_b64(md5, 16, "Content-MD5", "InvalidDigest"),
                   algorithm, checksum, decoder)


def _length(value: str | None) -> int | None:
    if value is None:
        return None
    if not (value.isascii() and value.isdigit()):
        raise Refused("InvalidRequest", f"The length '{value}' is not a number")
    if len(value) > 15 or int(value) > LARGEST:
        raise Refused("EntityTooLarge", f"The body is longer than {LARGEST} bytes")
    return int(value)


def _declared(headers: Mapping[str, str]) -> tuple[Algorithm | None, bytes | None]:
    given = [name for name in headers if name.startswith("x-amz-checksum-") and name not in NO_VALUES]
    if len(given) > 1:
        raise Refused("InvalidRequest", "Only one x-amz-checksum- header is allowed")
    if given:
        algorithm = BY_HEADER.get(given[0]) or named(given[0].removeprefix("x-amz-checksum-"))
        return algorithm, read_b64(headers[given[0]], algorithm.width, algorithm.header)
    return None, None
