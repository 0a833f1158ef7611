"""One suite for every VirtDriver: the simulated one, and libvirt with real QEMU below a private libvirtd."""

from io import BytesIO

import pytest
import pytest_twisted
from PIL import Image
from twisted.internet import reactor

from cloudcore.errors import CloudError, Code
from cloudcore.virt.private_libvirtd import PrivateLibvirtd
from cloudcore.virt.screens import screens_of
from tests.virt.rigs import libvirt_rig, may_run_guests, name, simulated_rig, until

pytestmark = pytest.mark.deadline(60)


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


async def test_a_defined_guest_is_listed_and_does_not_run(rig):
    await rig.driver.define(await rig.spec(1, generation=3))
    assert await rig.state(name(1)) == (3, False)
    await rig.driver.remove(name(1))
    assert await rig.state(name(1)) is None


async def test_start_and_stop_twice_are_as_once(rig):
    instance = await rig.guest(2)
    await rig.driver.start(instance)
    assert await rig.state(instance) == (1, True)
    await rig.driver.stop(instance, 0)
    await rig.driver.stop(instance, 0)
    assert await rig.state(instance) == (1, False)
    await rig.driver.start(instance)
    assert await rig.state(instance) == (1, True)
    await rig.driver.remove(instance)


async def test_a_running_guest_goes_on_when_it_is_defined_anew(rig):
    instance = await rig.guest(3)
    await rig.driver.define(await rig.spec(3, generation=9))
    assert await rig.state(instance) == (9, True)
    await rig.driver.remove(instance)


async def test_a_running_guest_is_removed_and_an_unknown_one_is_no_error(rig):
    instance = await rig.guest(4)
    await rig.driver.remove(instance)
    await rig.driver.remove(instance)
    await rig.driver.stop(instance, 5)
    assert await rig.state(instance) is None


@pytest.mark.parametrize("verb", ["start", "reboot"])
async def test_what_is_not_defined_cannot_run(rig, verb):
    with pytest.raises(CloudError) as problem:
        await getattr(rig.driver, verb)(name(99))
    assert problem.value.code is Code.PROGRAM_FAILED


async def test_what_does_not_run_cannot_be_rebooted(rig):
    await rig.driver.define(await rig.spec(5))
    with pytest.raises(CloudError) as problem:
        await rig.driver.reboot(name(5))
    assert problem.value.code is Code.PROGRAM_FAILED
    await rig.driver.remove(name(5))


async def test_a_guest_that_does_not_heed_the_power_button_is_powered_off(rig):
    instance = await rig.guest(6)
    await rig.driver.stop(instance, 1.0)
    assert await rig.state(instance) == (1, False)
    await rig.driver.remove(instance)


async def test_the_console_tells_what_the_guest_wrote(rig):
    assert await rig.driver.console(name(98)) == b""
    instance = await rig.guest(7)

    async def written():
        return b" login" in await rig.driver.console(instance)

    await until(written)
    await rig.driver.reboot(instance)
    await until(written)
    assert await rig.state(instance) == (1, True)
    await rig.driver.stop(instance, 0)
    assert await written()
    await rig.driver.remove(instance)


async def test_a_running_guest_shows_a_picture(rig):
    instance = await rig.guest(10)
    screens = screens_of(rig.driver)
    for wake in (False, True):
        with Image.open(BytesIO(await screens.screenshot(instance, wake))) as shown:
            assert shown.format == "JPEG"
            shown.load()
            assert shown.width >= 320
            assert shown.height >= 200
    await rig.driver.stop(instance, 0)
    for gone in (instance, name(99)):
        with pytest.raises(CloudError) as problem:
            await screens.screenshot(gone)
        assert problem.value.code is Code.PROGRAM_FAILED
    await rig.driver.remove(instance)


async def test_who_watches_hears_of_start_and_stop(rig):
    heard = []
    rig.driver.watch(heard.append)

    async def told():
        return name(8) in heard

    instance = await rig.guest(8)
    await until(told)
    heard.clear()
    await rig.driver.stop(instance, 0)
    await until(told)
    await rig.driver.remove(instance)


async def test_guests_go_on_without_the_driver_and_are_found_again(rig):
    instance = await rig.guest(9)
    await rig.driver.close()
    rig.driver = rig.again()
    assert await rig.state(instance) == (1, True)
    await rig.driver.remove(instance)


async def test_the_host_has_something_to_give(rig):
    capacity = await rig.driver.capacity()
    assert capacity.vcpus > 0
    assert capacity.memory_mib > 0
    assert capacity.disk_gib > 0
    assert capacity.virt_type == rig.virt_type
