"""The conductor dies at each failpoint of volumes, snapshots and images, and the next one finishes what was accepted
(F1); and whatever is wished in whatever order and weather, nothing stays under way and nothing is left over."""

import random
from contextlib import suppress

import pytest
from twisted.internet.defer import CancelledError

from cloudcore.conductor.failpoints import FAILPOINTS, VOLUME_FAILPOINTS
from cloudcore.domain.instances import Event, State
from cloudcore.domain.volumes import AttachmentState, SnapshotState, VolumeState
from cloudcore.errors import CloudError
from cloudcore.store.schema import attachments, contents, images, snapshots, volumes
from tests.conductor import wishes
from tests.conductor.deeds import do, host_of, launched, only
from tests.conductor.wishes import at_rest, changed, rows
from tests.conductor.world import IMAGE, World


class Killed(CancelledError):
    """What was under way ends there, as it does when the process ends."""


class Once:
    """Dies at the first visit of one failpoint, and notes all visits."""

    def __init__(self, name=""):
        self.name, self.visited = name, set()

    def __call__(self, name):
        first = name == self.name and name not in self.visited
        self.visited.add(name)
        if first:
            raise Killed


# Each job wishes for everything that it wants before the conductor can have died of it, and each wish comes true
# whenever the conductor lives again; so a wish that needs an earlier one waits for it with `until`.


def until(world, holds):
    """The wish before has come true, though a conductor may die of it: then another is started."""
    for _ in range(300):
        if holds():
            return
        world.run(0.5, 0.5)
        revive(world)
    raise AssertionError("it never came true")


def revive(world):
    """A new conductor where a failpoint has killed one: its step would stay leased to it as to a dead process."""
    if world.failpoint.name in world.failpoint.visited and not world.revived:
        world.revived = True
        world.abandon()
        world.start()


def state(world, volume, expected):
    return lambda: (found := changed(world, volume)) is not None and found.state is expected


def both(world, instance):
    """A volume of the instance's own host, and one of the other."""
    home, made = world.find(instance).host, []
    for host in sorted(world.hosts, key=lambda host: host.name != home):
        only(world, host.name)
        made.append(do(world, wishes.create))
        until(world, state(world, made[-1], VolumeState.AVAILABLE))
    only(world, home, enabled=True)
    return made


def make_and_delete(world):
    made = do(world, wishes.create)
    until(world, state(world, made, VolumeState.AVAILABLE))
    do(world, wishes.delete, made)


def fail_to_make(world):
    for host in world.hosts:
        host.storage.full = "the disk is full"
    made = [do(world, wishes.create), do(world, wishes.create, 5000)]
    for one in made:
        until(world, state(world, one, VolumeState.ERROR))
        do(world, wishes.delete, one)


def launch_and_terminate(world):
    instance, _ = launched(world, (3, 4), keep=(1,))
    until(world, lambda: world.state(instance) is State.RUNNING)
    world.request(instance, Event.TERMINATE)
    until(world, lambda: world.state(instance) is State.TERMINATED)


def attach_and_detach(world):
    instance, _ = launched(world)
    until(world, lambda: world.state(instance) is State.RUNNING)
    for made in both(world, instance):
        do(world, wishes.attach, made, instance)
        until(world, attached(world, made))
        if changed(world, made).host != world.find(instance).host:  # it grows in no running guest
            world.request(instance, Event.STOP)
            until(world, lambda: world.state(instance) is State.STOPPED)
        do(world, wishes.modify, made, 9)
        until(world, grown(world, made))
        do(world, wishes.detach, made)
        until(world, state(world, made, VolumeState.AVAILABLE))


def attach_what_is_refused(world):
    instance, _ = launched(world)
    until(world, lambda: world.state(instance) is State.RUNNING)
    one, other = both(world, instance)
    host_of(world, changed(world, one).host).rejects[one] = "no free slot"
    size = host_of(world, changed(world, other).host).storage.sizes.pop(other)
    for made in (one, other):
        do(world, wishes.attach, made, instance)
        until(world, state(world, made, VolumeState.AVAILABLE))
    host_of(world, changed(world, other).host).storage.sizes[other] = size


