"""What the conductor does, as tables: the steps of each operation, in order. A step is idempotent: twice equals once.

An operation belongs to one generation of its subject; a newer generation supersedes it (delete always wins). `GIVES_UP`
says after how many seconds an operation that gets no further fails.
"""

from __future__ import annotations

STEPS: dict[str, tuple[str, ...]] = {
    "launch": ("place", "plug", "boot"),
    "start": ("place", "plug", "boot"),  # one that was stopped before it had a place is placed now
    "stop": ("halt",),
    "terminate": ("destroy", "unplug", "forget"),
    "regroup": ("spread",),
    "replug": ("replug",),  # of an instance, whatever its generation: what its port says has changed
    "address": ("withdraw", "grant"),  # an elastic one: gone from where it was before it is anywhere else
    "create-volume": ("lodge", "furnish"),  # a host for its bytes, and the bytes
    "delete-volume": ("erase",),
    "grow-volume": ("grow",),
    "redisk": ("serve", "redisk"),  # of an instance: what lies on other hosts is served, then the host hears the list
    "withhold": ("withhold",),  # of a volume: served to no other host any more
    "snapshot": ("copy",),  # of a batch: all of one moment; an image that waits for it is complete then
    "discard": ("discard",),  # of a content that nothing names any more
    "import": ("import",),
}

GIVES_UP: dict[str, float] = {
    "launch": 280.0,  # every accepted request is settled within 300 s (I1)
    "start": 280.0,
    "stop": float("inf"),  # repeated until the host says so
    "terminate": float("inf"),
    "regroup": float("inf"),
    "replug": float("inf"),
    "address": float("inf"),
    "create-volume": 280.0,
    "delete-volume": float("inf"),
    "grow-volume": float("inf"),
    "redisk": float("inf"),
    "withhold": float("inf"),
    "snapshot": 86400.0,
    "discard": float("inf"),
    "import": 86400.0,
}

# What is told is read when it is told: those that still wait are one.
JOINED = frozenset({"regroup", "replug", "redisk", "withhold"})

LEASE = 15.0  # seconds: how long the steps of a conductor that died stay untouched; one that lives renews in time
RETRY_DELAYS = (1.0, 2.0, 4.0, 8.0, 10.0)  # seconds after the first, second ... attempt; the last one goes on


def retry_delay(attempt: int) -> float:
    """`attempt` counts from 1."""
    return RETRY_DELAYS[min(max(attempt, 1), len(RETRY_DELAYS)) - 1]
