"""The only module that runs qemu-img. Formats are always named, never probed (S02); CPU, memory and time are bounded,
and no more of them run at once than there are processors (S35)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredSemaphore

from cloudcore.errors import CloudError, Code
from cloudcore.process.running import run

FORMATS = ("raw", "qcow2")
CPU_SECONDS, MEMORY = 30, 2 * 2**30
PATIENCE = 60.0  # seconds of wall clock: a loaded machine

InThread = Callable[[Callable[[], None]], Deferred[None]]


class ImageTool:
    """Disks by qemu-img. `in_thread` runs a blocking call off the reactor: the fsyncs."""

    def __init__(self, reactor: Any, in_thread: InThread) -> None:
        self._reactor, self._in_thread = reactor, in_thread
        self._slots = DeferredSemaphore(os.cpu_count() or 1)

    def overlay(self, base: str, format: str, target: str, size: int) -> Deferred[None]:
        return self._slots.run(lambda: Deferred.fromCoroutine(self._overlay(base, format, Path(target), size)))

    async def _overlay(self, base: str, format: str, target: Path, size: int) -> None:
        if format not in FORMATS or "/" in base or base.startswith("-"):
            raise CloudError(Code.BAD_VALUE, f"no overlay over {base!r} as {format!r}")
        aside = target.with_name(target.name + ".new")
        aside.unlink(missing_ok=True)
        try:
            await self._run("create", "-q", "-f", "qcow2", "-b", base, "-F", format, "--", str(aside), str(size))
            await self._in_thread(lambda: settle(aside, target))
        except BaseException:
            aside.unlink(missing_ok=True)
            raise

    async def _run(self, *arguments: str) -> None:
        limits = ["prlimit", f"--cpu={CPU_SECONDS}", f"--as={MEMORY}", "--"]
        done = await run(self._reactor, [*limits, "qemu-img", *arguments], timeout=PATIENCE)
        if done.status != 0:
            said = (done.stderr or done.stdout).decode(errors="replace").strip()[:500]
            full = "No space left" in said
            raise CloudError(Code.CAPACITY if full else Code.PROGRAM_FAILED, f"qemu-img {arguments[0]}: {said}")


def settle(aside: Path, target: Path) -> None:
    """Data to disk, then the name, then the directory (R9). Blocks."""
    aside.chmod(0o600)
    with aside.open("rb") as file:
        os.fsync(file.fileno())
    aside.rename(target)
    directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
