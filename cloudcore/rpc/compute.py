"""What the conductor asks of the compute agent of one host (topic `compute.<host>`), and how the agent reports.

`ensure` is the whole language: the wanted state of one guest with a generation. It is journaled before it is answered,
and what came of it arrives later as a fact (rpc/conductor.py). An older generation than the journal's is ignored and
answered with the journal's generation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred

from cloudcore.errors import Code
from cloudcore.rpc.contract import call, contract


@dataclass(frozen=True, slots=True)
class ImageSource:
    """Where a root disk comes from. `location` is `bucket/key`; the bytes must have this SHA-256 (hex)."""

    id: str
    location: str
    sha256: str
    size: int  # bytes of the object
    format: str  # raw | qcow2, as judged at registration; never probed again
    virtual_size: int  # bytes the guest sees


@dataclass(frozen=True, slots=True)
class WantedGuest:
    """`power` is running, stopped or absent. For absent the rest may be empty."""

    instance: str
    generation: int
    power: str
    uuid: str = ""
    vcpus: int = 0
    memory_mib: int = 0
    disk_gib: int = 0
    image: ImageSource | None = None
    mac: str = ""
    tap: str = ""
    mtu: int = 1450


@dataclass(frozen=True, slots=True)
class Taken:
    generation: int  # the journal's, after the call


@dataclass(frozen=True, slots=True)
class InstanceName:
    instance: str


@dataclass(frozen=True, slots=True)
class ConsoleText:
    output: bytes  # the last 64 KiB of the serial console
    timestamp: float  # seconds since the epoch of the last byte


@dataclass(frozen=True, slots=True)
class Done:
    pass


@dataclass(frozen=True, slots=True)
class GuestSummary:
    instance: str
    generation: int
    state: str  # running | stopped | absent | working | failed


@dataclass(frozen=True, slots=True)
class Presence:
    epoch: int
    guests: tuple[GuestSummary, ...]


@dataclass(frozen=True, slots=True)
class Nothing:
    pass


class Compute(Protocol):
    @call(since=(1, 0), timeout=10)
    def ensure(self, request: WantedGuest) -> Deferred[Taken]: ...

    @call(since=(1, 0), timeout=15, errors=(Code.INSTANCE_UNKNOWN, Code.INSTANCE_STATE))
    def reboot(self, request: InstanceName) -> Deferred[Done]: ...

    @call(since=(1, 0), timeout=10, errors=(Code.INSTANCE_UNKNOWN,))
    def console(self, request: InstanceName) -> Deferred[ConsoleText]: ...

    @call(since=(1, 0), timeout=10)
    def present(self, request: Nothing) -> Deferred[Presence]: ...


COMPUTE = contract("compute", (1, 0), Compute)
