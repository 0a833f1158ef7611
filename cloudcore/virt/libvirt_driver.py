"""Guests by libvirt and QEMU: VirtDriver over a private libvirtd.

A guest is ours when it carries our mark (domain_xml.MARK); whatever else runs there is never listed nor touched. The
generation is read from the persistent definition, which `define` replaces under a running guest.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import libvirt
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.logger import Logger

from cloudcore.errors import CloudError, Code
from cloudcore.virt import libvirt_screens
from cloudcore.virt.domain_xml import Machine, domain_xml
from cloudcore.virt.driver import Capacity, Guest, GuestChanged, GuestSpec
from cloudcore.virt.libvirt_calls import THREADS, Calls, Daemon, Heard
from cloudcore.virt.libvirt_disks import LibvirtDisks, locks_told, open_to_qemu, volumes_of
from cloudcore.virt.libvirt_domains import active, find, generation, needed, repeatable, running

log = Logger()

CONSOLE = 64 * 1024  # what EC2 gives
LOG_LIMIT = 4 * 1024 * 1024  # bytes of console.log; looked at whenever guests are listed
CREATE = 60.0  # seconds: the first start on a fresh cache probes QEMU, and the machine may be loaded
POLL = 0.2
PRESS = 5.0  # seconds between presses of the power button: a guest that still boots does not hear the first
PRESSED = 5.0  # seconds one press may take
UNDEFINE = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
)


class Host(Daemon, Protocol):
    """Where the directories of guests and volumes are, outside and as the hypervisor sees them."""

    instances: Path
    volumes: Path

    def inside(self, path: str) -> str: ...


@dataclass(frozen=True, slots=True)
class Allocatable:
    """How much of the machine may be promised. Guests rarely compute all at once, hence more vCPUs than processors
    (Nova's ratio); memory is not promised twice, and the host keeps some."""

    vcpu_ratio: float = 16.0
    reserved_mib: int = 512


class LibvirtDriver:
    """`disks` is its VolumeAttachment and LiveCopies."""

    def __init__(
        self, reactor: Any, host: Host, machine: Machine, allocatable: Allocatable = Allocatable()  # noqa: B008
    ) -> None:  # fmt: skip
        self._reactor, self._host, self._machine, self._allocatable = reactor, host, machine, allocatable
        self._watchers: list[GuestChanged] = []
        self._calls = Calls(reactor, host, self._heard)
        self._killed: set[str] = set()  # guests that were ended from outside, and have not been started since
        self._rebooting: dict[str, Deferred[None]] = {}
        self._heavy = DeferredSemaphore(THREADS - 2)  # what takes long leaves threads for what does not
        self.disks = LibvirtDisks(reactor, self._calls, host.inside)

    def capacity(self) -> Deferred[Capacity]:
        return Deferred.fromCoroutine(self._calls.thread(self._capacity))

    def guests(self) -> Deferred[list[Guest]]:
        return Deferred.fromCoroutine(self._guests())

    def define(self, spec: GuestSpec) -> Deferred[None]:
        return Deferred.fromCoroutine(self._define(spec))

    def start(self, instance: str) -> Deferred[None]:
        self._killed.discard(instance)
        return self._heavy.run(lambda: Deferred.fromCoroutine(self._calls.call(_start, instance, seconds=CREATE)))

    def stop(self, instance: str, patience: float) -> Deferred[None]:
        self._expect_no_reboot(instance)
        return Deferred.fromCoroutine(self._stop(instance, patience))

    def reboot(self, instance: str, patience: float = 0.0) -> Deferred[None]:
        return Deferred.fromCoroutine(self._reboot(instance, patience))

    def remove(self, instance: str) -> Deferred[None]:
        self._expect_no_reboot(instance)
        self._killed.discard(instance)
        return self._heavy.run(lambda: Deferred.fromCoroutine(self._calls.call(_remove, instance, seconds=CREATE)))

    def console(self, instance: str) -> Deferred[bytes]:
        return Deferred.fromCoroutine(self._calls.thread(read_console, self._host.instances / instance))

    def screenshot(self, instance: str, wake: bool = False) -> Deferred[bytes]:
        shoot = lambda connection: libvirt_screens.screenshot(running(connection, instance), wake)  # noqa: E731
        return Deferred.fromCoroutine(self._calls.call(shoot))

    def watch(self, changed: GuestChanged) -> None:
        self._watchers.append(changed)

    def close(self) -> Deferred[None]:
        for instance in list(self._rebooting):
            self._expect_no_reboot(instance)
        return Deferred.fromCoroutine(self._calls.close())

    def _heard(self, instance: str, what: Heard) -> None:
        if what is Heard.KILLED:
            self._killed.add(instance)
        if what is Heard.REBOOTED:
            self._expect_no_reboot(instance)
        if not instance:  # they may have rebooted meanwhile, and must not be reset then
            for waiting in list(self._rebooting):
                self._expect_no_reboot(waiting)
        for changed in self._watchers:
            changed(instance)

    async def _guests(self) -> list[Guest]:
        guests = await self._calls.call(_guests, self._host.instances, seconds=30.0)
        return [replace(guest, shut_down=guest.shut_down and guest.instance not in self._killed) for guest in guests]

    def _capacity(self) -> Capacity:
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
        return Capacity(
            vcpus=int((os.cpu_count() or 1) * self._allocatable.vcpu_ratio),
            memory_mib=max(0, pages - self._allocatable.reserved_mib),
            disk_gib=(shutil.disk_usage(self._host.instances).free + _taken(self._host.volumes)) // 2**30,
            virt_type=self._machine.virt_type,
        )

    async def _define(self, spec: GuestSpec) -> None:
        if Path(spec.directory) != self._host.instances / spec.instance:
            raise CloudError(Code.BAD_VALUE, f"{spec.directory} is not the directory of {spec.instance}")
        await self._calls.thread(open_to_qemu, *spec.disks)
        text = domain_xml(spec, self._machine, self._host.inside)
        await self._calls.call(lambda connection: connection.defineXML(text))

    async def _stop(self, instance: str, patience: float) -> None:
        """A QEMU that hangs takes no button and ties up the thread that presses it: it is pressed once and waited for
        like any other, for killing it needs no answer."""
        began = next_press = self._reactor.seconds()
        while (now := self._reactor.seconds()) < began + patience:
            press = now >= next_press
            if press:
                next_press = now + PRESS
            try:
                if await self._calls.call(_down, instance, press, seconds=PRESSED):
                    return
            except CloudError as problem:
                if press:
                    log.warn("{instance} was not told to shut down: {problem}", instance=instance, problem=problem)
                if self._reactor.seconds() >= now + PRESSED:
                    next_press = began + patience
            await _pause(self._reactor, POLL)
        await self._calls.call(_power_off, instance, seconds=30.0)


    async def _reboot(self, instance: str, patience: float) -> None:
        """What waits for the guest is forgotten with us: it has had its button pressed."""
        self._expect_no_reboot(instance)
        if patience <= 0:
            await self._calls.call(_reset, instance)
            return
        await self._calls.call(_ask_to_reboot, instance, seconds=PRESSED)
        self._expect_no_reboot(instance)
        waiting = self._rebooting[instance] = Deferred.fromCoroutine(self._rebooted(instance, patience))
        waiting.addErrback(lambda failure: failure.trap(CancelledError))

    async def _rebooted(self, instance: str, patience: float) -> None:
        """Cancelled when it has begun anew."""
        waited = min(PRESS, patience)
        await _pause(self._reactor, waited)
        try:
            while waited < patience:
                await self._calls.call(_ask_to_reboot, instance)
                await _pause(self._reactor, min(PRESS, patience - waited))
                waited += PRESS
            await self._calls.call(_reset, instance)
        except CloudError as problem:  # it has been stopped meanwhile, or libvirt is away: asking again is its user's
            log.warn("{instance} was not reset: {problem}", instance=instance, problem=problem)
        del self._rebooting[instance]

    def _expect_no_reboot(self, instance: str) -> None:
        waiting = self._rebooting.pop(instance, None)
        if waiting is not None:
            waiting.cancel()


def _pause(reactor: Any, seconds: float) -> Deferred[None]:
    waiting: Deferred[None] = Deferred(lambda cancelled: call.cancel())
    call = reactor.callLater(seconds, waiting.callback, None)
    return waiting


# -- what runs in the pool's threads ----------------------------------------------------------------------------------


def _guests(connection: Any, instances: Path) -> list[Guest]:
    found = []
    for domain in connection.listAllDomains():
        marked = generation(domain)
        if marked is not None:
            runs = active(domain)
            disks = tuple(volumes_of(domain)) if runs else ()
            if runs:
                go_on(domain)
            found.append(Guest(domain.name(), marked, runs, not runs and _shut_down(domain), disks))
            trim_console(instances / domain.name())
    return found


def go_on(domain: Any) -> None:
    """A guest that QEMU has halted because the disk was full when it wrote: it writes the same again, and loses
    nothing. A write that fails otherwise is told to the guest."""
    try:
        if domain.state() == [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR]:
            domain.resume()
    except libvirt.libvirtError as problem:  # it has ended, or does not answer: the next sweep sees
        log.warn("{instance} waits for room and does not go on: {problem}", instance=domain.name(), problem=problem)


def _shut_down(domain: Any) -> bool:
    """libvirt forgets the reason with its process; then it is in doubt."""
    try:
        return bool(domain.state() == [libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN])
    except libvirt.libvirtError as problem:
        if problem.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return False
        raise


def _start(connection: Any, instance: str) -> None:
    domain = needed(connection, instance)
    if not domain.isActive():
        with locks_told():
            repeatable(domain.create, lambda: active(domain))


def _down(connection: Any, instance: str, press: bool) -> bool:
    domain = find(connection, instance)
    if domain is None or not active(domain):
        return True
    if press:
        repeatable(domain.shutdown, lambda: not active(domain))
    return False


def _power_off(connection: Any, instance: str) -> None:
    domain = find(connection, instance)
    if domain is not None and active(domain):
        repeatable(domain.destroy, lambda: not active(domain))


def _reset(connection: Any, instance: str) -> None:
    running(connection, instance).reset()


def _ask_to_reboot(connection: Any, instance: str) -> None:
    """The power button; when the guest has shut down, libvirt resets it instead of ending it."""
    running(connection, instance).reboot(libvirt.VIR_DOMAIN_REBOOT_ACPI_POWER_BTN)


def _remove(connection: Any, instance: str) -> None:
    _power_off(connection, instance)
    domain = find(connection, instance)
    if domain is not None and domain.isPersistent():
        repeatable(lambda: domain.undefineFlags(UNDEFINE), lambda: find(connection, instance) is None)


def _taken(volumes: Path) -> int:
    """Bytes of the file system that volumes have taken of what was promised to them. What several of them share is the
    image cache's."""
    taken = 0
    for disk in volumes.glob("*/*"):
        with suppress(FileNotFoundError):
            found = disk.stat()
            taken += found.st_blocks * 512 if found.st_nlink == 1 else 0
    return taken


# -- the serial console's log -----------------------------------------------------------------------------------------


def read_console(directory: Path, limit: int = CONSOLE) -> bytes:
    """The last `limit` bytes of what the guest wrote, also across a trim."""
    return (_tail(directory / "console.log.1", limit) + _tail(directory / "console.log", limit))[-limit:]


def trim_console(directory: Path, limit: int = LOG_LIMIT, keep: int = CONSOLE) -> None:
    """Keeps the tail aside and empties the log in place: QEMU appends (O_APPEND), so it goes on at the new end."""
    log = directory / "console.log"
    try:
        if log.stat().st_size <= limit:
            return
    except FileNotFoundError:
        return
    aside = directory / "console.log.new"
    aside.write_bytes(_tail(log, keep))
    aside.rename(directory / "console.log.1")
    os.truncate(log, 0)


def _tail(path: Path, limit: int) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, OSError):
        return b""
    with os.fdopen(descriptor, "rb") as file:
        file.seek(max(0, os.fstat(descriptor).st_size - limit))
        return file.read(limit)
