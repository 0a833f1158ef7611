"""What this machine offers: rights, programs, ports and who holds them. Looks only, changes nothing."""

from __future__ import annotations

import errno
import importlib.util
import os
import shutil
import socket
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from cloudcore.cli.environment import reachable
from cloudcore.cli.printing import FAILED, Refusal
from cloudcore.config.model import Config
from cloudcore.config.places import driver_file
from cloudcore.errors import Code

PROGRAMS = ("libvirtd", "qemu-system-x86_64", "qemu-img", "qemu-nbd", "nbdkit", "dnsmasq", "nft", "ip", "unshare")
MODULES = ("libvirt", "nftables")
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # a plain user's PATH lacks sbin


def missing_programs() -> list[str]:
    return absent(os.environ.get("PATH", "") + ":" + SYSTEM_PATH)


def absent(path: str) -> list[str]:
    return [program for program in PROGRAMS if shutil.which(program, path=path) is None]


def missing_modules() -> list[str]:
    return [name for name in MODULES if importlib.util.find_spec(name) is None]


def with_driver(config: Config, state: Path, wanted: str | None) -> Config:
    """The configuration with a driver that this machine can run: libvirt or simulated, never auto.

    A state stays with the driver that made it: guests of a simulated host do not exist anywhere else.
    """
    kept = recorded(state)
    driver = wanted or config.compute.driver
    if driver == "auto":
        driver = kept or "libvirt"
    if kept and driver != kept:
        raise Refusal(Code.BAD_COMBINATION, f"the state in {state} was made with the driver '{kept}', not '{driver}'",
                      f"--driver {kept}    or another directory: --state DIR")
    if driver == "libvirt":
        check_hypervisor(missing_programs() + [f"python3-{name}" for name in missing_modules()], os.geteuid() == 0)
    return replace(config, compute=replace(config.compute, driver=driver))


def recorded(state: Path) -> str:
    try:
        return driver_file(state).read_text().strip()
    except OSError:
        return ""


def record(state: Path, driver: str) -> None:
    if not recorded(state):
        driver_file(state).write_text(driver + "\n")


def check_hypervisor(missing: list[str], is_root: bool) -> None:
    """Raises NO_HYPERVISOR or NOT_PERMITTED with both ways out."""
    if missing:
        raise Refusal(Code.NO_HYPERVISOR, f"real guests need what is not installed: {', '.join(missing)}",
                      "make setup    or, without guests: --driver simulated", status=FAILED)
    if not is_root:
        raise Refusal(Code.NOT_PERMITTED, "real guests need root: a bridge, nftables and libvirt",
                      "sudo bin/cloudcore up    or, without guests: --driver simulated", status=FAILED)


def check_ports(config: Config) -> None:
    """Raises PORT_TAKEN that names every port in use, and by whom."""
    taken = []
    for section, part in (("api", config.api), ("objectstore", config.objectstore)):
        if part.port and not is_free(part.listen, part.port):
            taken.append((section, part.port))
    if taken:
        who = "; ".join(f"port {port} is used by {user_of(port)}" for _, port in taken)
        instead = " ".join(f"CLOUDCORE_{section.upper()}__PORT={port + 1}" for section, port in taken)
        raise Refusal(Code.PORT_TAKEN, who, f"{instead} with the same command (0 picks a free port)", status=FAILED)


def is_free(listen: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in listen else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listen, port))
        except OSError as problem:
            return problem.errno != errno.EADDRINUSE  # whatever else is wrong, the daemon says it better
    return True


def user_of(port: int) -> str:
    """`nginx (pid 912)`, as far as /proc lets us see."""
    inodes = set(listening(port))
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.readlink(handle) in inodes for handle in (folder / "fd").iterdir()):
                ours = b"cloudcore" in (folder / "cmdline").read_bytes()
                name = "another cloudcore" if ours else (folder / "comm").read_text().strip()
                return f"{name} (pid {folder.name})"
        except OSError:
            continue  # gone meanwhile, or another user's
    return "another program"


def emulation() -> tuple[str, str]:
    """Why guests are emulated here, once that is known to be so, and what may be done."""
    if not Path("/dev/kvm").exists():
        return ("no /dev/kvm: VMs run by emulation, about 10 times slower",
                "in a VM, enable nesting; else enable virtualisation in the firmware")
    return "/dev/kvm is there, but its self-test lost to emulation: VMs run by emulation, about 10 times slower", ""


def listening(port: int) -> Iterable[str]:
    """The sockets that listen on a TCP port, as /proc/PID/fd names them."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                yield f"socket:[{fields[9]}]"


def accepts(address: str, port: int, timeout: float = 2.0) -> bool:
    try:
        socket.create_connection((reachable(address), port), timeout).close()
    except OSError:
        return False
    return True
