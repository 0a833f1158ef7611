"""The client's side of SigV4: sign a request, presign a URL. Pure; the date is an argument."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from time import gmtime, strftime

from cloudcore.signing.heads import (
    ALGORITHM,
    EMPTY_BODY,
    STAMP,
    TERMINATOR,
    UNSIGNED_PAYLOAD,
    Head,
    canonical_request,
    encoded,
    signature,
    signing_key,
)

NEVER_SIGNED = frozenset({"authorization", "connection", "expect", "transfer-encoding", "user-agent"})


@dataclass(frozen=True, slots=True, repr=False)
class Signer:
    """Who signs, and for which region and service. It has no repr: the secret stays out of logs."""

    access_key: str
    secret: str
    region: str
    service: str

    def scope(self, stamp: str) -> str:
        return f"{stamp[:8]}/{self.region}/{self.service}/{TERMINATOR}"

    def signature(self, stamp: str, canonical: bytes) -> str:
        key = signing_key(self.secret, stamp[:8], self.region, self.service)
        return signature(key, stamp, self.scope(stamp), canonical)


def encoded_path(*names: str) -> str:
    """`/bucket/key` as S3 clients send it: each byte encoded once, slashes kept, nothing normalised."""
    return "/" + "/".join(encoded(name, "/-_.~") for name in names)


def sign(head: Head, signer: Signer, now: float, payload_hash: str = EMPTY_BODY) -> dict[str, str]:
    """All headers to send (lower-case names): those of `head`, which must hold `host`, with date and signature added.

    `now` is seconds since the epoch. For S3 `payload_hash` (the body's SHA-256, or UNSIGNED-PAYLOAD) is sent as well.
    """
    stamp = strftime(STAMP, gmtime(now))
    headers = {**head.headers, "x-amz-date": stamp}
    if signer.service == "s3":
        headers["x-amz-content-sha256"] = payload_hash
    signed = sorted(name for name in headers if name not in NEVER_SIGNED)
    canonical = canonical_request(replace(head, headers=headers), signed, signer.service, payload_hash)
    headers["authorization"] = (
        f"{ALGORITHM} Credential={signer.access_key}/{signer.scope(stamp)}, "
        f"SignedHeaders={';'.join(signed)}, Signature={signer.signature(stamp, canonical)}")
    return headers


def presign(head: Head, signer: Signer, now: float, expires: int,
            payload_hash: str = UNSIGNED_PAYLOAD) -> str:
    """`path?query` of a URL that anybody may use for `expires` seconds (1 to 604,800).

    Every header of `head` (at least `host`) is signed and must be sent exactly so. Services other than S3 want the
    hash of the body, EMPTY_BODY for a GET.
    """
    stamp = strftime(STAMP, gmtime(now))
    signed = sorted(head.headers)
    added: Mapping[str, str] = {
        "X-Amz-Algorithm": ALGORITHM, "X-Amz-Credential": f"{signer.access_key}/{signer.scope(stamp)}",
        "X-Amz-Date": stamp, "X-Amz-Expires": str(expires), "X-Amz-SignedHeaders": ";".join(signed)}
    pairs = [*head.parameters(), *added.items()]
    query = "&".join(f"{encoded(name)}={encoded(value)}" for name, value in pairs)
    canonical = canonical_request(replace(head, query=query), signed, signer.service, payload_hash)
    return f"{head.path}?{query}&X-Amz-Signature={signer.signature(stamp, canonical)}"
