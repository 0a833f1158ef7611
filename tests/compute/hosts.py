"""A host for tests: the agent over the simulated hypervisor, a conductor in memory, a clock that is ours."""

from __future__ import annotations

import random
from pathlib import Path

from twisted.internet.defer import CancelledError, fail, maybeDeferred, succeed
from twisted.internet.task import Clock

from cloudcore.compute.agent import ComputeAgent, Seat
from cloudcore.compute.converging import Tools
from cloudcore.compute.failpoints import none
from cloudcore.compute.journal import Journal
from cloudcore.domain.ids import guest_uuid, mac_address, tap_name
from cloudcore.errors import CloudError
from cloudcore.rpc.compute import ImageSource, WantedGuest
from cloudcore.rpc.conductor import Acknowledged
from cloudcore.rpc.faults import NobodyListens
from cloudcore.virt.simulated import Pace, SimulatedDisks, SimulatedDriver
from cloudcore.virt.simulated_world import World

IMAGE = ImageSource("ami-1", "images/tiny", "ab" * 32, 5, "raw", 2**20)


def name(number: int = 1) -> str:
    return f"i-{number:017x}"


def wanted(number: int = 1, generation: int = 1, power: str = "running") -> WantedGuest:
    instance = name(number)
    return WantedGuest(instance, generation, power, guest_uuid(instance), 1, 96, 1, IMAGE, mac_address(instance),
                       tap_name(instance))  # fmt: skip


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
    """An image cache with one image in it; `problem` is raised instead, when set."""

    def __init__(self, path: Path):
        self.path, self.problem, self.asked = path, None, 0

    def ensure(self, source):
        self.asked += 1
        if self.problem:
            return fail(CloudError(self.problem, f"{source.location} is not to be had"))
        self.path.write_bytes(b"image")
        return succeed(str(self.path))


class Host:
    """Everything that outlives an agent: directory, guests, conductor. `start` is a new process on the same host."""

    def __init__(self, directory: Path):
        self.directory, self.world, self.conductor = directory, World(), MemoryConductor()
        self.images, self.heartbeats, self.boot = OneImage(directory / "image"), [], "boot-1"
        self.faults = lambda verb, instance: None
        self.agent = None

    def start(self, failpoint=none, pace=Pace()):  # noqa: B008
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.driver = SimulatedDriver(self.clock, random.Random(1), self.world, pace,
                                      faults=lambda verb, instance: self.faults(verb, instance))  # fmt: skip
        tools = Tools(self.clock, self.driver, self.images, SimulatedDisks(), self.directory / "instances",
                      lambda: self.boot,
                      maybeDeferred, failpoint)  # fmt: skip
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

    def disk(self, number: int = 1) -> Path:
        return self.directory / "instances" / name(number) / "disk.qcow2"
