"""The agent on the simulated hypervisor: what is wanted comes true, is told once, and survives restarts."""

from dataclasses import replace

import pytest

from cloudcore.compute.agent import RAISED_LEAST
from cloudcore.compute.converging import AT_ONCE, PATIENCE
from cloudcore.errors import CloudError, Code
from cloudcore.rpc.compute import InstanceName, Nothing, WantedGuest
from cloudcore.virt.driver import GuestSpec
from cloudcore.virt.simulated import Pace
from tests.compute.hosts import Host, name, wanted


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


async def test_a_wanted_guest_runs_and_is_told(host):
    agent = host.start()
    assert (await agent.ensure(wanted())).generation == 1
    assert host.world.guests[name()].running
    assert host.conductor.facts == [(name(), 1, "started")]
    assert host.disk().exists()
    await agent.stopService()


async def test_the_same_again_changes_nothing_but_is_told_again(host):
    agent = host.start()
    await agent.ensure(wanted())
    await agent.ensure(wanted())
    assert host.world.guests[name()].boots == 1
    assert host.conductor.facts == [(name(), 1, "started")] * 2


async def test_an_older_generation_is_answered_with_the_journals(host):
    agent = host.start()
    await agent.ensure(wanted(generation=5))
    assert (await agent.ensure(wanted(generation=4, power="absent"))).generation == 5
    assert host.world.guests[name()].running


async def test_stop_start_and_absent_in_turn(host):
    agent = host.start()
    for generation, power in enumerate(("running", "stopped", "running", "absent"), start=1):
        await agent.ensure(wanted(generation=generation, power=power))
        host.advance(1)
    assert host.conductor.facts == [(name(), generation, change) for generation, change in
                                    enumerate(("started", "stopped", "started", "gone"), start=1)]  # fmt: skip
    assert not host.world.guests
    assert not host.disk().exists()
    assert not host.home().exists()
    assert (await agent.present(Nothing())).guests == ()


async def test_a_disk_is_made_once(host):
    agent = host.start()
    await agent.ensure(wanted())
    inode = host.disk().stat().st_ino
    await agent.ensure(wanted(generation=2, power="stopped"))
    host.advance(1)
    await agent.ensure(wanted(generation=3))
    assert host.disk().stat().st_ino == inode
    assert host.images.asked == 1


async def test_a_gone_guest_is_not_raised_by_a_late_message(host):
    agent = host.start()
    await agent.ensure(wanted(generation=1))
    await agent.ensure(WantedGuest(name(), 2, "absent"))
    assert (await agent.ensure(wanted(generation=1))).generation == 2
    await agent.stopService()
    agent = host.start()
    assert (await agent.ensure(wanted(generation=1))).generation == 2
    assert not host.world.guests


async def test_absent_for_a_guest_never_heard_of_is_gone(host):
    agent = host.start()
    await agent.ensure(WantedGuest(name(), 3, "absent"))
    assert host.conductor.facts == [(name(), 3, "gone")]


async def test_a_guest_that_powers_off_inside_stays_stopped_until_wanted_anew(host):
    agent = host.start()
    await agent.ensure(wanted())
    host.driver.power_off(name())
    host.advance(1)
    assert host.conductor.last(name()) == (1, "stopped")
    host.advance(60)
    await agent.stopService()
    agent = host.start()
    host.advance(60)
    assert not host.world.guests[name()].running
    assert host.conductor.last(name()) == (1, "stopped")
    await agent.ensure(wanted(generation=2))
    assert host.world.guests[name()].running


async def test_a_guest_that_vanished_is_told_within_a_sweep(host):
    agent = host.start()
    await agent.ensure(wanted())
    host.world.drop(name())  # without an event
    host.advance(10)
    assert host.conductor.last(name()) == (1, "crashed")
    await agent.stopService()


async def test_a_guest_that_was_killed_is_told_apart_from_one_that_shut_down(host):
    agent = host.start()
    await agent.ensure(wanted())
    host.driver.crash(name())
    host.advance(1)
    assert host.conductor.last(name()) == (1, "crashed")
    assert [guest.state for guest in (await agent.present(Nothing())).guests] == ["stopped"]
    host.advance(60)
    assert not host.world.guests[name()].running, "a guest that dies at once would be started for ever"
    await agent.ensure(wanted(generation=2))
    assert host.world.guests[name()].running


