"""The private libvirtd of one state directory: started detached, found again by whoever comes later.

The system's libvirtd, if any, is not touched and not needed. Ours runs in namespaces of its own (private_libvirtd.sh):
a mount namespace, where sockets, definitions and logs lie below the state directory and the directories of guests and
volumes are short and traversable for QEMU's user, however deep or private the state directory; and a PID namespace
whose init reaps at once. It stays in our network namespace, since taps join our bridge. Guests and libvirtd outlive us
until `stop`.
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import signal
import sys
import uuid
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from cloudcore.errors import CloudError, Code
from cloudcore.process.running import PATH, run

log = Logger()

INSIDE = "/run/cloudcore"
SHARED = ("instances", "volumes", "remotes")  # of the state directory: QEMU sees them below INSIDE
PROGRAMS = ("libvirtd", "qemu-system-x86_64", "unshare", "setsid", "flock", "mount")
READY = 30.0  # seconds until the socket is there; 0.1-0.3 s as a rule, more on a loaded machine
POLL = 0.05
TREE = ("etc/qemu", "run", "lib", "log", "cache", "root")

LIBVIRTD_CONF = """\
unix_sock_rw_perms = "0700"
unix_sock_ro_perms = "0700"
auth_unix_ro = "none"
auth_unix_rw = "none"
listen_tls = 0
listen_tcp = 0
host_uuid = "{uuid}"
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
"""
# Without "file", libvirt wants virtlogd. No security driver: its profiles are written for the system's paths.
QEMU_CONF = """\
user = "{user}"
group = "{group}"
dynamic_ownership = 1
remember_owner = 0
security_driver = "none"
stdio_handler = "file"
namespaces = []
cgroup_controllers = []
"""


class PrivateLibvirtd:
    """`state` is the state directory; `kvm` whether guests may use /dev/kvm (ask kvm_selftest, never the node).

    Raises CloudError: NOT_PERMITTED unless root, NO_HYPERVISOR where a program is missing or libvirtd does not come up.
    """

    def __init__(self, reactor: Any, state: str | Path, kvm: bool = False) -> None:
        self._reactor, self._state, self._kvm = reactor, Path(state).resolve(), kvm
        self._home = self._state / "libvirt"
        self._lock = DeferredLock()
        self._run: int | None = None
        self.instances, self.volumes = self._state / "instances", self._state / "volumes"

    def ensure(self) -> Deferred[str]:
        """The URI for libvirt.open in this process; starts libvirtd when it does not run.

        The socket is reached through a descriptor of its directory: its full name may exceed the 107 bytes of a unix
        socket's address."""
        return self._lock.run(lambda: Deferred.fromCoroutine(self._ensure()))

    def inside(self, path: str) -> str:
        """How the hypervisor sees a path. What lies in no directory of ours, as block devices do, it sees as we do."""
        try:
            within = Path(path).relative_to(self._state)
        except ValueError:
            return path
        if within.parts[:1] and within.parts[0] in SHARED:
            return f"{INSIDE}/{within}"
        raise CloudError(Code.BAD_VALUE, f"QEMU does not see {path}")

    def pid(self) -> int | None:
        """Of the process that holds the namespaces; None when nothing runs."""
        try:
            number, born = (self._home / "pid").read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        return int(number) if _born(int(number)) == born else None

    def identity(self) -> str:
        """Changes whenever every guest has ended: another boot of the machine, another namespace, another life."""
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        life = _words(self._home / "life")
        return f"{boot}:{_words(self._home / 'pid') if self.pid() else 'down'}{life and ':' + life}"

    def end_life(self) -> None:
        """Say so before all guests are powered off: none of those that end from now on wanted it."""
        _replace(self._home / "life", f"{uuid.uuid4()}\n")

    def stop(self) -> Deferred[None]:
        """Ends libvirtd and with it every guest; returns once they are gone. Nothing running is a success."""
        return self._lock.run(lambda: Deferred.fromCoroutine(self._stop()))

    def release(self) -> None:
        """Lets go of the descriptor; libvirtd and guests go on."""
        if self._run is not None:
            os.close(self._run)
            self._run = None

    async def _ensure(self) -> str:
        if self._run is None or self.pid() is None:
            if os.geteuid() != 0:
                raise CloudError(Code.NOT_PERMITTED, "guests by libvirt need root (or --driver simulated)")
            if self.pid() is None:
                self._configure()
                await self._start()
            if self._run is None:
                self._run = os.open(self._home / "run", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        return f"qemu+unix:///system?socket=/proc/self/fd/{self._run}/libvirt-sock"

    def _configure(self) -> None:
        missing = [name for name in PROGRAMS if not shutil.which(name, path=PATH)]
        if missing:
            raise CloudError(Code.NO_HYPERVISOR, f"not installed: {', '.join(missing)}")
        for name in TREE:
            (self._home / name).mkdir(parents=True, exist_ok=True)
        for name in SHARED:
            (self._state / name).mkdir(exist_ok=True)
            (self._state / name).chmod(0o711)  # QEMU's user passes through; the state directory above may stay 0700
        for name in ("lib", "cache"):
            (self._home / name).chmod(0o755)
        (self._home / "nokvm").touch(mode=0o600)
        identity = self._home / "host_uuid"
        if not identity.exists():
            identity.write_text(str(uuid.uuid4()))
        user, group = qemu_user()
        (self._home / "etc/libvirtd.conf").write_text(LIBVIRTD_CONF.format(uuid=identity.read_text().strip()))
        (self._home / "etc/qemu.conf").write_text(QEMU_CONF.format(user=user, group=group))
        for stale in (self._home / "run").glob("libvirt*-sock*"):
            stale.unlink()

    async def _start(self) -> None:
        script = str(Path(__file__).with_suffix(".sh"))
        command = ["/bin/bash", script, str(self._state), "yes" if self._kvm else "no", sys.executable]
        command.append(" ".join(SHARED))
        done = await run(self._reactor, command, timeout=10)
        number = done.stdout.decode().strip()
        born = _born(int(number)) if done.status == 0 and number.isdigit() else None
        if born is None:
            said = done.stderr.decode(errors="replace").strip() or self._said()
            raise CloudError(Code.NO_HYPERVISOR, f"libvirtd did not start: {said}")
        _replace(self._home / "pid", f"{number} {born}\n")
        socket, began = self._home / "run/libvirt-sock", self._reactor.seconds()
        while not socket.exists():
            if self.pid() is None or self._reactor.seconds() - began > READY:
                raise CloudError(Code.NO_HYPERVISOR, f"libvirtd did not come up: {self._said()}")
            await _pause(self._reactor, POLL)
        log.info("libvirtd runs for {state}, pid {pid}", state=str(self._state), pid=number)

    async def _stop(self) -> None:
        self.release()
        number = self.pid()
        if number is None:
            return
        inner = _children(number)
        os.kill(number, signal.SIGKILL)  # --kill-child: the namespace's init goes with it, and so all within
        began = self._reactor.seconds()
        while self.pid() is not None or any(_born(child) for child in inner):  # an init ends after all its namespace
            if self._reactor.seconds() - began > READY:
                raise CloudError(Code.PROGRAM_FAILED, f"libvirtd of {self._state} does not end (pid {number})")
            await _pause(self._reactor, POLL)
        (self._home / "pid").unlink(missing_ok=True)

    def _said(self) -> str:
        try:
            lines = (self._home / "log/host.log").read_text(errors="replace").splitlines()
        except FileNotFoundError:
            lines = []
        return lines[-1] if lines else f"see {self._home}/log"


def qemu_user() -> tuple[str, str]:
    """libvirt's own unprivileged user where the distribution made it, else root."""
    try:
        pwd.getpwnam("libvirt-qemu")
        grp.getgrnam("kvm")
    except KeyError:
        return "root", "root"
    return "libvirt-qemu", "kvm"


def _born(number: int) -> str | None:
    """When a process began, in clock ticks since boot: tells it from a later one of the same number."""
    try:
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]


def _children(number: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{number}/task/{number}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _words(path: Path) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""


def _replace(path: Path, text: str) -> None:
    aside = path.with_name(path.name + ".new")
    aside.write_text(text)
    aside.rename(path)


def _pause(reactor: Any, seconds: float) -> Deferred[None]:
    waiting: Deferred[None] = Deferred(lambda cancelled: call.cancel())
    call = reactor.callLater(seconds, waiting.callback, None)
    return waiting
