"""Names of buckets and keys. A key is bytes: split first, decode once, never normalise."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from cloudcore.signing.heads import raw
from objectstore.refusals import Refused

LONGEST_KEY = 1024  # bytes, prescribed by S3
BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9.-]{1,61})[a-z0-9]")
ADDRESS = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+")
RESERVED = frozenset({"healthz"})  # the probe's path


def valid_bucket(name: str) -> bool:
    """S3's rules for new buckets: 3 to 63 of a-z, 0-9, dot and hyphen; labels joined by single dots; no address."""
    return (bool(BUCKET.fullmatch(name)) and not ADDRESS.fullmatch(name) and name not in RESERVED
            and not any(bad in name for bad in ("..", ".-", "-.")))


def split_path(path: str) -> tuple[str, bytes]:
    """Bucket and key of a raw path; an encoded slash stays inside its key. Raises InvalidURI, KeyTooLongError."""
    bucket, _, rest = path.removeprefix("/").partition("/")
    try:
        name = unquote_to_bytes(raw(bucket)).decode("ascii")
    except UnicodeDecodeError:
        raise Refused("InvalidBucketName", "The bucket name is not ASCII") from None
    return name, checked_key(unquote_to_bytes(raw(rest)))


def checked_key(key: bytes) -> bytes:
    try:
        key.decode()
    except UnicodeDecodeError:
        raise Refused("InvalidURI", "The key is not UTF-8") from None
    if len(key) > LONGEST_KEY:
        raise Refused("KeyTooLongError", f"The key is {len(key)} bytes long; {LONGEST_KEY} are allowed")
    return key
