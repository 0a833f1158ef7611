"""`logs`: the JSON lines of all daemons, readable, and narrowed to one request or instance."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cloudcore.cli import state
from cloudcore.cli.printing import DONE, Console, Refusal
from cloudcore.config.places import log_file
from cloudcore.errors import Code

POLL = 0.25
SHOWN = ("ts", "level", "ns", "msg", "error")


def run(options: Any, console: Console) -> int:
    file = log_file(state.configuration(options), options.state)
    if not file.exists():
        raise Refusal(Code.STATE_DIRECTORY, f"there is no log {file}", "cloudcore up    or: --state DIR")
    with file.open(encoding="utf-8", errors="replace") as lines:
        last = deque((line for line in lines if wanted(line, options)), maxlen=max(0, options.lines))
        for line in last:
            show(line, console, options.json)
        if options.follow:
            for line in grown(lines, file):
                if wanted(line, options):
                    show(line, console, options.json)
    return DONE


def grown(lines: Any, file: Path) -> Iterator[str]:
    """Lines as they come, whole; until Ctrl-C."""
    part = ""
    while True:
        part += lines.readline()
        if part.endswith("\n"):
            yield part
            part = ""
        elif file.exists():
            time.sleep(POLL)
        else:
            return


def wanted(line: str, options: Any) -> bool:
    """By the fields `request_id` and `instance`, or wherever else the id stands: ids are unlike any other word."""
    return all(one is None or one in line for one in (options.request, options.instance))


def show(line: str, console: Console, as_json: bool) -> None:
    try:
        entry = json.loads(line)
    except ValueError:
        entry = None
    if as_json or not isinstance(entry, dict):
        console.line(line.rstrip("\n"))
        return
    rest = " ".join(f"{name}={value}" for name, value in entry.items() if name not in SHOWN)
    head = f"{str(entry.get('ts', ''))[11:23]} {entry.get('level', ''):<5} {str(entry.get('ns', '')):<28}"
    console.line(f"{head} {entry.get('msg', '')}{'  ' + rest if rest else ''}")
    if entry.get("error"):
        console.line(entry["error"].rstrip())
