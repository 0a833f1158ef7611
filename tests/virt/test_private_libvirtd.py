"""The private libvirtd, real: found again, deep directories, kills on either side, nothing left at the end."""

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor

from cloudcore.process.running import check
from cloudcore.virt.libvirt_driver import trim_console
from cloudcore.virt.private_libvirtd import PrivateLibvirtd
from tests.virt.rigs import libvirt_rig, may_run_guests, name, pause, until, volume

pytestmark = [
    pytest.mark.deadline(60),
    pytest.mark.skipif(not may_run_guests(), reason="needs root and libvirtd"),
]


@pytest_twisted.async_yield_fixture(scope="module")
async def host(tmp_path_factory):
    """Its state directory is too deep for a unix socket and closed to everybody else."""
    state = tmp_path_factory.mktemp("virt") / ("deep" * 20) / ("directory" * 9)
    state.mkdir(parents=True)
    state.chmod(0o700)
    host = PrivateLibvirtd(reactor, state)
    await host.ensure()
    yield host
    await host.stop()


@pytest_twisted.async_yield_fixture
async def rig(host):
    rig = libvirt_rig(host)
    yield rig
    await rig.close()


def processes(words):
    found = []
    for entry in Path("/proc").iterdir():
        try:
            text = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, UnicodeDecodeError):
            continue
        if entry.name.isdigit() and words in text:
            found.append(int(entry.name))
    return found


def below(pid):
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return children + [deeper for child in children for deeper in below(child)]


def lives(pid):
    """A zombie does not: it waits for a PID 1 that takes its time."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def program(pid):
    return Path(f"/proc/{pid}/comm").read_text().strip()


def libvirtd_of(host):
    (found,) = [pid for pid in below(host.pid()) if program(pid) == "libvirtd"]
    return found


async def test_a_later_process_finds_it_again(host):
    other = PrivateLibvirtd(reactor, host.instances.parent)
    assert other.pid() == host.pid()
    before = host.pid()
    await other.ensure()
    other.release()
    assert host.pid() == before
    assert other.identity() == host.identity()


async def test_guests_that_are_all_to_be_powered_off_belong_to_an_earlier_life(host):
    """However far that comes: whoever finds them ended starts them again."""
    before = host.identity()
    host.end_life()
    after = host.identity()
    assert after != before
    assert PrivateLibvirtd(reactor, host.instances.parent).identity() == after


async def test_guests_run_as_an_unprivileged_user_over_an_image_that_stays_roots(rig):
    instance = await rig.guest(1)
    opened = await rig.volumes.opened(volume(1))
    disk, image = Path(opened.path), Path(opened.backing[0][0])
    assert disk.stat().st_uid != 0
    assert image.stat().st_uid == 0
    assert {disk.parent.stat().st_uid, (rig.instances / instance).stat().st_uid} == {0}
    await rig.driver.stop(instance, 0)
    assert disk.stat().st_mode & 0o777 == 0o600


async def test_a_killed_libvirtd_comes_back_and_its_guests_never_noticed(host, rig):
    instance = await rig.guest(2)
    heard = []
    rig.driver.watch(heard.append)
    os.kill(libvirtd_of(host), signal.SIGKILL)

    async def back():
        return "" in heard

    await until(back)
    assert await rig.state(instance) == (1, True)
    heard.clear()

    async def told():
        return instance in heard

    await rig.driver.stop(instance, 0)
    await until(told)


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM])
async def test_a_killed_guest_is_heard_of_at_once(host, rig, by):
    """By SIGTERM, as when the machine shuts down, QEMU ends in order; still nobody inside wanted it."""
    instance = await rig.guest(3)
    heard = []
    rig.driver.watch(heard.append)
    (qemu,) = [pid for pid in processes(f"guest={instance}") if pid in below(host.pid())]
    os.kill(qemu, by)

    async def told():
        return instance in heard and await rig.state(instance) == (1, False)

    await until(told)
    (guest,) = [one for one in await rig.driver.guests() if one.instance == instance]
    assert not guest.shut_down


async def test_a_guest_that_hangs_is_powered_off_in_time(host, rig):
    instance = await rig.guest(7)
    (qemu,) = [pid for pid in processes(f"guest={instance}") if pid in below(host.pid())]
    os.kill(qemu, signal.SIGSTOP)
    await rig.driver.stop(instance, 1.0)
    assert await rig.state(instance) == (1, False)
    await pause(0.5)
    assert rig.driver._calls.stuck == 0, "its thread is free again"


async def test_what_others_have_taken_of_the_disk_is_not_promised(rig):
    await rig.guest(5)
    free = shutil.disk_usage(rig.instances).free / 2**30
    assert abs((await rig.driver.capacity()).disk_gib - free) <= 2, "one tiny guest is here"


async def test_a_guest_that_does_not_reboot_is_reset(rig):
    """The sector's guest halts and hears no power button."""
    instance = await rig.guest(6)

    async def boots():
        return (await rig.driver.console(instance)).count(b"login")

    async def first():
        return await boots() == 1

    async def second():
        return await boots() == 2

    await until(first)
    await rig.driver.reboot(instance, 1.0)
    assert await boots() == 1
    await until(second)
    await rig.driver.reboot(instance, 1.0)
    await rig.driver.stop(instance, 0)
    await pause(1.5)
    assert await rig.state(instance) == (1, False)


