"""The tiny guest, built and booted: the only test here that waits for a whole operating system."""

import pytest
from twisted.internet import reactor

from cloudcore.domain.image_header import HEAD, TAIL, judge
from cloudcore.virt.kvm_selftest import virt_type
from cloudcore.virt.private_libvirtd import PrivateLibvirtd
from cloudcore.virt.tiny_image import build
from tests.virt.rigs import libvirt_rig, may_run_guests, until


@pytest.mark.deadline(240)
@pytest.mark.skipif(not may_run_guests(), reason="needs root and libvirtd")
async def test_it_is_built_once_boots_tells_its_story_and_heeds_the_power_button(tmp_path):
    image = await build(reactor, tmp_path / "tiny")
    built = image.stat().st_mtime_ns
    assert (await build(reactor, tmp_path / "tiny")).stat().st_mtime_ns == built
    data = image.read_bytes()
    assert judge(data[:HEAD], data[-TAIL:], len(data)).format == "raw"

    host = PrivateLibvirtd(reactor, tmp_path)
    await host.ensure()
    rig = libvirt_rig(host)
    instance = await rig.guest(7, image=data)

    async def booted():
        return b" login" in await rig.driver.console(instance)

    await until(booted, 180)
    told = (await rig.driver.console(instance)).decode()
    assert "data boots=1" in told
    assert "uuid=ec2" in told
    await rig.driver.stop(instance, 60)
    assert "Power down" in (await rig.driver.console(instance)).decode()
    await rig.close()
    await host.stop()


@pytest.mark.deadline(60)
@pytest.mark.skipif(not may_run_guests(), reason="needs QEMU")
async def test_the_self_test_is_honest_and_remembers(tmp_path):
    first = await virt_type(reactor, tmp_path)
    assert first in ("kvm", "qemu")
    (tmp_path / "kvm-selftest.json").write_text((tmp_path / "kvm-selftest.json").read_text().replace(first, "kvm"))
    assert await virt_type(reactor, tmp_path) == "kvm"
    (tmp_path / "kvm-selftest.json").write_text('{"boot": "another", "virt_type": "kvm"}')
    assert await virt_type(reactor, tmp_path) == first
