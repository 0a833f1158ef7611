"""The same conductors with threads, real time and real databases: what simulated time cannot show."""

import pytest
import sqlalchemy as sa
from twisted.internet import reactor
from twisted.internet.defer import gatherResults, maybeDeferred
from twisted.internet.task import deferLater

from cloudcore.bus.loopback import LoopbackBus
from cloudcore.conductor.service import Conductor, Settings
from cloudcore.domain.instances import Event, State
from cloudcore.domain.volumes import SnapshotState, VolumeState
from cloudcore.scheduler.service import Scheduler
from cloudcore.store.database import Database
from cloudcore.store.migrating import migrate
from cloudcore.store.schema import steps
from tests.conductor import wishes
from tests.conductor.storage import FakeImages
from tests.conductor.world import PROJECT, FakeHost, World, accept, prepare, requested


class RealWorld:
    """As much of a World as FakeHost asks for."""

    def __init__(self, url):
        migrate(url)
        self.clock, self.bus, self.store = reactor, LoopbackBus(reactor), Database(reactor, url)
        self.images = FakeImages(self.bus)
        self.services = [self.store, Scheduler(reactor, self.bus, self.store)]
        self.services += [Conductor(reactor, self.bus, self.store, Settings(owner=name, sweep=0.5)) for name in "ab"]

    async def start(self):
        self.store.startService()
        await self.store.transact(prepare, "10.90.0.0/24")
        await gatherResults([service.startService() for service in self.services[1:]])
        self.hosts = [FakeHost(self, f"host-{number}") for number in range(3)]
        for host in self.hosts:
            host.beat()
        await deferLater(reactor, 0.3)

    async def stop(self):
        for service in reversed(self.services):
            await maybeDeferred(service.stopService)
        self.bus.stopService()

    async def when(self, *facts):
        """Each of these facts (of books) has become true."""
        for holds in facts:
            while not await self.store.look(holds):
                await deferLater(reactor, 0.05)

    async def until(self, instances, state):
        while True:
            found = await self.store.look(lambda books: [books.instances.find(one.id) for one in instances])
            if {one.state for one in found} == {state}:
                return found
            await deferLater(reactor, 0.05)


@pytest.mark.deadline(90)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_two_conductors_bring_up_and_down_on_a_real_database(kind, request, tmp_path):
    url = f"sqlite:///{tmp_path}/cloudcore.db" if kind == "sqlite" else request.getfixturevalue("postgresql_url")
    world, simulated = RealWorld(url), World()
    instances = [simulated.an_instance() for _ in range(40)]
    simulated.stop()
    await world.start()
    try:
        await gatherResults([world.store.transact(accept, [one]) for one in instances])
        up = await world.until(instances, State.RUNNING)
        assert len({one.address for one in up}) == 40
        await gatherResults([world.store.transact(requested, one.id, Event.TERMINATE) for one in instances])
        await world.until(instances, State.TERMINATED)
        assert (await world.store.look(lambda books: books.quotas.usage(PROJECT)))["instances"][0] == 0
        assert {host.used_memory_mib for host in await world.store.look(lambda books: books.hosts.all())} == {0}
        assert [host.left for host in world.hosts] == [set(), set(), set()]
    finally:
        await world.stop()


def state_of(volume, state):
    return lambda books: (found := books.volumes.find(volume)) is not None and found.state is state


def copied(id):
    return lambda books: books.snapshots.find(id).state is SnapshotState.COMPLETED


@pytest.mark.deadline(90)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_volumes_of_a_real_database_come_and_go(kind, request, tmp_path):
    url = f"sqlite:///{tmp_path}/cloudcore.db" if kind == "sqlite" else request.getfixturevalue("postgresql_url")
    world, simulated = RealWorld(url), World()
    instances = [simulated.an_instance() for _ in range(6)]
    simulated.stop()
    await world.start()
    wish = world.store.transact
    try:
        roots = [await wish(wishes.launch, one, (3,)) for one in instances]
        made = await gatherResults([wish(wishes.create) for _ in instances])
        await world.until(instances, State.RUNNING)
        await world.when(*(state_of(one, VolumeState.AVAILABLE) for one in made))
        for volume, instance in zip(made, instances, strict=True):
            await wish(wishes.attach, volume, instance.id)
        await world.when(*(attached(one) for one in made))
        image, ids = await wish(wishes.create_image, "mine", roots[0][0], made[0])
        await wish(wishes.modify, made[1], 5)
        task = await wish(wishes.start_import)
        await world.when(*(copied(id) for id in ids))
        await world.when(lambda books: books.images.find(image).state == "available")
        await world.when(lambda books: books.imports.find(task.id).snapshot is not None)
        await world.when(over(made[1]))
        for volume in made:
            await wish(wishes.detach, volume)
        await world.when(*(state_of(one, VolumeState.AVAILABLE) for one in made))
        for one in (image, task.wanted.image):
            await wish(wishes.deregister, one)
        await gatherResults([wish(wishes.delete_snapshot, one) for one in (*ids, task.wanted.snapshot)])
        await gatherResults([wish(wishes.delete, one) for one in made])
        await gatherResults([wish(requested, one.id, Event.TERMINATE) for one in instances])
        await world.until(instances, State.TERMINATED)
        await world.when(lambda books: not any(left(books)))
        while world.images.objects:
            await world.store.transact(at_once)
            await deferLater(reactor, 0.05)
        assert world.images.wrong == []
        assert [host.storage.sizes for host in world.hosts] == [{}, {}, {}]
    finally:
        await world.stop()


def at_once(books):
    """Objects that wait a minute before they go wait no more."""
    waiting = sa.and_(steps.c.kind == "discard", steps.c.state == "due", steps.c.lease_expires <= books.now())
    books._connection.execute(sa.update(steps).where(waiting).values(due=books.now()))


def attached(volume):
    return lambda books: books.attachments.of_volume(volume).state.value == "attached"


def over(volume):
    """A volume that lies beside its guest grows; one of another host does not while the guest runs."""
    def found(books):
        host = books.instances.find(books.attachments.of_volume(volume).instance).host
        expected = "completed" if books.volumes.find(volume).host == host else "failed"
        return books.volumes.modification(volume).state == expected

    return found


def left(books):
    """What should be zero in the end."""
    usage = books.quotas.usage(PROJECT)
    yield from (usage[name][0] for name in ("volumes", "volume-gigabytes", "snapshots", "instances"))
    yield from (host.used_disk_gib for host in books.hosts.all())
