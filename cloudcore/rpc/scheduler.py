"""What the conductor asks of the scheduler (topic `scheduler`): proposals only, its own transaction disposes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred

from cloudcore.rpc.contract import call, contract


@dataclass(frozen=True, slots=True)
class Needs:
    """Of one instance. `seed` (the operation's id) makes ties reproducible; `not_hosts` lost a race before."""

    seed: str
    vcpus: int
    memory_mib: int
    disk_gib: int
    zone: str | None = None
    not_hosts: tuple[str, ...] = ()
    count: int = 3  # how many alternatives are wanted


@dataclass(frozen=True, slots=True)
class Proposal:
    host: str
    generation: int  # of the host's row when it was judged; the claim compares and swaps on it


@dataclass(frozen=True, slots=True)
class Selection:
    """Best first. Empty: nothing fits, and `explanation` says why: each filter, which hosts it removed, and why.

    `retry` above zero: in so many seconds there may be more to choose from, since this scheduler has only just started
    and known hosts have not been heard yet.
    """

    proposals: tuple[Proposal, ...]
    explanation: tuple[str, ...] = ()
    retry: float = 0.0


class Scheduler(Protocol):
    @call(since=(1, 0), timeout=5)
    def select(self, request: Needs) -> Deferred[Selection]: ...


SCHEDULER = contract("scheduler", (1, 0), Scheduler)
