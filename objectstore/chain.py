"""The order in which a request is judged, once: route, signature, bucket, permission; then the operation.

All of it happens on the head alone, before one byte of a body is taken. Whether a bucket exists is told to every
authenticated caller, as S3 does: names are global, and creating it would tell as much.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from cloudcore.auth.model import AuthManager
from cloudcore.auth.sessions import check_session
from cloudcore.domain.callers import Caller
from cloudcore.signing.heads import Head
from cloudcore.signing.sigv4 import BadSignature, Expected, Kind, read_claim, verify
from objectstore.intake import Flow, MemorySink, Sink, open_sink
from objectstore.payloads import Payload, announced_hash, read_payload
from objectstore.refusals import Refused, no_such_bucket
from objectstore.requests import Answer, Received, Request, Store
from objectstore.routes import Document, Routed, find_route

# An unknown key and a wrong secret get one answer, so that keys cannot be probed.
CODES: dict[Kind, str] = {
    Kind.MALFORMED: "AuthorizationHeaderMalformed", Kind.UNSUPPORTED: "InvalidRequest", Kind.SESSION: "InvalidToken",
    Kind.SCOPE: "AuthorizationHeaderMalformed", Kind.UNSIGNED: "AccessDenied", Kind.SKEWED: "RequestTimeTooSkewed",
    Kind.EXPIRED: "AccessDenied", Kind.WRONG: "SignatureDoesNotMatch",
}


@dataclass(frozen=True, slots=True)
class Doors:
    """Where the store is reached: `regions` whose signatures it takes, its own first; `domains` under which a bucket
    may stand as a host name, without port."""

    regions: tuple[str, ...]
    domains: tuple[str, ...] = ()


class Chain:
    def __init__(self, store: Store, auth: AuthManager, doors: Doors, seconds: Callable[[], float]) -> None:
        self._store, self._auth, self._doors, self._seconds = store, auth, doors, seconds

    async def admit(self, head: Head, flow: Flow) -> Sink:
        """Where the body goes; closing the sink performs the operation. Raises Refused."""
        routed = find_route(head, self._doors.domains)
        caller, payload = await self._authenticate(head)
        route = routed.route
        bucket = None
        if routed.bucket and route.needs_bucket:
            bucket = await self._store.index.buckets.find(routed.bucket)
            if bucket is None:
                raise no_such_bucket(routed.bucket)
        owner = bucket.project if bucket else None
        self._store.access.authorise(caller, route.action, owner)
        self._store.access.expect(head.headers.get("x-amz-expected-bucket-owner"), owner)
        request = Request(head.method, head.path, routed.bucket, routed.key, routed.query, head.headers, caller,
                          payload, bucket)
        return await self._open(routed, request, flow)

    async def _open(self, routed: Routed, request: Request, flow: Flow) -> Sink:
        body = routed.route.body
        if not isinstance(body, Document):
            intake = await body.begin(self._store, request)
            return open_sink(intake, request.payload, self._store.blobs, flow)
        if (request.payload.length or 0) > body.limit:
            raise Refused("MaxMessageLengthExceeded", f"The body is longer than {body.limit} bytes")

        async def perform(received: Received) -> Answer:
            return await body.perform(self._store, replace(request, body=received.data or b""))

        return MemorySink(request.payload, body.limit, (), perform)

    async def _authenticate(self, head: Head) -> tuple[Caller, Payload]:
        try:
            claim = read_claim(head)
            if claim is None:
                raise Refused("AccessDenied", "Anonymous requests are not served: sign the request")
            announced = announced_hash(head, claim)
            credential = await self._auth.credential(claim.access_key)
            secret = credential.secret.reveal() if credential else None
            verify(claim, head, secret, Expected(self._seconds(), self._doors.regions, "s3"), announced)
            if credential is not None:
                check_session(credential, claim.token, self._seconds())
        except BadSignature as bad:
            raise refusal_of(bad) from None
        if credential is None or secret is None:  # verify has raised; this keeps it so should it ever not
            raise Refused("SignatureDoesNotMatch", "The signature does not match")
        return credential.caller, read_payload(head, claim, secret, announced)


def refusal_of(bad: BadSignature) -> Refused:
    return Refused(CODES[bad.kind], bad.text)
