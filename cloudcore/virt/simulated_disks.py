"""Disks of pretended guests that come and go, and copies of them: VolumeAttachment and LiveCopies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from cloudcore.errors import CloudError, Code
from cloudcore.virt.driver import GuestDisk
from cloudcore.virt.simulated_world import SimulatedGuest, World

At = Callable[[str, str, Callable[[], Any]], Deferred[Any]]  # verb, instance, effect: faults come first


class SimulatedAttachment:
    """A guest lets go of a disk after `unplug` seconds, and one in `stubborn` never."""

    def __init__(self, clock: Any, world: World, at: At, unplug: float = 0.0) -> None:
        self._clock, self._world, self._at, self._unplug = clock, world, at, unplug
        self.stubborn: set[str] = set()

    def disks(self, instance: str) -> Deferred[dict[str, int]]:
        return self._at("disks", instance, lambda: self._live(instance))

    def attach(self, instance: str, disk: GuestDisk) -> Deferred[None]:
        def plug() -> None:
            guest = self._running(instance)
            live = self._live(instance)
            if disk.volume not in live:
                self._free(disk.volume)
                self._world.change(instance, live={**live, disk.volume: 0})
            if disk.volume not in {known.volume for known in guest.spec.disks}:
                self._redefine(guest, (*guest.spec.disks, disk))

        return self._at("attach", instance, plug)

    def detach(self, instance: str, volume: str, patience: float) -> Deferred[bool]:
        return Deferred.fromCoroutine(self._detach(instance, volume, patience))

    def resize(self, instance: str, volume: str, size: int) -> Deferred[None]:
        def resize() -> None:
            self._running(instance)
            live = self._live(instance)
            if volume not in live:
                raise CloudError(Code.PROGRAM_FAILED, f"{instance} has no disk {volume}")
            self._world.change(instance, live={**live, volume: max(size, live[volume])})

        return self._at("resize", instance, resize)

    def copy(self, instance: str, targets: dict[str, str], progress: Callable[[int], None]) -> Deferred[None]:
        def copy() -> None:
            self._running(instance)
            missing = targets.keys() - self._live(instance).keys()
            if missing:
                raise CloudError(Code.PROGRAM_FAILED, f"{instance} has no disk {', '.join(sorted(missing))}")
            for volume, path in targets.items():
                Path(path).write_text(f"simulated copy of {volume}\n")
            progress(100)

        return self._at("copy", instance, copy)

    async def _detach(self, instance: str, volume: str, patience: float) -> bool:
        def ask() -> None:
            guest = self._world.guests.get(instance)
            if guest is not None:
                self._redefine(guest, tuple(disk for disk in guest.spec.disks if disk.volume != volume))

        await self._at("detach", instance, ask)
        if volume not in self._live(instance):
            return True
        stubborn = instance in self.stubborn
        wait = patience if stubborn else min(patience, self._unplug)
        if wait:
            await self._pause(wait)
        live = self._live(instance)
        if volume in live and (instance in self.stubborn or wait < self._unplug):
            return False
        if volume in live:
            self._world.change(instance, live={known: size for known, size in live.items() if known != volume})
        return True

    def _pause(self, seconds: float) -> Deferred[None]:
        waiting: Deferred[None] = Deferred(lambda cancelled: call.cancel())
        call = self._clock.callLater(seconds, waiting.callback, None)
        return waiting

    def _live(self, instance: str) -> dict[str, int]:
        guest = self._world.guests.get(instance)
        return dict(guest.live) if guest is not None and guest.running else {}

    def _free(self, volume: str) -> None:
        for guest in self._world.guests.values():
            if guest.running and volume in guest.live:
                raise CloudError(Code.VOLUME_IN_USE, f"{guest.spec.instance} writes to {volume}")

    def _running(self, instance: str) -> SimulatedGuest:
        guest = self._world.guests.get(instance)
        if guest is None or not guest.running:
            raise CloudError(Code.PROGRAM_FAILED, f"{instance} does not run")
        return guest

    def _redefine(self, guest: SimulatedGuest, disks: tuple[GuestDisk, ...]) -> None:
        if disks != guest.spec.disks:
            self._world.put(replace(guest, live=self._live(guest.spec.instance), spec=replace(guest.spec, disks=disks)))
