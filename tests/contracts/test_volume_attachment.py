"""One suite for every VolumeAttachment with LiveCopies: the simulated one, and libvirt with real QEMU."""

import pytest
import pytest_twisted
from twisted.internet import reactor

from cloudcore.errors import CloudError, Code
from cloudcore.virt.private_libvirtd import PrivateLibvirtd
from tests.virt.rigs import libvirt_rig, may_run_guests, name, simulated_rig, volume

pytestmark = pytest.mark.deadline(60)
GIB = 2**30


@pytest_twisted.async_yield_fixture(scope="module", params=["simulated", "libvirt"])
async def rig(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("virt")
    if request.param == "simulated":
        made, host = simulated_rig(directory), None
    else:
        if not may_run_guests():
            pytest.skip("needs root and libvirtd")
        host = PrivateLibvirtd(reactor, directory)
        await host.ensure()
        made = libvirt_rig(host)
    yield made
    await made.close()
    if host is not None:
        await host.stop()


def stubborn(rig):
    """A guest of one sector lets go of nothing, for it knows no ACPI."""
    if rig.virt_type == "simulated":
        rig.driver.disks.stubborn |= {name(number) for number in range(100)}


async def test_a_running_guest_is_given_disks_and_keeps_them_over_a_restart(rig):
    instance = await rig.guest(1)
    for number in (11, 12):
        for _ in range(2):
            await rig.driver.disks.attach(instance, await rig.disk(volume(number)))
    assert set(await rig.driver.disks.disks(instance)) == {volume(1), volume(11), volume(12)}
    (guest,) = [guest for guest in await rig.driver.guests() if guest.instance == instance]
    assert set(guest.disks) == {volume(1), volume(11), volume(12)}
    assert guest.generation == 1
    await rig.driver.stop(instance, 0)
    assert await rig.driver.disks.disks(instance) == {}
    await rig.driver.start(instance)
    assert set(await rig.driver.disks.disks(instance)) == {volume(1), volume(11), volume(12)}
    await rig.driver.remove(instance)


async def test_a_disk_that_the_guest_does_not_let_go_of_is_out_of_its_definition(rig):
    stubborn(rig)
    instance = await rig.guest(2)
    await rig.driver.disks.attach(instance, await rig.disk(volume(21)))
    assert not await rig.driver.disks.detach(instance, volume(21), 0.5)
    assert volume(21) in await rig.driver.disks.disks(instance)
    await rig.driver.stop(instance, 0)
    assert await rig.driver.disks.detach(instance, volume(21), 0.5)
    await rig.driver.start(instance)
    assert set(await rig.driver.disks.disks(instance)) == {volume(2)}
    await rig.driver.remove(instance)


async def test_what_is_not_there_is_let_go_of(rig):
    instance = await rig.guest(3)
    assert await rig.driver.disks.detach(instance, volume(31), 1)
    assert await rig.driver.disks.detach(name(99), volume(31), 1)
    assert await rig.driver.disks.disks(name(99)) == {}
    await rig.driver.remove(instance)


async def test_a_disk_grows_under_its_guest_and_never_shrinks(rig):
    instance = await rig.guest(4)
    await rig.driver.disks.resize(instance, volume(4), 3 * GIB)
    await rig.driver.disks.resize(instance, volume(4), 2 * GIB)
    assert (await rig.driver.disks.disks(instance))[volume(4)] == 3 * GIB
    with pytest.raises(CloudError) as problem:
        await rig.driver.disks.resize(instance, volume(41), GIB)
    assert problem.value.code is Code.PROGRAM_FAILED
    await rig.driver.remove(instance)


async def test_a_guest_that_does_not_run_is_given_nothing(rig):
    await rig.driver.define(await rig.spec(5))
    with pytest.raises(CloudError) as problem:
        await rig.driver.disks.attach(name(5), await rig.disk(volume(51)))
    assert problem.value.code is Code.PROGRAM_FAILED
    with pytest.raises(CloudError) as problem:
        await rig.driver.disks.copy(name(5), {volume(5): str(rig.instances / name(5) / "copy")}, lambda percent: None)
    assert problem.value.code is Code.PROGRAM_FAILED
    await rig.driver.remove(name(5))


async def test_a_volume_has_one_writer(rig):
    one, other = await rig.guest(7), await rig.guest(8)
    disk = await rig.disk(volume(71))
    await rig.driver.disks.attach(one, disk)
    with pytest.raises(CloudError) as problem:
        await rig.driver.disks.attach(other, disk)
    assert problem.value.code is Code.VOLUME_IN_USE
    assert set(await rig.driver.disks.disks(other)) == {volume(8)}
    await rig.driver.remove(one)
    await rig.driver.disks.attach(other, disk)
    await rig.driver.remove(other)


async def test_volumes_of_a_running_guest_are_copied_at_one_moment(rig):
    instance = await rig.guest(6)
    await rig.driver.disks.attach(instance, await rig.disk(volume(61)))
    home = rig.instances / instance
    copies = {volume(6): str(home / "six.qcow2"), volume(61): str(home / "more.qcow2")}
    for _ in range(2):  # what the first left is overwritten
        await rig.driver.disks.copy(instance, copies, lambda percent: None)
        assert all((home / file).stat().st_size > 0 for file in ("six.qcow2", "more.qcow2"))
    with pytest.raises(CloudError) as problem:
        await rig.driver.disks.copy(instance, {volume(69): str(home / "none")}, lambda percent: None)
    assert problem.value.code is Code.PROGRAM_FAILED
    assert not (home / "none").exists()
    assert await rig.state(instance) == (1, True)
    await rig.driver.remove(instance)
