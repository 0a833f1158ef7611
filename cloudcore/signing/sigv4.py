"""Judging a request signed by AWS Signature Version 4, in two steps so that the secret may be fetched in between:

    claim = read_claim(head)            None: no credentials at all
    credential = await auth.credential(claim.access_key)
    verify(claim, head, secret or None, expected)

An unknown key takes the same path as a wrong signature. Whatever can change the meaning of a request must be signed
(S03): host, every x-amz-*, content-md5 and, except in a presigned URL (whose holder chooses the body and so its type),
content-type. The SDKs' unsigned `amz-sdk-*` are no x-amz. Freshness is S10: 15 minutes either way, the date equal to
the scope's day, a presigned URL at most seven days. Equal signatures are no replay: boto3's date has a grain of one
second, so honest twins exist.
"""

from __future__ import annotations

import hmac
import re
import secrets
from calendar import timegm
from collections.abc import Collection
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from enum import Enum
from functools import lru_cache
from time import gmtime, strftime, strptime

from cloudcore.signing.heads import ALGORITHM, STAMP, TERMINATOR, Head, canonical_request, signature, signing_key

SKEW = 900  # seconds, prescribed
LONGEST = 604_800  # seconds a presigned URL may live, prescribed
NOBODY = secrets.token_hex(20)  # the secret of unknown keys
ACCESS_KEY = re.compile(r"[A-Za-z0-9_]{4,128}")
SCOPE_WORD = re.compile(r"[A-Za-z0-9-]{0,64}")  # a region may be empty: some clients name none
SIGNATURE = re.compile(r"[0-9a-f]{64}")
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
MOMENT = re.compile(r"[0-9]{8}T[0-9]{6}Z")
TOKEN = "X-Amz-Security-Token"  # noqa: S105  # in a presigned URL; a header of this name otherwise
FIELDS = frozenset({"Credential", "SignedHeaders", "Signature"})
QUERY = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature")


class Kind(Enum):
    """Why a signature is refused; each protocol maps these to its own codes."""

    MALFORMED = "malformed"  # cannot be read
    UNSUPPORTED = "unsupported"  # another algorithm, such as Signature Version 2
    SESSION = "session"  # a session token that is not this key's, or none where one is needed
    SCOPE = "scope"  # for another region or service, or another day than its date
    UNSIGNED = "unsigned"  # a header that must be signed is not
    SKEWED = "skewed"  # the date is more than 15 minutes off
    EXPIRED = "expired"  # a presigned URL past its time
    WRONG = "wrong"  # unknown key or wrong signature: they look alike


class BadSignature(Exception):
    """A refusal. `text` names what is at fault and never holds a secret or the signature that was expected."""

    def __init__(self, kind: Kind, text: str) -> None:
        super().__init__(kind, text)
        self.kind, self.text = kind, text

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Claim:
    """Who says they signed, and how. Nothing in it is proven before `verify` has returned."""

    access_key: str
    day: str  # YYYYMMDD
    region: str
    service: str
    stamp: str  # YYYYMMDDTHHMMSSZ
    signed: tuple[str, ...]  # lower-case header names
    signature: str  # 64 hex digits
    expires: int | None  # seconds; None: signed by header, not presigned
    token: str | None = None  # of a temporary key; signed, but nothing here knows whether it is right

    @property
    def presigned(self) -> bool:
        return self.expires is not None

    @property
    def scope(self) -> str:
        return f"{self.day}/{self.region}/{self.service}/{TERMINATOR}"

    def signing_key(self, secret: str) -> bytes:
        return signing_key(secret, self.day, self.region, self.service)


@dataclass(frozen=True, slots=True)
class Expected:
    """What a service asks of every signature: the time (seconds since the epoch), its region and aliases, its name."""

    now: float
    regions: Collection[str]
    service: str


