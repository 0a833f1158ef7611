"""Where an instance may go, and where it goes best: pure rules that scheduler, claim and test share.

Filters remove hosts, cheap ones first, and each says why it removed one; weighers order those that remain. Ties are
broken by a hash of the seed and the host's name, so that the same question has the same answer in a post-mortem.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

UNREACHABLE_AFTER = 30.0  # seconds without a heartbeat; three are sent in that time
EXAMPLES = 3  # hosts that an explanation names per filter


@dataclass(frozen=True, slots=True)
class Demand:
    vcpus: int
    memory_mib: int
    disk_gib: int

    def __add__(self, other: Demand) -> Demand:
        return Demand(self.vcpus + other.vcpus, self.memory_mib + other.memory_mib, self.disk_gib + other.disk_gib)


NOTHING = Demand(0, 0, 0)


@dataclass(frozen=True, slots=True)
class Host:
    """One host as the database has it. Capacity is what may be allocated; `seen` is database time in seconds."""

    name: str
    cell: str
    zone: str
    epoch: int
    generation: int
    vcpus: int
    memory_mib: int
    disk_gib: int
    used_vcpus: int
    used_memory_mib: int
    used_disk_gib: int
    guests: int
    virt_type: str
    enabled: bool
    seen: float
    revision: int

    @property
    def free(self) -> Demand:
        return Demand(self.vcpus - self.used_vcpus, self.memory_mib - self.used_memory_mib,
                      self.disk_gib - self.used_disk_gib)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Question:
    """What is wanted. `silent` are hosts not heard of, with the seconds since; `not_hosts` are out of the question."""

    demand: Demand
    seed: str
    zone: str | None = None
    not_hosts: frozenset[str] = frozenset()
    silent: Mapping[str, float] | None = None


def lacks(host: Host, demand: Demand) -> str | None:
    """Which resource is too scarce, or None: it fits."""
    free = host.free
    for amount in ("vcpus", "memory_mib", "disk_gib"):
        if getattr(free, amount) < getattr(demand, amount):
            return amount
    return None


# -- filters: what is wrong with this host, or None -------------------------------------------------------------------

Filter = Callable[[Host, Question], "str | None"]


def not_tried(host: Host, question: Question) -> str | None:
    return "had no room left when it was claimed" if host.name in question.not_hosts else None


def enabled(host: Host, question: Question) -> str | None:
    return None if host.enabled else "is disabled"


def alive(host: Host, question: Question) -> str | None:
    silence = (question.silent or {}).get(host.name, 0.0)
    return f"has not been heard of for {silence:.0f} s" if silence > UNREACHABLE_AFTER else None


def in_zone(host: Host, question: Question) -> str | None:
    return None if question.zone in (None, host.zone) else f"is in zone {host.zone}"


def enough_vcpus(host: Host, question: Question) -> str | None:
    return None if host.free.vcpus >= question.demand.vcpus else f"has {host.free.vcpus} vCPUs free"


def enough_memory(host: Host, question: Question) -> str | None:
    return None if host.free.memory_mib >= question.demand.memory_mib else f"has {host.free.memory_mib} MiB free"


def enough_disk(host: Host, question: Question) -> str | None:
    return None if host.free.disk_gib >= question.demand.disk_gib else f"has {host.free.disk_gib} GiB of disk free"


FILTERS: tuple[tuple[Callable[[Question], str], Filter], ...] = (
    (lambda q: "was tried before", not_tried),
    (lambda q: "must be enabled", enabled),
    (lambda q: "must be reachable", alive),
    (lambda q: f"must be in zone {q.zone}", in_zone),
    (lambda q: f"needs {q.demand.vcpus} vCPUs", enough_vcpus),
    (lambda q: f"needs {q.demand.memory_mib} MiB", enough_memory),
    (lambda q: f"needs {q.demand.disk_gib} GiB of disk", enough_disk),
)


def judge(hosts: Iterable[Host], question: Question) -> tuple[list[Host], tuple[str, ...]]:
    """(those that fit, one line per filter that removed any): "needs 4096 MiB; host-1 has 1200 MiB free"."""
    left, lines = list(hosts), []
    if not left:
        return [], ("no host has reported yet",)
    for wanted, wrong in FILTERS:
        kept, removed = [], []
        for host in left:
            reason = wrong(host, question)
            kept.append(host) if reason is None else removed.append(f"{host.name} {reason}")
        if removed:
            lines.append(line(wanted(question), removed))
        left = kept
    return left, tuple(lines)


def line(wanted: str, removed: list[str]) -> str:
    more = len(removed) - EXAMPLES
    return "; ".join([wanted, *sorted(removed)[:EXAMPLES], *([f"and {more} more hosts"] if more > 0 else [])])


# -- weighers: greater is better --------------------------------------------------------------------------------------


def spread(host: Host, promised: Demand) -> tuple[int, int]:
    """The most free memory first, then the most free vCPUs, counting what was proposed to others a moment ago."""
    return host.free.memory_mib - promised.memory_mib, host.free.vcpus - promised.vcpus


def ranked(fitting: Collection[Host], question: Question, promised: Mapping[str, Demand]) -> list[Host]:
    """Best first. A host that no longer fits once all promises are kept comes after all that do: promises are guesses,
    so they order hosts, and never remove one."""

    def weight(host: Host) -> tuple[bool, tuple[int, int], bytes]:
        given = promised.get(host.name, NOTHING)
        tie = hashlib.blake2b(f"{question.seed} {host.name}".encode(), digest_size=8).digest()
        return lacks(host, question.demand + given) is None, spread(host, given), tie

    return sorted(fitting, key=weight, reverse=True)
