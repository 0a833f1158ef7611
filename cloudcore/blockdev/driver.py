"""The volumes of one host as its services see them: idempotent primitives over paths and sizes. Policy lives above.

Compute (which makes the volumes of its own launches, and opens what its guests have) and the volume service of the same
host work on the same directory or volume group; images of guests in use are locked by QEMU itself, so that a copy and a
writing guest exclude each other. Implementations: blockdev/files.py, blockdev/lvm.py, blockdev/simulated.py;
tests/contracts/test_block_driver.py holds them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred


@dataclass(frozen=True, slots=True)
class BaseLayer:
    """A whole, verified file of this host (in the image cache) and what it is named by: its SHA-256."""

    path: str
    sha256: str
    format: str  # raw | qcow2
    virtual_size: int


@dataclass(frozen=True, slots=True)
class Opened:
    """How a guest of this host opens the volume. `backing` are the layers below, nearest first, with their formats:
    nothing is ever probed."""

    path: str
    format: str  # raw | qcow2
    block: bool = False  # a block device rather than a file
    backing: tuple[tuple[str, str], ...] = ()  # (path, format)


class BlockDriver(Protocol):
    """Every method may be repeated: twice equals once. Failures are CloudError: CAPACITY (no room), PROGRAM_FAILED (the
    text says why), VOLUME_IN_USE (a guest writes to it, or a copy reads it)."""

    def make(self, volume: str, size: int, layers: tuple[BaseLayer, ...]) -> Deferred[None]:
        """A volume of at least `size` bytes, blank or over these layers (the top first). There already: nothing is
        done, whatever its size. Complete and on disk when it fires; absent when it fails."""

    def remove(self, volume: str) -> Deferred[None]: ...

    def grow(self, volume: str, size: int) -> Deferred[None]:
        """To at least so many bytes, while no guest has it. Never shrinks."""

    def opened(self, volume: str) -> Deferred[Opened | None]:
        """None: it is not here."""

    def present(self) -> Deferred[dict[str, int]]:
        """{volume: bytes that a guest sees}"""

    def copy(self, volume: str, target: str, parent: BaseLayer | None) -> Deferred[None]:
        """What the volume holds now, as a compressed qcow2 file at `target`: whole, or only what differs from `parent`,
        over which it then lies (its header names the parent's SHA-256 as a file of the same directory)."""

    def free(self) -> Deferred[int]:
        """Bytes that new volumes may take."""
