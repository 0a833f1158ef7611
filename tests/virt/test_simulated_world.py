"""The simulated machine outlives drivers, and with a file whole processes."""

import random

from twisted.internet.task import Clock

from cloudcore.virt.driver import GuestDisk, GuestSpec
from cloudcore.virt.simulated import Pace, SimulatedDriver
from cloudcore.virt.simulated_world import World

DISK = GuestDisk("vol-00000000000000001", "/v/disk.qcow2", backing=(("/v/base", "raw"),))
SPEC = GuestSpec("i-00000000000000001", 1, 1, "ec2", 1, 96, (DISK,), "h", "06:00:00:00:00:01", "t1", 1450)


def a_driver(clock, world):
    return SimulatedDriver(clock, random.Random(3), world, Pace(boot=1.0))


async def test_a_killed_process_leaves_its_guests(tmp_path):
    clock = Clock()
    driver = a_driver(clock, World(tmp_path / "world"))
    await driver.define(SPEC)
    await driver.start(SPEC.instance)
    clock.advance(2)
    again = a_driver(clock, World(tmp_path / "world"))  # nothing was closed
    assert again.world.guests[SPEC.instance].spec == SPEC
    (guest,) = await again.guests()
    assert guest.running
    assert b" login" in await again.console(SPEC.instance)
    await again.remove(SPEC.instance)
    assert World(tmp_path / "world").guests == {}


def test_a_torn_last_line_is_dropped(tmp_path):
    path = tmp_path / "world"
    world = World(path)
    a_driver(Clock(), world).define(SPEC)
    with path.open("ab") as file:
        file.write(b'{"gone":"i-0000')
    assert list(World(path).guests) == [SPEC.instance]


async def test_the_console_counts_boots(tmp_path):
    clock = Clock()
    driver = a_driver(clock, World())
    await driver.define(SPEC)
    assert await driver.console(SPEC.instance) == b""
    await driver.start(SPEC.instance)
    assert b"login" not in await driver.console(SPEC.instance)
    clock.advance(2)
    await driver.reboot(SPEC.instance)
    clock.advance(2)
    assert b"data boots=2" in await driver.console(SPEC.instance)
