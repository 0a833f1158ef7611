"""What the api asks of the image worker (topic `images`): is there an image at this place, and may it be trusted?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred

from cloudcore.errors import Code
from cloudcore.rpc.contract import call, contract


@dataclass(frozen=True, slots=True)
class ImageLocation:
    """`bucket/key` or `bucket/…manifest.xml` in the object store, judged with the rights of this project.

    `sha256` (hex), when given, must be that of the bytes."""

    location: str
    project: str
    sha256: str | None = None


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


IMAGES = contract("images", (1, 0), Images)
