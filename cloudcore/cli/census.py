"""What a state holds, in a sentence: said when a cloud starts on it, and when one leaves its guests behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cloudcore.domain.instances import State
from cloudcore.store.census import Census, Counted

UP = frozenset({State.STARTING, State.RUNNING})
NAMES = 8  # how many are named before the rest is only counted


def holdings(books: Any) -> tuple[list[Counted], int]:
    """Instances that are not terminated, and how many images there are. To be given to `Database.look`."""
    census = books.over(Census)
    return census.instances(), census.images()


def found(instances: Sequence[Counted], images: int) -> str:
    """`2 instances (1 running), 1 image`."""
    up = len(running(instances))
    more = f" ({up} running)" if instances else ""
    return f"{counted(len(instances), 'instance')}{more}, {counted(images, 'image')}"


def going_on(instances: Sequence[Counted]) -> str:
    """`2 instances keep running: web-1 web-2.`; empty when none does."""
    up = running(instances)
    if not up:
        return ""
    names = " ".join(one.name for one in up[:NAMES]) + (" …" if len(up) > NAMES else "")
    return f"{counted(len(up), 'instance')} {'keeps' if len(up) == 1 else 'keep'} running: {names}."


def running(instances: Sequence[Counted]) -> list[Counted]:
    return [one for one in instances if one.state in UP]


def counted(count: int, word: str) -> str:
    return f"{count or 'no'} {word}{'' if count == 1 else 's'}"
