"""What goes to the screen: results on standard output, everything else on standard error.

A result is a table on a terminal, tab-separated values in a pipe, JSON by --json. An error is three lines at most:
`error:` what, `why:` the reason, `try:` the next command.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from cloudcore.errors import CloudError, Code

DONE, FAILED, USAGE, REFUSED, TIMED_OUT = 0, 1, 2, 3, 4

Row = Mapping[str, Any]


class Refusal(CloudError):
    """A CloudError that knows the next command, and its exit code."""

    def __init__(self, code: Code, text: str, hint: str = "", why: str = "", status: int = REFUSED) -> None:
        super().__init__(code, text)
        self.hint, self.why, self.status = hint, why, status


# Exit codes of refusals that come without one: what went wrong is not the caller's to decide.
FAILURES = frozenset({Code.INTERNAL, Code.UNAVAILABLE, Code.PROGRAM_FAILED, Code.NO_HYPERVISOR, Code.CAPACITY,
                      Code.STATE_DIRECTORY, Code.SCHEMA_NEWER, Code.PORT_TAKEN, Code.CONFIGURATION})
HINTS: dict[Code, str] = {
    Code.SCHEMA_NEWER: "use the version of cloudcore that made this state, or another one: --state DIR",
    Code.STATE_DIRECTORY: "another directory: --state DIR",
    Code.USER_UNKNOWN: "cloudcore user list",
    Code.PROJECT_UNKNOWN: "cloudcore project list    or: cloudcore project create NAME",
    Code.ACCESS_KEY_UNKNOWN: "cloudcore key list --user NAME",
    Code.IMAGE_UNKNOWN: "cloudcore image list",
    Code.HOST_UNKNOWN: "cloudcore host list",
    Code.NETWORK_UNKNOWN: "cloudcore network list",
    Code.UNAVAILABLE: "cloudcore status",
    Code.PROGRAM_FAILED: "cloudcore doctor    then the same again",
}


OURS = re.compile(r"(?<![\w/.])cloudcore(?= (?:up|down|status|doctor|logs|env|user|project|key|image|network|host|db|"
                  r"config)\b)")


@dataclass(slots=True)
class Console:
    out: TextIO = field(default_factory=lambda: sys.stdout)
    err: TextIO = field(default_factory=lambda: sys.stderr)

    @property
    def terminal(self) -> bool:
        return self.out.isatty()

    @property
    def coloured(self) -> bool:
        return self.err.isatty() and "NO_COLOR" not in os.environ

    def line(self, text: str = "") -> None:
        print(text, file=self.out, flush=True)

    def note(self, text: str) -> None:
        """For people only."""
        print(text, file=self.err, flush=True)

    def table(self, rows: Sequence[Row], columns: Sequence[str], as_json: bool) -> None:
        if as_json:
            self.json([dict(row) for row in rows])
            return
        cells = [[word(row.get(column)) for column in columns] for row in rows]
        if not self.terminal:
            for line in cells:
                self.line("\t".join(line))
            return
        cells.insert(0, [column.upper().replace("_", " ") for column in columns])
        widths = [max(len(line[at]) for line in cells) for at in range(len(columns))]
        for line in cells:
            self.line("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())

    def record(self, row: Row, as_json: bool) -> None:
        if as_json:
            self.json(dict(row))
            return
        width = max(map(len, row))
        for name, value in row.items():
            self.line(f"{name.ljust(width) if self.terminal else name}{'  ' if self.terminal else chr(9)}{word(value)}")

    def json(self, value: Any) -> None:
        self.line(json.dumps(value, ensure_ascii=False, indent=2 if self.terminal else None, sort_keys=False))

    def warn(self, text: str) -> None:
        """What works, but worse than people expect."""
        yellow, plain = ("\x1b[33m", "\x1b[0m") if self.coloured else ("", "")
        self.note(f"  {yellow}warn{plain}           {text}")

    def error(self, problem: CloudError) -> int:
        """Prints a refusal; its exit code. Commands in the hint stand as they are typed here."""
        why, hint = getattr(problem, "why", ""), getattr(problem, "hint", "") or HINTS.get(problem.code, "")
        hint = OURS.sub(called(), hint)
        red, plain = ("\x1b[31m", "\x1b[0m") if self.coloured else ("", "")
        for label, text in (("error:", problem.text), ("why:", why), ("try:", hint)):
            if text:
                first, *rest = text.splitlines()
                self.note(f"{red if label == 'error:' else ''}{label:<6}{plain} {first}")
                for line in rest:
                    self.note(f"       {line}")
        return getattr(problem, "status", FAILED if problem.code in FAILURES else REFUSED)


def called() -> str:
    """How to call us from here."""
    command = "bin/cloudcore" if Path("bin/cloudcore").exists() else "cloudcore"
    return f"sudo {command}" if os.environ.get("SUDO_USER") else command


def word(value: Any) -> str:
    """One cell: no tabs or newlines, lists by commas."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple, set, frozenset)):
        return ",".join(map(word, value)) or "-"
    if isinstance(value, float):
        return f"{value:g}"
    return " ".join(str(value).split()) or "-"
