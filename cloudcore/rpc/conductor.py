"""What reaches the conductor: hints from the api (topic `conductor`) and facts from hosts (topic `conductor.facts`).

A hint carries no data: it only makes the conductor look at its due steps now instead of at the next sweep. Facts are in
the past tense, numbered per host and epoch, sent again until acknowledged; a fact of an older epoch is refused.
`Heartbeat` is told on the fan-out topic HEARTBEATS: conductor and scheduler read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred

from cloudcore.rpc.contract import call, contract

HEARTBEATS = "hosts.heartbeats"


@dataclass(frozen=True, slots=True)
class Hint:
    operation: str


@dataclass(frozen=True, slots=True)
class Heard:
    pass


@dataclass(frozen=True, slots=True)
class GuestFact:
    """`change` is started, stopped, crashed, gone or failed; `reason` is for people (failed: why)."""

    instance: str
    generation: int
    change: str
    sequence: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    host: str
    epoch: int
    facts: tuple[GuestFact, ...]


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Every fact up to this sequence is settled. `known` is false while the host has no row yet: send again later."""

    sequence: int
    known: bool = True


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """`epoch` grows each time the host's agent starts. Capacity is what may be allocated, not what is free."""

    host: str
    epoch: int
    cell: str
    zone: str
    vcpus: int
    memory_mib: int
    disk_gib: int
    virt_type: str  # kvm | qemu | simulated
    guests: int
    options: tuple[str, ...] = ()


class Conductor(Protocol):
    @call(since=(1, 0), timeout=5)
    def hint(self, request: Hint) -> Deferred[Heard]: ...


class FactSink(Protocol):
    @call(since=(1, 0), timeout=10)
    def report(self, request: Facts) -> Deferred[Acknowledged]: ...


CONDUCTOR = contract("conductor", (1, 0), Conductor)
FACT_SINK = contract("conductor.facts", (1, 0), FactSink)
