"""User data as clients send it: base64 once, and not more than EC2 takes."""

from __future__ import annotations

import base64
import binascii

from cloudcore.errors import CloudError, Code

LONGEST = 16 * 1024  # bytes, decoded


def decoded(text: str | None) -> bytes | None:
    """Raises USER_DATA_MALFORMED, BAD_VALUE."""
    if text is None:
        return None
    try:
        return bounded(base64.b64decode("".join(text.split()), validate=True))
    except (binascii.Error, ValueError):
        raise CloudError(Code.USER_DATA_MALFORMED, "Invalid BASE64 encoding of user data.") from None


def bounded(data: bytes) -> bytes:
    if len(data) > LONGEST:
        raise CloudError(Code.BAD_VALUE, f"User data is limited to {LONGEST} bytes; these are {len(data)}")
    return data
