"""A host for tests: the agent over the simulated hypervisor, a conductor in memory, a clock that is ours."""

from __future__ import annotations

import random
from pathlib import Path

from twisted.internet.defer import CancelledError, fail, maybeDeferred, succeed
from twisted.internet.task import Clock

from cloudcore.blockdev.driver import BaseLayer
from cloudcore.blockdev.simulated import SimulatedVolumes
from cloudcore.blockdev.slimming import SimulatedSlimming
from cloudcore.compute.agent import ComputeAgent, Seat
from cloudcore.compute.converging import Tools
from cloudcore.compute.failpoints import none
from cloudcore.compute.journal import Journal
from cloudcore.domain.ids import guest_uuid, mac_address, tap_name
from cloudcore.errors import CloudError
from cloudcore.rpc.compute import (
    DiskSource,
    ImageSource,
    Layer,
    MadeSnapshot,
    SnapshotPart,
    WantedCopies,
    WantedDisk,
    WantedGuest,
)
from cloudcore.rpc.conductor import Acknowledged
from cloudcore.rpc.faults import NobodyListens
from cloudcore.virt.simulated import Pace, SimulatedDriver
from cloudcore.virt.simulated_world import World

GIB = 2**30
IMAGE = ImageSource("ami-1", "images/tiny", "ab" * 32, 5, "raw", 2**20)


def name(number: int = 1) -> str:
    return f"i-{number:017x}"


def volume(number: int = 1) -> str:
    return f"vol-{number:017x}"


def wanted(number: int = 1, generation: int = 1, power: str = "running") -> WantedGuest:
    instance = name(number)
    return WantedGuest(instance, generation, power, guest_uuid(instance), 1, 96, 1, IMAGE, mac_address(instance),
                       tap_name(instance))  # fmt: skip


def disks(*numbers: int) -> tuple[WantedDisk, ...]:
    """Volumes of one GiB; the first is made by the launch."""
    source = DiskSource(Layer(IMAGE.location, IMAGE.sha256, IMAGE.size, IMAGE.format, IMAGE.virtual_size))
    return tuple(
        WantedDisk(volume(number), f"/dev/sd{number}", 1, number == 1, source if number == 1 else None)
        for number in numbers
    )


def copies(*numbers: int, reboot: bool = False) -> WantedCopies:
    parts = tuple(SnapshotPart(f"snap-{number:017x}", volume(number), f"contents/{number}") for number in numbers)
    return WantedCopies(name(), f"snap-{numbers[0]:017x}", parts, reboot)


def deadly(where):
    """A failpoint that kills there, and the list of how often it did."""
    met = []

    def failpoint(at):
        if at == where:
            met.append(at)
            raise Killed(at)

    return failpoint, met


class Killed(CancelledError):
    """What the agent's code must never catch: like SIGKILL, it just stops there."""


class MemoryConductor:
    """Acknowledges facts once it is `up`; refuses those of an older epoch."""

    def __init__(self):
        self.up, self.known, self.epoch, self.facts = True, True, 0, []

    def report(self, request):
        if not self.up:
            return fail(NobodyListens("conductor.facts"))
        if not self.known:
            return succeed(Acknowledged(0, False))
        assert request.epoch >= self.epoch, "an old epoch"
        self.epoch = request.epoch
        self.facts += [(fact.instance, fact.generation, fact.change) for fact in request.facts]
        return succeed(Acknowledged(max(fact.sequence for fact in request.facts)))

    def last(self, instance):
        told = [(generation, change) for which, generation, change in self.facts if which == instance]
        return told[-1] if told else None


class OneImage:
    """An image cache that has whatever is asked of it; `problem` is raised instead, when set."""

    def __init__(self, path: Path):
        self.path, self.problem, self.asked = path, None, 0

    def layers(self, source):
        self.asked += 1
        if self.problem:
            return fail(CloudError(self.problem, f"{source.top.location} is not to be had"))
        self.path.write_bytes(b"image")
        return succeed(tuple(BaseLayer(str(self.path), layer.sha256, layer.format, layer.virtual_size)
                             for layer in (source.top, *source.below)))  # fmt: skip


class Servers:
    """Remote volumes: which are open, and how often each was opened."""

    def __init__(self):
        self.opened, self.log, self.problem = {}, [], None

    def open(self, volume, remote):
        if self.problem:
            return fail(CloudError(self.problem, f"{remote.address} does not answer"))
        self.log.append(f"open {volume}")
        self.opened[volume] = remote
        return succeed(f"/remotes/{volume}")

    def close(self, volume):
        if self.opened.pop(volume, None) is not None:
            self.log.append(f"close {volume}")
        return succeed(None)

    def present(self):
        return succeed(frozenset(self.opened))


class Bucket:
    """Where copies are stored. A Deferred in `held` is waited for first."""

    def __init__(self):
        self.stored, self.held, self.problem = [], None, None

    def store(self, path, part):
        if self.problem:
            problem, self.problem = self.problem, None
            return fail(CloudError(problem, "the object store does not answer"))
        size = Path(path).stat().st_size
        self.stored.append(part.snapshot)
        made = MadeSnapshot(part.snapshot, part.location, "cd" * 32, size, "qcow2", 2**30,
                            part.parent.top.sha256 if part.parent else "")  # fmt: skip
        return succeed(made) if self.held is None else self.held.addCallback(lambda _: made)


class Host:
    """Everything that outlives an agent: directory, guests, conductor. `start` is a new process on the same host."""

    def __init__(self, directory: Path):
        self.directory, self.world, self.conductor = directory, World(), MemoryConductor()
        self.images, self.heartbeats, self.boot = OneImage(directory / "image"), [], "boot-1"
        self.remotes, self.bucket = Servers(), Bucket()
        self.volumes = SimulatedVolumes(directory / "volumes", faults=lambda verb, volume: self.faults(verb, volume))
        self.faults = lambda verb, instance: None
        self.agent = None

    def start(self, failpoint=none, pace=Pace()):  # noqa: B008
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.driver = SimulatedDriver(self.clock, random.Random(1), self.world, pace,
                                      faults=lambda verb, instance: self.faults(verb, instance))  # fmt: skip
        disks = self.driver.disks
        tools = Tools(self.clock, self.driver, disks, disks, self.images, self.volumes, self.remotes, self.bucket,
                      SimulatedSlimming(self.volumes), self.directory / "instances", lambda: self.boot, maybeDeferred,
                      failpoint)  # fmt: skip
        journal = Journal(self.directory / "journal", maybeDeferred)
        self.agent = ComputeAgent(Seat("h1"), tools, journal, self.conductor, self._beat)
        self.agent.startService()
        return self.agent

    def _beat(self, heartbeat):
        self.heartbeats.append(heartbeat)
        return succeed(None)

    def advance(self, seconds: float) -> None:
        for _ in range(int(seconds * 4)):
            self.clock.advance(0.25)

    def home(self, number: int = 1) -> Path:
        return self.directory / "instances" / name(number)

    def disk(self, number: int = 1) -> Path:
        """Of the volume that is a guest's own."""
        return self.directory / "volumes" / f"{volume(number)}.json"
