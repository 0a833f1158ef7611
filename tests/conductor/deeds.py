"""Wishes with their time: what the tests of volumes and snapshots do with a World."""

from __future__ import annotations

from tests.conductor import wishes
from tests.conductor.wishes import changed


def do(world, wish, *args, seconds=4, **options):
    """A wish of the api's, the hint, and some time."""
    result = world.store.run(wish, *args, **options)
    world.hint("")
    world.run(seconds)
    return result


def launched(world, sizes=(3,), keep=(), seconds=4, content=None, **changes):
    instance = world.an_instance(**changes)
    made = do(world, wishes.launch, instance, sizes, keep, seconds=seconds, content=content)
    return instance.id, made


def state(world, volume):
    found = changed(world, volume)
    return found.state if found else None


def held(world, volume):
    found = world.store.run(lambda books: books.attachments.of_volume(volume))
    return found.state.value if found else None


def host_of(world, name):
    [found] = [host for host in world.hosts if host.name == name]
    return found


def only(world, name, enabled=False):
    """This host alone takes what is new; all of them again when `enabled`."""
    for host in [host.name for host in world.hosts]:
        world.store.run(lambda books, host=host: books.hosts.enable(host, enabled or host == name))


def made_on(world, name):
    only(world, name)
    made = do(world, wishes.create)
    only(world, name, enabled=True)
    assert changed(world, made).host == name
    return made


def near(world, instance):
    return made_on(world, world.find(instance).host)


def far(world, instance):
    return made_on(world, next(host.name for host in world.hosts if host.name != world.find(instance).host))
