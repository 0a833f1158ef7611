"""Where a test may kill the service: right after each effect, so that the next start meets exactly that state."""

from __future__ import annotations

from collections.abc import Callable

FAILPOINTS = (
    "volume.journaled",
    "volume.layers",
    "volume.made",
    "volume.grown",
    "volume.removed",
    "volume.copied",
    "volume.stored",
    "volume.exported",
)

Failpoint = Callable[[str], None]


def none(name: str) -> None:
    """The failpoint of a cloud in earnest."""
