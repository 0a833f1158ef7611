"""Volumes that only pretend: for tests, for the simulator, and for machines without QEMU or root.

It passes the contract suite of the real ones. State is one small file for each volume, so that several processes, and
later ones, see the same volumes. Faults come on demand: `faults(verb, volume)` is called before each effect and may
raise; who is named in `held` has a guest that writes to it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed

from cloudcore.blockdev import empty_qcow2
from cloudcore.blockdev.driver import BaseLayer, Opened
from cloudcore.blockdev.files import NAME, whole_gib
from cloudcore.errors import CloudError, Code

CAPACITY = 2**50  # bytes


class SimulatedVolumes:
    """A BlockDriver over a directory. Copies are true qcow2 files without data."""

    def __init__(
        self, directory: Path, capacity: int = CAPACITY,
        faults: Callable[[str, str], None] = lambda verb, volume: None,
    ) -> None:  # fmt: skip
        self._directory, self._capacity, self._faults = directory, capacity, faults
        self.held: set[str] = set()

    def make(self, volume: str, size: int, layers: tuple[BaseLayer, ...]) -> Deferred[None]:
        def work() -> None:
            if self._size(volume) is not None:
                return
            wanted = whole_gib(max(size, layers[0].virtual_size if layers else 0))
            if self._capacity < CAPACITY and wanted > self._free():  # to add up all that is there takes long
                raise CloudError(Code.CAPACITY, f"no space left for volumes in {self._directory}")
            self._write(volume, wanted, [(layer.sha256, layer.format) for layer in layers])

        return self._at("make", volume, work)

    def remove(self, volume: str) -> Deferred[None]:
        return self._at("remove", volume, lambda: self._file(volume).unlink(missing_ok=True))

    def grow(self, volume: str, size: int) -> Deferred[None]:
        def work() -> None:
            now = self._here(volume)
            if whole_gib(size) > now:
                self._free_of(volume)
                self._write(volume, whole_gib(size), self._layers(volume))

        return self._at("grow", volume, work)

    def opened(self, volume: str) -> Deferred[Opened | None]:
        def work() -> Opened | None:
            if self._size(volume) is None:
                return None
            below = tuple((str(self._directory / sha256), format) for sha256, format in self._layers(volume))
            return Opened(str(self._file(volume)), "qcow2", backing=below)

        return self._at("opened", volume, work)

    def present(self) -> Deferred[dict[str, int]]:
        return self._at("present", "", self._present)

    def copy(self, volume: str, target: str, parent: BaseLayer | None) -> Deferred[None]:
        def work() -> None:
            size = self._here(volume)
            self._free_of(volume)
            aside = Path(target + ".new")
            empty_qcow2.write(aside, size, (parent.sha256, parent.format) if parent else None)
            aside.rename(target)

        return self._at("copy", volume, work)

    def free(self) -> Deferred[int]:
        return self._at("free", "", self._free)

    def _at(self, verb: str, volume: str, work: Callable[[], Any]) -> Deferred[Any]:
        try:
            self._faults(verb, volume)
            self._directory.mkdir(parents=True, exist_ok=True)
            return succeed(work())
        except CloudError:
            return fail()

    def _file(self, volume: str) -> Path:
        if not NAME.fullmatch(volume):
            raise CloudError(Code.VOLUME_MALFORMED, f"{volume[:80]!r} cannot be the name of a volume")
        return self._directory / f"{volume}.json"

    def _read(self, volume: str) -> dict[str, Any] | None:
        try:
            text = self._file(volume).read_text()
        except FileNotFoundError:
            return None
        known: dict[str, Any] = json.loads(text)
        return known

    def _size(self, volume: str) -> int | None:
        known = self._read(volume)
        return None if known is None else int(known["size"])

    def _layers(self, volume: str) -> list[tuple[str, str]]:
        return [(sha256, format) for sha256, format in (self._read(volume) or {}).get("layers", [])]

    def _here(self, volume: str) -> int:
        size = self._size(volume)
        if size is None:
            raise CloudError(Code.VOLUME_UNKNOWN, f"{volume} is not on this host")
        return size

    def _free_of(self, volume: str) -> None:
        if volume in self.held:
            raise CloudError(Code.VOLUME_IN_USE, f"a guest writes to {volume}")

    def _write(self, volume: str, size: int, layers: list[tuple[str, str]]) -> None:
        path = self._file(volume)
        aside = path.with_suffix(".new")
        aside.write_text(json.dumps({"size": size, "layers": layers}))
        aside.rename(path)

    def _present(self) -> dict[str, int]:
        names = [path.stem for path in self._directory.glob("*.json")]
        return {name: size for name in names if (size := self._size(name)) is not None}

    def _free(self) -> int:
        return self._capacity - sum(self._present().values())
