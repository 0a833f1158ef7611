"""Disks that come, grow and go: on guests that run, on guests that do not, and over restarts of the agent."""

from dataclasses import replace

import pytest

from cloudcore.compute.disks import PATIENCE, WAIT
from cloudcore.errors import CloudError, Code
from cloudcore.rpc.compute import DiskProblem, RemoteDisk, WantedDisk, WantedDisks, WantedGuest
from cloudcore.virt.simulated import Pace
from tests.compute.hosts import GIB, Host, disks, name, volume, wanted

REMOTE = RemoteDisk("10.0.0.2", 10809, "vol", "i-1", "ab" * 16)


@pytest.fixture
def host(tmp_path):
    made = Host(tmp_path)
    for number in range(2, 6):
        made.volumes.make(volume(number), GIB, ())
    return made


def guest(*numbers, revision=1, **changes):
    return replace(wanted(**changes), disks=disks(*numbers), disk_revision=revision)


def live(host):
    return set(host.world.guests[name()].live)


def remote(number):
    return WantedDisk(volume(number), "/dev/sdr", 1, remote=REMOTE)


async def asked(host, revision, *wanted_disks):
    """The answer, after as long as it may take."""
    answer = host.agent.disks(WantedDisks(name(), revision, wanted_disks))
    if not answer.called:
        host.advance(WAIT)
    return await answer


async def test_a_launch_gives_all_its_disks_in_order(host):
    await host.start().ensure(guest(1, 2, 3))
    assert [disk.volume for disk in host.world.guests[name()].spec.disks] == [volume(1), volume(2), volume(3)]
    assert live(host) == {volume(1), volume(2), volume(3)}


async def test_a_running_guest_is_given_disks_and_loses_them(host):
    agent = host.start()
    await agent.ensure(guest(1, 2))
    work = await asked(host, 2, *disks(1, 3, 4))
    assert (work.state, work.revision, set(work.attached)) == ("ready", 2, {volume(1), volume(3), volume(4)})
    assert live(host) == {volume(1), volume(3), volume(4)}
    assert await asked(host, 2, *disks(1, 3, 4)) == work
    assert (await asked(host, 1, *disks(1, 2))).state == "outdated"
    assert live(host) == {volume(1), volume(3), volume(4)}


async def test_no_guest_no_disks(host):
    agent = host.start()
    assert (await agent.disks(WantedDisks(name(), 1, disks(1)))).state == "unknown"
    await agent.ensure(guest(1))
    await agent.ensure(WantedGuest(name(), 2, "absent"))
    assert (await agent.disks(WantedDisks(name(), 2, disks(1)))).state == "unknown"


@pytest.mark.parametrize("bad", [(disks(1)[0], disks(1)[0]), (WantedDisk("../etc", "/dev/sdf", 1),)])
async def test_nonsense_is_refused(host, bad):
    agent = host.start()
    await agent.ensure(guest(1))
    with pytest.raises(CloudError):
        await agent.disks(WantedDisks(name(), 2, bad))
    with pytest.raises(CloudError):
        await agent.ensure(replace(guest(1, generation=2), disks=bad))


async def test_a_stopped_guest_has_what_it_will_start_with(host):
    agent = host.start()
    await agent.ensure(guest(1, 2))
    await agent.ensure(guest(1, 2, generation=2, power="stopped"))
    host.advance(1)
    larger = WantedDisk(volume(3), "/dev/sdf", 7)
    work = await asked(host, 2, *disks(1), larger)
    assert (work.state, work.attached) == ("ready", (volume(1), volume(3)))
    assert (await host.volumes.present())[volume(3)] == 7 * GIB
    await agent.stopService()
    agent = host.start()
    await agent.ensure(guest(1, 2, generation=3))
    assert live(host) == {volume(1), volume(3)}, "the newer list counts, whichever message brings it"


async def test_a_volume_that_is_not_here_is_told_of_a_stopped_guest_too(host):
    agent = host.start()
    await agent.ensure(guest(1))
    await agent.ensure(guest(1, generation=2, power="stopped"))
    host.advance(1)
    work = await asked(host, 2, *disks(1, 9))
    assert (work.state, work.attached) == ("ready", (volume(1),))
    assert work.problems == (DiskProblem(volume(9), f"{volume(9)} is missing on its host"),)


