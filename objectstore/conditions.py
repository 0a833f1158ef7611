"""Conditional requests (RFC 9110, section 13), as values: read once, judged where the truth is.

A condition on a write is judged inside the transaction that writes: restic and Terraform use it as a lock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

from objectstore.refusals import Refused, no_such_key

NAMES = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since")
COPY_NAMES = tuple("x-amz-copy-source-" + name for name in NAMES)


@dataclass(frozen=True, slots=True)
class Conditions:
    match: frozenset[str] | None = None  # ETags without quotes, or {"*"}
    none_match: frozenset[str] | None = None
    modified_since: float | None = None  # seconds since the epoch
    unmodified_since: float | None = None

    def __bool__(self) -> bool:
        return self != ALWAYS


ALWAYS = Conditions()


def etags(value: str | None) -> frozenset[str] | None:
    """Weak tags count as strong: S3 has no weak ones."""
    if value is None:
        return None
    return frozenset(tag.strip().removeprefix("W/").strip('"') for tag in value.split(","))


def moment(value: str | None) -> float | None:
    """A date that cannot be read is no condition, as the RFC prescribes."""
    try:
        when = parsedate_to_datetime(value or "")
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def read_conditions(headers: Mapping[str, str], names: tuple[str, ...] = NAMES) -> Conditions:
    match, none_match, modified, unmodified = (headers.get(name) for name in names)
    return Conditions(etags(match), etags(none_match), moment(modified), moment(unmodified))


def judge_read(conditions: Conditions, etag: str, modified: int) -> None:
    """Raises PreconditionFailed or NotModified; an ETag condition outranks its date."""
    if conditions.match is not None:
        if not conditions.match & {etag, "*"}:
            raise failed("If-Match")
    elif conditions.unmodified_since is not None and modified > conditions.unmodified_since:
        raise failed("If-Unmodified-Since")
    if conditions.none_match is not None:
        if conditions.none_match & {etag, "*"}:
            raise Refused("NotModified", "Not modified")
    elif conditions.modified_since is not None and modified <= conditions.modified_since:
        raise Refused("NotModified", "Not modified")


def judge_copy_source(conditions: Conditions, etag: str, modified: int) -> None:
    """As a read, but there is no 304 for a copy."""
    try:
        judge_read(conditions, etag, modified)
    except Refused:
        raise failed("x-amz-copy-source-if") from None


def judge_write(conditions: Conditions, etag: str | None) -> None:
    """`etag` is None where there is no object. Raises PreconditionFailed, NoSuchKey."""
    if conditions.match is not None:
        if etag is None:
            raise no_such_key()
        if not conditions.match & {etag, "*"}:
            raise failed("If-Match")
    if conditions.none_match is not None and etag is not None and conditions.none_match & {etag, "*"}:
        raise failed("If-None-Match")


def failed(name: str) -> Refused:
    return Refused("PreconditionFailed", f"The condition {name} does not hold")