def copy_and_discard(world):
    instance, (root,) = launched(world)
    until(world, lambda: world.state(instance) is State.RUNNING)
    image, ids = do(world, wishes.create_image, "mine", root)
    until(world, copied(world, ids[0]))
    [other] = do(world, wishes.snapshot, both(world, instance)[0])
    until(world, copied(world, other))
    world.store.run(wishes.deregister, image)
    for id in (*ids, other):
        do(world, wishes.delete_snapshot, id)
    until(world, lambda: not world.images.objects)


def bring_in(world):
    task = do(world, wishes.start_import)
    until(world, lambda: copied(world, task.wanted.snapshot)())
    world.store.run(wishes.deregister, task.wanted.image)
    do(world, wishes.delete_snapshot, task.wanted.snapshot)
    until(world, lambda: not world.images.objects)


def attached(world, volume):
    return lambda: world.store.run(lambda books: books.attachments.of_volume(volume)).state is AttachmentState.ATTACHED


def grown(world, volume):
    return lambda: world.store.run(lambda books: books.volumes.modification(volume)).state == "completed"


def copied(world, id):
    def holds():
        found = world.store.run(lambda books: books.snapshots.find(id))
        return found is not None and found.state is SnapshotState.COMPLETED

    return holds


JOBS = (make_and_delete, fail_to_make, launch_and_terminate, attach_and_detach, attach_what_is_refused,
        copy_and_discard, bring_in)  # fmt: skip


@pytest.fixture
def worlds():
    made = []

    def make(failpoint):
        world = World(hosts=2)
        world.failpoint, world.revived = failpoint, False
        world.start(failpoint)
        made.append(world)
        return world

    yield make
    for one in made:
        one.stop()


VISITED = {}  # job: the failpoints that it passes; found by the first test that asks


def passes(worlds, job, failpoint):
    if job not in VISITED:
        once = Once()
        job(worlds(once))
        VISITED[job] = frozenset(once.visited)
    return failpoint in VISITED[job]


def test_every_failpoint_is_visited_and_none_is_unknown(worlds):
    missed = [one for one in VOLUME_FAILPOINTS if not any(passes(worlds, job, one) for job in JOBS)]
    assert missed == []
    assert frozenset().union(*VISITED.values()) <= {*FAILPOINTS, *VOLUME_FAILPOINTS}


@pytest.mark.deadline(120)
@pytest.mark.parametrize("failpoint", VOLUME_FAILPOINTS)
def test_who_dies_there_is_succeeded(worlds, failpoint):
    for job in [job for job in JOBS if passes(worlds, job, failpoint)]:
        world = worlds(Once(failpoint))
        job(world)
        world.run(5)
        revive(world)
        world.run(40, 0.5)
        at_rest(world)
        clean(world)


OF_LAUNCHES = [f"conductor.{name}.{when}" for when in ("before", "after")
               for name in ("place", "plug", "boot", "booting", "facts", "destroy", "unplugged", "forget")]  # fmt: skip


@pytest.mark.deadline(120)
@pytest.mark.parametrize("failpoint", OF_LAUNCHES)
def test_launches_with_volumes_survive_it_too(worlds, failpoint):
    assert passes(worlds, launch_and_terminate, failpoint)
    world = worlds(Once(failpoint))
    launch_and_terminate(world)
    world.run(5)
    revive(world)
    world.run(40, 0.5)
    at_rest(world)
    clean(world)


def clean(world):
    """Everything ends, and nothing is left."""
    for host in world.hosts:
        host.keeps.clear()
        host.storage.away = host.deaf = False
        host.beat()
    living = [row.id for host in world.hosts
              for row in world.store.run(lambda books, host=host: books.instances.on_host(host.name))]  # fmt: skip
    for instance in living:
        world.request(instance, Event.TERMINATE)
    for row in rows(world, images):
        if row.id != IMAGE.id:
            world.store.run(wishes.deregister, row.id)
    for _ in range(2):
        world.run(60, 0.5)
        for row in rows(world, snapshots):
            if row.project:
                do(world, wishes.delete_snapshot, row.id, seconds=0)
        for row in rows(world, volumes):
            if row.state in ("available", "error"):
                do(world, wishes.delete, row.id, seconds=0)
    world.run(40, 0.5)
    at_rest(world)
    assert [rows(world, table) for table in (volumes, attachments, snapshots, contents)] == [[], [], [], []]
    assert world.images.objects == {}
    assert world.used() == (0, 0, 0)


