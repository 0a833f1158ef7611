"""What `status` says of a host."""

from __future__ import annotations

from typing import Any

import pytest

from cloudcore.cli.status import host_line

HOST: dict[str, Any] = {"name": "h1", "ok": True, "enabled": True, "guests": 3, "vcpus": 16, "free_vcpus": 13,
                        "memory_mib": 2000, "free_memory_mib": 1000, "seen_seconds_ago": 4.2}  # fmt: skip


@pytest.mark.parametrize(("changes", "running", "says"), [
    ({}, True, "ok, 3 guests, 13 of 16 vCPUs and 1000 of 2000 MiB free"),
    ({"guests": 1}, True, "ok, 1 guest,"),
    ({"ok": False}, True, "silent for 4 s, 3 guests"),
    ({"enabled": False}, True, "disabled, 3 guests"),
    ({}, False, "as of 4 s ago, 3 guests"),
])  # fmt: skip
def test_a_host_is_told_of_in_one_line(changes: dict[str, Any], running: bool, says: str) -> None:
    assert says in host_line(HOST | changes, running)
