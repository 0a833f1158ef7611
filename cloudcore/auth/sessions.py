"""The session tokens of temporary keys: judged after the signature, so that only who knows the secret learns more."""

from __future__ import annotations

import hashlib
import hmac

from cloudcore.auth.model import Credential
from cloudcore.signing.sigv4 import BadSignature, Kind


def token_hash(token: str) -> str:
    """A token has more than 500 random bits, so its plain hash is enough to keep."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def check_session(credential: Credential, token: str | None, now: float) -> None:
    """`token` is what the request carried. A key of one's own has none, a temporary key exactly its own.

    Raises BadSignature: SESSION, EXPIRED.
    """
    given, wanted = "" if token is None else token_hash(token), credential.token_hash or ""
    if not hmac.compare_digest(given, wanted) or (wanted and credential.expires is None):
        raise BadSignature(Kind.SESSION, "The provided token is not valid")
    if credential.expires is not None and now >= credential.expires:
        raise BadSignature(Kind.EXPIRED, "The provided token has expired")
