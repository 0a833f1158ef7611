"""The machine under the simulated driver: what would go on if the agent died. Outlives drivers; on request the process.

Kept as a list of changes, appended without fsync: a killed process loses nothing (the kernel has the bytes), a power
cut would lose guests, as it would real ones. One line per change keeps it cheap beside hundreds of launches a second.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from cloudcore.virt.driver import GuestDisk, GuestSpec


@dataclass(frozen=True, slots=True)
class SimulatedGuest:
    """`began` is when it was powered on (seconds of the driver's clock), `boots` how often its disk was booted. `live`
    are the disks it has had since, {volume: bytes}, 0 where nobody has said how large."""

    spec: GuestSpec
    running: bool = False
    began: float = 0.0
    boots: int = 0
    ready_after: float = 0.0  # seconds from power-on to the login prompt
    shut_down: bool = False  # `poweroff` was typed inside
    live: dict[str, int] = field(default_factory=dict)


class World:
    """Guests by instance id. `path`, when given, is the file that lets them outlive the process."""

    def __init__(self, path: str | Path | None = None) -> None:
        self.guests: dict[str, SimulatedGuest] = {}
        self._descriptor: int | None = None
        if path is not None:
            self._open(Path(path))

    def put(self, guest: SimulatedGuest) -> None:
        self.guests[guest.spec.instance] = guest
        self._append({"guest": asdict(guest)})

    def change(self, instance: str, **fields: Any) -> SimulatedGuest:
        """Only the named fields are written: powering on and off is most of what happens."""
        guest = self.guests[instance] = replace(self.guests[instance], **fields)
        self._append({"changed": instance, **fields})
        return guest

    def drop(self, instance: str) -> None:
        if self.guests.pop(instance, None) is not None:
            self._append({"gone": instance})

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _append(self, line: dict[str, object]) -> None:
        if self._descriptor is not None:
            os.write(self._descriptor, json.dumps(line, separators=(",", ":")).encode() + b"\n")

    def _open(self, path: Path) -> None:
        """Reads the file and writes it anew, without its history."""
        if path.exists():
            for line in path.read_bytes().split(b"\n")[:-1]:  # what follows the last newline was being written
                self._replay(json.loads(line))
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(path.name + ".new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC | os.O_CLOEXEC
        self._descriptor = os.open(aside, flags, 0o600)
        for guest in self.guests.values():
            self._append({"guest": asdict(guest)})
        aside.rename(path)

    def _replay(self, line: dict[str, Any]) -> None:
        if "guest" in line:
            fields = line["guest"]
            guest = SimulatedGuest(**{**fields, "spec": _spec(fields["spec"])})
            self.guests[guest.spec.instance] = guest
        elif "gone" in line:
            self.guests.pop(line["gone"], None)
        else:
            instance = line.pop("changed")
            self.guests[instance] = replace(self.guests[instance], **line)


def _spec(fields: dict[str, Any]) -> GuestSpec:
    disks = (GuestDisk(**{**disk, "backing": tuple(map(tuple, disk["backing"]))}) for disk in fields["disks"])
    return GuestSpec(**{**fields, "disks": tuple(disks)})
