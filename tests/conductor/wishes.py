"""What the api writes about volumes, snapshots and imports (docs/designs/0003-volumes.md); what must hold at rest."""

from __future__ import annotations

from itertools import count

import sqlalchemy as sa

from cloudcore.domain.images import Image, Mapping
from cloudcore.domain.imports import Import, ImportState, ImportTask
from cloudcore.domain.instances import State
from cloudcore.domain.volumes import (
    Attachment,
    AttachmentState,
    Modification,
    Snapshot,
    SnapshotState,
    Volume,
    VolumeEvent,
    VolumeState,
)
from cloudcore.store.schema import allocations, contents, snapshots, volumes
from tests.conductor.world import GROUP, PROJECT

LIMITS = {"instances": 1000, "vcpus": 1000, "volumes": 1000, "volume-gigabytes": 100000, "snapshots": 1000}
numbers = count(1)


def named(prefix):
    return f"{prefix}-{next(numbers):017x}"


def new_volume(books, size=2, **changes):
    values = {"id": named("vol"), "project": PROJECT, "zone": "zone-a", "size_gib": size, "type": "gp2",
              "state": VolumeState.CREATING, "created": books.now()}  # fmt: skip
    made = Volume(**(values | changes))
    assert books.quotas.take(PROJECT, LIMITS, volumes=1, volume_gigabytes=size)
    books.volumes.insert([made])
    return made


def create(books, size=2, **changes):
    made = new_volume(books, size, **changes)
    books.operations.begin("create-volume", made.id, 1, PROJECT, "request")
    return made.id


def launch(books, instance, sizes=(3,), keep=(), **changes):
    """An instance with a root volume, and further ones; `keep` are places of those that outlive it."""
    books.instances.insert([instance], (GROUP,))
    assert books.quotas.take(PROJECT, LIMITS, instances=1, vcpus=instance.vcpus)
    made = [new_volume(books, size, zone=instance.zone or "", **changes) for size in sizes]
    books.attachments.insert([
        Attachment(one.id, instance.id, f"/dev/sd{'abcdef'[at]}", AttachmentState.ATTACHING, books.now() + at / 1000,
                   at not in keep, at == 0)
        for at, one in enumerate(made)])  # fmt: skip
    books.operations.begin("launch", instance.id, 1, PROJECT, "request")
    return [one.id for one in made]


def delete(books, volume):
    found = books.volumes.owned(PROJECT, volume)
    assert books.attachments.of_volume(volume) is None
    moved = books.volumes.move(found, VolumeEvent.DELETE)
    books.operations.begin("delete-volume", volume, moved.generation, PROJECT, "request")


def attach(books, volume, instance, device=None):
    found = books.volumes.owned(PROJECT, volume)
    assert books.instances.find(instance).state in (State.RUNNING, State.STOPPED)
    assert found.state is VolumeState.AVAILABLE
    books.volumes.move(found, VolumeEvent.ATTACH)
    books.attachments.insert([
        Attachment(volume, instance, device or f"/dev/{volume}", AttachmentState.ATTACHING, books.now())])
    books.operations.begin("redisk", instance, books.attachments.bump(instance), PROJECT, "request")


def detach(books, volume, force=False):
    attachment = books.attachments.of_volume(volume)
    books.attachments.move(attachment, AttachmentState.DETACHING, force)
    revision = books.attachments.bump(attachment.instance)
    books.operations.begin("redisk", attachment.instance, revision, PROJECT, "request")


def modify(books, volume, size, type="gp3"):
    found = books.volumes.owned(PROJECT, volume)
    assert books.quotas.take(PROJECT, LIMITS, volume_gigabytes=size - found.size_gib)
    wanted = books.volumes.change(found, generation=found.generation + 1)
    books.volumes.modified(Modification(
        volume, "modifying", books.now(), None, found.size_gib, found.type, found.iops, found.throughput, size, type,
        None, None))  # fmt: skip
    books.operations.begin("grow-volume", volume, wanted.generation, PROJECT, "request")


def snapshot(books, *of, reboot=False):
    """Of these volumes at one moment; the ids."""
    assert books.quotas.take(PROJECT, LIMITS, snapshots=len(of))
    ids = [named("snap") for _ in of]
    for id, volume in zip(ids, of, strict=True):
        attachment, found = books.attachments.of_volume(volume), books.volumes.owned(PROJECT, volume)
        runs = attachment is not None and books.instances.find(attachment.instance).state is State.RUNNING
        books.snapshots.insert([Snapshot(
            id, PROJECT, volume, found.size_gib, SnapshotState.PENDING, books.now(), ids[0],
            instance=attachment.instance if runs else None, reboot=reboot and runs)])  # fmt: skip
    books.operations.begin("snapshot", ids[0], 1, PROJECT, "request")
    return ids


