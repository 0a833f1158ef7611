"""The hypervisor as the compute agent sees it: ten idempotent primitives over our own values. Policy lives above.

Implementations: virt/simulated.py and virt/libvirt_driver.py; tests/contracts/test_virt_driver.py holds both.
Options (snapshots, volume attachment, migration ...) are further small Protocols, asked once at start.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred


@dataclass(frozen=True, slots=True)
class Capacity:
    """What may be allocated on this host, what its guests have already included. `virt_type` is kvm only where a probe
    guest has really run under it."""

    vcpus: int
    memory_mib: int
    disk_gib: int
    virt_type: str  # kvm | qemu | simulated


@dataclass(frozen=True, slots=True)
class GuestSpec:
    """One guest to define. `disk` is the path of its own overlay (qcow2), `directory` its own directory; the image
    below the overlay is `base` in that directory, in `base_format` (never probed; "": there is none)."""

    instance: str
    generation: int
    epoch: int
    uuid: str
    vcpus: int
    memory_mib: int
    disk: str
    directory: str
    mac: str
    tap: str
    mtu: int
    base_format: str = ""


@dataclass(frozen=True, slots=True)
class Guest:
    """One guest as the hypervisor has it. Only guests that carry our mark are ever listed. `shut_down`: it does not run
    because it was shut down inside, rather than killed; never true in doubt."""

    instance: str
    generation: int
    running: bool
    shut_down: bool = False


GuestChanged = Callable[[str], None]
"""Called in the reactor with the instance id, or "" when events may have been missed; guests() tells what happened."""


class VirtDriver(Protocol):
    """Every method may be repeated: twice equals once. Failures are CloudError(NO_HYPERVISOR) when the hypervisor is
    out of reach (worth retrying) and CloudError(PROGRAM_FAILED) when it refuses (the text says why)."""

    def capacity(self) -> Deferred[Capacity]: ...

    def guests(self) -> Deferred[list[Guest]]: ...

    def define(self, spec: GuestSpec) -> Deferred[None]:
        """Makes or replaces the definition (by instance); a running guest keeps running with the old one."""

    def start(self, instance: str) -> Deferred[None]:
        """The tap is made by this call, after the firewall chain exists."""

    def stop(self, instance: str, patience: float) -> Deferred[None]:
        """Power button, then power off after `patience` seconds (0: at once). Fires once the guest is down."""

    def reboot(self, instance: str, patience: float = 0.0) -> Deferred[None]:
        """Power button, then a reset where the guest has not begun anew after `patience` seconds (0: at once). Fires
        once it is asked; stop and remove end the wait."""

    def remove(self, instance: str) -> Deferred[None]:
        """Powers off and undefines. Files in the guest's directory are the agent's business."""

    def console(self, instance: str) -> Deferred[bytes]:
        """The last 64 KiB of the serial console; empty when there is none yet."""

    def watch(self, changed: GuestChanged) -> None:
        """Who hears that a guest started, stopped, crashed or vanished."""

    def close(self) -> Deferred[None]:
        """Lets go of the hypervisor; guests go on."""


class Disks(Protocol):
    """Makes root disks. Implementations: virt/imgtool.py (qemu-img) and virt/simulated.py."""

    def overlay(self, base: str, format: str, target: str, size: int) -> Deferred[None]:
        """A qcow2 at `target` of `size` bytes over `base`, a file name in the same directory, in `format` (never
        probed). Complete and on disk when it fires, absent when it fails: CloudError(PROGRAM_FAILED)."""
