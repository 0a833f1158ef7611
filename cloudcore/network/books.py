"""What a host's network is to be: ports and groups, the records that say so, and which record changes anything.

A port counts by the generation of its instance and its revision within that, a group and an elastic address by their
revision: an older one is a late message and changes nothing. A released port leaves a tombstone with its generation,
for delete wins: the same or an older generation does not bring it back. Groups that no port here needs, neither as its
own nor as the peer of a rule, are dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from cloudcore.domain.metadata_tree import with_public
from cloudcore.domain.security_groups import Group
from cloudcore.netdev.driver import WantedPort
from cloudcore.rpc import codec
from cloudcore.rpc.network import Elastic, Port, ReleasedPort, WantedNetwork

TOMBSTONES = 10_000  # the newest are kept: far more than commands that may be on their way to one host

Record = Port | Group | ReleasedPort | Elastic
KINDS: dict[str, type[Any]] = {"port": Port, "group": Group, "released": ReleasedPort, "elastic": Elastic}
WORDS = {kind: word for word, kind in KINDS.items()}


class Books:
    def __init__(self) -> None:
        self.ports: dict[str, Port] = {}
        self.groups: dict[str, Group] = {}
        self._wanted: dict[str, WantedPort] = {}
        self._unused = True
        self._released: dict[str, int] = {}
        self._elastics: dict[str, Elastic] = {}  # by address; those that lead to nobody are tombstones
        self._led: dict[str, str] = {}  # instance -> the address that leads to it
        self._owners: dict[str, set[str]] = {}  # address -> instances; more than one is somebody's mistake

    def news(self, request: WantedNetwork) -> list[Record]:
        """What of a request would change something; groups that nobody here needs do not."""
        ports = [port for port in request.ports if self.is_news(port)]
        groups = [group for group in request.groups if self.is_news(group)]
        if groups:
            known = self.groups | {group.id: group for group in request.groups}
            needed = _needed(ports, known)
            if not all(group.id in needed for group in groups):
                needed |= _needed(self.ports.values(), known)
            groups = [group for group in groups if group.id in needed]
        return [*groups, *ports, *(one for one in request.elastics if self.is_news(one))]

    def apply(self, record: Record) -> None:
        if not self.is_news(record):
            return
        if isinstance(record, Group):
            self._unused = self._unused or record.id in self.groups
            self.groups[record.id] = record
            return
        if isinstance(record, Elastic):
            self._lead(record)
            return
        self._vacate(record.instance)
        if isinstance(record, Port):
            self.ports[record.instance] = record
            self._wanted[record.instance] = _wanted(record, self._led.get(record.instance))
            self._released.pop(record.instance, None)
            self._owners.setdefault(record.address, set()).add(record.instance)
            return
        self._released.pop(record.instance, None)
        self._released[record.instance] = record.generation
        while len(self._released) > TOMBSTONES:
            del self._released[next(iter(self._released))]

    def is_news(self, record: Record) -> bool:
        if isinstance(record, Group):
            known = self.groups.get(record.id)
            return known is None or (known.revision <= record.revision and known != record)
        if isinstance(record, Elastic):
            held = self._elastics.get(record.address)
            return held is None or _order(held) < _order(record)
        port, buried = self.ports.get(record.instance), self._released.get(record.instance, -1)
        if isinstance(record, ReleasedPort):
            return record.generation > buried if port is None else record.generation >= port.generation
        if port is None:
            return record.generation > buried
        return (port.generation, port.revision) <= (record.generation, record.revision) and port != record

    def _vacate(self, instance: str) -> None:
        port = self.ports.pop(instance, None)
        self._wanted.pop(instance, None)
        if port is not None:
            self._unused = True
            owners = self._owners[port.address]
            owners.discard(instance)
            if not owners:
                del self._owners[port.address]

    def _lead(self, record: Elastic) -> None:
        """An instance has one elastic address: the one it was given last, should another not be withdrawn yet."""
        before = self._elastics.pop(record.address, None)
        self._elastics[record.address] = record
        if before is not None and before.instance and self._led.get(before.instance) == record.address:
            del self._led[before.instance]
            for other in self._elastics.values():
                if other.instance == before.instance:
                    self._led[other.instance] = other.address
        if record.instance:
            self._led[record.instance] = record.address
        for instance in (record.instance, before.instance if before else None):
            if instance in self.ports:
                self._wanted[instance] = _wanted(self.ports[instance], self._led.get(instance))
        if len(self._elastics) > TOMBSTONES:
            oldest = next((address for address, one in self._elastics.items() if one.instance is None), None)
            self._elastics.pop(oldest or "", None)

    def drop_unused(self) -> None:
        """Only a port that went, or a group whose rules changed, can leave a group without use."""
        if self._unused:
            needed = _needed(self.ports.values(), self.groups)
            self.groups = {id: group for id, group in self.groups.items() if id in needed}
            self._unused = False

    def at(self, address: str) -> Port | None:
        """The one port with this address, with what leads to it in its metadata; None when several claim it, for then
        nobody's word counts."""
        owners = self._owners.get(address, set())
        if len(owners) != 1:
            return None
        port = self.ports[next(iter(owners))]
        public = self._led.get(port.instance)
        return replace(port, metadata=with_public(port.metadata, port.mac, public)) if public else port

    def wanted(self) -> tuple[tuple[WantedPort, ...], tuple[Group, ...]]:
        """For the driver."""
        return tuple(self._wanted.values()), tuple(self.groups.values())

    def records(self) -> Iterator[Record]:
        """Everything, as a journal would have to say it."""
        for instance, generation in self._released.items():
            yield ReleasedPort(instance, generation)
        yield from self.groups.values()
        yield from self.ports.values()
        yield from self._elastics.values()

    def __len__(self) -> int:
        return len(self._released) + len(self.groups) + len(self.ports) + len(self._elastics)


def _needed(ports: Iterable[Port], groups: Mapping[str, Group]) -> set[str]:
    """The groups of ports, and those that their rules name as peers."""
    own = {id for port in ports for id in port.groups}
    return own | {rule.source_group for id in own & groups.keys() for rule in groups[id].rules if rule.source_group}


def _order(elastic: Elastic) -> tuple[int, bool]:
    """Of one revision a withdrawal comes before the grant."""
    return elastic.revision, elastic.instance is not None


def _wanted(port: Port, elastic: str | None) -> WantedPort:
    return WantedPort(port.instance, port.mac, port.address, port.tap, port.hostname, port.groups, elastic,
                      port.source_dest_check)  # fmt: skip


def packed(record: Record) -> dict[str, Any]:
    return {WORDS[type(record)]: codec.pack(record)}


def unpacked(line: dict[str, Any]) -> Record | None:
    """None for a kind that a newer release wrote."""
    for word, content in line.items():
        if word in KINDS:
            return codec.unpack(KINDS[word], content)
    return None