def read_claim(head: Head) -> Claim | None:
    """The claim in the Authorization header or the query; None for a request without credentials.

    Raises BadSignature: MALFORMED, UNSUPPORTED.
    """
    pairs = head.parameters()
    query = dict(pairs)
    in_header, in_query = "authorization" in head.headers, "X-Amz-Signature" in query or "X-Amz-Credential" in query
    if "Signature" in query and "AWSAccessKeyId" in query:
        raise BadSignature(Kind.UNSUPPORTED, f"Signature Version 2 is not accepted; use {ALGORITHM}")
    if in_header and in_query:
        raise BadSignature(Kind.MALFORMED, "The Authorization header and X-Amz-Signature exclude each other")
    if not in_header and not in_query:
        return None
    tokens = [name for name, _ in pairs if name.lower() == TOKEN.lower()]
    if tokens and (in_header or tokens != [TOKEN] or TOKEN.lower() in head.headers):
        raise BadSignature(Kind.MALFORMED, f"{TOKEN} stands once: in the header, or in the query of a presigned URL")
    if in_header:
        claim, token = _from_header(head), head.headers.get(TOKEN.lower())
        return claim if token is None else replace(claim, token=token)
    if TOKEN.lower() in head.headers:
        raise BadSignature(Kind.MALFORMED, f"The {TOKEN} of a presigned URL stands in its query")
    for name in QUERY:
        if sum(name == other for other, _ in pairs) != 1:
            raise BadSignature(Kind.MALFORMED, f"The query parameter {name} must be given once")
    return replace(_from_query(query), token=query.get(TOKEN))


def _from_header(head: Head) -> Claim:
    algorithm, _, rest = head.headers["authorization"].strip().partition(" ")
    if algorithm != ALGORITHM:
        raise BadSignature(Kind.UNSUPPORTED, f"The authorization mechanism is not supported; use {ALGORITHM}")
    pairs = [field.strip().partition("=") for field in rest.split(",")]
    fields = {name: value for name, _, value in pairs}
    if len(pairs) != len(FIELDS) or fields.keys() != FIELDS:
        raise BadSignature(Kind.MALFORMED, "Authorization needs Credential, SignedHeaders and Signature, once each")
    if "x-amz-date" in head.headers:
        stamp = head.headers["x-amz-date"].strip()
    elif "date" in head.headers and "date" in fields["SignedHeaders"].split(";"):
        stamp = _from_http_date(head.headers["date"])
    else:
        raise BadSignature(Kind.MALFORMED, "The request needs an X-Amz-Date or a signed Date header")
    return _claim(fields["Credential"], stamp, fields["SignedHeaders"], fields["Signature"], None)


def _from_query(query: dict[str, str]) -> Claim:
    if query["X-Amz-Algorithm"] != ALGORITHM:
        raise BadSignature(Kind.UNSUPPORTED, f"X-Amz-Algorithm must be {ALGORITHM}")
    expires = query["X-Amz-Expires"]
    if not (expires.isascii() and expires.isdigit() and len(expires) < 8 and 1 <= int(expires) <= LONGEST):
        raise BadSignature(Kind.MALFORMED, f"X-Amz-Expires must be a number from 1 to {LONGEST}")
    return _claim(query["X-Amz-Credential"], query["X-Amz-Date"], query["X-Amz-SignedHeaders"],
                  query["X-Amz-Signature"], int(expires))


def _from_http_date(value: str) -> str:
    try:
        return strftime(STAMP, gmtime(parsedate_to_datetime(value).timestamp()))
    except (ValueError, TypeError, OverflowError):
        raise BadSignature(Kind.MALFORMED, "The Date header cannot be read") from None


