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
class GuestDisk:
    """One disk of a guest, by the volume's id, of which the serial is made that the guest reads. `path` is a file, a
    block device, or the unix socket of an NBD server; `backing` are the layers below a qcow2, nearest first, with their
    formats: nothing is ever probed."""

    volume: str
    path: str
    format: str = "qcow2"  # raw | qcow2
    kind: str = "file"  # file | block | nbd
    backing: tuple[tuple[str, str], ...] = ()  # (path, format)


@dataclass(frozen=True, slots=True)
class GuestSpec:
    """One guest to define. It starts from the first of its disks; `directory` is its own, for console and sockets."""

    instance: str
    generation: int
    epoch: int
    uuid: str
    vcpus: int
    memory_mib: int
    disks: tuple[GuestDisk, ...]
    directory: str
    mac: str
    tap: str
    mtu: int


@dataclass(frozen=True, slots=True)
class Guest:
    """One guest as the hypervisor has it. Only guests that carry our mark are ever listed. `shut_down`: it does not run
    because it was shut down inside, rather than killed; never true in doubt. `disks` are the volumes it has while it
    runs."""

    instance: str
    generation: int
    running: bool
    shut_down: bool = False
    disks: tuple[str, ...] = ()


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


class VolumeAttachment(Protocol):
    """An option: disks that come, grow and go while a guest runs. Every method may be repeated, and concerns guests
    that carry our mark; failures as those of VirtDriver, and CloudError(VOLUME_IN_USE) where somebody else holds the
    image's lock. tests/contracts/test_volume_attachment.py holds the implementations."""

    def disks(self, instance: str) -> Deferred[dict[str, int]]:
        """{volume: bytes} of a guest that runs, whoever gave it the disk. One that does not run has none."""

    def attach(self, instance: str, disk: GuestDisk) -> Deferred[None]:
        """Gives the disk to a guest that runs, and writes it into its definition."""

    def detach(self, instance: str, volume: str, patience: float) -> Deferred[bool]:
        """Takes the disk out of the definition, and asks the guest to let go of it, again and again: it may still be
        booting. True once it has; False when it has not after `patience` seconds, and it may still do so later."""

    def resize(self, instance: str, volume: str, size: int) -> Deferred[None]:
        """To at least so many bytes, which the guest hears at once. Never shrinks."""


class LiveCopies(Protocol):
    """An option: what the volumes of a running guest hold at one moment."""

    def copy(self, instance: str, targets: dict[str, str], progress: Callable[[int], None]) -> Deferred[None]:
        """Whole copies, without backing files, into new qcow2 files {volume: path}, all of one moment; complete when it
        fires, removed when it fails. `progress` hears percents. One copy of a guest at a time: what another began is
        ended. CloudError(PROGRAM_FAILED) when the guest does not run, has no such volume, or ends meanwhile."""