def create_image(books, name, *of):
    made, id = snapshot(books, *of, reboot=True), named("ami")
    mappings = tuple(Mapping(f"/dev/sd{'abc'[at]}", one, 3) for at, one in enumerate(made))
    books.images.insert(Image(id, PROJECT, name, "", "", "", "", 0, "", 0, "x86_64", "/dev/sda", False, "pending",
                              books.now(), None, mappings))  # fmt: skip
    return id, made


def delete_snapshot(books, id):
    found = books.snapshots.owned(PROJECT, id)
    assert not books.snapshots.images_of(PROJECT, id)
    books.quotas.release(PROJECT, snapshots=1)
    if found.state is SnapshotState.PENDING:
        books.snapshots.abandon(found)
        return
    books.snapshots.remove(id)
    if found.content is not None and books.contents.unused(found.content):
        books.operations.begin("discard", found.content, 1, PROJECT, "request")


def deregister(books, id):
    books.images.change(id, state="deregistered")


def start_import(books, image=True, name="imported"):
    assert books.quotas.take(PROJECT, LIMITS, snapshots=1)
    wanted = Import(named("snap"), named("ami") if image else None, name)
    task = ImportTask(named("import-ami"), PROJECT, "image" if image else "snapshot", ImportState.ACTIVE, books.now(),
                      "mine/disk.raw", wanted)  # fmt: skip
    books.imports.insert(task)
    books.operations.begin("import", task.id, 1, PROJECT, "request")
    return task


def cancel_import(books, id):
    assert books.imports.change(id, state=ImportState.DELETED, message="cancelled")
    books.quotas.release(PROJECT, snapshots=1)


# -- what must hold when nothing is under way any more ----------------------------------------------------------------


def rows(world, table):
    return world.store.run(lambda books: list(books._connection.execute(sa.select(table))))


def at_rest(world):
    """Claims, quotas, bytes and objects are those of the rows, exactly; objects go a minute after their last name."""
    waiting = world.store.run(lambda books: set(books._connection.exec_driver_sql(
        "SELECT kind FROM steps WHERE state = 'due'").scalars()))
    if waiting == {"discard"}:
        world.run(70, 0.5)
    assert world.open_operations() == 0, world.store.run(
        lambda books: list(books._connection.exec_driver_sql("SELECT kind, subject FROM steps WHERE state = 'due'")))
    found = rows(world, volumes)
    assert {row.state for row in found} <= {"available", "in-use", "error"}
    held = {row.instance: row for row in rows(world, allocations)}
    for row in found:
        if row.state == "error":
            assert row.id not in held
        else:
            assert (held[row.id].host, held[row.id].disk_gib, held[row.id].vcpus) == (row.host, row.size_gib, 0)
    living = {row.id for row in found}
    assert {id for id in held if id.startswith("vol-")} <= living
    for host in world.hosts:
        there = {row.id: row.size_gib for row in found if row.host == host.name and row.state != "error"}
        assert host.storage.sizes == there, (host.name, host.storage.sizes, there)
        now = world.host(host.name)
        assert now.used_disk_gib == sum(row.disk_gib for row in held.values() if row.host == host.name)
    usage = world.store.run(lambda books: books.quotas.usage(PROJECT))
    assert usage.get("volumes", (0,))[0] == len(found)
    assert usage.get("volume-gigabytes", (0,))[0] == sum(row.size_gib for row in found)
    assert usage.get("snapshots", (0,))[0] == len(rows(world, snapshots))
    kept = {row.source: row.id for row in rows(world, contents)}
    odd = kept.items() ^ world.images.objects.items()
    assert not odd, odd
    assert world.images.wrong == [], world.images.wrong
    attached(world)


def attached(world):
    """Guests have what the rows say, and each volume is in one place."""
    every = world.store.run(lambda books: list(books._connection.exec_driver_sql(
        "SELECT volume, instance, state FROM attachments")))
    assert {row[2] for row in every} <= {"attached"} or world.states({row[1] for row in every}) <= {State.STOPPED}
    states = {row.id: row.state for row in rows(world, volumes)}
    assert {row[0] for row in every} == {id for id, state in states.items() if state == "in-use"}
    for host in world.hosts:
        for instance in host.running:
            assert host.disks_of(instance) == {row[0] for row in every if row[1] == instance}, instance
        for volume, (_, instance) in host.storage.exports.items():
            assert instance in ("", *(row[1] for row in every if row[0] == volume)), volume


def changed(world, volume):
    return world.store.run(lambda books: books.volumes.find(volume))


