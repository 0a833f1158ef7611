"""`up`, wired to the composition root."""

from __future__ import annotations

from typing import Any

from cloudcore.cli import running
from cloudcore.cli.printing import Console
from cloudcore.daemon import all_in_one


def up(options: Any, console: Console) -> int:
    return running.up(options, console, all_in_one.start)
