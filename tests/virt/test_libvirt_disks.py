"""What only real QEMU can show: disks behind sockets, as volumes of other hosts are, and locks of images."""

import os
import signal
import subprocess
from dataclasses import replace

import pytest
from twisted.internet import reactor

from cloudcore.blockdev import files
from cloudcore.errors import CloudError, Code
from cloudcore.virt.driver import GuestDisk
from cloudcore.virt.private_libvirtd import PrivateLibvirtd
from tests.virt.rigs import libvirt_rig, may_run_guests, until, volume

SIZE = 3 * 2**20
MIB = 2**20
WRITER = (  # writes 32 KiB after 32 KiB to its disk, from its second MiB on
    bytes.fromhex(
        "31c0 8ed8 8ec0 8ed0 bc007c"  # no segments; the stack below us
        "be807c b80043 b280 cd13"  # next: the BIOS writes as it is told at 7c80
        "be807c 8106887c8000 83168a7c00"  # 128 sectors further
        "ebe9"  # jmp next
    ).ljust(0x80, b"\0")
    + bytes.fromhex("1000 4000 0080 0000 0008000000000000")  # 64 sectors of what lies at 8000, to sector 2048
).ljust(510, b"\0") + b"\x55\xaa"


@pytest.mark.deadline(60)
@pytest.mark.skipif(not may_run_guests(), reason="needs root and libvirtd")
async def test_a_guest_has_a_disk_behind_a_socket_from_the_start_and_later_and_it_is_copied(tmp_path):
    host = PrivateLibvirtd(reactor, tmp_path)
    await host.ensure()
    rig = libvirt_rig(host)
    servers = []
    try:
        for number in (11, 12):
            socket, file = tmp_path / "remotes" / f"{number}.sock", tmp_path / f"{number}.raw"
            file.write_bytes(b"\0" * SIZE)
            command = ["qemu-nbd", "--format=raw", "--persistent", f"--socket={socket}", "--shared=2", str(file)]
            servers.append(subprocess.Popen(command))  # noqa: ASYNC220, S603  # it is ended below

            async def up(socket=socket):
                return socket.exists()

            await until(up)
        first, second = (
            GuestDisk(volume(number), str(tmp_path / "remotes" / f"{number}.sock"), "raw", "nbd") for number in (11, 12)
        )
        spec = await rig.spec(1)
        await rig.driver.define(replace(spec, disks=(*spec.disks, first)))
        await rig.driver.start(spec.instance)
        await rig.driver.disks.attach(spec.instance, second)
        assert await rig.driver.disks.disks(spec.instance) == {volume(1): 2**30, volume(11): SIZE, volume(12): SIZE}
        copy = rig.instances / spec.instance / "copy.qcow2"
        await rig.driver.disks.copy(spec.instance, {volume(12): str(copy)}, lambda percent: None)
        assert copy.exists()
        await rig.close()
    finally:
        for server in servers:
            os.kill(server.pid, signal.SIGKILL)
            server.wait()
        await host.stop()


@pytest.mark.deadline(60)
@pytest.mark.skipif(not may_run_guests(), reason="needs root and libvirtd")
async def test_a_guest_does_not_start_with_a_volume_that_another_writes_to(tmp_path):
    host = PrivateLibvirtd(reactor, tmp_path)
    await host.ensure()
    rig = libvirt_rig(host)
    try:
        writer, spec = await rig.guest(1), await rig.spec(2)
        shared = await rig.disk(volume(21))
        await rig.driver.disks.attach(writer, shared)
        await rig.driver.define(replace(spec, disks=(*spec.disks, shared)))
        with pytest.raises(CloudError) as problem:
            await rig.driver.start(spec.instance)
        assert problem.value.code is Code.VOLUME_IN_USE
        await rig.driver.remove(writer)
        await rig.driver.start(spec.instance)
        await rig.close()
    finally:
        await host.stop()


@pytest.mark.deadline(60)
@pytest.mark.skipif(not may_run_guests(), reason="needs root and libvirtd")
async def test_a_guest_that_a_full_disk_has_halted_goes_on_when_there_is_room(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "RESERVE", 0)
    small = tmp_path / "volumes"
    small.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(small)]
    subprocess.run(mounting, check=True)  # noqa: ASYNC221, S603  # a disk that is soon full
    host = PrivateLibvirtd(reactor, tmp_path)
    await host.ensure()
    rig = libvirt_rig(host)
    try:
        spec = await rig.spec(1, image=WRITER.ljust(MIB, b"\0"))
        await rig.driver.define(spec)
        await rig.driver.start(spec.instance)
        disk = small / volume(1) / "disk.qcow2"

        async def full():
            left = os.statvfs(small)
            return left.f_bavail * left.f_frsize < 2**17  # less than QEMU takes at once

        await until(full)
        assert await rig.state(spec.instance) == (1, True)
        had = disk.stat().st_blocks
        subprocess.run(["mount", "-o", "remount,size=32m", str(small)], check=True)  # noqa: ASYNC221, S603

        async def grows():
            await rig.driver.guests()  # as every sweep does
            return disk.stat().st_blocks > had

        await until(grows)
        await rig.close()
    finally:
        await host.stop()
        subprocess.run(["umount", str(small)], check=True)  # noqa: ASYNC221, S603
