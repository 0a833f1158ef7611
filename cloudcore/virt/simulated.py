"""A hypervisor that only pretends: for tests, for the simulator, and for machines without QEMU or root.

It passes the contract suite of the real one. Time and chance are given, guests live in a World that outlives it, and
faults come on demand: `faults(verb, instance)` is called before each effect and may raise; crash, power_off and vanish
are what happens to guests without our asking.
"""

from __future__ import annotations

import random as randomness
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed

from cloudcore.errors import CloudError, Code
from cloudcore.virt.dotted_jpeg import dotted
from cloudcore.virt.driver import Capacity, Guest, GuestChanged, GuestSpec
from cloudcore.virt.simulated_disks import SimulatedAttachment
from cloudcore.virt.simulated_world import SimulatedGuest, World

CONSOLE = 64 * 1024
CAPACITY = Capacity(vcpus=4096, memory_mib=4 * 2**20, disk_gib=2**17, virt_type="simulated")


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds: until `start` returns, until a guest offers its login, until it heeds the power button, until it lets go
    of a disk. `spread` is how much of the second is left to chance, 0 to 1."""

    start: float = 0.0
    boot: float = 0.5
    shutdown: float = 0.1
    unplug: float = 0.0
    spread: float = 0.0


class SimulatedDriver:
    """`clock` is IReactorTime; `world` shared with a later driver makes the guests outlive this one. `disks` is its
    VolumeAttachment and LiveCopies."""

    def __init__(
        self,
        clock: Any,
        random: randomness.Random,
        world: World | None = None,
        pace: Pace = Pace(),  # noqa: B008
        capacity: Capacity = CAPACITY,
        faults: Callable[[str, str], None] = lambda verb, instance: None,
    ) -> None:
        self._clock, self._random, self._pace, self._capacity, self._faults = clock, random, pace, capacity, faults
        self.world = world if world is not None else World()
        self._watchers: list[GuestChanged] = []
        self.disks = SimulatedAttachment(clock, self.world, self._at, pace.unplug)

    def capacity(self) -> Deferred[Capacity]:
        return succeed(self._capacity)

    def guests(self) -> Deferred[list[Guest]]:
        return self._at("guests", "", lambda: [
            Guest(guest.spec.instance, guest.spec.generation, guest.running, guest.shut_down,
                  tuple(guest.live) if guest.running else ())
            for guest in self.world.guests.values()
        ])  # fmt: skip

    def define(self, spec: GuestSpec) -> Deferred[None]:
        def make() -> None:
            known = self.world.guests.get(spec.instance)
            if known is None:
                self.world.put(SimulatedGuest(spec))
            elif known.spec != spec:
                self.world.put(replace(known, spec=spec))

        return self._at("define", spec.instance, make)

    def start(self, instance: str) -> Deferred[None]:
        return self._later("start", instance, self._pace.start, lambda: self._power_on(instance))

    def stop(self, instance: str, patience: float) -> Deferred[None]:
        guest = self.world.guests.get(instance)
        wait = min(patience, self._pace.shutdown) if guest is not None and guest.running else 0.0
        return self._later("stop", instance, wait, lambda: self._power_off(instance))

    def reboot(self, instance: str, patience: float = 0.0) -> Deferred[None]:
        def reset() -> None:
            guest = self._known(instance)
            if not guest.running:
                raise CloudError(Code.PROGRAM_FAILED, f"{instance} does not run")
            self.world.change(instance, began=self._clock.seconds(), boots=guest.boots + 1)
            self._tell(instance)

        return self._at("reboot", instance, reset)

    def remove(self, instance: str) -> Deferred[None]:
        def undefine() -> None:
            if instance in self.world.guests:
                self.world.drop(instance)
                self._tell(instance)

        return self._at("remove", instance, undefine)

    def console(self, instance: str) -> Deferred[bytes]:
        return self._at("console", instance, lambda: self._console(instance))

    def screenshot(self, instance: str, wake: bool = False) -> Deferred[bytes]:
        return self._at("screenshot", instance, lambda: self._screen(instance))

    def watch(self, changed: GuestChanged) -> None:
        self._watchers.append(changed)

    def close(self) -> Deferred[None]:
        self._watchers.clear()
        return succeed(None)

    # -- what happens to guests by themselves

    def power_off(self, instance: str) -> None:
        """`poweroff` typed inside."""
        self.world.change(instance, running=False, shut_down=True)
        self._tell(instance)

    def crash(self, instance: str) -> None:
        """QEMU killed."""
        self._power_off(instance)

    def vanish(self, instance: str) -> None:
        """Somebody removed it behind our back."""
        self.world.drop(instance)
        self._tell(instance)

    # -- within

    def _at(self, verb: str, instance: str, act: Callable[[], Any]) -> Deferred[Any]:
        try:
            self._faults(verb, instance)
            return succeed(act())
        except CloudError as problem:
            return fail(problem)

    def _later(self, verb: str, instance: str, seconds: float, act: Callable[[], Any]) -> Deferred[Any]:
        seconds = self._spread(seconds)
        if seconds <= 0:
            return self._at(verb, instance, act)
        waiting: Deferred[Any] = Deferred(lambda cancelled: call.cancel())
        call = self._clock.callLater(seconds, waiting.callback, None)
        return waiting.addCallback(lambda _: self._at(verb, instance, act))

    def _spread(self, seconds: float) -> float:
        return seconds * (1 + self._pace.spread * (self._random.random() - 0.5)) if seconds else 0.0

    def _known(self, instance: str) -> SimulatedGuest:
        try:
            return self.world.guests[instance]
        except KeyError:
            raise CloudError(Code.PROGRAM_FAILED, f"there is no guest {instance}") from None

    def _power_on(self, instance: str) -> None:
        guest = self._known(instance)
        if not guest.running:
            ready = self._spread(self._pace.boot)
            began = self._clock.seconds()
            live = dict.fromkeys((disk.volume for disk in guest.spec.disks), 0)
            self.world.change(instance, running=True, shut_down=False, began=began, boots=guest.boots + 1,
                              ready_after=ready, live=live)  # fmt: skip
            self._tell(instance)

    def _power_off(self, instance: str) -> None:
        guest = self.world.guests.get(instance)
        if guest is not None and guest.running:
            self.world.change(instance, running=False)
            self._tell(instance)

    def _tell(self, instance: str) -> None:
        for changed in self._watchers:
            changed(instance)

    def _screen(self, instance: str) -> bytes:
        """Its id in dots, and below it a bar that grows while it boots."""
        guest = self._known(instance)
        if not guest.running:
            raise CloudError(Code.PROGRAM_FAILED, f"{instance} does not run")
        booted = (self._clock.seconds() - guest.began) / guest.ready_after if guest.ready_after else 1.0
        return dotted(instance.removeprefix("i-"), booted)

    def _console(self, instance: str) -> bytes:
        """Written from how long it has run, in the words of the tiny guest; what only a real guest can know (its lease,
        what the metadata service said) is not claimed."""
        guest = self.world.guests.get(instance)
        if guest is None or not guest.boots:
            return b""
        spec, uptime = guest.spec, self._clock.seconds() - guest.began
        told = (
            (0.2, f"boot simulated cpus={spec.vcpus} mem={spec.memory_mib * 1024}kB"),
            (0.3, f'dmi uuid={spec.uuid} serial={spec.uuid} vendor="Amazon EC2"'),
            (0.4, f"data boots={guest.boots}"),
            (0.6, f"net mac={spec.mac}"),
            (1.0, "login"),
        )
        lines = [
            f"TINY {share * guest.ready_after:.2f} {words}\r\n"
            for share, words in told
            if not guest.running or uptime >= share * guest.ready_after
        ]
        return "".join(lines).encode()[-CONSOLE:]
