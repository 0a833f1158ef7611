"""Disks that come and go while a guest runs, and copies of them, by libvirt: VolumeAttachment and LiveCopies.

A disk is known by its serial, in the running guest as in its definition; both are kept alike, each with a name (vdb)
that is free in it. A guest that still boots misses the request to let go of a disk, so that it is made again and again.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, SubElement, fromstring, tostring

import libvirt
from twisted.internet.defer import Deferred

from cloudcore.domain.volumes import of_serial
from cloudcore.errors import CloudError, Code
from cloudcore.virt.domain_xml import Inside, disk_element, targets
from cloudcore.virt.driver import GuestDisk
from cloudcore.virt.libvirt_calls import Calls
from cloudcore.virt.libvirt_domains import active, find, running
from cloudcore.virt.private_libvirtd import qemu_user

POLL = 0.2  # seconds between looks
ASK = 3.0  # seconds between requests to let go of a disk
CALL = 30.0  # seconds of one call: plugging takes 10-60 ms on a machine with nothing else to do
ENDING = 10.0  # seconds a job of somebody else may take to end


class LibvirtDisks:
    """`inside` says how QEMU sees a path."""

    def __init__(self, reactor: Any, calls: Calls, inside: Inside) -> None:
        self._reactor, self._calls, self._inside = reactor, calls, inside

    def disks(self, instance: str) -> Deferred[dict[str, int]]:
        return Deferred.fromCoroutine(self._calls.call(_sizes, instance, seconds=CALL))

    def attach(self, instance: str, disk: GuestDisk) -> Deferred[None]:
        return Deferred.fromCoroutine(self._attach(instance, disk))

    def detach(self, instance: str, volume: str, patience: float) -> Deferred[bool]:
        return Deferred.fromCoroutine(self._detach(instance, volume, patience))

    def resize(self, instance: str, volume: str, size: int) -> Deferred[None]:
        return Deferred.fromCoroutine(self._calls.call(_resize, instance, volume, size, seconds=CALL))

    def copy(self, instance: str, targets: dict[str, str], progress: Callable[[int], None]) -> Deferred[None]:
        return Deferred.fromCoroutine(self._copy(instance, targets, progress))

    async def _attach(self, instance: str, disk: GuestDisk) -> None:
        await self._calls.thread(open_to_qemu, disk)
        await self._calls.call(_attach, instance, disk, self._inside, seconds=CALL)

    async def _detach(self, instance: str, volume: str, patience: float) -> bool:
        began = next_request = self._reactor.seconds()
        while True:
            now = self._reactor.seconds()
            if asked := now >= next_request:
                next_request = now + ASK
            if await self._calls.call(_gone, instance, volume, asked, seconds=CALL):
                return True
            if now >= began + patience:
                return False
            await _pause(self._reactor, POLL)

    async def _copy(self, instance: str, copies: dict[str, str], progress: Callable[[int], None]) -> None:
        await self._free(instance)
        await self._calls.thread(_unlink, list(copies.values()))
        inside = {volume: self._inside(path) for volume, path in copies.items()}
        try:
            await self._calls.call(_begin, instance, inside, seconds=CALL)
            while (percent := await self._calls.call(_percent, instance)) is not None:
                progress(percent)
                await _pause(self._reactor, POLL)
        except BaseException:
            with suppress(CloudError):
                await self._calls.call(_end_job, instance)
            await self._calls.thread(_unlink, list(copies.values()))
            raise

    async def _free(self, instance: str) -> None:
        """Of what somebody began who does not wait for it any more."""
        end = self._reactor.seconds() + ENDING
        while not await self._calls.call(_end_job, instance):
            if self._reactor.seconds() > end:
                raise CloudError(Code.PROGRAM_FAILED, f"libvirt is busy with another job of {instance}")
            await _pause(self._reactor, POLL)


def _pause(reactor: Any, seconds: float) -> Deferred[None]:
    waiting: Deferred[None] = Deferred(lambda cancelled: call.cancel())
    call = reactor.callLater(seconds, waiting.callback, None)
    return waiting


# -- what runs in the pool's threads ----------------------------------------------------------------------------------


def open_to_qemu(*disks: GuestDisk) -> None:
    """A socket belongs to QEMU's user: libvirt hands over files and devices, but no sockets."""
    for disk in disks:
        if disk.kind != "nbd":
            continue
        user = pwd.getpwnam(qemu_user()[0])
        with suppress(FileNotFoundError):  # QEMU will say so better
            os.chown(disk.path, user.pw_uid, -1)


def volumes_of(domain: Any) -> dict[str, Element]:
    """{volume: disk} of a running guest; none of one that has just ended."""
    try:
        return _disks(domain.XMLDesc(0))
    except libvirt.libvirtError as problem:
        if problem.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return {}
        raise


