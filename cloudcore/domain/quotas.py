"""What one project may hold at once. A row in the quotas table overrides a default; both count in the accepting
transaction (`used + n <= limit`), so that no race passes them (I5)."""

from __future__ import annotations

from collections.abc import Mapping

INSTANCES, VCPUS, GROUPS, RULES = "instances", "vcpus", "security-groups", "rules-per-security-group"
ELASTIC = "elastic-addresses"
VOLUMES, GIGABYTES, SNAPSHOTS = "volumes", "volume-gigabytes", "snapshots"

LIMITS: Mapping[str, int] = {
    INSTANCES: 100,
    VCPUS: 200,
    GROUPS: 500,
    RULES: 120,  # both directions together; EC2 counts 60 each
    ELASTIC: 20,
    VOLUMES: 500,
    GIGABYTES: 50_000,  # of all volumes together
    SNAPSHOTS: 1000,
}


def fitting(least: int, most: int, each: Mapping[str, int], room: Mapping[str, int]) -> int | None:
    """How many of `most` fit where one needs `each` and `room` is left; None when not even `least` do."""
    count = min([most, *(max(0, room[resource]) // need for resource, need in each.items() if need)])
    return count if count >= least else None


def scarcest(each: Mapping[str, int], room: Mapping[str, int]) -> str:
    """The resource of which the fewest more fit: the one to name in the refusal."""
    return min((resource for resource, need in each.items() if need), key=lambda one: room[one] // each[one])
