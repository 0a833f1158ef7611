"""Snapshots, images that are made of them, imports, and contents that nothing names any more."""

import pytest

from cloudcore.domain.imports import ImportState
from cloudcore.domain.instances import Event, State
from cloudcore.domain.volumes import SnapshotState, VolumeState
from cloudcore.store.schema import contents, snapshots
from cloudcore.store.snapshots import LONGEST_CHAIN
from tests.conductor import wishes
from tests.conductor.deeds import do, far, host_of, launched, near
from tests.conductor.wishes import at_rest, changed, rows


def find(world, id):
    return world.store.run(lambda books: books.snapshots.find(id))


def chain(world, id):
    content = find(world, id).content
    return [one.id for one in world.store.run(lambda books: books.contents.chain(content))]


def write(world, volume, what):
    for host in world.hosts:
        host.written[volume] = what


def image(world, id):
    return world.store.run(lambda books: books.images.find(id))


@pytest.mark.parametrize("where", ["alone", "running", "stopped"])
def test_a_volume_is_copied_by_whoever_has_it(world, where):
    instance, (root,) = launched(world)
    made = do(world, wishes.create) if where == "alone" else root
    if where == "stopped":
        world.request(instance, Event.STOP)
        world.run(3)
    [id] = do(world, wishes.snapshot, made)
    found = find(world, id)
    assert (found.state, found.progress) == (SnapshotState.COMPLETED, 100)
    assert (found.instance is not None) == (where == "running")
    at_rest(world)


@pytest.mark.parametrize("copied", [1, 20])  # the start comes after the copy, or amid it
def test_a_volume_of_another_host_is_copied_there_while_its_guest_is_stopped(world, copied):
    instance, _ = launched(world)
    made = far(world, instance)
    do(world, wishes.attach, made, instance)
    world.request(instance, Event.STOP)
    world.run(3)
    storage = host_of(world, changed(world, made).host).storage
    storage.lazy = copied
    [id] = do(world, wishes.snapshot, made, seconds=6)
    assert (find(world, id).state is SnapshotState.COMPLETED) is (copied == 1)
    world.request(instance, Event.START)
    world.run(60)
    assert find(world, id).state is SnapshotState.COMPLETED
    assert world.state(instance) is State.RUNNING
    assert storage.served(made) == instance
    at_rest(world)


def test_progress_is_shown_while_it_is_copied(world):
    made = do(world, wishes.create)
    host_of(world, changed(world, made).host).storage.lazy = 4
    [id] = do(world, wishes.snapshot, made, seconds=2)
    assert (find(world, id).state, find(world, id).progress) == (SnapshotState.PENDING, 40)
    world.run(6)
    assert find(world, id).state is SnapshotState.COMPLETED


def test_a_second_snapshot_lies_over_the_first_until_the_chain_is_long(world):
    made = do(world, wishes.create)
    lengths = []
    for number in range(LONGEST_CHAIN + 2):
        write(world, made, f"writing {number}")
        [id] = do(world, wishes.snapshot, made, seconds=3)
        lengths.append(len(chain(world, id)))
    assert lengths == [*range(1, LONGEST_CHAIN + 1), 1, 2]
    at_rest(world)


def test_a_guest_that_stops_while_it_is_copied_leaves_it_to_the_volume_service(world):
    instance, (root,) = launched(world)
    host_of(world, world.find(instance).host).storage.lazy = 2
    [id] = do(world, wishes.snapshot, root, seconds=1)
    world.request(instance, Event.STOP)
    world.run(8)
    assert find(world, id).state is SnapshotState.COMPLETED
    assert find(world, id).instance is None
    at_rest(world)


def test_a_volume_that_has_come_into_a_guest_is_left_to_it(world):
    instance, _ = launched(world)
    made = near(world, instance)
    host = host_of(world, world.find(instance).host)
    host.storage.away = True
    [id] = do(world, wishes.snapshot, made, seconds=0.2)
    host.storage.away = False
    do(world, wishes.attach, made, instance, seconds=60)
    assert find(world, id).state is SnapshotState.COMPLETED
    assert find(world, id).instance == instance
    at_rest(world)