async def test_guests_that_end_with_their_hypervisor_are_started_again(host):
    agent = host.start()
    await agent.ensure(wanted(1))
    await agent.ensure(wanted(2))
    host.driver.power_off(name(2))
    host.advance(1)
    host.boot = "boot-2"
    host.driver.crash(name(1))
    host.advance(1)
    assert host.world.guests[name(1)].boots == 2
    assert host.conductor.last(name(1)) == (1, "started")
    assert not host.world.guests[name(2)].running
    host.driver.crash(name(1))
    host.advance(1)
    assert host.conductor.last(name(1)) == (1, "crashed")


async def test_a_hypervisor_that_ends_while_it_is_asked_for_its_guests_is_asked_again(host):
    agent = host.start()
    await agent.ensure(wanted())

    def dies(verb, instance):
        if verb == "guests" and host.boot == "boot-1":
            host.boot = "boot-2"
            host.world.change(name(), running=False)

    host.faults = dies
    host.advance(11)
    assert host.world.guests[name()].running
    assert host.conductor.facts == [(name(), 1, "started")]
    await agent.stopService()


async def test_a_lost_disk_is_never_replaced_by_a_fresh_one(host):
    agent = host.start()
    await agent.ensure(wanted())
    await agent.ensure(wanted(generation=2, power="stopped"))
    host.advance(1)
    await agent.stopService()
    host.disk().unlink()
    agent = host.start()
    await agent.ensure(wanted(generation=3))
    assert host.conductor.last(name()) == (3, "failed")
    assert not host.disk().exists()
    await agent.ensure(WantedGuest(name(), 4, "absent"))
    assert host.conductor.last(name()) == (4, "gone")


async def test_after_a_reboot_of_the_host_guests_are_started_again(host):
    agent = host.start()
    await agent.ensure(wanted(1))
    await agent.ensure(wanted(2))
    host.driver.power_off(name(2))
    host.advance(1)
    await agent.stopService()
    host.world.change(name(1), running=False)
    host.boot = "boot-2"
    host.start()
    host.advance(1)
    assert host.world.guests[name(1)].running
    assert not host.world.guests[name(2)].running
    assert host.conductor.last(name(1)) == (1, "started")


async def test_facts_wait_for_a_conductor_that_is_away_or_does_not_know_us(host):
    host.conductor.up = False
    agent = host.start()
    await agent.ensure(wanted())
    host.advance(30)
    host.conductor.up, host.conductor.known = True, False
    host.advance(30)
    assert host.conductor.facts == []
    host.conductor.known = True
    host.advance(11)
    assert host.conductor.facts == [(name(), 1, "started")]


async def test_everything_is_told_again_in_a_new_epoch(host):
    agent = host.start()
    await agent.ensure(wanted(1))
    await agent.ensure(wanted(2, power="stopped"))
    await agent.stopService()
    host.conductor.facts.clear()
    host.start()
    assert sorted(host.conductor.facts) == [(name(1), 1, "started"), (name(2), 1, "stopped")]
    assert host.conductor.epoch == 2


@pytest.mark.parametrize("code", [Code.IMAGE_INVALID, Code.RESOURCE_UNKNOWN, Code.CAPACITY])
async def test_what_cannot_succeed_fails_at_once(host, code):
    host.images.problem = code
    agent = host.start()
    await agent.ensure(wanted())
    assert host.conductor.last(name()) == (1, "failed")
    await agent.ensure(WantedGuest(name(), 2, "absent"))
    assert host.conductor.last(name()) == (2, "gone")
    assert not host.disk().exists()
    assert not host.home().exists()


async def test_what_may_succeed_is_tried_again_and_then_fails(host):
    host.images.problem = Code.UNAVAILABLE
    agent = host.start()
    await agent.ensure(wanted())
    host.advance(PATIENCE / 2)
    assert host.conductor.facts == []
    host.advance(PATIENCE)
    assert host.conductor.last(name()) == (1, "failed")
    assert 4 < host.images.asked < 20


async def test_what_failed_for_a_while_succeeds_in_the_end(host):
    host.images.problem = Code.UNAVAILABLE
    agent = host.start()
    await agent.ensure(wanted())
    host.advance(5)
    host.images.problem = None
    host.advance(10)
    assert host.conductor.facts == [(name(), 1, "started")]


async def test_delete_wins_over_a_launch_under_way(host):
    agent = host.start(pace=Pace(start=5.0))
    await agent.ensure(wanted())
    host.advance(1)
    await agent.ensure(WantedGuest(name(), 2, "absent"))
    host.advance(10)
    assert host.conductor.facts == [(name(), 2, "gone")]
    assert not host.world.guests
    assert not host.disk().exists()
    assert not host.home().exists()


