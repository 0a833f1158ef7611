"""Which headers of an upload are kept and given back, and which would be lost and are therefore refused."""

from __future__ import annotations

from collections.abc import Mapping

from cloudcore.signing.heads import raw
from objectstore.index.model import Headers
from objectstore.refusals import Refused

KEPT = ("cache-control", "content-disposition", "content-encoding", "content-language", "content-type", "expires")
META = "x-amz-meta-"
METADATA_LIMIT = 2048  # bytes of names and values, prescribed by S3
DEFAULT_TYPE = "binary/octet-stream"
OVERRIDES = {"response-" + name: name for name in KEPT}
# Meaning that this store does not have; to take it in silence would be a lie.
LOST = ("x-amz-server-side-encryption", "x-amz-tagging", "x-amz-object-lock-", "x-amz-website-redirect-location",
        "x-amz-grant-", "x-amz-write-offset-bytes")
HARMLESS = {"x-amz-acl": ("private", "bucket-owner-full-control"), "x-amz-storage-class": ("STANDARD",)}


def refuse_lost(headers: Mapping[str, str]) -> None:
    """Raises NotImplemented for a header that asks for what cannot be kept."""
    for name, value in headers.items():
        if name.startswith(LOST) or (name in HARMLESS and value not in HARMLESS[name]):
            raise Refused("NotImplemented", f"The header {name}: {value} asks for what this store does not offer")


def kept_headers(headers: Mapping[str, str]) -> Headers:
    """What is stored with an object. Raises MetadataTooLarge, NotImplemented."""
    refuse_lost(headers)
    metadata = [(name, value) for name, value in headers.items() if name.startswith(META)]
    if sum(len(raw(name)) - len(META) + len(raw(value)) for name, value in metadata) > METADATA_LIMIT:
        raise Refused("MetadataTooLarge", f"The user metadata is longer than {METADATA_LIMIT} bytes")
    found = {name: headers[name] for name in KEPT if name in headers}
    found.setdefault("content-type", DEFAULT_TYPE)
    if "content-encoding" in found:
        codings = [coding.strip() for coding in found["content-encoding"].split(",")]
        found["content-encoding"] = ",".join(coding for coding in codings if coding and coding != "aws-chunked")
        if not found["content-encoding"]:
            del found["content-encoding"]
    return (*found.items(), *metadata)


def overridden(headers: Headers, query: Mapping[str, str]) -> Headers:
    """With the response-* parameters in the place of what is stored. Raises InvalidArgument."""
    replaced = {OVERRIDES[name]: value for name, value in query.items() if name in OVERRIDES}
    for name, value in replaced.items():
        if any(ord(letter) < 32 or ord(letter) == 127 for letter in value):
            raise Refused("InvalidArgument", f"The parameter response-{name} has control characters")
    return (*((name, value) for name, value in headers if name not in replaced), *replaced.items())
