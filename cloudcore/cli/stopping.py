"""`down`, wired to the composition root."""

from __future__ import annotations

from typing import Any

from cloudcore.cli import ending
from cloudcore.cli.printing import Console
from cloudcore.daemon import teardown


def down(options: Any, console: Console) -> int:
    return ending.down(options, console, teardown)
