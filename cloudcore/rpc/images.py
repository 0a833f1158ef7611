"""What api and conductor ask of the image worker (topic `images`): is there an image at this place, may it be trusted,
and what becomes of it?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred

from cloudcore.errors import Code
from cloudcore.rpc.contract import call, contract


@dataclass(frozen=True, slots=True)
class ImageLocation:
    """`bucket/key` or `bucket/…manifest.xml` in the object store, judged with the rights of this project.

    `sha256` (hex), when given, must be that of the bytes. `target` (`bucket/key`) is where `adopt` puts its copy.
    `boots`: a raw disk without a boot sector is refused."""

    location: str
    project: str
    sha256: str | None = None
    target: str = ""  # since 1.1
    boots: bool = True  # since 1.2


@dataclass(frozen=True, slots=True)
class Unwanted:
    """An object of the cloud's own bucket (`bucket/key`)."""

    location: str


@dataclass(frozen=True, slots=True)
class Gone:
    pass


@dataclass(frozen=True, slots=True)
class InspectedImage:
    location: str  # where hosts fetch the whole image from: `bucket/key`
    sha256: str
    size: int
    format: str  # raw | qcow2
    virtual_size: int


class Images(Protocol):
    @call(since=(1, 0), timeout=300, errors=(Code.IMAGE_INVALID, Code.IMAGE_MANIFEST, Code.NOT_AUTHORISED,
                                             Code.RESOURCE_UNKNOWN, Code.UNAVAILABLE))
    def inspect(self, request: ImageLocation) -> Deferred[InspectedImage]:
        """Reads the whole object once: header judged by our own parser first, then hashed."""

    @call(since=(1, 1), timeout=300, errors=(Code.IMAGE_INVALID, Code.IMAGE_MANIFEST, Code.NOT_AUTHORISED,
                                             Code.RESOURCE_UNKNOWN, Code.UNAVAILABLE))
    def adopt(self, request: ImageLocation) -> Deferred[InspectedImage]:
        """As `inspect`, and the cloud has a copy of its own at `target`, which is the answer's location. Repeatable."""

    @call(since=(1, 1), timeout=30, errors=(Code.UNAVAILABLE,))
    def discard(self, request: Unwanted) -> Deferred[Gone]:
        """The object goes; one that is not there has gone. Repeatable."""


IMAGES = contract("images", (1, 2), Images)
