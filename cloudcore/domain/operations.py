"""What the conductor does, as tables: the steps of each operation, in order. A step is idempotent: twice equals once.

An operation belongs to one generation of its subject; a newer generation supersedes it at its next step (delete always
wins). `GIVES_UP` says after how many seconds an operation that gets no further fails.
"""

from __future__ import annotations

STEPS: dict[str, tuple[str, ...]] = {
    "launch": ("place", "plug", "boot"),
    "start": ("plug", "boot"),
    "stop": ("halt",),
    "terminate": ("destroy", "unplug", "forget"),
    "regroup": ("spread",),
}

GIVES_UP: dict[str, float] = {
    "launch": 280.0,  # every accepted request is settled within 300 s (I1)
    "start": 280.0,
    "stop": float("inf"),  # repeated until the host says so
    "terminate": float("inf"),
    "regroup": float("inf"),
}
