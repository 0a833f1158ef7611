"""Where a test may kill the api: around the one transaction of a mutation, and after the hints that follow it.

Before the commit nothing has happened; after it everything has, though the client may never hear of it and asks again
with its token.
"""

from __future__ import annotations

from collections.abc import Callable

FAILPOINTS = ("api.commit.before", "api.commit.after", "api.hinted")

Failpoint = Callable[[str], None]


def none(name: str) -> None:
    """The failpoint of a cloud in earnest."""
