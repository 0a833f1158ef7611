"""Host networking as the network agent sees it. Rendering of dnsmasq and nftables input is pure (netdev/render_*.py);
the driver writes, loads and lists. Implementations: netdev/linux.py and netdev/simulated.py, one contract suite.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred

from cloudcore.domain.security_groups import Group


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """The flat network of one host. `bridge` has at most 15 bytes and begins with `cc`; `table` names our nft tables,
    so that several clouds can live on one machine. `gateway` is the bridge's own address. `elastic` is the CIDR of the
    elastic addresses, empty without any."""

    bridge: str
    table: str
    cidr: str
    gateway: str
    mtu: int = 1450
    metadata_port: int = 8775
    domain: str = "cloudcore.internal"
    elastic: str = ""


@dataclass(frozen=True, slots=True)
class WantedPort:
    instance: str
    mac: str
    address: str
    tap: str
    hostname: str
    groups: tuple[str, ...] = ()
    elastic: str | None = None  # the address outside by which it is reached, and which it wears there
    source_dest_check: bool = True  # False: it may pass on what comes from beyond the network or goes there


class NetworkDriver(Protocol):
    """Idempotent; errors are CloudError(PROGRAM_FAILED) that names the program, NOT_PERMITTED without the rights."""

    def prepare(self) -> Deferred[None]:
        """Bridge, addresses, sysctls, base tables with default drop, dnsmasq. Keeps what is right already."""

    def ensure(self, ports: tuple[WantedPort, ...], groups: tuple[Group, ...]) -> Deferred[None]:
        """The complete wanted state of this host: leases, chains and sets become exactly this, in one nft transaction.
        A port's chain exists before its tap does. Changed and removed groups take effect on live flows, and so do
        elastic addresses that lead elsewhere."""

    def release(self, instance: str) -> Deferred[None]:
        """Chain, elements, lease and neighbour entry of one port go, after its tap has."""

    def present(self) -> Deferred[tuple[str, ...]]:
        """Instances that have a port here, by what the kernel says."""

    def elastics(self) -> Deferred[dict[str, str]]:
        """{elastic address: fixed address} of those that lead to a guest here, by what the kernel says."""

    def dismantle(self) -> Deferred[None]:
        """Removes everything that prepare and ensure have made, and nothing else."""