def a_stranger(number, generation=3):
    return GuestSpec(name(number), generation, 1, "ec2", 1, 96, (), "", "", "", 1450)


async def test_a_guest_the_journal_does_not_know_is_reported_and_left_alone(host):
    agent = host.start()
    await host.driver.define(a_stranger(9))
    await host.driver.start(name(9))
    host.advance(60)
    assert host.world.guests[name(9)].running
    (summary,) = (await agent.present(Nothing())).guests
    assert (summary.instance, summary.generation, summary.state) == (name(9), 3, "running")
    await agent.ensure(WantedGuest(name(9), 4, "absent"))
    assert not host.world.guests


async def test_a_guest_of_a_higher_generation_is_not_removed(host):
    agent = host.start()
    await host.driver.define(a_stranger(9, generation=8))
    host.advance(10)
    await agent.ensure(WantedGuest(name(9), 4, "absent"))
    host.advance(30)
    assert name(9) in host.world.guests


@pytest.mark.parametrize(("count", "left"), [(RAISED_LEAST, 0), (RAISED_LEAST + 1, RAISED_LEAST + 1)])
async def test_of_guests_that_come_back_from_the_dead_few_are_removed_and_many_never(host, count, left):
    agent = host.start()
    for number in range(count):
        await agent.ensure(WantedGuest(name(number), 4, "absent"))
    for number in range(count):
        await host.driver.define(a_stranger(number))
    host.advance(30)
    assert len(host.world.guests) == left


async def test_a_guest_started_behind_our_back_is_stopped_again(host):
    agent = host.start()
    await agent.ensure(wanted())
    await agent.ensure(wanted(generation=2, power="stopped"))
    host.advance(1)
    await host.driver.start(name())
    host.advance(2)
    assert not host.world.guests[name()].running
    await agent.stopService()


async def test_stopping_the_service_leaves_guests_running(host):
    agent = host.start()
    await agent.ensure(wanted())
    await agent.stopService()
    assert host.world.guests[name()].running
    assert not host.clock.getDelayedCalls()


async def test_heartbeats_come_at_once_and_then_regularly_but_not_without_a_hypervisor(host):
    agent = host.start()
    assert [beat.epoch for beat in host.heartbeats] == [1]
    host.advance(20)
    assert len(host.heartbeats) == 3

    def away(verb, instance):
        raise CloudError(Code.NO_HYPERVISOR, "libvirt is away")

    host.faults = away
    host.advance(30)
    assert len(host.heartbeats) <= 4
    host.faults = lambda verb, instance: None
    host.advance(20)
    assert len(host.heartbeats) >= 5
    await agent.stopService()


async def test_console_and_reboot_want_a_guest_that_is_here(host):
    agent = host.start()
    for method in (agent.console, agent.reboot):
        with pytest.raises(CloudError) as problem:
            await method(InstanceName(name()))
        assert problem.value.code is Code.INSTANCE_UNKNOWN
    await agent.ensure(wanted())
    host.advance(2)
    assert b" login" in (await agent.console(InstanceName(name()))).output
    await agent.reboot(InstanceName(name()))
    assert host.world.guests[name()].boots == 2
    await agent.ensure(wanted(generation=2, power="stopped"))
    host.advance(1)
    with pytest.raises(CloudError) as problem:
        await agent.reboot(InstanceName(name()))
    assert problem.value.code is Code.INSTANCE_STATE


@pytest.mark.parametrize("bad", [
    replace(wanted(), instance="../../etc"), replace(wanted(), power="paused"), replace(wanted(), uuid=""),
])  # fmt: skip
async def test_nonsense_is_refused_before_it_is_journaled(host, bad):
    agent = host.start()
    with pytest.raises(CloudError):
        await agent.ensure(bad)
    assert (await agent.present(Nothing())).guests == ()


async def test_hundreds_of_guests_are_changed_a_few_at_a_time_without_recursion(host):
    agent = host.start(pace=Pace(start=0.01))
    count = 400
    for number in range(count):
        await agent.ensure(wanted(number))
    assert sum(guest.running for guest in host.world.guests.values()) <= AT_ONCE
    for number in range(count):
        await agent.ensure(WantedGuest(name(number), 2, "absent"))
    host.advance(30)
    assert not host.world.guests
    assert {change for _, _, change in host.conductor.facts} <= {"started", "gone"}
    assert sum(change == "gone" for _, _, change in host.conductor.facts) == count