def _claim(credential: str, stamp: str, signed: str, given: str, expires: int | None) -> Claim:
    parts = credential.split("/")
    if (len(parts) != 5 or not ACCESS_KEY.fullmatch(parts[0]) or not re.fullmatch(r"[0-9]{8}", parts[1])
            or not all(map(SCOPE_WORD.fullmatch, parts[2:4])) or parts[4] != TERMINATOR):
        raise BadSignature(Kind.MALFORMED, "The Credential must be KEY/YYYYMMDD/REGION/SERVICE/aws4_request")
    names = tuple(signed.split(";"))
    if len(set(names)) != len(names) or not all(map(HEADER_NAME.fullmatch, names)):
        raise BadSignature(Kind.MALFORMED, "SignedHeaders must be lower-case names, each once, joined by semicolons")
    if not SIGNATURE.fullmatch(given):
        raise BadSignature(Kind.MALFORMED, "The Signature must be 64 hexadecimal digits")
    if _moment(stamp) is None:
        raise BadSignature(Kind.MALFORMED, "The date must be YYYYMMDDTHHMMSSZ")
    return Claim(parts[0], parts[1], parts[2], parts[3], stamp, names, given, expires)


@lru_cache(1024)  # a stamp is asked for twice in each request, and requests of one second share theirs
def _moment(stamp: str) -> int | None:
    """Seconds since the epoch."""
    try:
        return timegm(strptime(stamp, STAMP)) if MOMENT.fullmatch(stamp) else None
    except ValueError:
        return None


def verify(claim: Claim, head: Head, secret: str | None, expected: Expected, payload_hash: str) -> None:
    """Returns when the signature is right, fresh and covers what it must; else raises BadSignature.

    `secret` is None for an unknown key. `payload_hash` is what the body hashes to, computed by the caller
    (`body_hash`), or, where the body is checked as it streams in, what the signed x-amz-content-sha256 announces. A
    header of that name that says something else is refused.
    """
    _check_scope(claim, expected)
    _check_freshness(claim, expected.now)
    _check_coverage(claim, head)
    announced = head.headers.get("x-amz-content-sha256", payload_hash)
    try:
        canonical = canonical_request(head, claim.signed, claim.service, payload_hash)
    except KeyError as missing:
        raise BadSignature(Kind.MALFORMED, f"The signed header {missing.args[0]} is not in the request") from None
    wanted = signature(claim.signing_key(NOBODY if secret is None else secret), claim.stamp, claim.scope, canonical)
    right = hmac.compare_digest(wanted, claim.signature)
    if not right or secret is None or announced != payload_hash:
        raise BadSignature(Kind.WRONG, "The signature does not match: check access key, secret and signing method")


def _check_scope(claim: Claim, expected: Expected) -> None:
    if claim.service != expected.service:
        raise BadSignature(Kind.SCOPE, f"The service '{claim.service}' is wrong; expecting '{expected.service}'")
    if claim.region not in expected.regions:
        ours = next(iter(expected.regions))
        raise BadSignature(Kind.SCOPE, f"The region '{claim.region}' is wrong; expecting '{ours}'")
    if not claim.stamp.startswith(claim.day):
        raise BadSignature(Kind.SCOPE, f"The date {claim.stamp} is not on the day of its scope, {claim.day}")


def _check_freshness(claim: Claim, now: float) -> None:
    signed_at = _moment(claim.stamp) or 0
    if claim.expires is None:
        if abs(now - signed_at) > SKEW:
            raise BadSignature(Kind.SKEWED, "The difference between the request time and the current time is too large")
    elif signed_at - now > SKEW:
        raise BadSignature(Kind.SKEWED, "The request is not valid yet")
    elif now > signed_at + claim.expires:
        raise BadSignature(Kind.EXPIRED, "The request has expired")


def _check_coverage(claim: Claim, head: Head) -> None:
    for name in head.headers:
        matters = name.startswith("x-amz-") or name == "content-md5" or (name == "content-type" and not claim.presigned)
        if matters and name not in claim.signed:
            raise BadSignature(Kind.UNSIGNED, f"The header {name} is in the request but not signed")
    if "host" not in claim.signed:
        raise BadSignature(Kind.UNSIGNED, "The header host must be signed")
