"""Where a test may kill the agent: right after each effect, so that the next start meets exactly that state."""

from __future__ import annotations

from collections.abc import Callable

FAILPOINTS = (
    "compute.journaled",
    "compute.image",
    "compute.overlay",
    "compute.defined",
    "compute.started",
    "compute.fact",
    "compute.stopped",
    "compute.removed",
    "compute.cleaned",
)

# Of volumes. Apart, as those of the conductor are: tests/compute/ kills the agent at each.
VOLUME_FAILPOINTS = (
    "compute.disks",
    "compute.attached",
    "compute.detached",
    "compute.grown",
    "compute.shutting",
    "compute.shut",
    "compute.copied",
    "compute.stored",
)

Failpoint = Callable[[str], None]


def none(name: str) -> None:
    """The failpoint of a cloud in earnest."""
