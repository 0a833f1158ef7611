"""Long steps as people like to see them: a bar on a terminal, one line a step otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

WIDTH = 24
EVERY = 0.1  # seconds between redraws


class Step:
    """One line: name, then what happens, then how long it took."""

    def __init__(self, name: str, err: TextIO) -> None:
        self._name, self._err, self._began, self._drawn = name, err, time.monotonic(), 0.0
        self.result = ""

    def at(self, done: int, whole: int) -> None:
        """Bytes, or whatever else is counted."""
        now = time.monotonic()
        if not self._err.isatty() or now - self._drawn < EVERY:
            return
        self._drawn = now
        share = done / whole if whole else 1.0
        filled = int(share * WIDTH)
        rate = done / max(now - self._began, 0.001)
        left = f"{(whole - done) / rate:.0f} s left" if rate and done < whole else ""
        bar = "━" * filled + " " * (WIDTH - filled)
        self._draw(f"{bar} {size(done)}/{size(whole)}  {left}")

    def says(self, text: str) -> None:
        if self._err.isatty():
            self._draw(text)

    def end(self) -> None:
        seconds = time.monotonic() - self._began
        took = f"{seconds:.1f} s" if seconds >= 0.1 else ""
        self._draw(f"{self.result:<44} {took}".rstrip())
        self._err.write("\n")
        self._err.flush()

    def cut(self) -> None:
        if self._err.isatty():
            self._err.write("\n")

    def _draw(self, text: str) -> None:
        clear = "\r\x1b[2K" if self._err.isatty() else ""
        self._err.write(f"{clear}  {self._name:<14} {text}")
        self._err.flush()


@contextmanager
def step(name: str, err: TextIO | None = None) -> Iterator[Step]:
    made = Step(name, err or sys.stderr)
    made.says("…")
    try:
        yield made
    except BaseException:
        made.cut()
        raise
    made.end()


def size(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