async def test_a_disk_grows_under_its_guest(host):
    await host.start().ensure(guest(1, 2))
    work = await asked(host, 2, *disks(1), WantedDisk(volume(2), "/dev/sdf", 9))
    assert work.state == "ready"
    assert host.world.guests[name()].live[volume(2)] == 9 * GIB


async def test_a_guest_that_does_not_let_go_is_asked_until_it_does(host):
    agent = host.start()
    await agent.ensure(guest(1, 2))
    host.driver.disks.stubborn.add(name())
    work = await asked(host, 2, *disks(1))
    assert (work.state, set(work.attached)) == ("working", {volume(1), volume(2)})
    host.advance(60)
    assert (await asked(host, 2, *disks(1))).state == "working"
    host.driver.disks.stubborn.clear()
    host.advance(20)
    assert (await asked(host, 2, *disks(1))).state == "ready"
    assert live(host) == {volume(1)}


async def test_a_stop_ends_what_a_guest_did_not_let_go_of(host):
    agent = host.start()
    await agent.ensure(guest(1, 2))
    host.driver.disks.stubborn.add(name())
    assert (await asked(host, 2, *disks(1))).state == "working"
    await agent.ensure(guest(1, revision=2, generation=2, power="stopped"))
    host.advance(30)
    work = await asked(host, 2, *disks(1))
    assert (work.state, work.attached) == ("ready", (volume(1),))
    await agent.ensure(guest(1, revision=2, generation=3))
    host.advance(1)
    assert live(host) == {volume(1)}


async def test_a_disk_that_cannot_be_attached_is_given_up_until_another_list_comes(host):
    await host.start().ensure(guest(1))
    tries = []

    def refuses(verb, instance):
        if verb == "attach":
            tries.append(instance)
            raise CloudError(Code.PROGRAM_FAILED, "no more PCI slots")

    host.faults = refuses
    assert (await asked(host, 2, *disks(1, 2))).state == "working"
    host.advance(PATIENCE + 15)
    work = await asked(host, 2, *disks(1, 2))
    assert (work.state, work.attached) == ("ready", (volume(1),))
    assert work.problems == (DiskProblem(volume(2), "no more PCI slots"),)
    count = len(tries)
    host.advance(60)
    assert len(tries) == count
    host.faults = lambda verb, instance: None
    assert (await asked(host, 3, *disks(1, 2))).problems == ()
    assert live(host) == {volume(1), volume(2)}


async def test_a_volume_that_is_being_copied_is_waited_for(host):
    await host.start().ensure(guest(1))

    def busy(verb, instance):
        if verb == "attach":
            raise CloudError(Code.VOLUME_IN_USE, "a copy reads it")

    host.faults = busy
    assert (await asked(host, 2, *disks(1, 2))).state == "working"
    host.advance(3 * PATIENCE)
    assert (await asked(host, 2, *disks(1, 2))).problems == ()
    host.faults = lambda verb, instance: None
    host.advance(15)
    assert (await asked(host, 2, *disks(1, 2))).state == "ready"


async def test_a_launch_waits_for_a_volume_that_is_being_copied(host):
    def busy(verb, instance):
        if verb == "start":
            raise CloudError(Code.VOLUME_IN_USE, "a copy reads it")

    host.faults = busy
    await host.start().ensure(guest(1))
    host.advance(300)
    assert host.conductor.facts == []
    host.faults = lambda verb, instance: None
    host.advance(15)
    assert host.conductor.last(name()) == (1, "started")


async def test_a_list_that_comes_while_a_guest_is_launched_is_what_it_starts_with(host):
    agent = host.start(pace=Pace(start=5.0))
    await agent.ensure(guest(1))
    host.advance(1)
    assert (await asked(host, 2, *disks(1, 2))).state == "working"
    host.advance(20)
    assert (await asked(host, 2, *disks(1, 2))).state == "ready"
    assert live(host) == {volume(1), volume(2)}
    assert host.conductor.last(name()) == (1, "started")


async def test_ensure_brings_newer_disks_to_a_running_guest_and_older_ones_to_none(host):
    agent = host.start()
    await agent.ensure(guest(1, revision=3))
    await agent.ensure(guest(1, 2, revision=4))
    host.advance(11)
    assert live(host) == {volume(1), volume(2)}
    await agent.ensure(guest(1, revision=3))
    host.advance(11)
    assert live(host) == {volume(1), volume(2)}


