"""What the service of a host acts with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from cloudcore.blockdev.driver import BaseLayer, BlockDriver
from cloudcore.blockdev.serving import Servers
from cloudcore.journal.lines import InThread
from cloudcore.rpc.compute import DiskSource, MadeSnapshot, SnapshotPart
from cloudcore.volume.failpoints import Failpoint


class ImageCache(Protocol):
    """The contents of this host: images/cache.py."""

    def layers(self, source: DiskSource) -> Deferred[tuple[BaseLayer, ...]]:
        """Whole and verified, the top first."""


class SnapshotStore(Protocol):
    """Puts finished files into the object store: images/contents.py."""

    def store(self, path: str, part: SnapshotPart) -> Deferred[MadeSnapshot]:
        """The qcow2 at `path`, whole or over the content that its header names, to `part.location`."""


@dataclass(frozen=True)
class Tools:
    """`scratch` is a directory of the service's own for copies on their way. Volumes are served at `address`, from
    `first_port` upward."""

    clock: Any
    volumes: BlockDriver
    images: ImageCache
    snapshots: SnapshotStore
    servers: Servers
    scratch: Path
    in_thread: InThread
    failpoint: Failpoint
    address: str
    first_port: int
