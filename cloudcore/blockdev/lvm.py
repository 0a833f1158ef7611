"""Volumes as logical volumes of one volume group, thin in a pool or plain. Ours carry a tag; nothing else is touched.

A volume is made under another name, zeroed where it is plain (its extents hold what others left there), filled from its
layers, and then renamed. The part that it grows by is zeroed too before anybody may read it: a tag remembers from
where, over a crash. A volume is raw and lies over nothing: what it is made from is poured into it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from cloudcore.blockdev.copying import Source, copied
from cloudcore.blockdev.driver import BaseLayer, Opened
from cloudcore.blockdev.files import NAME, on_disk, whole_gib
from cloudcore.blockdev.imgtool import ImageTool
from cloudcore.errors import CloudError, Code
from cloudcore.process.running import run, why

InThread = Callable[[Callable[[], Any]], Deferred[Any]]

TAG, STALE_FROM = "cloudcore", "cloudcore_stale_from_"
UNFINISHED = "new."
OPEN = 5  # the letter of lv_attr that says whether somebody has it open
GIB = 2**30
STEP = 0.05  # seconds between tries for a lock
PATIENCE, PATIENCE_PER_GIB = 60.0, 30.0  # seconds
FIELDS = "lv_name,lv_size,lv_attr,lv_tags,data_percent"
ZEROES = 7  # the letter of lv_attr that says whether a thin pool hands out zeroed blocks


@dataclass(frozen=True, slots=True)
class Places:
    """`locks` is a directory shared by the processes that look after these volumes. Where LVM's programs are (None: in
    PATH), and where its devices appear."""

    locks: Path
    programs: Path | None = None
    devices: Path = Path("/dev")


@dataclass(frozen=True, slots=True)
class Known:
    """A logical volume. `stale` is from where it must be zeroed before use; None: nowhere."""

    size: int
    open: bool
    stale: int | None


class LvmVolumes:
    """A BlockDriver. `group` is the volume group; `pool` a thin pool in it, or empty for plain volumes."""

    def __init__(self, reactor: Any, group: str, in_thread: InThread, places: Places, pool: str = "") -> None:
        self._reactor, self._group, self._pool, self._places = reactor, group, pool, places
        self._in_thread: InThread = lambda work: in_thread(lambda: on_disk(work))
        self._images = ImageTool(reactor)

    def make(self, volume: str, size: int, layers: tuple[BaseLayer, ...]) -> Deferred[None]:
        return self._alone(volume, lambda: self._make(volume, size, layers))

    def remove(self, volume: str) -> Deferred[None]:
        return self._alone(volume, lambda: self._remove(volume))

    def grow(self, volume: str, size: int) -> Deferred[None]:
        return self._alone(volume, lambda: self._grow(volume, whole_gib(size)))

    def opened(self, volume: str) -> Deferred[Opened | None]:
        return Deferred.fromCoroutine(self._opened(volume))

    def present(self) -> Deferred[dict[str, int]]:
        return Deferred.fromCoroutine(self._present())

    def copy(self, volume: str, target: str, parent: BaseLayer | None) -> Deferred[None]:
        return Deferred.fromCoroutine(self._copy(volume, Path(target), parent))

    def clear(self) -> Deferred[None]:
        """All that is ours goes, what was never finished included: the end of a cloud."""
        return Deferred.fromCoroutine(self._clear())

    def free(self) -> Deferred[int]:
        return Deferred.fromCoroutine(self._free())

    def _alone(self, volume: str, work: Callable[[], Any]) -> Deferred[Any]:
        return Deferred.fromCoroutine(self._locked(volume, work))

    async def _locked(self, volume: str, work: Callable[[], Any]) -> Any:
        """What is done to one volume is done one after the other, by whichever process."""
        if not NAME.fullmatch(volume):
            raise CloudError(Code.VOLUME_MALFORMED, f"{volume[:80]!r} cannot be the name of a volume")
        lock = await self._in_thread(lambda: opened_lock(self._places.locks, volume))
        try:
            while not taken(lock):
                pause: Deferred[None] = Deferred()
                self._reactor.callLater(STEP, pause.callback, None)
                await pause
            return await work()
        finally:
            os.close(lock)

    async def _make(self, volume: str, size: int, layers: tuple[BaseLayer, ...]) -> None:
        known = await self._known()
        if volume in known:
            return
        unfinished = UNFINISHED + volume
        if unfinished in known:
            await self._lvm("lvremove", "--yes", f"{self._group}/{unfinished}")
        size = whole_gib(max(size, layers[0].virtual_size if layers else 0))
        if self._pool:
            await self._check_pool()
        room = ("--virtualsize", f"{size}b", "--thinpool", self._pool) if self._pool else ("--size", f"{size}b")
        await self._lvm("lvcreate", "--yes", "--wipesignatures", "n", "--addtag", TAG, "--name", unfinished, *room,
                        self._group)  # fmt: skip
        try:
            if not self._pool:
                await self._zero(unfinished, 0, size)
            if layers:
                await self._images.pour((Path(layers[0].path), layers[0].format), self._device(unfinished), size)
        except CloudError:
            await self._lvm("lvremove", "--yes", f"{self._group}/{unfinished}")
            raise
        await self._lvm("lvrename", self._group, unfinished, volume)

    async def _clear(self) -> None:
        for volume in {name.removeprefix(UNFINISHED) for name in await self._known()}:
            await self.remove(volume)

    async def _remove(self, volume: str) -> None:
        known = await self._known()
        for name in (volume, UNFINISHED + volume):
            if name in known:
                await self._lvm("lvremove", "--yes", f"{self._group}/{name}")

    async def _grow(self, volume: str, size: int) -> None:
        known = (await self._known()).get(volume)
        if known is None:
            raise CloudError(Code.VOLUME_UNKNOWN, f"{volume} is not on this host")
        name, stale = f"{self._group}/{volume}", known.stale
        if known.size >= size and stale is None:
            return
        if known.open:
            raise CloudError(Code.VOLUME_IN_USE, f"a guest has {volume}")
        if known.size < size:
            if stale is None and not self._pool:
                stale = known.size
                await self._lvm("lvchange", "--addtag", f"{STALE_FROM}{stale}", name)
            await self._lvm("lvextend", "--size", f"{size}b", name)
        if stale is not None:
            await self._zero(volume, stale, max(size, known.size) - stale)
            await self._lvm("lvchange", "--deltag", f"{STALE_FROM}{stale}", name)

    async def _opened(self, volume: str) -> Opened | None:
        known = (await self._known()).get(volume) if NAME.fullmatch(volume) else None
        return None if known is None else Opened(str(self._device(volume)), "raw", block=True)

    async def _present(self) -> dict[str, int]:
        return {name: known.size for name, known in (await self._known()).items() if NAME.fullmatch(name)}

    async def _copy(self, volume: str, target: Path, parent: BaseLayer | None) -> None:
        known = (await self._known()).get(volume) if NAME.fullmatch(volume) else None
        if known is None:
            raise CloudError(Code.VOLUME_UNKNOWN, f"{volume} is not on this host")
        source = Source(self._device(volume), "raw", known.size)
        await copied(self._images, self._in_thread, source, target, parent)

    async def _free(self) -> int:
        if not self._pool:
            options = ("--noheadings", "--nosuffix", "--units", "b", "--options", "vg_free")
            said = await self._lvm("vgs", *options, self._group)
            return int(said.strip() or 0)
        _, size, _, _, used = await self._check_pool()
        return int(int(size) * (100 - float(used or 0)) / 100)

    async def _check_pool(self) -> list[str]:
        """Its row. One that hands out blocks as others left them would show their data (S22)."""
        rows = {row[0]: row for row in await self._rows()}
        if self._pool not in rows:
            raise CloudError(Code.CONFIGURATION, f"there is no thin pool {self._pool} in {self._group}")
        pool = rows[self._pool]
        if pool[2][ZEROES : ZEROES + 1] != "z":
            text = f"the thin pool {self._group}/{self._pool} does not zero what it hands out (lvchange --zero y)"
            raise CloudError(Code.CONFIGURATION, text)
        return pool

    async def _known(self) -> dict[str, Known]:
        found = {}
        for name, size, attributes, tags, _ in await self._rows():
            marks = tags.split(",")
            stale = [int(mark.removeprefix(STALE_FROM)) for mark in marks if mark.startswith(STALE_FROM)]
            if TAG in marks:
                found[name] = Known(int(size), attributes[OPEN : OPEN + 1] == "o", min(stale, default=None))
        return found

    async def _rows(self) -> list[list[str]]:
        said = await self._lvm("lvs", "--noheadings", "--nosuffix", "--units", "b", "--separator", ";", "--options",
                               FIELDS, self._group)  # fmt: skip
        return [line.strip().split(";") for line in said.splitlines() if line.count(";") == FIELDS.count(",")]

    async def _zero(self, volume: str, start: int, length: int) -> None:
        span = ("--offset", str(start), "--length", str(length))
        patience = PATIENCE + PATIENCE_PER_GIB * length / GIB
        await self._lvm("blkdiscard", "--zeroout", *span, str(self._device(volume)), patience=patience)

    def _device(self, volume: str) -> Path:
        return self._places.devices / self._group / volume

    async def _lvm(self, program: str, *arguments: str, patience: float = PATIENCE) -> str:
        path = str(self._places.programs / program) if self._places.programs else program
        done = await run(self._reactor, [path, *arguments], timeout=patience)
        if done.status != 0:
            said = why(done)
            full, busy = "insufficient" in said, " in use" in said
            code = Code.CAPACITY if full else Code.VOLUME_IN_USE if busy else Code.PROGRAM_FAILED
            raise CloudError(code, f"{program}: {said}")
        return done.stdout.decode("utf-8", "replace")


def opened_lock(directory: Path, volume: str) -> int:
    directory.mkdir(parents=True, exist_ok=True)
    return os.open(directory / f".{volume}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
