"""Grouping at a delimiter: one rule for objects and uploads. A common prefix costs a seek, not a scan."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from objectstore.index.model import Page, Window

LAST = b"\xff" * 1025  # after every key


class Keyed(Protocol):
    @property
    def key(self) -> bytes: ...


T = TypeVar("T", bound=Keyed)


def successor(prefix: bytes) -> bytes | None:
    """The first key after all keys that begin with `prefix`; None when every later key begins with it."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else None


def grouped(window: Window, rows_from: Callable[[bytes, bool], Iterable[T]]) -> Page[T]:
    """`rows_from(key, strictly)` yields rows with the window's prefix in byte order from or after `key`; it is asked
    again after each common prefix."""
    prefix, delimiter = window.prefix, window.delimiter
    page: Page[T] = Page([], [])
    at, strict = window.after, bool(window.after)
    if at < prefix:
        at, strict = prefix, False
    cut = common(at, window) if at.startswith(prefix) and window.after else None
    if cut:  # the page before ended with this common prefix, or within it
        at, strict = successor(cut) or LAST, False
    last, seeking = b"", True
    while seeking:
        seeking = False
        for row in rows_from(at, strict):
            if len(page.found) + len(page.prefixes) == window.limit:
                final = page.found[-1] if page.found and page.found[-1].key == last else None
                return Page(page.found, page.prefixes, last, getattr(final, "id", ""))
            cut = common(row.key, window) if delimiter else None
            if cut is None:
                page.found.append(row)
                last = row.key
            else:
                page.prefixes.append(cut)
                at, strict, last, seeking = successor(cut) or LAST, False, cut, True
                break
    return page


def common(key: bytes, window: Window) -> bytes | None:
    """The common prefix that `key` belongs to."""
    if not window.delimiter:
        return None
    end = key.find(window.delimiter, len(window.prefix))
    return None if end < 0 else key[: end + len(window.delimiter)]
