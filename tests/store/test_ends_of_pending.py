"""A snapshot or an image that is pending comes to one end, whoever is first: its copy's, or its user's."""

from __future__ import annotations

import pytest

from cloudcore.domain.images import Image
from cloudcore.domain.volumes import Snapshot, SnapshotState
from cloudcore.store.books import Books
from cloudcore.store.database import InlineDatabase
from cloudcore.store.instances import LostRace

PROJECT = "000000000001"
SNAPSHOT = Snapshot("snap-00000000000000001", PROJECT, "vol-00000000000000001", 1, SnapshotState.PENDING, 0.0, "batch")
IMAGE = Image("ami-00000000000000001", PROJECT, "made", "", "", "", "", 0, "", 0, "x86_64", "/dev/sda1", False,
              "pending", 0.0)  # fmt: skip


@pytest.fixture
def books():
    store = InlineDatabase(lambda: 1.0)
    opened = store.run(lambda books: books)
    opened.snapshots.insert([SNAPSHOT])
    opened.images.insert(IMAGE)
    yield opened
    store.close()


def test_a_completed_snapshot_is_not_abandoned(books: Books) -> None:
    books.snapshots.end(SNAPSHOT, state=SnapshotState.COMPLETED, progress=100)
    with pytest.raises(LostRace):
        books.snapshots.abandon(SNAPSHOT)


def test_an_abandoned_snapshot_is_not_completed_as_if_it_were_not(books: Books) -> None:
    books.snapshots.abandon(SNAPSHOT)
    with pytest.raises(LostRace):
        books.snapshots.end(SNAPSHOT, state=SnapshotState.COMPLETED, progress=100)
    [now] = books.snapshots.batch("batch")
    books.snapshots.end(now, state=SnapshotState.COMPLETED, progress=100)


def test_what_is_removed_twice_is_removed_once(books: Books) -> None:
    books.snapshots.remove(SNAPSHOT.id)
    with pytest.raises(LostRace):
        books.snapshots.remove(SNAPSHOT.id)


def test_a_deregistered_image_never_becomes_available(books: Books) -> None:
    books.images.deregister(PROJECT, IMAGE.id)
    with pytest.raises(LostRace):
        books.images.end(IMAGE.id, state="available")
    found = books.images.find(IMAGE.id)
    assert found
    assert found.state == "deregistered"
