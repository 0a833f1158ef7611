"""Verbs that destroy ask on a terminal, and want to be told elsewhere."""

from __future__ import annotations

import sys
from typing import Any

from cloudcore.cli.printing import USAGE, Console, Refusal
from cloudcore.errors import Code


def confirm(options: Any, console: Console, what: str) -> None:
    """Returns when the answer is yes."""
    if options.yes:
        return
    if not sys.stdin.isatty():
        raise Refusal(Code.BAD_COMBINATION, f"refusing to {what} without being told so", "the same with --yes",
                      status=USAGE)
    console.err.write(f"{what}? [y/N] ")
    console.err.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Refusal(Code.BAD_REQUEST, f"did not {what}")


def confirm_machine(given: str | None, machine: str, console: Console) -> None:
    """For what cannot be undone: the machine's name, typed."""
    if given is None:
        if not sys.stdin.isatty():
            raise Refusal(Code.BAD_COMBINATION, "refusing to delete everything without being told so",
                          f"make clean CONFIRM={machine}    or: cloudcore down --purge --confirm {machine}",
                          status=USAGE)
        console.err.write(f"Type the name of this machine ({machine}) to delete all of that: ")
        console.err.flush()
        given = sys.stdin.readline().strip()
    if given != machine:
        raise Refusal(Code.BAD_REQUEST, f"'{given}' is not the name of this machine: nothing was deleted")
