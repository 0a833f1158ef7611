"""What a volume holds, as a compressed qcow2 of its own: whole, or as a delta over a parent.

A delta is made by comparison: `qemu-img rebase` tells a fresh overlay of the volume to lie over the parent instead,
and it takes in just what differs. So it is right whatever the two have been through. Where the parent is the very layer
that the volume lies over, the volume's own file is that overlay already.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from cloudcore.blockdev.driver import BaseLayer
from cloudcore.blockdev.imgtool import ImageTool, settle
from cloudcore.domain.image_header import HEAD, QCOW2, backing_of

InThread = Callable[[Callable[[], Any]], Deferred[Any]]


@dataclass(frozen=True, slots=True)
class Source:
    """`above` is the SHA-256 of the layer right below it, if any; `size` what a guest sees, in bytes."""

    disk: Path
    format: str
    size: int
    above: str = ""


async def copied(images: ImageTool, in_thread: InThread, source: Source, target: Path, parent: BaseLayer | None
                 ) -> None:  # fmt: skip
    """`target` is whole and on disk when it returns, and absent when it raises. What lies beside it as `target`.work
    meanwhile is swept by the next try."""
    work = target.with_name(target.name + ".work")
    await in_thread(lambda: _prepared(work, parent))
    try:
        made = await _delta(images, source, work, parent) if parent else await _whole(images, source, work)
        await in_thread(lambda: settle(made, target))
    finally:
        shutil.rmtree(work, ignore_errors=True)


async def _whole(images: ImageTool, source: Source, work: Path) -> Path:
    made = work / "whole"
    await images.compress((source.disk, source.format), made, source.size)
    return made


async def _delta(images: ImageTool, source: Source, work: Path, parent: BaseLayer) -> Path:
    base, made = (parent.sha256, parent.format), work / "delta"
    if source.above == parent.sha256:
        await images.compress((source.disk, source.format), made, source.size, base)
        return made
    overlay = work / "overlay"
    await images.create(overlay, source.size, (str(source.disk), source.format))
    await images.rebase(overlay, base, source.size)
    await images.compress((overlay, "qcow2"), made, source.size, base)
    return made


def _prepared(work: Path, parent: BaseLayer | None) -> None:
    if work.exists():
        shutil.rmtree(work)
    work.mkdir(parents=True, mode=0o700)
    if parent is None:
        return
    path, name = Path(parent.path), parent.sha256
    while name:  # the parent and what it lies over, by the names that their headers say
        place(path, work / name)
        name = _below(path)
        path = path.parent / name


def _below(layer: Path) -> str:
    with layer.open("rb") as file:
        head = file.read(HEAD)
    named = backing_of(head) if head.startswith(QCOW2) else None  # a raw layer that began so would have been refused
    return named[0] if named and "/" not in named[0] else ""


def place(file: Path, name: Path) -> None:
    """A hard link, or where that cannot be a copy, on disk (R9) and as readable: another file system."""
    try:
        os.link(file, name)
    except OSError:
        shutil.copyfile(file, name)
        shutil.copymode(file, name)
        with name.open("rb") as copy:
            os.fsync(copy.fileno())
