"""Page tokens: a place in an order, sealed for one account and one action. Who changes a token or takes it elsewhere
has no token at all."""

from __future__ import annotations

import base64
import binascii
import hmac

import orjson

from cloudcore.errors import CloudError, Code

MAC = 16  # bytes
LONGEST = 1024  # characters


def seal(secret: bytes, purpose: str, place: tuple[float | str, str]) -> str:
    """`purpose` names account and action."""
    body = orjson.dumps(place)
    return base64.urlsafe_b64encode(_mac(secret, purpose, body) + body).decode()


def unseal(secret: bytes, purpose: str, token: str) -> tuple[float | str, str]:
    """Raises BAD_PAGE_TOKEN."""
    try:
        raw = base64.b64decode(token[:LONGEST].encode("ascii"), b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    mac, body = raw[:MAC], raw[MAC:]
    if not hmac.compare_digest(mac, _mac(secret, purpose, body)):
        raise CloudError(Code.BAD_PAGE_TOKEN, "The token is not one that this action gave you")
    first, second = orjson.loads(body)
    return first, second


def _mac(secret: bytes, purpose: str, body: bytes) -> bytes:
    return hmac.digest(secret, purpose.encode() + b"\0" + body, "sha256")[:MAC]
