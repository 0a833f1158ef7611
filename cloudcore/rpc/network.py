"""What the conductor asks of the network agent of one host (topic `network.<host>`).

The agent journals the ports and groups of its host and converges on them: lease, metadata binding, filter (default drop
before the tap exists). Ports carry the generation of their instance, groups a revision; older ones are ignored.
`lookup` is asked by the metadata service of the same host.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from cloudcore.domain.instance_profiles import InstanceRole
from cloudcore.domain.security_groups import Group
from cloudcore.errors import Code
from cloudcore.rpc.contract import call, contract


@dataclass(frozen=True, slots=True)
class Port:
    """One guest's place in the network. `metadata` is the document of domain/metadata_tree.py, plain JSON;
    `user_data` the decoded bytes, None when there are none. `revision` orders what is said of one generation. `role`
    holds keys: it is shown to the guest, kept in the host's journal, and written nowhere else."""

    instance: str
    generation: int
    mac: str
    address: str
    tap: str
    hostname: str
    groups: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    user_data: bytes | None = None
    revision: int = 0
    role: InstanceRole | None = None  # since 1.2
    source_dest_check: bool = True  # since 1.2; False: it passes on what others send


@dataclass(frozen=True, slots=True)
class Elastic:
    """Where an elastic address leads to on this host: to the port of `instance`; None: to nobody. Of one address the
    greater revision counts, and of one revision the one that names an instance: an address is withdrawn from where it
    was before it is granted."""

    address: str
    revision: int
    instance: str | None = None


@dataclass(frozen=True, slots=True)
class WantedNetwork:
    """Ports to make or change, the groups they need, and elastic addresses; what is not named stays as it is."""

    ports: tuple[Port, ...] = ()
    groups: tuple[Group, ...] = ()
    elastics: tuple[Elastic, ...] = ()  # since 1.1


@dataclass(frozen=True, slots=True)
class ReleasedPort:
    instance: str
    generation: int


@dataclass(frozen=True, slots=True)
class Applied:
    """The call returns once the host's network is as wanted."""

    ports: int


@dataclass(frozen=True, slots=True)
class Address:
    address: str


@dataclass(frozen=True, slots=True)
class PortSummary:
    instance: str
    generation: int


@dataclass(frozen=True, slots=True)
class Ports:
    ports: tuple[PortSummary, ...]


@dataclass(frozen=True, slots=True)
class Everything:
    pass


class Network(Protocol):
    @call(since=(1, 0), timeout=20, errors=(Code.PROGRAM_FAILED,))
    def ensure(self, request: WantedNetwork) -> Deferred[Applied]: ...

    @call(since=(1, 0), timeout=20, errors=(Code.PROGRAM_FAILED,))
    def release(self, request: ReleasedPort) -> Deferred[Applied]:
        """Removes lease, filter and binding; an unknown port is a success."""

    @call(since=(1, 0), timeout=5, errors=(Code.RESOURCE_UNKNOWN,))
    def lookup(self, request: Address) -> Deferred[Port]:
        """Its metadata names the elastic address that leads to it, if one does."""

    @call(since=(1, 0), timeout=10)
    def present(self, request: Everything) -> Deferred[Ports]: ...


NETWORK = contract("network", (1, 2), Network)