def test_a_volume_that_is_still_coming_is_waited_for_by_all_of_its_batch(world):
    instance, (root,) = launched(world)
    made = near(world, instance)
    host_of(world, world.find(instance).host).storage.lazy = 4
    do(world, wishes.attach, made, instance, seconds=0.2)
    ids = do(world, wishes.snapshot, root, made, seconds=0.2)
    assert {find(world, id).state for id in ids} == {SnapshotState.PENDING}
    world.run(60)
    assert {(find(world, id).state, find(world, id).instance) for id in ids} == {(SnapshotState.COMPLETED, instance)}
    at_rest(world)


def test_a_volume_that_never_comes_is_copied_where_it_lies(world):
    instance, _ = launched(world)
    made = near(world, instance)
    host_of(world, world.find(instance).host).rejects[made] = "no slot is free"
    do(world, wishes.attach, made, instance, seconds=0.2)
    [id] = do(world, wishes.snapshot, made, seconds=60)
    assert (find(world, id).state, find(world, id).instance) == (SnapshotState.COMPLETED, None)
    at_rest(world)


def test_volumes_of_several_hosts_are_copied_each_where_it_is(world):
    instance, (root,) = launched(world)
    made = far(world, instance)
    do(world, wishes.attach, made, instance)
    world.request(instance, Event.STOP)
    world.run(3)
    ids = do(world, wishes.snapshot, root, made)
    assert [find(world, id).state for id in ids] == [SnapshotState.COMPLETED] * 2
    assert find(world, ids[0]).host != find(world, ids[1]).host
    at_rest(world)


def test_what_is_copied_is_not_removed_before(world):
    made = do(world, wishes.create)
    host = host_of(world, changed(world, made).host)
    host.storage.lazy = 4
    [id] = do(world, wishes.snapshot, made, seconds=1)
    do(world, wishes.delete, made, seconds=1)
    assert changed(world, made).state is VolumeState.DELETING
    world.run(20)
    assert (find(world, id).state, changed(world, made)) == (SnapshotState.COMPLETED, None)
    at_rest(world)


def test_a_copy_that_fails_is_shown_in_error_and_can_be_deleted(world):
    made = do(world, wishes.create)
    host_of(world, changed(world, made).host).copying = "the object store is full"
    [id] = do(world, wishes.snapshot, made)
    assert (find(world, id).state, find(world, id).reason) == (SnapshotState.ERROR, "the object store is full")
    at_rest(world)
    do(world, wishes.delete_snapshot, id)
    at_rest(world)


def test_a_host_that_never_answers_is_given_up_after_a_day(world):
    made = do(world, wishes.create)
    host_of(world, changed(world, made).host).storage.away = True
    [id] = do(world, wishes.snapshot, made, seconds=1)
    world.run(86500, 100.0)
    assert find(world, id).state is SnapshotState.ERROR


# -- what goes --------------------------------------------------------------------------------------------------------


def test_a_content_goes_with_the_last_that_names_it(world):
    made = do(world, wishes.create)
    ids = []
    for what in ("one", "two"):
        write(world, made, what)
        ids += do(world, wishes.snapshot, made)
    of_it = do(world, wishes.create, content=find(world, ids[1]).content, snapshot=ids[1])
    do(world, wishes.delete_snapshot, ids[0])
    assert len(rows(world, contents)) == 2, "the second lies over it"
    do(world, wishes.delete_snapshot, ids[1])
    assert len(rows(world, contents)) == 2, "a volume lies over both"
    at_rest(world)
    do(world, wishes.delete, of_it)
    world.run(4)
    assert rows(world, contents) == []
    at_rest(world)
    assert world.images.objects == {}