# -- in any order, in any weather -------------------------------------------------------------------------------------


class Weather:
    """Messages to hosts come twice, late or never, until it is calm."""

    def __init__(self, chance):
        self.chance, self.calm = chance, True

    def __call__(self, topic):
        if self.calm or not topic.startswith(("compute.", "volume.", "images")):
            return (0.0,)
        return self.chance.choice([(0.0,), (0.0,), (0.1, 0.9), (1.5,), ()])


WISHES = ["attach", "attach", "attach", "detach", "detach", "force", "delete", "create", "modify", "snapshot",
          "snapshot", "forget", "stop", "start", "start", "terminate", "image"]  # fmt: skip


def random_wish(world, chance, instances, made):
    """One of those that the api would accept now, or a refusal of its own."""
    volume = chance.choice(made)
    instance = chance.choice(instances)
    wish = chance.choice(WISHES)
    found = changed(world, volume)
    if wish == "create":
        made.append(world.store.run(wishes.create))
    elif wish in ("stop", "start", "terminate"):
        world.request(instance, Event(wish))
    elif wish == "forget":
        pending = [row.id for row in rows(world, snapshots) if row.project]
        if pending:
            world.store.run(wishes.delete_snapshot, chance.choice(pending))
    elif found is None:
        return
    elif wish == "attach":
        world.store.run(wishes.attach, volume, instance)
    elif wish in ("detach", "force"):
        attachment = world.store.run(lambda books: books.attachments.of_volume(volume))
        if attachment is not None and attachment.state is not AttachmentState.DETACHING and (
                found.state is VolumeState.IN_USE):  # fmt: skip
            world.store.run(wishes.detach, volume, wish == "force")
    elif wish == "modify":
        before = world.store.run(lambda books: books.volumes.modification(volume))
        if found.state in (VolumeState.AVAILABLE, VolumeState.IN_USE) and (
                before is None or before.state in ("completed", "failed")):  # fmt: skip
            world.store.run(wishes.modify, volume, found.size_gib + 1)
    elif wish in ("snapshot", "image") and found.state in (VolumeState.AVAILABLE, VolumeState.IN_USE):
        for host in world.hosts:
            host.written[volume] = str(chance.random())
        if wish == "image":
            world.store.run(wishes.create_image, f"image {chance.random()}", volume)
        else:
            world.store.run(wishes.snapshot, volume)
    elif wish == "delete":
        world.store.run(wishes.delete, volume)


@pytest.mark.deadline(120)
@pytest.mark.parametrize("seed", range(12))
def test_whatever_is_wished_in_whatever_weather_it_comes_to_rest_and_leaves_nothing(seed):
    chance = random.Random(seed)  # noqa: S311  (the same worlds each time)
    weather = Weather(chance)
    world = World(hosts=3, faults=weather)
    try:
        world.start()
        for host in world.hosts:
            host.storage.lazy = chance.randrange(3)
        instances, made = [], [do(world, wishes.create, seconds=1) for _ in range(4)]
        for _ in range(3):
            instance, volumes_of_it = launched(world, (3, 2), keep=(1,) if chance.random() < 0.5 else (), seconds=1)
            instances.append(instance)
            made += volumes_of_it[1:]
        weather.calm = False
        for _ in range(60):
            with suppress(CloudError, AssertionError):  # refused, as the api would
                random_wish(world, chance, instances, made)
            world.hint("")
            world.run(chance.choice([0.0, 0.1, 0.5, 2.0]))
            if chance.random() < 0.05:
                world.abandon()
                world.start()
        weather.calm = True
        world.run(150, 0.5)
        at_rest(world)
        clean(world)
    finally:
        world.stop()