async def test_what_does_not_carry_our_mark_is_nobodys_business(host, rig):
    text = "<domain type='qemu'><name>foreign</name><memory>1024</memory><os><type>hvm</type></os></domain>"
    await rig.driver._calls.call(lambda connection: connection.defineXML(text))
    assert await rig.state("foreign") is None
    await rig.driver.remove("foreign")
    names = await rig.driver._calls.call(lambda connection: [domain.name() for domain in connection.listAllDomains()])
    assert names == ["foreign"]
    await rig.driver._calls.call(lambda connection: connection.lookupByName("foreign").undefine())


@pytest_twisted.async_yield_fixture
async def bridge():
    """One of this test alone."""
    name = f"cct{os.urandom(4).hex()}"
    await check(reactor, ["ip", "link", "add", name, "type", "bridge"])
    yield name
    await check(reactor, ["ip", "link", "del", name])


async def test_a_guests_tap_joins_the_bridge_and_goes_with_it(host, bridge):
    rig = libvirt_rig(host, bridge)
    tap = f"t{os.urandom(7).hex()}"
    spec = replace(await rig.spec(11), tap=tap, mtu=1400)
    await rig.driver.define(spec)
    await rig.driver.start(spec.instance)
    (link,) = json.loads((await check(reactor, ["ip", "-j", "link", "show", tap])).stdout)
    assert (link["master"], link["mtu"]) == (bridge, 1400)
    await rig.driver.stop(spec.instance, 0)
    assert not Path(f"/sys/class/net/{tap}").exists()
    await rig.close()


async def test_a_log_that_was_emptied_is_gone_on_with(rig):
    instance = await rig.guest(12)
    home = rig.instances / instance

    async def written():
        return b"login" in (home / "console.log").read_bytes()

    await until(written)
    trim_console(home, limit=1, keep=100)
    assert not await written()
    await rig.driver.reboot(instance)
    await until(written)
    assert b"\0" not in (home / "console.log").read_bytes()
    assert (await rig.driver.console(instance)).count(b"login") == 2


async def test_nothing_is_left_when_it_is_stopped(tmp_path):
    host = PrivateLibvirtd(reactor, tmp_path)
    await host.ensure()
    rig = libvirt_rig(host)
    instance = await rig.guest(4)
    inside = below(host.pid())
    assert len(inside) >= 3
    await rig.driver.close()
    await host.stop()
    await host.stop()
    assert [pid for pid in inside if lives(pid)] == []
    assert host.pid() is None
    assert str(tmp_path) not in Path("/proc/mounts").read_text()
    assert (rig.instances / instance).exists()
    before = host.identity()
    await host.ensure()  # and it can be had again, with what was defined
    assert host.identity() != before
    again = libvirt_rig(host)
    assert await again.state(name(4)) == (1, False)
    await again.close()
    await host.stop()
