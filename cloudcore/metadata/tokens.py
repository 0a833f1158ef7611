"""IMDSv2's session tokens without a session: what a token says is in the token.

A token is the base64 of its expiry (milliseconds since the epoch, 8 bytes) and of HMAC-SHA-256 over the instance and
that expiry. It is of use to the instance it was made for and to no other, and nothing is stored; with the secret on
disk tokens survive a restart.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import math
import os
from collections.abc import Callable
from pathlib import Path

from cloudcore.errors import CloudError, Code

LONGEST = 21_600  # seconds: EC2's six hours
SECRET_BYTES = 32


def kept_secret(path: Path, random: Callable[[int], bytes]) -> bytes:
    """Read from a file of mode 0600, made when it is not there. Blocks. Raises CloudError(STATE_DIRECTORY) when others
    may read it or it is no secret of ours."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        aside = path.with_name(f"{path.name}.{os.getpid()}.new")
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(random(SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        aside.rename(path)
    if path.stat().st_mode & 0o077:
        raise CloudError(Code.STATE_DIRECTORY, f"{path} can be read by others; chmod 600 it or remove it")
    secret = path.read_bytes()
    if len(secret) != SECRET_BYTES:
        raise CloudError(Code.STATE_DIRECTORY, f"{path} has {len(secret)} bytes instead of {SECRET_BYTES}; remove it")
    return secret


def seconds_asked(header: str | None) -> int | None:
    """The lifetime a client asks for, or None where it asks for none or for an impossible one."""
    if header is None or not header.isascii() or not header.isdigit() or len(header) > 5:
        return None
    return int(header) if 1 <= int(header) <= LONGEST else None


def token(secret: bytes, instance: str, lifetime: int, now: float) -> str:
    expiry = int((now + lifetime) * 1000).to_bytes(8, "big")
    return base64.urlsafe_b64encode(expiry + _mac(secret, instance, expiry)).decode()


def seconds_left(secret: bytes, instance: str, token: str, now: float) -> int:
    """0 for a token that is forged, expired, or another instance's."""
    try:
        raw = base64.b64decode(token, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return 0
    expiry, mac = raw[:8], raw[8:]
    if not hmac.compare_digest(mac, _mac(secret, instance, expiry)):
        return 0
    left = int.from_bytes(expiry, "big") / 1000 - now
    return min(LONGEST, math.ceil(left)) if left > 0 else 0


def _mac(secret: bytes, instance: str, expiry: bytes) -> bytes:
    return hmac.digest(secret, b"metadata token\0" + instance.encode() + b"\0" + expiry, hashlib.sha256)
