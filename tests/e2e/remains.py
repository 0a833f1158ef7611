"""What a host still holds of an instance: looked for by its names wherever any could be, not where we expect it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

from cloudcore.domain.ids import mac_address, tap_name


def of(instances: Iterable[str], state: Path, table: str) -> list[str]:
    """Domains, QEMU processes, taps, nft rules, leases, directories; empty when nothing is left."""
    taps = run("ip", "-br", "link")
    rules = run("nft", "list", "ruleset")
    processes = run("ps", "-eo", "args")
    leases = "".join(path.read_text() for path in Path("/run/cloudcore", table).glob("*") if path.is_file())
    domains = " ".join(path.name for path in (state / "libvirt").rglob("*.xml"))
    found = []
    for instance in instances:
        tap, mac = tap_name(instance), mac_address(instance)
        places = {
            "tap": tap in taps,
            "nft": tap in rules or instance in rules or mac in rules,
            "process": instance in processes,
            "lease": mac in leases,
            "domain": instance in domains,
            "directory": (state / "instances" / instance).exists(),
        }
        found += [f"{instance}: {name}" for name, present in places.items() if present]
    return found


def run(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30).stdout
