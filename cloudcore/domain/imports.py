"""What an import task is to make: one snapshot of the object that it names, and of that an image where one is
wanted."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import Enum


class ImportState(Enum):
    ACTIVE = "active"
    COMPLETED = "completed"
    DELETED = "deleted"  # failed (the message says why) or cancelled, as EC2 shows both


@dataclass(frozen=True, slots=True)
class Import:
    """`snapshot` and `image` are the ids of what is made, chosen when the task was accepted; no image for kind
    `snapshot`. `sha256` (hex), when given, must be that of the bytes."""

    snapshot: str
    image: str | None = None
    name: str = ""
    description: str = ""
    architecture: str = "x86_64"
    root_device: str = "/dev/sda1"
    volume_type: str = "gp2"
    sha256: str | None = None
    format: str = "RAW"  # as the caller calls it; the bytes decide

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Import:
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True)
class ImportTask:
    """One row. `kind` is image or snapshot, `location` is bucket/key, read with the rights of `project`. `image` and
    `snapshot` are ids of what has been made. `progress` in percent, `created` in seconds since the epoch."""

    id: str
    project: str
    kind: str
    state: ImportState
    created: float
    location: str
    wanted: Import
    description: str = ""
    progress: int = 0
    message: str = ""
    image: str | None = None
    snapshot: str | None = None
