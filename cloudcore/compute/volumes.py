"""The volumes of a guest on its host: made where a launch makes them, found, opened, and let go of."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import replace
from typing import Protocol

from twisted.internet.defer import Deferred

from cloudcore.blockdev.driver import BaseLayer, BlockDriver
from cloudcore.compute.failpoints import Failpoint
from cloudcore.domain.ids import well_formed
from cloudcore.errors import CloudError, Code
from cloudcore.rpc.compute import DiskSource, Layer, RemoteDisk, WantedDisk, WantedGuest
from cloudcore.virt.driver import GuestDisk

GIB = 2**30


class ImageCache(Protocol):
    """The contents of this host: what volumes begin with."""

    def layers(self, source: DiskSource) -> Deferred[tuple[BaseLayer, ...]]:
        """Whole and verified, the top first, on the file system of the volumes (they are hard-linked)."""


class Remotes(Protocol):
    """Volumes of other hosts, each behind a server of this host that waits while the other one is away."""

    def open(self, volume: str, remote: RemoteDisk) -> Deferred[str]:
        """The path of the local server's unix socket. Open already: nothing is done, unless `remote` is another."""

    def close(self, volume: str) -> Deferred[None]:
        """Not open: nothing is done."""

    def present(self) -> Deferred[frozenset[str]]:
        """The volumes that are open."""


class GuestVolumes:
    def __init__(self, images: ImageCache, volumes: BlockDriver, remotes: Remotes, failpoint: Failpoint) -> None:
        self._images, self._volumes, self._remotes, self._failpoint = images, volumes, remotes, failpoint

    async def furnish(self, wanted: WantedGuest, fresh: bool, still: Callable[[], None]) -> tuple[GuestDisk, ...]:
        """All that the guest is to start with, the boot disk first; `still` is asked after each effect. Only a `fresh`
        guest, which has never run, is given new volumes. DISK_LOST where one is missing."""
        if not wanted.disks:
            raise CloudError(Code.IMAGE_UNAVAILABLE, f"{wanted.instance} has neither volumes nor image")
        found = []
        for disk in wanted.disks:
            missing = fresh and disk.make and await self._volumes.opened(disk.volume) is None
            if missing:
                await self._make(disk, still)
            found.append(await self.open(disk, grow=not missing))
            still()
        return tuple(found)

    async def open(self, disk: WantedDisk, grow: bool = False) -> GuestDisk:
        """What a guest opens. `grow`: no guest has it, so that it may be made as large as it is wanted first."""
        if disk.remote is not None:
            return GuestDisk(disk.volume, await self._remotes.open(disk.volume, disk.remote), disk.remote.format, "nbd")
        opened = await self._volumes.opened(disk.volume)
        if opened is None:
            raise CloudError(Code.DISK_LOST, f"{disk.volume} is missing on its host")
        if grow:
            await self._volumes.grow(disk.volume, disk.size_gib * GIB)
        kind = "block" if opened.block else "file"
        return GuestDisk(disk.volume, opened.path, opened.format, kind, opened.backing)

    async def close(self, disks: Iterable[WantedDisk]) -> None:
        for disk in disks:
            if disk.remote is not None:
                await self._remotes.close(disk.volume)

    async def let_go(self, volume: str) -> None:
        """No guest has it any more. Whether it was another host's need not be known."""
        await self._remotes.close(volume)

    async def tidy(self, needed: Container[str]) -> None:
        """Closes what nobody needs: it went with a guest's end, or with ours."""
        for volume in await self._remotes.present():
            if volume not in needed:
                await self._remotes.close(volume)

    async def clear(self, wanted: WantedGuest) -> None:
        """The guest is gone: its volumes stay, but that which is nobody's else."""
        await self.close(wanted.disks)
        for disk in wanted.disks:
            if is_own(wanted, disk):
                await self._volumes.remove(disk.volume)

    async def _make(self, disk: WantedDisk, still: Callable[[], None]) -> None:
        layers: tuple[BaseLayer, ...] = ()
        if disk.source is not None:
            layers = await self._images.layers(disk.source)
            self._failpoint("compute.image")
            still()
        size = max(disk.size_gib * GIB, layers[0].virtual_size if layers else 0)
        await self._volumes.make(disk.volume, size, layers)
        self._failpoint("compute.overlay")
        still()


def check(disks: tuple[WantedDisk, ...]) -> None:
    """Ids become paths."""
    for disk in disks:
        if not well_formed("volume", disk.volume):
            raise CloudError(Code.VOLUME_MALFORMED, f"{disk.volume!r} is not a volume id")
    if len({disk.volume for disk in disks}) < len(disks):
        raise CloudError(Code.BAD_VALUE, "one volume is named twice")


def with_own(wanted: WantedGuest) -> WantedGuest:
    """A conductor of contract 1.0 names no volumes: the root disk is one of the guest's own then."""
    image = wanted.image
    if wanted.disks or image is None or wanted.power == "absent":
        return wanted
    source = DiskSource(Layer(image.location, image.sha256, image.size, image.format, image.virtual_size))
    root = WantedDisk(own(wanted.instance), "/dev/sda1", wanted.disk_gib, make=True, source=source)
    return replace(wanted, disks=(root,), disk_revision=0)


def merged(wanted: WantedGuest, known: WantedGuest | None) -> WantedGuest:
    """`wanted` with the newer of both lists of volumes. One that names none, as an absent guest's or a conductor's of
    contract 1.0, says nothing about them."""
    if known is not None and known.disks and (not wanted.disks or known.disk_revision > wanted.disk_revision):
        return replace(wanted, disks=known.disks, disk_revision=known.disk_revision)
    return with_own(wanted)


def own(instance: str) -> str:
    return instance.replace("i-", "vol-", 1)


def is_own(wanted: WantedGuest, disk: WantedDisk) -> bool:
    return wanted.disk_revision == 0 and disk.volume == own(wanted.instance)
