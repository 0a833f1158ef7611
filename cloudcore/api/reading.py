"""The first two steps of a request: read it, and learn who sends it.

One port serves EC2, STS and IAM: the scope of the signature says which, and the Version where there is no signature to
ask. The route only picks who verifies; verification recomputes the same scope. Sizes are judged before anything is
parsed, and a parameter that XML could not hold is refused here, so that no answer ever has to hold it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from cloudcore.api.calls import Cloud
from cloudcore.auth.sessions import check_session
from cloudcore.domain.callers import Caller
from cloudcore.errors import CloudError, Code
from cloudcore.signing import sigv2
from cloudcore.signing.heads import DuplicateHeader, Head, body_hash, query_pairs, text
from cloudcore.signing.sigv4 import QUERY, TOKEN, BadSignature, Claim, Expected, Kind, read_claim, verify

BODY = 1 << 20  # bytes
PARAMETERS = 1000
NAME = 255  # characters of a parameter's name
FORM = "application/x-www-form-urlencoded"
VERSIONS = {"2016-11-15": "ec2", "2011-06-15": "sts", "2010-05-08": "iam"}
VERSION = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
SCOPE = re.compile(rb"(?:/|%2F)(sts|iam)(?:/|%2F)aws4_request")
SIGV2 = ("ec2", "sts")  # services that may be signed in the old way, where that is switched on
GLOBAL_REGION = "us-east-1"  # IAM is global: clients may sign it for there

REFUSED = "AWS was not able to validate the provided access credentials"  # one text for all reasons
LATE = "Request has expired: its date is more than 15 minutes off, or its time has run out"


@dataclass(frozen=True, slots=True)
class Reading:
    """A request that is well-formed. Nothing of it is proven."""

    head: Head
    body: bytes
    claim: Claim | sigv2.QueryClaim | None
    service: str  # ec2 | sts | iam, or what else the signature names
    action: str | None
    version: str | None
    pairs: tuple[tuple[str, str], ...]  # without Action, Version and the signature's own

    @property
    def private(self) -> bool:
        """Whether signed by header in Version 4 and sent by POST: neither a URL that others hold nor an old signature
        may be traded for a credential (S09)."""
        return self.head.method == "POST" and isinstance(self.claim, Claim) and not self.claim.presigned


def meant(target: bytes, headers: Collection[tuple[bytes, Sequence[bytes]]]) -> str:
    """The service whose form a refusal has when the request cannot even be read."""
    signed = [value for name, values in headers if name.lower() == b"authorization" for value in values]
    found = SCOPE.search(b" ".join([*signed, target]))
    return found[1].decode() if found else "ec2"


def read(method: bytes, target: bytes, headers: Collection[tuple[bytes, Sequence[bytes]]], body: bytes,
         with_sigv2: bool = False) -> Reading:  # fmt: skip
    """Raises BAD_REQUEST, BAD_VALUE, NOT_AUTHENTICATED."""
    try:
        head = Head.read(method, target, headers)
    except DuplicateHeader as name:
        raise CloudError(Code.BAD_REQUEST, f"The header {name} is given more than once") from None
    if method not in (b"GET", b"POST"):
        raise CloudError(Code.BAD_REQUEST, "The method must be GET or POST")
    pairs = head.parameters()
    if body and head.headers.get("content-type", FORM).partition(";")[0].strip().lower() == FORM:
        if body.count(b"&") > PARAMETERS:
            raise CloudError(Code.BAD_REQUEST, f"A request has at most {PARAMETERS} parameters")
        pairs += query_pairs(text(body))
    _check_sizes(pairs)
    named = dict(pairs)
    if sum(name in ("Action", "Version") for name, _ in pairs) > len({"Action", "Version"} & named.keys()):
        raise CloudError(Code.BAD_VALUE, "Action and Version are given once")
    older = _older_claim(pairs) if with_sigv2 and "authorization" not in head.headers else None
    try:
        claim = older or read_claim(head)
    except BadSignature:
        raise CloudError(Code.NOT_AUTHENTICATED, REFUSED) from None
    service = claim.service if isinstance(claim, Claim) else VERSIONS.get(named.get("Version", ""), "ec2")
    if older is not None and service not in SIGV2:
        raise CloudError(Code.NOT_AUTHENTICATED, REFUSED)
    own = {"Action", "Version", *_names_of(claim)}
    return Reading(head, body, claim, service, named.get("Action"), named.get("Version"),
                   tuple(pair for pair in pairs if pair[0] not in own))  # fmt: skip


def _older_claim(pairs: Sequence[tuple[str, str]]) -> sigv2.QueryClaim | None:
    try:
        return sigv2.read_claim(pairs)
    except BadSignature:
        raise CloudError(Code.NOT_AUTHENTICATED, REFUSED) from None


def _names_of(claim: Claim | sigv2.QueryClaim | None) -> Sequence[str]:
    """Parameters that belong to the signature and not to the action."""
    if isinstance(claim, sigv2.QueryClaim):
        return sigv2.NAMES
    return (*QUERY, TOKEN) if claim is not None and claim.presigned else ()


def _check_sizes(pairs: list[tuple[str, str]]) -> None:
    if len(pairs) > PARAMETERS:
        raise CloudError(Code.BAD_REQUEST, f"A request has at most {PARAMETERS} parameters")
    for name, value in pairs:
        if len(name) > NAME:
            raise CloudError(Code.BAD_REQUEST, f"The name of a parameter has at most {NAME} characters")
        if UNFIT.search(value) or UNFIT.search(name):
            shown = UNFIT.sub("\ufffd", name)
            raise CloudError(Code.BAD_VALUE, f"The parameter {shown} holds characters that XML cannot")


async def authenticate(cloud: Cloud, reading: Reading) -> Caller:
    """The one place where a signature becomes a Caller. Unknown key and wrong signature give one answer.

    Raises NOT_AUTHENTICATED, REQUEST_EXPIRED.
    """
    claim = reading.claim
    if claim is None:
        raise CloudError(Code.NOT_AUTHENTICATED, REFUSED)
    credential = await cloud.auth.credential(claim.access_key)
    regions = (cloud.region, *cloud.aliases, *([GLOBAL_REGION] if reading.service == "iam" else ()))
    secret = credential.secret.reveal() if credential else None
    try:
        if isinstance(claim, sigv2.QueryClaim):
            sigv2.verify(claim, reading.head, secret, cloud.clock.seconds())
        else:
            verify(claim, reading.head, secret, Expected(cloud.clock.seconds(), regions, reading.service),
                   body_hash(reading.body))  # fmt: skip
        if credential is not None:
            check_session(credential, claim.token if isinstance(claim, Claim) else None, cloud.clock.seconds())
    except BadSignature as refused:
        if refused.kind in (Kind.SKEWED, Kind.EXPIRED):
            raise CloudError(Code.REQUEST_EXPIRED, LATE) from None
        raise CloudError(Code.NOT_AUTHENTICATED, REFUSED) from None
    if credential is None:
        raise CloudError(Code.NOT_AUTHENTICATED, REFUSED)
    return credential.caller
