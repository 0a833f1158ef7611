"""Copies of the volumes of running guests: shared, remembered, and with the guest shut down for them."""

from dataclasses import replace

import pytest
from twisted.internet.defer import Deferred, succeed

from cloudcore.compute.copies import KEPT, TRIES, WAIT
from cloudcore.errors import CloudError, Code
from cloudcore.rpc.compute import DiskSource, InstanceName, Layer, RemoteDisk, WantedDisk, WantedGuest
from cloudcore.virt.simulated import Pace
from tests.compute.hosts import GIB, Host, copies, disks, name, volume, wanted

PARENT = DiskSource(Layer("contents/parent", "ef" * 32, 5, "qcow2", GIB))


@pytest.fixture
def host(tmp_path):
    made = Host(tmp_path)
    made.volumes.make(volume(2), GIB, ())
    made.start(pace=Pace(shutdown=2.0)).ensure(replace(wanted(), disks=disks(1, 2), disk_revision=1))
    return made


async def asked(host, request):
    answer = host.agent.copy(request)
    if not answer.called:
        host.advance(WAIT)
    return await answer


def stopped(generation=2):
    return replace(wanted(generation=generation, power="stopped"), disks=disks(1, 2), disk_revision=1)


async def test_a_running_guest_goes_on_while_it_is_copied(host):
    work = await asked(host, copies(1, 2))
    assert (work.state, work.progress) == ("ready", 100)
    assert [made.location for made in work.made] == ["contents/1", "contents/2"]
    assert host.world.guests[name()].boots == 1
    assert not (host.home() / "copies").exists()


async def test_who_asks_again_shares_the_work_and_then_its_result(host):
    host.bucket.held = Deferred()
    assert (await asked(host, copies(1))).state == "working"
    assert (await asked(host, copies(1))).progress == 50
    host.bucket.held.callback(None)
    work = await asked(host, copies(1))
    assert work.state == "ready"
    await host.agent.ensure(stopped())
    host.advance(3)
    assert await asked(host, copies(1)) == work
    host.advance(KEPT + 1)
    assert (await asked(host, copies(1))).state == "elsewhere"
    assert host.bucket.stored == ["snap-00000000000000001"]


async def test_a_parent_is_named(host):
    request = copies(1)
    part = replace(request.parts[0], parent=PARENT)
    (made,) = (await asked(host, replace(request, parts=(part,)))).made
    assert made.below == "ef" * 32


async def test_what_does_not_run_here_is_copied_elsewhere(host):
    assert (await asked(host, copies(3))).state == "elsewhere"
    assert (await asked(host, replace(copies(1), instance=name(9)))).state == "elsewhere"
    await host.agent.ensure(stopped())
    host.advance(3)
    for reboot in (False, True):
        assert (await asked(host, copies(1, reboot=reboot))).state == "elsewhere"


@pytest.mark.parametrize("bad", [
    replace(copies(1), parts=()), replace(copies(1), instance="../x"),
    replace(copies(1), parts=(replace(copies(1).parts[0], snapshot="../x"),)),
])  # fmt: skip
async def test_nonsense_is_refused(host, bad):
    with pytest.raises(CloudError):
        await host.agent.copy(bad)


async def test_what_may_pass_is_tried_again_and_the_rest_has_failed(host):
    host.bucket.problem = Code.UNAVAILABLE
    assert (await asked(host, copies(1))).state == "working"
    assert (await asked(host, copies(1))).state == "ready"
    host.bucket.problem = Code.NOT_AUTHORISED
    work = await asked(host, copies(2))
    assert (work.state, work.reason) == ("failed", "the object store does not answer")


async def test_no_copy_is_begun_that_would_fill_the_disk(host):
    host.volumes.free = lambda: succeed(0)
    work = await asked(host, copies(1))
    assert (work.state, work.reason[:11]) == ("failed", "no room for")


async def test_no_guest_is_shut_down_for_a_copy_that_has_no_room(host):
    host.volumes.free = lambda: succeed(0)
    work = await asked(host, copies(1, reboot=True))
    assert (work.state, work.reason[:11]) == ("failed", "no room for")
    assert host.world.guests[name()].boots == 1 and host.world.guests[name()].running


async def test_a_guest_that_ends_by_itself_while_it_is_copied_is_copied_at_rest(host):
    def ends(verb, instance):
        if verb == "copy":
            host.driver.power_off(name())

    host.faults = ends
    assert (await asked(host, copies(1))).state in ("working", "elsewhere")
    host.faults = lambda verb, instance: None
    host.advance(11)
    assert (await asked(host, copies(1))).state == "elsewhere"


async def test_it_is_not_tried_for_ever(host):
    states = []
    for _ in range(TRIES):
        host.bucket.problem = Code.UNAVAILABLE
        states.append((await asked(host, copies(1))).state)
    assert states == ["working"] * (TRIES - 1) + ["failed"]


async def test_a_guest_is_shut_down_copied_and_started_again_unnoticed(host):
    facts = list(host.conductor.facts)
    answer = host.agent.copy(copies(1, 2, reboot=True))
    host.advance(1)
    assert host.world.guests[name()].running
    host.advance(3)
    assert (await answer).state == "ready"
    host.advance(20)
    assert host.world.guests[name()].boots == 2
    assert set(host.conductor.facts) == set(facts) == {(name(), 1, "started")}


async def test_a_guest_that_is_down_for_its_copy_stays_down_until_it_is_made(host):
    wait = Deferred()
    copied = host.volumes.copy
    host.volumes.copy = lambda *arguments: wait.addCallback(lambda _: copied(*arguments))
    answer = host.agent.copy(copies(1, reboot=True))
    host.advance(60)
    assert (await answer).state == "working"
    assert not host.world.guests[name()].running
    assert host.conductor.last(name()) == (1, "started"), "nobody hears that it is down"
    assert (await asked(host, copies(2))).state == "working"
    await host.agent.reboot(InstanceName(name()))
    wait.callback(None)
    host.advance(1)
    assert host.world.guests[name()].running
    assert (await asked(host, copies(1, reboot=True))).state == "ready"


async def test_delete_wins_over_a_copy(host):
    host.volumes.copy = lambda *arguments: Deferred()
    answer = host.agent.copy(copies(1, reboot=True))
    host.advance(3)
    await host.agent.ensure(WantedGuest(name(), 2, "absent"))
    host.advance(2)
    assert host.conductor.last(name()) == (2, "gone")
    assert (await answer).state == "working"
    assert (await asked(host, copies(1, reboot=True))).state == "elsewhere"


async def test_a_guest_with_a_volume_of_another_host_is_copied_while_it_runs(host):
    far = WantedDisk(volume(7), "/dev/sdr", 1, remote=RemoteDisk("10.0.0.2", 10809, "vol", "i-1", "ab" * 16))
    await host.volumes.make(volume(7), GIB, ())
    await host.agent.ensure(replace(wanted(), disks=(*disks(1, 2), far), disk_revision=2))
    host.advance(11)
    assert (await asked(host, copies(1, 7, reboot=True))).state == "ready"
    assert host.world.guests[name()].boots == 1
