"""The domain of one guest as libvirt wants it. Pure: values in, text out, by an element builder (never pasting).

The form is the one that was measured to work: SMBIOS uuid and serial that begin `ec2`, by which cloud-init recognises
the platform; our mark in <metadata>, by which the agent knows its own guests; a serial console that goes to a log and
to a socket at once; a bounded translation cache under emulation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from string import ascii_lowercase
from xml.etree.ElementTree import Element, SubElement, fromstring, tostring

from cloudcore.domain.volumes import serial
from cloudcore.errors import CloudError, Code
from cloudcore.virt.driver import GuestDisk, GuestSpec

MARK = "urn:cloudcore:instance"
SMALL_MIB = 128  # a tiny guest gets by with a small translation cache; a distribution wants the large one
SMALL_CACHE_MIB, LARGE_CACHE_MIB = 24, 256
SCREEN_KIB = "2048"  # 800 by 600 points in full colour; text needs less
UNSAFE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")  # not characters of XML 1.0


@dataclass(frozen=True, slots=True)
class Machine:
    """What all guests of a host share. `bridge` is where their taps go."""

    virt_type: str  # kvm | qemu
    bridge: str = "ccbr0"
    emulator: str = "/usr/bin/qemu-system-x86_64"


Inside = Callable[[str], str]  # how the hypervisor sees a path of the host


def domain_xml(spec: GuestSpec, machine: Machine, inside: Inside) -> str:
    """No `tap`, no interface."""
    domain = Element("domain", type=machine.virt_type)
    _text(domain, "name", spec.instance)
    _text(domain, "uuid", spec.uuid)
    mark = SubElement(SubElement(domain, "metadata"), f"{{{MARK}}}instance")
    for key, value in (("id", spec.instance), ("generation", spec.generation), ("epoch", spec.epoch)):
        mark.set(key, _safe(str(value)))
    _text(domain, "memory", str(spec.memory_mib), unit="MiB")
    _text(domain, "vcpu", str(spec.vcpus))
    _system(domain, spec.uuid)
    _processor(domain, spec, machine)
    for event, action in (("poweroff", "destroy"), ("reboot", "restart"), ("crash", "restart")):
        _text(domain, f"on_{event}", action)
    _devices(domain, spec, machine, inside)
    return tostring(domain, encoding="unicode")


def read_mark(element: str) -> tuple[str, int] | None:
    """Instance id and generation from the metadata element that libvirt gives back; None when it is not ours."""
    mark = fromstring(element)  # noqa: S314  # libvirt's own words
    instance, generation = mark.get("id"), mark.get("generation", "")
    return (instance, int(generation)) if instance and generation.isdigit() else None


def targets(taken: Container[str]) -> Iterator[str]:
    """Names that libvirt keeps apart. What the guest calls its disks it decides itself, in the order they come."""
    digits = ("", *ascii_lowercase)
    return (name for first in digits for last in ascii_lowercase if (name := f"vd{first}{last}") not in taken)


def disk_element(disk: GuestDisk, target: str, inside: Inside) -> Element:
    """Formats are always named. The serial is by what guests and we tell disks apart."""
    device = Element("disk", type={"nbd": "network"}.get(disk.kind, disk.kind), device="disk")
    SubElement(device, "driver", name="qemu", type=_safe(disk.format), cache="writeback", discard="unmap")
    if disk.kind == "nbd":
        source = SubElement(device, "source", protocol="nbd")
        SubElement(source, "host", transport="unix", socket=_safe(inside(disk.path)))
    else:
        SubElement(device, "source", {"dev" if disk.kind == "block" else "file": _safe(inside(disk.path))})
    if disk.format == "qcow2":
        _backing(device, disk.backing, inside)
    SubElement(device, "target", dev=target, bus="virtio")
    _text(device, "serial", serial(disk.volume))
    return device


def _system(domain: Element, uuid: str) -> None:
    sysinfo = SubElement(domain, "sysinfo", type="smbios")
    system = SubElement(sysinfo, "system")
    for name, value in (("manufacturer", "Amazon EC2"), ("product", "cloudcore"), ("serial", uuid), ("uuid", uuid)):
        _text(system, "entry", value, name=name)
    _text(SubElement(sysinfo, "chassis"), "entry", "Amazon EC2", name="asset")
    system = SubElement(domain, "os")
    _text(system, "type", "hvm", arch="x86_64", machine="pc")
    SubElement(system, "boot", dev="hd")
    SubElement(system, "smbios", mode="sysinfo")
    SubElement(system, "bios", useserial="no", rebootTimeout="0")


def _processor(domain: Element, spec: GuestSpec, machine: Machine) -> None:
    features = SubElement(domain, "features")
    SubElement(features, "acpi")
    SubElement(features, "apic")
    if machine.virt_type == "kvm":
        SubElement(domain, "cpu", mode="host-passthrough")
    else:
        cache = SMALL_CACHE_MIB if spec.memory_mib <= SMALL_MIB else LARGE_CACHE_MIB
        _text(SubElement(features, "tcg"), "tb-cache", str(cache), unit="MiB")
        model = SubElement(domain, "cpu", mode="custom", match="exact")
        _text(model, "model", "qemu64", fallback="allow")  # `max` doubles the time to boot under emulation
    SubElement(domain, "clock", offset="utc")


def _devices(domain: Element, spec: GuestSpec, machine: Machine, inside: Inside) -> None:
    directory = inside(spec.directory)
    devices = SubElement(domain, "devices")
    _text(devices, "emulator", machine.emulator)
    for name, disk in zip(targets(()), spec.disks, strict=False):
        devices.append(disk_element(disk, name, inside))
    if spec.tap:
        interface = SubElement(devices, "interface", type="bridge")
        SubElement(interface, "mac", address=_safe(spec.mac))
        SubElement(interface, "source", bridge=_safe(machine.bridge))
        SubElement(interface, "target", dev=_safe(spec.tap))
        SubElement(interface, "model", type="virtio")
        SubElement(interface, "mtu", size=str(spec.mtu))
    for kind in ("serial", "console"):  # the same port twice: libvirt wants the console named as well
        port = SubElement(devices, kind, type="unix")
        SubElement(port, "source", mode="bind", path=_safe(f"{directory}/console.sock"))
        SubElement(port, "log", file=_safe(f"{directory}/console.log"), append="on")
        target = SubElement(port, "target", port="0")
        if kind == "console":
            target.set("type", "serial")
    SubElement(SubElement(devices, "video"), "model", type="vga", vram=SCREEN_KIB)
    SubElement(devices, "controller", type="usb", model="none")
    SubElement(devices, "memballoon", model="virtio")
    _text(SubElement(devices, "rng", model="virtio"), "backend", "/dev/urandom", model="random")


def _backing(disk: Element, layers: tuple[tuple[str, str], ...], inside: Inside) -> None:
    """The whole chain, so that no file is probed for what lies below it; and the layers stay root's own, because all
    guests of an image share them and QEMU's user must not be able to write to them."""
    above = disk
    for path, format in layers:
        above = SubElement(above, "backingStore", type="file")
        SubElement(above, "format", type=_safe(format))
        file = SubElement(above, "source", file=_safe(inside(path)))
        SubElement(file, "seclabel", model="dac", relabel="no")
    SubElement(above, "backingStore")


def _text(parent: Element, tag: str, value: str, **attributes: str) -> None:
    SubElement(parent, tag, attributes).text = _safe(value)


def _safe(value: str) -> str:
    """The builder escapes what XML can say; what it cannot say at all is refused."""
    if UNSAFE.search(value):
        raise CloudError(Code.BAD_VALUE, f"{value!r} has a character that no domain can carry")
    return value
