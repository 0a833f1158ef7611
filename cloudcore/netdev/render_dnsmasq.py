"""dnsmasq's command line and files: one static lease for each port, names for DNS, nothing for strangers.

The daemon gives up its rights, so the hosts file must be readable by anybody; it re-reads it on SIGHUP.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cloudcore.domain.addresses import is_address, is_mac
from cloudcore.netdev.driver import NetworkShape, WantedPort

LEASE_SECONDS = 3600
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Files:
    """In one directory that the daemon's user can reach."""

    directory: Path

    @property
    def hosts(self) -> Path:
        return self.directory / "hosts"

    @property
    def leases(self) -> Path:
        return self.directory / "leases"

    @property
    def interface(self) -> Path:
        return self.directory / "interface"

    @property
    def pid(self) -> Path:
        return self.directory / "dnsmasq.pid"


@dataclass(frozen=True, slots=True, order=True)
class Lease:
    mac: str
    address: str


def arguments(shape: NetworkShape, files: Files, nameservers: tuple[str, ...]) -> tuple[str, ...]:
    """It puts itself in the background once it serves: it must outlive us, for guests renew their leases.

    Without nameservers every foreign name is refused at once; a resolver that keeps silent would cost each guest many
    seconds at boot."""
    network = ipaddress.IPv4Network(shape.cidr)
    return (
        "dnsmasq", "--conf-file=", f"--pid-file={files.pid}", f"--interface={shape.bridge}", "--bind-interfaces",
        "--except-interface=lo", "--no-hosts", "--no-resolv", "--no-poll", "--domain-needed", "--bogus-priv",
        f"--domain={shape.domain}", f"--local=/{shape.domain}/", *(f"--server={one}" for one in nameservers),
        f"--dhcp-range=set:fixed,{network.network_address},static,{network.netmask},{LEASE_SECONDS}s",
        f"--dhcp-hostsfile={files.hosts}", f"--dhcp-leasefile={files.leases}", "--dhcp-authoritative", "--no-ping",
        f"--dhcp-option=option:router,{shape.gateway}", f"--dhcp-option=option:mtu,{shape.mtu}",
        f"--dhcp-lease-max={network.num_addresses}", "--quiet-dhcp",
    )  # fmt: skip


def hosts(ports: Iterable[WantedPort]) -> str:
    """One line for each port that has a proper MAC, address and name; two lines with one address would both be ignored,
    so each address is named once."""
    lines = {}
    for port in sorted(ports, key=lambda one: one.instance):
        if is_mac(port.mac) and is_address(port.address) and LABEL.fullmatch(port.hostname):
            lines[port.address] = f"{port.mac},{port.address},{port.hostname}\n"
    return "".join(lines.values())


def leases(text: str) -> frozenset[Lease]:
    """What dnsmasq has written: `expiry mac address name client-id` on each line."""
    words = (line.split(" ") for line in text.splitlines())
    return frozenset(Lease(each[1], each[2]) for each in words if len(each) >= 4 and is_address(each[2]))
