"""What `down` does: the daemons end in order; guests stop, or everything ever made goes, when told so.

`Teardown` is the composition root's (daemon/teardown.py): it knows the hypervisor and the network.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, Protocol

from cloudcore.cli import machine, reactor, state
from cloudcore.cli.asking import confirm_machine
from cloudcore.cli.printing import DONE, TIMED_OUT, Console, Refusal
from cloudcore.cli.progress import step
from cloudcore.config.model import Config
from cloudcore.errors import Code

PATIENCE = 45.0  # seconds for requests under way, then the process is killed: the next start recovers
POLL = 0.05


class Teardown(Protocol):
    """Both may be repeated, and find what there is by our marks. `config` has its driver."""

    def stop_guests(self, reactor: Any, config: Config, state: Path) -> Awaitable[Any]:
        """Power buttons, then power off; how many guests there were."""

    def clean(self, reactor: Any, config: Config, state: Path) -> Awaitable[Any]:
        """Guests, bridge, tables and DHCP go; what lies in the state directory is left to the caller."""


def down(options: Any, console: Console, teardown: Teardown) -> int:
    if not options.state.exists():
        console.note(f"there is no cloud in {options.state}: nothing to stop")
        return DONE
    state.check(options.state)
    if options.purge:
        return purge(options, console, teardown)
    was = stop_daemons(options.state, console)
    if options.instances == "stop" and machine.recorded(options.state):
        stop_guests(options, console, teardown)
    elif not was:
        console.note("cloudcore was not running")
    return DONE


def stop_daemons(directory: Path, console: Console) -> bool:
    """False when nothing ran."""
    running = state.holder(directory)
    if running is None:
        return False
    with step("daemons", console.err) as shown:
        for number, seconds in ((signal.SIGTERM, PATIENCE), (signal.SIGKILL, 5.0)):
            if signalled(running, number) and gone(directory, running, seconds):
                break
        if state.holder(directory) == running:
            raise Refusal(Code.UNAVAILABLE, f"process {running.pid} does not end", f"kill -9 {running.pid}",
                          status=TIMED_OUT)
        shown.result = "stopped"
    return True


def signalled(running: state.Holder, number: int) -> bool:
    """Signals that very process, not another that got its number since."""
    try:
        handle = os.pidfd_open(running.pid)
    except ProcessLookupError:
        return True
    try:
        if state.started(running.pid) == running.started:
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        pass
    finally:
        os.close(handle)
    return True


def gone(directory: Path, running: state.Holder, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if state.holder(directory) != running:
            return True
        time.sleep(POLL)
    return False


def stop_guests(options: Any, console: Console, teardown: Teardown) -> None:
    config = configured(options)

    async def work(clock: Any) -> Any:
        return await teardown.stop_guests(clock, config, options.state)

    with step("guests", console.err) as shown:
        shown.result = f"{reactor.run(work)} powered off"


def purge(options: Any, console: Console, teardown: Teardown) -> int:
    """Lists, asks for the machine's name, then removes everything."""
    state.existing(options.state)  # never a directory that is not a cloud's
    config = configured(options)
    console.note("This deletes what cloudcore made on this machine:")
    for line in going(config, options.state):
        console.note(f"  {line}")
    module = ", the kernel module br_netfilter" if config.compute.driver == "libvirt" else ""
    console.note(f"It leaves: packages installed by apt{module}, this clone and its .venv.")
    if not options.yes:
        confirm_machine(options.confirm, socket.gethostname(), console)
    stop_daemons(options.state, console)

    async def work(clock: Any) -> None:
        await teardown.clean(clock, config, options.state)

    if machine.recorded(options.state):
        with step("guests, network", console.err) as shown:
            reactor.run(work)
            shown.result = "removed"
    with step("state", console.err) as shown:
        shutil.rmtree(options.state)
        shown.result = f"{options.state} removed"
    return DONE


def going(config: Config, directory: Path) -> list[str]:
    files = sum(len(names) for _, _, names in os.walk(directory))
    used = sum(os.lstat(Path(folder) / name).st_blocks for folder, _, names in os.walk(directory) for name in names)
    lines = [f"{directory}: database, keys, images, objects, guests' disks ({files} files, {used / 2048:.0f} MiB)"]
    if config.compute.driver == "libvirt":
        lines = ["every guest of this cloud, with its disk", f"bridge {config.network.bridge}, its DHCP server",
                 f"nftables tables named {config.network.table}",
                 "with the last cloud of this machine: 169.254.169.254 on lo, IPv4 forwarding if it was off before",
                 *lines]
        if config.volume.driver == "lvm":
            lines.insert(0, f"logical volumes of volume group {config.volume.group} that are tagged cloudcore")
    return lines


def configured(options: Any) -> Config:
    return machine.with_driver(state.configuration(options), options.state, None)
