"""Pages of listings: their tokens and their text. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from datetime import UTC, datetime

from cloudcore.signing.heads import encoded
from objectstore.refusals import Refused

MARK = 16  # bytes of the token's MAC


def iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def seal(key: bytes, listing: bytes, cursor: bytes) -> str:
    """A token that only this store can have made, for this listing."""
    return base64.urlsafe_b64encode(_mark(key, listing, cursor) + cursor).decode()


def unseal(key: bytes, listing: bytes, token: str) -> bytes:
    try:
        data = base64.b64decode(token, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        data = b""
    cursor = data[MARK:]
    if not hmac.compare_digest(_mark(key, listing, cursor), data[:MARK]):
        raise Refused("InvalidArgument", "The continuation token is not valid for this listing")
    return cursor


def _mark(key: bytes, listing: bytes, cursor: bytes) -> bytes:
    return hmac.digest(key, hashlib.sha256(listing).digest() + cursor, "sha256")[:MARK]


class Shown:
    """How names are written: as they are, or percent-encoded where the client asked for `url`."""

    def __init__(self, encoding: str | None) -> None:
        if encoding not in (None, "", "url"):
            raise Refused("InvalidArgument", f"The encoding type '{encoding}' is not 'url'")
        self.encoding = encoding or None

    def __call__(self, name: bytes | str) -> str:
        text = name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name
        return encoded(text, "/-_.~") if self.encoding else text
