"""One dnsmasq, in the background and found again by its pid file: it outlives us on purpose.

A pid alone proves nothing, for pids come again: the process must also have exactly our command line. A zombie has none,
so it counts as gone. Nor does it hear a bridge that was made anew under the same name: its sockets are bound to the
interface of the number that is kept beside its pid.
"""

from __future__ import annotations

import os
import signal
import stat
from contextlib import suppress
from pathlib import Path

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from cloudcore.errors import CloudError, Code
from cloudcore.netdev.driver import NetworkShape, WantedPort
from cloudcore.netdev.programs import Programs
from cloudcore.netdev.render_dnsmasq import Files, Lease, arguments, hosts, leases

PATIENCE, GLANCE = 5.0, 0.02  # seconds it may take to end, and between two looks


class Dnsmasq:
    def __init__(self, clock: IReactorTime, programs: Programs, shape: NetworkShape, directory: Path,
                 nameservers: tuple[str, ...]) -> None:  # fmt: skip
        self._clock, self._programs, self._shape = clock, programs, shape
        self._files = Files(directory)
        self._argv = arguments(shape, self._files, nameservers)

    async def running(self, interface: int) -> None:
        """It runs with today's arguments afterwards, on the bridge of this interface number. A pid file that names a
        dnsmasq with others is ours too."""
        if self._pid(exactly=True) and self._interface() == interface:
            return
        await self.ended()
        self._reachable()
        if not self._files.hosts.exists():
            self._write(self._files.hosts, "")
        self._write(self._files.interface, f"{interface}\n")
        await self._programs.check(*self._argv)

    async def serving(self, ports: tuple[WantedPort, ...], interface: int) -> None:
        """Leases are exactly those of the ports: the file first, then what has been leased to others."""
        await self.running(interface)
        text = hosts(ports)
        if self._files.hosts.read_text() != text:
            self._write(self._files.hosts, text)
            pid = self._pid(exactly=True)
            if pid:
                os.kill(pid, signal.SIGHUP)
        wanted = {Lease(port.mac, port.address) for port in ports}
        for lease in sorted(self._leases() - wanted):
            await self._programs.check("dhcp_release", self._shape.bridge, lease.address, lease.mac)

    async def ended(self) -> None:
        pid = self._pid()
        end = self._clock.seconds() + PATIENCE
        if pid:
            os.kill(pid, signal.SIGTERM)
        while self._pid():
            if self._clock.seconds() > end:
                raise CloudError(Code.PROGRAM_FAILED, f"dnsmasq: process {pid} does not end")
            await deferLater(self._clock, GLANCE, lambda: None)

    def forget(self) -> None:
        """Its files go; it must have ended."""
        for path in (self._files.hosts, self._files.leases, self._files.interface, self._files.pid):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # never made, or somebody keeps something there
            self._files.directory.rmdir()

    def _reachable(self) -> None:
        """The daemon gives up its rights and must find the hosts file without them."""
        directory = self._files.directory
        for missing in (path for path in (directory.parent, directory) if not path.exists()):
            missing.mkdir(parents=True)
            missing.chmod(0o755)
        for path in (directory, *directory.parents):
            if not path.stat().st_mode & stat.S_IXOTH:
                text = f"{path} is closed to others, so that dnsmasq cannot read {directory}"
                raise CloudError(Code.STATE_DIRECTORY, text)

    def _leases(self) -> frozenset[Lease]:
        try:
            return leases(self._files.leases.read_text())
        except FileNotFoundError:
            return frozenset()

    def _interface(self) -> int:
        try:
            return int(self._files.interface.read_text())
        except (OSError, ValueError):
            return 0

    def _write(self, path: Path, text: str) -> None:
        aside = path.with_suffix(".new")
        aside.write_text(text)
        aside.chmod(0o644)
        aside.rename(path)

    def _pid(self, exactly: bool = False) -> int:
        """Of the live process that our pid file names, or 0."""
        try:
            pid = int(self._files.pid.read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
        except (OSError, ValueError):
            return 0
        ours = [os.fsencode(argument) for argument in self._argv]
        if exactly:
            return pid if command[1:] == ours[1:] else 0
        return pid if os.fsencode(f"--pid-file={self._files.pid}") in command else 0
