"""What is worth storing of the whole copies that hypervisors make of running guests' volumes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from cloudcore.blockdev.copying import Source, copied
from cloudcore.blockdev.driver import BaseLayer, BlockDriver
from cloudcore.blockdev.files import opened, room, virtual_size
from cloudcore.blockdev.imgtool import ImageTool
from cloudcore.errors import CloudError, Code

InThread = Callable[[Callable[[], Any]], Deferred[Any]]


class FileSlimming:
    def __init__(self, reactor: Any, in_thread: InThread) -> None:
        self._images, self._in_thread = ImageTool(reactor), in_thread

    def slim(self, whole: str, target: str, parent: BaseLayer | None) -> Deferred[None]:
        """A compressed qcow2 of all that `whole` (qcow2, nothing below it) holds, or of what differs from `parent`."""
        return Deferred.fromCoroutine(self._slim(Path(whole), Path(target), parent))

    def room(self, directory: str) -> Deferred[int]:
        """Bytes that copies may take there."""
        return self._in_thread(lambda: room(Path(directory)))

    async def _slim(self, whole: Path, target: Path, parent: BaseLayer | None) -> None:
        chain, size = await self._in_thread(lambda: (opened(whole), virtual_size(whole)))
        if chain is None or size is None:
            raise CloudError(Code.PROGRAM_FAILED, f"{whole} is gone")
        if chain.backing:
            raise CloudError(Code.PROGRAM_FAILED, f"{whole} lies over {chain.backing[0][0][:80]!r}: no whole copy")
        await copied(self._images, self._in_thread, Source(whole, "qcow2", size), target, parent)


class SimulatedSlimming:
    """The copies of the simulated hypervisor name their volume as their last word, and hold nothing."""

    def __init__(self, volumes: BlockDriver) -> None:
        self._volumes = volumes

    def slim(self, whole: str, target: str, parent: BaseLayer | None) -> Deferred[None]:
        return self._volumes.copy(Path(whole).read_text().split()[-1], target, parent)

    def room(self, directory: str) -> Deferred[int]:
        return self._volumes.free()
