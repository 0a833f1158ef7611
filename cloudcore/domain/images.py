"""What an instance starts from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Image:
    """`location` as registered; `source` is where hosts fetch the bytes, which have this SHA-256. `format` was judged
    at registration and is never probed again. Sizes in bytes, `created` in seconds since the epoch."""

    id: str
    project: str
    name: str
    description: str
    location: str
    source: str
    sha256: str
    size: int
    format: str  # raw | qcow2
    virtual_size: int
    architecture: str
    root_device: str
    public: bool
    state: str  # available | deregistered
    created: float
