"""The Range header (RFC 9110, section 14): one range of bytes, or the whole."""

from __future__ import annotations

import re
from dataclasses import dataclass

from objectstore.refusals import Refused

ONE = re.compile(r"bytes=\s*([0-9]{0,19})-([0-9]{0,19})\s*")


@dataclass(frozen=True, slots=True)
class Span:
    """`count` bytes from `offset` of `total`."""

    offset: int
    count: int
    total: int

    @property
    def content_range(self) -> str:
        return f"bytes {self.offset}-{self.offset + self.count - 1}/{self.total}"


def read_range(header: str | None, total: int) -> Span | None:
    """None means the whole: no header, another unit, several ranges or one that cannot be read. Raises InvalidRange."""
    found = ONE.fullmatch(header or "")
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    start = int(first) if first else max(0, total - int(last))
    end = min(int(last), total - 1) if first and last else total - 1
    if first and last and int(last) < int(first):
        return None
    if start >= total or (not first and int(last) == 0):
        raise Refused("InvalidRange", f"The range '{header}' lies outside of the object's {total} bytes",
                      (("Content-Range", f"bytes */{total}"),))
    return Span(start, end - start + 1, total)