def test_a_snapshot_that_is_deleted_while_it_is_copied_goes_with_its_bytes(world):
    made = do(world, wishes.create)
    [first] = do(world, wishes.snapshot, made)
    write(world, made, "more")
    host_of(world, changed(world, made).host).storage.lazy = 3
    [id] = do(world, wishes.snapshot, made, seconds=1)
    do(world, wishes.delete_snapshot, id)
    do(world, wishes.delete_snapshot, first, seconds=10)
    assert rows(world, snapshots) == []
    at_rest(world)
    assert world.images.objects == {}


def test_equal_bytes_are_one_content_and_one_object(world):
    made = do(world, wishes.create)
    ids = do(world, wishes.snapshot, made)
    task, again = (do(world, wishes.start_import, False) for _ in range(2))
    assert find(world, task.wanted.snapshot).content == find(world, again.wanted.snapshot).content
    at_rest(world)
    assert len(world.images.objects) == 2
    for id in (*ids, task.wanted.snapshot, again.wanted.snapshot):
        do(world, wishes.delete_snapshot, id)
        at_rest(world)
    assert world.images.objects == {}


# -- images -----------------------------------------------------------------------------------------------------------


def test_an_image_of_an_instance_is_available_with_the_last_of_its_snapshots_and_starts_others(world):
    instance, (root, data) = launched(world, (3, 4))
    id, made = do(world, wishes.create_image, "mine", root, data)
    found = image(world, id)
    assert (found.state, found.content, found.sha256) == ("available", find(world, made[0]).content, found.content)
    other, (volume,) = launched(world, (3,), image=id, content=found.content)
    assert world.state(other) is State.RUNNING
    told = next(one for host in world.hosts for one in host.ensured if one.instance == other)
    assert (told.image, told.disks[0].source.top.sha256, told.disks[0].make) == (None, found.content, True)
    at_rest(world)


def test_an_image_whose_copy_fails_has_failed_and_says_why(world):
    _, (root,) = launched(world)
    for host in world.hosts:
        host.copying = "broken"
    id, _ = do(world, wishes.create_image, "mine", root)
    assert (image(world, id).state, image(world, id).reason) == ("failed", "broken")
    at_rest(world)


def test_an_image_whose_name_another_has_taken_meanwhile_has_failed(world):
    _, (root,) = launched(world)
    for host in world.hosts:
        host.storage.lazy = 3
    ids = [do(world, wishes.create_image, "mine", root, seconds=0.5)[0] for _ in range(2)]
    world.run(15)
    assert sorted(image(world, id).state for id in ids) == ["available", "failed"]
    assert {find(world, one.snapshot).state for id in ids for one in image(world, id).mappings} == {
        SnapshotState.COMPLETED}  # fmt: skip
    at_rest(world)


# -- imports ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["image", "snapshot"])
def test_an_import_makes_a_snapshot_and_an_image(world, kind):
    task = do(world, wishes.start_import, kind == "image")
    found = world.store.run(lambda books: books.imports.find(task.id))
    assert (found.state, found.progress, found.snapshot) == (ImportState.COMPLETED, 100, task.wanted.snapshot)
    assert find(world, found.snapshot).size_gib == 3
    if kind == "image":
        made = image(world, found.image)
        assert (made.state, made.name, made.mappings[0].snapshot) == ("available", "imported", found.snapshot)
    at_rest(world)


def test_what_may_not_be_imported_is_refused_with_its_reason(world):
    world.images.refuses = "it names another file"
    task = do(world, wishes.start_import)
    found = world.store.run(lambda books: books.imports.find(task.id))
    assert (found.state, found.message) == (ImportState.DELETED, "it names another file")
    at_rest(world)


def test_an_import_under_a_name_that_is_taken_leaves_nothing(world):
    for _ in range(2):
        task = do(world, wishes.start_import)
    found = world.store.run(lambda books: books.imports.find(task.id))
    assert (found.state, "already in use" in found.message) == (ImportState.DELETED, True)
    assert image(world, task.wanted.image) is None
    at_rest(world)


def test_an_import_that_was_cancelled_leaves_nothing(world):
    task = world.store.run(wishes.start_import)
    world.store.run(wishes.cancel_import, task.id)
    world.run(6)
    assert find(world, task.wanted.snapshot) is None
    at_rest(world)
