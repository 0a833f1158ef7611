"""What an instance starts from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mapping:
    """One volume of whatever starts from the image: blank, or of `snapshot`. EC2's BlockDeviceMapping. With `virtual`
    (ephemeral0 ...) it is none: no host has instance store, and the image only shows what it was registered with."""

    device: str
    snapshot: str | None
    size_gib: int
    type: str = "gp2"
    delete_on_termination: bool = True
    iops: int | None = None
    throughput: int | None = None
    virtual: str | None = None


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
    state: str  # pending | available | failed | deregistered
    created: float
    content: str | None = None  # contents.id of the root disk
    mappings: tuple[Mapping, ...] = ()  # the root disk's first
    deprecated: float | None = None  # from when on it is
    source_instance: str | None = None
    source_image: str | None = None
    reason: str | None = None
    ena: bool = True  # as registered; guests have virtio devices either way
    sriov: bool = False
