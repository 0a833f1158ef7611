"""Runs qemu-img for volumes. Formats are always named, never probed (S02); CPU, memory and time are bounded,
and no more of them run at once than there are processors (S35): short ones, and beside them those that read or write
whole disks, which get time by the size of the disk and run at low priority."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredSemaphore

from cloudcore.errors import CloudError, Code
from cloudcore.process.running import run

FORMATS = ("raw", "qcow2")
CPU_SECONDS, MEMORY = 30, 2 * 2**30
PATIENCE = 60.0  # seconds of wall clock: a loaded machine
CPU_PER_GIB, PATIENCE_PER_GIB = 90, 180.0  # what whole disks may take beyond that: compression dominates
GIB = 2**30

Base = tuple[str, str]  # a file name in the same directory, or an absolute path; and the format


class ImageTool:
    """Nothing is synced here: what is made is settled as a whole. Failures are CloudError: CAPACITY (the disk is full),
    VOLUME_IN_USE (QEMU's lock says that somebody writes, or that a copy reads), PROGRAM_FAILED."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._slots = DeferredSemaphore(os.cpu_count() or 1)
        self._long = DeferredSemaphore(max(1, (os.cpu_count() or 1) // 2))

    def create(self, target: Path, size: int, base: Base | None = None) -> Deferred[None]:
        """A qcow2, blank or over `base`: a file name in the same directory or an absolute path, and its format."""
        below = ("-b", checked(base)[0], "-F", base[1]) if base else ()
        return self._brief("create", "-q", "-f", "qcow2", *below, "--", str(target), str(size))

    def resize(self, path: Path, format: str, size: int) -> Deferred[None]:
        """Grows only: qemu-img refuses to shrink unless told to."""
        return self._brief("resize", "-q", "-f", format, "--", str(path), str(size))

    def compress(self, source: tuple[Path, str], target: Path, size: int, base: Base | None = None) -> Deferred[None]:
        """All that `source` (path and format) holds, its backing files included, into a new compressed qcow2; with
        `base` only what lies above the backing file of `source`, whose content that of `base` has to equal."""
        below = ("-B", checked(base)[0], "-F", base[1]) if base else ()
        arguments = ("convert", "-q", "-c", "-o", "compression_type=zstd", "-f", source[1], "-O", "qcow2", *below)
        return self._whole(size, *arguments, "--", str(source[0]), str(target))

    def pour(self, source: tuple[Path, str], target: Path, size: int) -> Deferred[None]:
        """All that `source` holds into a device that is there and reads as zeros."""
        return self._whole(size, "convert", "-q", "-n", "--target-is-zero", "-f", source[1], "-O", "raw", "--",
                           str(source[0]), str(target))  # fmt: skip

    def rebase(self, path: Path, base: Base, size: int) -> Deferred[None]:
        """What the guest sees stays as it is, over another base: the qcow2 `path` takes in all in which its old base
        and the new one differ."""
        return self._whole(size, "rebase", "-q", "-f", "qcow2", "-b", checked(base)[0], "-F", base[1], "--", str(path))

    def _brief(self, *arguments: str) -> Deferred[None]:
        return self._slots.run(lambda: Deferred.fromCoroutine(self._run(CPU_SECONDS, PATIENCE, *arguments)))

    def _whole(self, size: int, *arguments: str) -> Deferred[None]:
        cpu, patience = CPU_SECONDS + CPU_PER_GIB * size // GIB, PATIENCE + PATIENCE_PER_GIB * size / GIB
        return self._long.run(lambda: Deferred.fromCoroutine(self._run(cpu, patience, *arguments, niceness=10)))

    async def _run(self, cpu: int, patience: float, *arguments: str, niceness: int = 0) -> None:
        limits = ["nice", "-n", str(niceness), "prlimit", f"--cpu={cpu}", f"--as={MEMORY}", "--"]
        done = await run(self._reactor, [*limits, "qemu-img", *arguments], timeout=patience)
        if done.status != 0:
            said = (done.stderr or done.stdout).decode(errors="replace").strip()[:500]
            raise CloudError(_code(said), f"qemu-img {arguments[0]}: {said}")


def _code(said: str) -> Code:
    if "No space left" in said:
        return Code.CAPACITY
    return Code.VOLUME_IN_USE if "Failed to get" in said and " lock" in said else Code.PROGRAM_FAILED


def checked(base: Base) -> Base:
    """QEMU reads `nbd:…` or `json:…` where a path is meant; a plain name or an absolute path can be neither."""
    name, format = base
    plain = name.startswith("/") or ("/" not in name and ":" not in name and not name.startswith("-"))
    if not plain or format not in FORMATS:
        raise CloudError(Code.BAD_VALUE, f"nothing can lie over {name!r} as {format!r}")
    return base


def settle(aside: Path, target: Path) -> None:
    """Data to disk, then the name, then the directory (R9). Blocks."""
    aside.chmod(0o600)
    with aside.open("rb") as file:
        os.fsync(file.fileno())
    aside.rename(target)
    sync_directory(target.parent)


def sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
