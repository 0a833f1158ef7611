"""SIGKILL while disks come and go and while volumes are copied: the next start finishes what was accepted."""

from contextlib import suppress
from dataclasses import replace

import pytest

from cloudcore.rpc.compute import WantedDisk, WantedDisks
from tests.compute.hosts import GIB, Host, Killed, copies, deadly, disks, name, volume, wanted

OF_DISKS = ("compute.disks", "compute.attached", "compute.detached", "compute.grown")
OF_COPIES = ("compute.copied", "compute.stored")
OF_RESTED_COPIES = ("compute.shutting", "compute.shut", "compute.copied", "compute.stored")


async def a_guest(host):
    """With volumes 1, 2 and 3, of which 1 is its root."""
    agent = host.start()
    for number in (2, 3, 4):
        await host.volumes.make(volume(number), GIB, ())
    await agent.ensure(replace(wanted(), disks=disks(1, 2, 3), disk_revision=1))
    host.advance(1)
    assert host.conductor.last(name()) == (1, "started")
    return agent


@pytest.mark.parametrize("where", OF_DISKS)
async def test_what_was_journaled_is_done_by_the_next_start(tmp_path, where):
    host = Host(tmp_path)
    agent = await a_guest(host)
    await agent.stopService()
    failpoint, met = deadly(where)
    request = WantedDisks(name(), 2, (*disks(1), WantedDisk(volume(3), "/dev/sdg", 5), *disks(4)))
    agent = host.start(failpoint)
    with suppress(Killed):
        asked = agent.disks(request)
        asked.addErrback(lambda failure: None)
        host.advance(1)
    assert met, f"{where} was never met"
    agent = host.start()
    host.advance(2)
    assert host.world.guests[name()].live.keys() == {volume(1), volume(3), volume(4)}
    assert host.world.guests[name()].live[volume(3)] == 5 * GIB
    work = await agent.disks(request)
    assert (work.state, set(work.attached)) == ("ready", {volume(1), volume(3), volume(4)})


@pytest.mark.parametrize(("where", "reboot"), [(where, False) for where in OF_COPIES]
                         + [(where, True) for where in OF_RESTED_COPIES])  # fmt: skip
async def test_a_copy_that_died_leaves_a_running_guest_and_is_made_anew(tmp_path, where, reboot):
    host = Host(tmp_path)
    agent = await a_guest(host)
    await agent.stopService()
    failpoint, met = deadly(where)
    agent = host.start(failpoint)
    with suppress(Killed):
        asked = agent.copy(copies(1, 2, reboot=reboot))
        asked.addErrback(lambda failure: None)
        host.advance(1)
    assert met, f"{where} was never met"
    agent = host.start()
    assert not (host.home() / "copies").exists()
    host.advance(2)
    assert host.world.guests[name()].running
    assert host.conductor.last(name()) == (1, "started")
    asked = agent.copy(copies(1, 2, reboot=reboot))
    host.advance(1)
    work = await asked
    assert (work.state, len(work.made)) == ("ready", 2)
    host.advance(1)
    assert host.world.guests[name()].running
    assert not (host.home() / "copies").exists()