async def test_a_sweep_mends_what_differs(host):
    agent = host.start()
    await agent.ensure(guest(1, 2))
    await host.driver.disks.detach(name(), volume(2), 0)
    await host.driver.disks.attach(name(), replace(host.world.guests[name()].spec.disks[0], volume=volume(5)))
    host.advance(12)
    assert live(host) == {volume(1), volume(2)}
    await agent.stopService()


async def test_the_volumes_of_a_guest_outlive_it(host):
    agent = host.start()
    await agent.ensure(guest(1, 2))
    await agent.ensure(WantedGuest(name(), 2, "absent"))
    assert host.conductor.last(name()) == (2, "gone")
    assert {volume(1), volume(2)} <= (await host.volumes.present()).keys()


async def test_a_lost_volume_is_never_replaced_by_a_fresh_one(host):
    agent = host.start()
    await agent.ensure(guest(1, 2))
    await agent.ensure(guest(1, 2, generation=2, power="stopped"))
    host.advance(1)
    await host.volumes.remove(volume(1))
    await agent.ensure(guest(1, 2, generation=3))
    assert host.conductor.last(name()) == (3, "failed")
    assert volume(1) not in await host.volumes.present()


async def test_volumes_of_other_hosts_are_open_for_as_long_as_a_guest_has_them(host):
    agent = host.start()
    await agent.ensure(replace(guest(1), disks=(*disks(1), remote(7))))
    assert host.remotes.opened == {volume(7): REMOTE}
    assert host.world.guests[name()].spec.disks[1].kind == "nbd"
    assert (await asked(host, 2, *disks(1), remote(8))).state == "ready"
    assert set(host.remotes.opened) == {volume(8)}
    await agent.ensure(guest(1, revision=1, generation=2, power="stopped"))
    host.advance(1)
    assert not host.remotes.opened
    await agent.ensure(guest(1, revision=1, generation=3))
    assert set(host.remotes.opened) == {volume(8)}
    await agent.ensure(WantedGuest(name(), 4, "absent"))
    assert not host.remotes.opened


async def test_volumes_of_other_hosts_are_opened_again_before_anything_else(host):
    agent = host.start()
    await agent.ensure(replace(guest(1), disks=(*disks(1), remote(7))))
    await agent.stopService()
    host.remotes.opened.clear()
    host.remotes.log.clear()
    seen = []
    host.faults = lambda verb, instance: seen.append(list(host.remotes.log))
    host.start()
    assert seen[0] == [f"open {volume(7)}"]


async def test_a_server_that_cannot_be_reached_is_given_up(host):
    await host.start().ensure(guest(1))
    host.remotes.problem = Code.UNAVAILABLE
    await asked(host, 2, *disks(1), remote(7))
    host.advance(PATIENCE + 15)
    work = await asked(host, 2, *disks(1), remote(7))
    assert (work.state, [problem.volume for problem in work.problems]) == ("ready", [volume(7)])


async def test_a_volume_of_another_host_does_not_grow_under_its_guest(host):
    await host.start().ensure(replace(guest(1), disks=(*disks(1), remote(7))))
    host.world.change(name(), live={volume(1): GIB, volume(7): GIB})
    work = await asked(host, 2, *disks(1), replace(remote(7), size_gib=2))
    assert (work.state, set(work.attached)) == ("ready", {volume(1), volume(7)})
    assert [problem.volume for problem in work.problems] == [volume(7)]


@pytest.mark.parametrize("end", ["stopped", "absent", "running"])
async def test_a_server_is_closed_when_the_guest_that_did_not_let_go_has_ended(host, end):
    agent = host.start()
    await agent.ensure(replace(guest(1), disks=(*disks(1), remote(7))))
    host.driver.disks.stubborn.add(name())
    assert (await asked(host, 2, *disks(1))).state == "working"
    assert set(host.remotes.opened) == {volume(7)}
    await agent.ensure(guest(1, revision=2, generation=2, power="absent" if end == "absent" else "stopped"))
    if end == "running":
        await agent.ensure(guest(1, revision=2, generation=3))
    host.advance(30)
    assert not host.remotes.opened
