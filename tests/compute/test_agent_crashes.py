"""SIGKILL at every failpoint, then another start: what was accepted comes true, once, and nothing is left over."""

from contextlib import suppress

import pytest

from cloudcore.compute.failpoints import FAILPOINTS, VOLUME_FAILPOINTS
from cloudcore.rpc.compute import WantedGuest
from tests.compute.hosts import Host, Killed, deadly, name, wanted
from tests.compute.test_disk_crashes import OF_COPIES, OF_DISKS, OF_RESTED_COPIES

OF_LAUNCH = ("compute.journaled", "compute.image", "compute.overlay", "compute.defined", "compute.started",
             "compute.fact")  # fmt: skip
OF_STOP = ("compute.journaled", "compute.stopped", "compute.fact")
OF_REMOVAL = ("compute.journaled", "compute.removed", "compute.cleaned", "compute.fact")


async def crash(host, where, request):
    """A process that dies at `where`, and another after it."""
    failpoint, met = deadly(where)
    agent = host.start(failpoint)
    with suppress(Killed):
        await agent.ensure(request)
    host.advance(1)
    assert met, f"{where} was never met"
    host.start()
    host.advance(1)


def test_every_failpoint_is_met_here_or_in_its_neighbour():
    visited = {*OF_LAUNCH, *OF_STOP, *OF_REMOVAL, *OF_DISKS, *OF_COPIES, *OF_RESTED_COPIES}
    assert {*FAILPOINTS, *VOLUME_FAILPOINTS} == visited


@pytest.mark.parametrize("where", OF_LAUNCH)
async def test_a_launch_resumes(tmp_path, where):
    host = Host(tmp_path)
    await crash(host, where, wanted())
    assert host.conductor.last(name()) == (1, "started")
    assert host.world.guests[name()].boots == 1
    assert len(host.world.guests) == 1


@pytest.mark.parametrize("where", OF_STOP)
async def test_a_stop_resumes(tmp_path, where):
    host = Host(tmp_path)
    agent = host.start()
    await agent.ensure(wanted())
    await agent.stopService()
    await crash(host, where, wanted(generation=2, power="stopped"))
    assert host.conductor.last(name()) == (2, "stopped")
    assert not host.world.guests[name()].running
    assert host.disk().exists()


@pytest.mark.parametrize("where", OF_REMOVAL)
async def test_a_removal_resumes(tmp_path, where):
    host = Host(tmp_path)
    agent = host.start()
    await agent.ensure(wanted())
    await agent.stopService()
    await crash(host, where, WantedGuest(name(), 2, "absent"))
    assert host.conductor.last(name()) == (2, "gone")
    assert not host.world.guests
    assert not host.disk().exists()
    assert not host.home().exists()


@pytest.mark.parametrize("where", OF_LAUNCH[:-1])
async def test_a_launch_that_died_can_be_undone(tmp_path, where):
    host = Host(tmp_path)
    failpoint, _ = deadly(where)
    with suppress(Killed):
        await host.start(failpoint).ensure(wanted())
    await host.start().ensure(WantedGuest(name(), 2, "absent"))
    assert host.conductor.last(name()) == (2, "gone")
    assert not host.world.guests
    assert not host.disk().exists()
    assert not host.home().exists()
