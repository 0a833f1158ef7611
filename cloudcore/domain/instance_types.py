"""What an instance may be made of. The built-in table has EC2's t3, c5, m5 and r5 with EC2's vCPUs and memory, but for
the small t3 types: those are smaller, so that many fit on a small machine. An operator adds, replaces and withdraws.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from cloudcore.domain.placement import Demand

NAME = re.compile(r"[a-z][a-z0-9-]{0,31}\.[a-z0-9-]{1,31}", re.ASCII)  # family.size, as every client reads it


@dataclass(frozen=True, slots=True)
class InstanceType:
    name: str
    vcpus: int
    memory_mib: int
    disk_gib: int  # that a host must have to offer it; the root disk is as large as its image says, or as asked


BUILT_IN = (
    InstanceType("t3.nano", 1, 128, 1),  # what tiny guests use
    InstanceType("t3.micro", 1, 512, 4),
    InstanceType("t3.small", 1, 1024, 8),
    InstanceType("t3.medium", 2, 2048, 8),
    InstanceType("t3.large", 2, 8192, 16),
    InstanceType("t3.xlarge", 4, 16384, 16),
    InstanceType("t3.2xlarge", 8, 32768, 32),
    InstanceType("c5.large", 2, 4096, 16),
    InstanceType("c5.xlarge", 4, 8192, 32),
    InstanceType("c5.2xlarge", 8, 16384, 32),
    InstanceType("c5.4xlarge", 16, 32768, 64),
    InstanceType("m5.large", 2, 8192, 16),
    InstanceType("m5.xlarge", 4, 16384, 32),
    InstanceType("m5.2xlarge", 8, 32768, 32),
    InstanceType("m5.4xlarge", 16, 65536, 64),
    InstanceType("r5.large", 2, 16384, 16),
    InstanceType("r5.xlarge", 4, 32768, 32),
    InstanceType("r5.2xlarge", 8, 65536, 32),
)
DEFAULT_TYPE = "t3.nano"  # where a launch names none


def matching(pattern: str) -> list[str]:
    """Names of the built-in types that `pattern` means: a name, in which * and ? match."""
    return [kind.name for kind in BUILT_IN if fnmatchcase(kind.name, pattern)]


def table(own: Iterable[InstanceType] = (), withdrawn: Iterable[str] = ()) -> dict[str, InstanceType]:
    """The types offered, by name: the built-in ones without those that a pattern of `withdrawn` matches, and `own`,
    which replace built-in ones of the same name."""
    gone = {name for pattern in withdrawn for name in matching(pattern)}
    kept = {kind.name: kind for kind in BUILT_IN if kind.name not in gone}
    return kept | {kind.name: kind for kind in own}


def fits(kind: InstanceType, capacities: Mapping[str, Sequence[Demand]], zone: str | None = None) -> bool:
    """Whether any host could hold one if it were empty. `capacities` are the hosts' by zone. Where none is known there
    may yet come one: then it fits."""
    hosts = capacities.get(zone, ()) if zone else [host for found in capacities.values() for host in found]
    return not hosts or any(
        host.vcpus >= kind.vcpus and host.memory_mib >= kind.memory_mib and host.disk_gib >= kind.disk_gib
        for host in hosts
    )
