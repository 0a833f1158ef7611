"""The agent with everything real below it: private libvirtd, QEMU, qemu-img, the host's image cache."""

import hashlib
import os
import signal
from functools import partial
from pathlib import Path

import pytest

from cloudcore.domain.ids import guest_uuid
from cloudcore.errors import CloudError, Code
from cloudcore.rpc.compute import ImageSource, InstanceName, WantedGuest
from tests.compute.hosts import name
from tests.compute.nodes import Node
from tests.virt.rigs import SECTOR, may_run_guests, until

DISK = SECTOR.ljust(2**20, b"\0")


def wanted(number, generation, power="running", **changes):
    source = {"id": "ami-1", "location": "bucket/disk", "sha256": hashlib.sha256(DISK).hexdigest(), "size": len(DISK),
              "format": "raw", "virtual_size": len(DISK)}  # fmt: skip
    return WantedGuest(name(number), generation, power, guest_uuid(name(number)), 1, 80, 1,
                       ImageSource(**{**source, **changes}))  # fmt: skip


@pytest.mark.deadline(120)
@pytest.mark.skipif(not may_run_guests(), reason="needs root and libvirtd")
async def test_a_host_lives_through_a_day(tmp_path):
    node = Node(tmp_path, DISK)
    await node.start()
    try:
        await node.agent.ensure(wanted(1, 1))
        await node.agent.ensure(wanted(2, 1))
        await node.agent.ensure(wanted(3, 1, sha256="ab" * 32))
        await node.told(1, 1, "started")
        await node.told(2, 1, "started")
        await node.told(3, 1, "failed")
        assert (await node.agent.console(InstanceName(name(1)))).timestamp > 0

        (qemu,) = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()
                   and f"guest={name(2)}," in command(entry)]  # fmt: skip
        os.kill(qemu, signal.SIGKILL)
        await node.told(2, 1, "crashed")

        os.kill(node.libvirtd.pid(), signal.SIGKILL)  # the hypervisor ends with all guests, and the agent lives
        await until(partial(node.runs, 1, True), 40)
        assert await node.runs(2, False)

        await node.stop()  # the agent is started anew: nothing happens to guests
        node.conductor.facts.clear()
        await node.start()
        await node.told(1, 1, "started")
        await node.told(2, 1, "crashed")

        await node.stop()  # the machine is "rebooted": what ran runs again, what had ended has ended
        await node.libvirtd.stop()
        node.conductor.facts.clear()
        await node.start()
        await node.told(1, 1, "started")
        await node.told(2, 1, "crashed")
        running = {guest.instance: guest.running for guest in await node.driver.guests()}
        assert running == {name(1): True, name(2): False}

        await node.agent.ensure(WantedGuest(name(1), 2, "stopped"))
        await node.told(1, 2, "stopped")
        for number in (1, 2, 3):
            await node.agent.ensure(WantedGuest(name(number), 3, "absent"))
            await node.told(number, 3, "gone")
        assert await node.driver.guests() == []
        assert list(node.libvirtd.instances.iterdir()) == []
        assert await node.volumes.present() == {}
        with pytest.raises(CloudError) as problem:
            await node.agent.console(InstanceName(name(1)))
        assert problem.value.code is Code.INSTANCE_UNKNOWN
    finally:
        await node.stop()
        await node.libvirtd.stop()


def command(entry):
    try:
        return (entry / "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""