@contextmanager
def locks_told() -> Iterator[None]:
    """QEMU says of an image that somebody else has it open, or that it is being copied: over by itself, some time."""
    try:
        yield
    except libvirt.libvirtError as problem:
        text = str(problem)
        if ("Failed to get" in text and " lock" in text) or "block job" in text:
            raise CloudError(Code.VOLUME_IN_USE, f"somebody else holds the volume: {problem}") from problem
        raise


def _disks(text: str) -> dict[str, Element]:
    found = {}
    for disk in fromstring(text).iterfind("devices/disk"):  # noqa: S314  # libvirt's own words
        volume = of_serial(disk.findtext("serial", ""))
        if volume is not None:
            found[volume] = disk
    return found


def _name(disk: Element) -> str:
    target = disk.find("target")
    return "" if target is None else target.get("dev", "")


def _sizes(connection: Any, instance: str) -> dict[str, int]:
    domain = find(connection, instance)
    if domain is None or not active(domain):
        return {}
    return {volume: int(domain.blockInfo(_name(disk))[0]) for volume, disk in volumes_of(domain).items()}


def _attach(connection: Any, instance: str, disk: GuestDisk, inside: Inside) -> None:
    domain = running(connection, instance)
    live, kept = volumes_of(domain), _disks(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
    taken = {_name(found) for found in (*live.values(), *kept.values())}
    name = next(targets(taken))
    with locks_told():
        if disk.volume not in live:
            text = tostring(disk_element(disk, name, inside), encoding="unicode")
            domain.attachDeviceFlags(text, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        if disk.volume not in kept:
            text = tostring(disk_element(disk, name, inside), encoding="unicode")
            domain.attachDeviceFlags(text, libvirt.VIR_DOMAIN_AFFECT_CONFIG)


def _gone(connection: Any, instance: str, volume: str, ask: bool) -> bool:
    domain = find(connection, instance)
    if domain is None:
        return True
    if ask and domain.isPersistent():
        kept = _disks(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)).get(volume)
        if kept is not None:
            domain.detachDeviceFlags(tostring(kept, encoding="unicode"), libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    if not active(domain):
        return True
    disk = volumes_of(domain).get(volume)
    if disk is None:
        return True
    alias = disk.find("alias")
    if ask and alias is not None:
        with suppress(libvirt.libvirtError):  # it has been asked already, or has just let go
            domain.detachDeviceAlias(alias.get("name"), libvirt.VIR_DOMAIN_AFFECT_LIVE)
    return False


def _resize(connection: Any, instance: str, volume: str, size: int) -> None:
    domain = running(connection, instance)
    disk = volumes_of(domain).get(volume)
    if disk is None:
        raise CloudError(Code.PROGRAM_FAILED, f"{instance} has no disk {volume}")
    if domain.blockInfo(_name(disk))[0] < size:
        with locks_told():
            domain.blockResize(_name(disk), size, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)


def _unlink(paths: list[str]) -> None:
    for path in paths:
        Path(path).unlink(missing_ok=True)


def _begin(connection: Any, instance: str, copies: dict[str, str]) -> None:
    domain = running(connection, instance)
    live = volumes_of(domain)
    missing = copies.keys() - live.keys()
    if missing:
        raise CloudError(Code.PROGRAM_FAILED, f"{instance} has no disk {', '.join(sorted(missing))}")
    backup = Element("domainbackup", mode="push")
    disks = SubElement(backup, "disks")
    for volume, disk in live.items():
        if volume in copies:
            entry = SubElement(disks, "disk", name=_name(disk), type="file")
            SubElement(entry, "driver", type="qcow2")
            SubElement(entry, "target", file=copies[volume])
        else:
            SubElement(disks, "disk", name=_name(disk), backup="no")
    domain.backupBegin(tostring(backup, encoding="unicode"), None, 0)


def _percent(connection: Any, instance: str) -> int | None:
    """None when it is over and good."""
    domain = running(connection, instance)
    if domain.jobInfo()[0] != libvirt.VIR_DOMAIN_JOB_NONE:
        told = domain.jobStats(0)
        total = told.get("disk_total", 0)
        return min(99, int(100 * told.get("disk_processed", 0) / total)) if total else 0
    told = domain.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)
    if not told.get("success"):
        reason = told.get("errmsg", "no reason given")
        raise CloudError(Code.PROGRAM_FAILED, f"{instance} could not be copied: {reason}")
    return None


def _end_job(connection: Any, instance: str) -> bool:
    """True when the guest has no job."""
    domain = find(connection, instance)
    if domain is None or not active(domain) or domain.jobInfo()[0] == libvirt.VIR_DOMAIN_JOB_NONE:
        return True
    with suppress(libvirt.libvirtError):
        domain.abortJob()
    return False
