"""Judging a query signed by AWS Signature Version 2, which some old clients still send to EC2 and STS.

It proves less than Version 4: no header but the host is covered, no region, no service, and the secret itself is the
key. So it is off unless somebody wants it. HmacSHA256 only. What is signed are method, host, path and every parameter,
those of a form body as well. Fresh is a Timestamp within 15 minutes, or an Expires that is to come within seven days.

Source: "Signature Version 2 signing process" of the AWS General Reference.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from calendar import timegm
from collections.abc import Sequence
from dataclasses import dataclass
from time import strptime

from cloudcore.signing.heads import Head, canonical_query, raw
from cloudcore.signing.sigv4 import ACCESS_KEY, LONGEST, NOBODY, SKEW, BadSignature, Kind

METHOD, VERSION = "HmacSHA256", "2"
NAMES = ("AWSAccessKeyId", "Signature", "SignatureMethod", "SignatureVersion", "Timestamp", "Expires")
MOMENT = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]{1,6})?Z?", re.ASCII)

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class QueryClaim:
    """Who says they signed. Nothing in it is proven before `verify` has returned. `pairs` is what was signed."""

    access_key: str
    signature: bytes
    pairs: tuple[tuple[str, str], ...]
    signed_at: float | None  # seconds since the epoch; one of the two is given
    expires_at: float | None


def read_claim(pairs: Pairs) -> QueryClaim | None:
    """The claim among all parameters of a request; None when they hold none.

    Raises BadSignature: MALFORMED, UNSUPPORTED, SESSION.
    """
    named = dict(pairs)
    if "AWSAccessKeyId" not in named or "Signature" not in named:
        return None
    if any(sum(name == other for other, _ in pairs) > 1 for name in NAMES):
        raise BadSignature(Kind.MALFORMED, "A parameter of the signature is given more than once")
    if "SecurityToken" in named:
        raise BadSignature(Kind.SESSION, "Session tokens are not accepted with Signature Version 2")
    if (named.get("SignatureMethod"), named.get("SignatureVersion")) != (METHOD, VERSION):
        raise BadSignature(Kind.UNSUPPORTED, f"SignatureMethod must be {METHOD} and SignatureVersion {VERSION}")
    if not ACCESS_KEY.fullmatch(named["AWSAccessKeyId"]):
        raise BadSignature(Kind.MALFORMED, "The AWSAccessKeyId is none")
    if ("Timestamp" in named) == ("Expires" in named):
        raise BadSignature(Kind.MALFORMED, "Either Timestamp or Expires must be given")
    return QueryClaim(
        named["AWSAccessKeyId"], _decoded(named["Signature"]),
        tuple(pair for pair in pairs if pair[0] != "Signature"),
        _moment(named["Timestamp"]) if "Timestamp" in named else None,
        _moment(named["Expires"]) if "Expires" in named else None,
    )  # fmt: skip


def verify(claim: QueryClaim, head: Head, secret: str | None, now: float) -> None:
    """Returns when the signature is right and fresh; else raises BadSignature. `secret` is None for an unknown key."""
    if claim.signed_at is not None and abs(now - claim.signed_at) > SKEW:
        raise BadSignature(Kind.SKEWED, "The difference between the request time and the current time is too large")
    if claim.expires_at is not None and not now <= claim.expires_at <= now + LONGEST:
        raise BadSignature(Kind.EXPIRED, "The request has expired, or would not for more than seven days")
    wanted = signature(NOBODY if secret is None else secret, head, claim.pairs)
    if not hmac.compare_digest(wanted, claim.signature) or secret is None:
        raise BadSignature(Kind.WRONG, "The signature does not match: check access key, secret and signing method")


def signature(secret: str, head: Head, pairs: Pairs) -> bytes:
    """Of these parameters, `Signature` not among them."""
    lines = [head.method, head.headers.get("host", "").lower(), head.path or "/", canonical_query(pairs)]
    return hmac.digest(secret.encode(), raw("\n".join(lines)), "sha256")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, ValueError):
        raise BadSignature(Kind.MALFORMED, "The Signature must be base64") from None


def _moment(text: str) -> float:
    """Seconds since the epoch."""
    match = MOMENT.fullmatch(text)
    try:
        return float(timegm(strptime(match[1], "%Y-%m-%dT%H:%M:%S"))) if match else _no_moment()
    except ValueError:
        return _no_moment()


def _no_moment() -> float:
    raise BadSignature(Kind.MALFORMED, "Timestamp and Expires must be YYYY-MM-DDTHH:MM:SSZ")
