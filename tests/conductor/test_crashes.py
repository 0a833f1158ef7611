"""The conductor dies at each of its failpoints, and the next one finishes what was accepted (F1). And at each of them
somebody terminates the instance, and delete wins (F21)."""

import pytest
from twisted.internet.defer import CancelledError

from cloudcore.conductor.failpoints import FAILPOINTS
from cloudcore.domain.instances import Event, State
from tests.conductor.world import World, allocate, associate, lead, make_profile


class Killed(CancelledError):
    """What was under way ends there, as it does when the process ends."""


class Once:
    """Does something at the first visit of one failpoint, and notes all visits."""

    def __init__(self, name, action):
        self.name, self.action, self.visited = name, action, []

    def __call__(self, name):
        first = name == self.name and name not in self.visited
        self.visited.append(name)
        if first:
            self.action()


def die():
    raise Killed


# Each job brings its world to where a conductor would die, and says what must have become of the instance.


def launch(world):
    [instance] = world.launch()
    world.run(4)  # its groups are told a little later
    return instance, State.RUNNING


def launch_without_room(world):
    [instance] = world.launch(memory_mib=10**6)
    world.run(2)
    return instance, State.TERMINATED


def launch_slowly(world):
    """The first message to the compute agent is lost, so the step meets an error."""
    world.lossy = {"compute.host-1", "compute.host-2"}
    [instance] = world.launch()
    world.run(25)
    return instance, State.RUNNING


def terminate(world):
    instance, _ = launch(world)
    world.request(instance, Event.TERMINATE)
    world.run(2)
    return instance, State.TERMINATED


def stop(world):
    instance, _ = launch(world)
    world.request(instance, Event.STOP)
    world.run(2)
    return instance, State.STOPPED


def power_off(world):
    instance, expected = launch(world)
    for host in world.hosts:
        if instance in host.running:
            host.power_off_inside(instance)
            expected = State.STOPPED
    world.run(2)
    return instance, expected


def replug(world):
    instance, expected = launch(world)
    world.reshape(instance, metadata_tokens="required")
    world.run(2)
    return instance, expected


def take_a_role(world):
    """A running instance gets a profile, and with it a key."""
    instance, expected = launch(world)
    world.store.run(make_profile)
    world.hint(world.store.run(associate, instance))
    world.run(2)
    return instance, expected


def lead_elsewhere(world):
    """An elastic address comes to an instance, and moves to another on the other host."""
    instance, expected = launch(world)
    others = [row for row in world.store.run(everything) if world.find(row).host != world.find(instance).host]
    address = world.store.run(allocate)
    for led_to in (*others[:1], instance):
        world.hint(world.store.run(lead, address, led_to))
        world.run(2)
    return instance, expected


JOBS = (launch, launch_without_room, launch_slowly, terminate, stop, power_off, replug, take_a_role, lead_elsewhere)


@pytest.fixture
def worlds():
    made = []

    def make():
        def faults(topic):
            world = made[-1]
            if topic in getattr(world, "lossy", ()):
                world.lossy.discard(topic)
                return ()
            return (0.0,)

        made.append(World(hosts=2, faults=faults))
        made[-1].launch(2, hint=False)  # members of the same group, so that there is somebody to tell
        return made[-1]

    yield make
    for one in made:
        one.stop()


VISITED = {}  # job: the failpoints that it passes; found by the first test that asks


def missed(worlds):
    return [failpoint for failpoint in FAILPOINTS if not any(passes(worlds, job, failpoint) for job in JOBS)]


def passes(worlds, job, failpoint):
    if job not in VISITED:
        world, once = worlds(), Once("", die)
        world.start(once)
        world.run(3)
        job(world)
        VISITED[job] = frozenset(once.visited)
    return failpoint in VISITED[job]


def test_every_failpoint_is_visited_and_none_is_unknown(worlds):
    assert missed(worlds) == []
    assert frozenset().union(*VISITED.values()) == set(FAILPOINTS)


def clean(world, instance):
    """Ends everything that still is, and everything is given back."""
    for row in world.store.run(lambda books: [i for host in world.hosts for i in books.instances.on_host(host.name)]):
        world.request(row.id, Event.TERMINATE)
    world.request(instance, Event.TERMINATE)
    world.run(40, 0.5)
    assert world.state(instance) is State.TERMINATED
    assert world.used() == (0, 0, 0)
    assert [host.left for host in world.hosts] == [set(), set()]
    assert [host.leads for host in world.hosts] == [{}, {}]
    assert world.open_operations() == 0


@pytest.mark.parametrize("failpoint", FAILPOINTS)
def test_who_dies_there_is_succeeded(worlds, failpoint):
    for job in [job for job in JOBS if passes(worlds, job, failpoint)]:
        world, once = worlds(), Once(failpoint, die)
        world.start(once)
        world.run(3)
        instance, expected = job(world)
        world.abandon()
        world.start()
        world.run(40, 0.5)
        assert world.state(instance) is expected, job.__name__
        assert all(set(host.leads.values()) <= {instance} for host in world.hosts)
        assert sum(len(host.leads) for host in world.hosts) == (job is lead_elsewhere)
        clean(world, instance)


@pytest.mark.parametrize("failpoint", FAILPOINTS)
def test_delete_wins_wherever_it_comes(worlds, failpoint):
    for job in (launch, stop, lead_elsewhere):
        if passes(worlds, job, failpoint):
            delete_wins(worlds(), job, failpoint)


def delete_wins(world, job, failpoint):
    ids = []

    def terminate_all():
        for row in world.store.run(everything):
            world.request(row, Event.TERMINATE, hint=False)
            ids.append(row)

    once = Once(failpoint, terminate_all)
    world.start(once)
    world.run(3)
    once.visited.clear()
    job(world) if job is launch else settle_for(world, job)
    world.run(40, 0.5)
    assert world.states(ids) <= {State.TERMINATED}
    for row in world.store.run(everything):
        world.request(row, Event.TERMINATE)
    world.run(40, 0.5)
    assert world.used() == (0, 0, 0)
    assert [host.left for host in world.hosts] == [set(), set()]


def settle_for(world, job):
    """The instance may be terminated under the job's hands: its refusal is right then."""
    try:
        job(world)
    except Exception as problem:
        assert "instance" in str(problem)  # noqa: PT017


def everything(books):
    found = books._connection.exec_driver_sql("SELECT id FROM instances WHERE state <> 'terminated'")
    return [row[0] for row in found]
