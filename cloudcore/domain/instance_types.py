"""What an instance may be made of. Sizes follow EC2's t3 and m5 families; t3.nano is what tiny guests use."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class InstanceType:
    name: str
    vcpus: int
    memory_mib: int
    disk_gib: int  # the least size of the root disk; a larger image keeps its own size


INSTANCE_TYPES = {
    kind.name: kind
    for kind in (
        InstanceType("t3.nano", 1, 128, 1),
        InstanceType("t3.micro", 1, 512, 4),
        InstanceType("t3.small", 1, 1024, 8),
        InstanceType("t3.medium", 2, 2048, 8),
        InstanceType("t3.large", 2, 4096, 16),
        InstanceType("t3.xlarge", 4, 8192, 16),
        InstanceType("m5.large", 2, 8192, 16),
        InstanceType("m5.xlarge", 4, 16384, 32),
        InstanceType("m5.2xlarge", 8, 32768, 32),
        InstanceType("m5.4xlarge", 16, 65536, 64),
    )
}
DEFAULT_TYPE = "t3.nano"
