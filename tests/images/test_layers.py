"""Sources of several layers in the host's cache: verified, judged by what they name, kept while they come together."""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import gatherResults

from cloudcore.blockdev import empty_qcow2
from cloudcore.blockdev.driver import BaseLayer
from cloudcore.errors import CloudError, Code
from cloudcore.images.cache import HostImageCache
from cloudcore.rpc.compute import DiskSource, Layer
from tests.blockdev.rigs import in_thread

GIB = 2**30


class Shelf:
    """Objects in memory; `asked` in order."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.asked: list[str] = []

    async def get(self, location: str, sink: Any, limit: int, owner: str | None = None) -> int:
        self.asked.append(location)
        await in_thread(lambda: sink.take(self.objects[location]))
        return len(self.objects[location])

    def content(self, scratch: Path, size: int = GIB, below: Layer | None = None) -> Layer:
        empty_qcow2.write(scratch, size, (below.sha256, below.format) if below else None)
        data = scratch.read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        self.objects[f"cloudcore-snapshots/{sha256}"] = data
        return Layer(f"cloudcore-snapshots/{sha256}", sha256, len(data), "qcow2", size)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def chain(shelf: Shelf, tmp_path: Path) -> tuple[Layer, Layer, Layer]:
    bottom = shelf.content(tmp_path / "draft")
    middle = shelf.content(tmp_path / "draft", 2 * GIB, bottom)
    return shelf.content(tmp_path / "draft", 3 * GIB, middle), middle, bottom


async def refused(awaited: Any) -> Code:
    with pytest.raises(CloudError) as problem:
        await awaited
    return problem.value.code


async def test_all_layers_are_brought_the_top_first(shelf: Shelf, chain: Any, tmp_path: Path) -> None:
    cache, (top, *below) = HostImageCache(tmp_path / "cache", shelf, in_thread), chain
    wanted = [BaseLayer(str(tmp_path / "cache" / layer.sha256), layer.sha256, "qcow2", layer.virtual_size)
              for layer in chain]  # fmt: skip
    sources = [DiskSource(top, tuple(below)), DiskSource(below[0], (below[1],)), DiskSource(below[1])]
    found = await gatherResults([cache.layers(source) for source in sources])
    assert [list(each) for each in found] == [wanted, wanted[1:], wanted[2:]]
    assert len(shelf.asked) == 3  # each once


async def test_a_layer_over_another_than_is_said_is_refused(shelf: Shelf, chain: Any, tmp_path: Path) -> None:
    cache, (top, middle, bottom) = HostImageCache(tmp_path / "cache", shelf, in_thread), chain
    for wrong in (DiskSource(top), DiskSource(top, (bottom,)), DiskSource(bottom, (middle, bottom))):
        assert await refused(cache.layers(wrong)) is Code.IMAGE_INVALID
    await cache.layers(DiskSource(top, (middle, bottom)))
    assert await refused(cache.layers(DiskSource(middle))) is Code.IMAGE_INVALID  # also once it is here
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {layer.sha256 for layer in chain}


async def test_layers_of_one_source_do_not_push_one_another_out(shelf: Shelf, chain: Any, tmp_path: Path) -> None:
    top, *below = chain
    cache = HostImageCache(tmp_path / "cache", shelf, in_thread, quota=2 * top.size)
    assert await refused(cache.layers(DiskSource(top, tuple(below)))) is Code.CAPACITY
    await cache.layers(DiskSource(below[0], (below[1],)))
    other = shelf.content(tmp_path / "draft", 7 * GIB)
    await cache.layers(DiskSource(other))  # what nobody uses goes


async def test_what_another_process_fetches_is_left_alone(shelf: Shelf, chain: Any, tmp_path: Path) -> None:
    for name in ("dead.part", "alive.part"):
        (tmp_path / name).touch()
    held = os.open(tmp_path / "alive.part", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    await HostImageCache(tmp_path, shelf, in_thread).layers(DiskSource(chain[2]))
    os.close(held)
    assert [path.name for path in tmp_path.glob("*.part")] == ["alive.part"]
