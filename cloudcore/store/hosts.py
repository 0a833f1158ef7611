"""Hosts, and what is claimed of them: capacity moves only together with an allocation, by compare-and-swap (R5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from types import MappingProxyType

import sqlalchemy as sa

from cloudcore.domain.placement import Demand, Host, lacks
from cloudcore.errors import CloudError, Code
from cloudcore.rpc.conductor import Heartbeat
from cloudcore.store.instances import LostRace
from cloudcore.store.schema import allocations, cells, host_mappings, hosts

COLUMNS = [hosts.c[field.name] for field in fields(Host)]
AMOUNTS = ("vcpus", "memory_mib", "disk_gib")
NEXT_REVISION = sa.select(sa.func.coalesce(sa.func.max(hosts.c.revision), 0) + 1).scalar_subquery()
FIND = sa.select(*COLUMNS).where(hosts.c.name == sa.bindparam("the_name"))
EPOCH = sa.select(hosts.c.epoch).where(hosts.c.name == sa.bindparam("the_name"))
LOCK = FIND.with_for_update()
MOVE = (
    sa.update(hosts)
    .where(hosts.c.name == sa.bindparam("the_name"), hosts.c.generation == sa.bindparam("the_generation"))
    .values(generation=hosts.c.generation + 1, revision=NEXT_REVISION,
            **{f"used_{amount}": sa.bindparam(f"new_{amount}") for amount in AMOUNTS})
)  # fmt: skip
CAPACITIES = sa.select(hosts.c.zone, *(hosts.c[amount] for amount in AMOUNTS)).distinct()
ENABLED = sa.and_(hosts.c.enabled, sa.or_(hosts.c.zone == sa.bindparam("the_zone"), sa.bindparam("the_zone").is_(None)))
ROOMY = sa.and_(*(hosts.c[amount] - hosts.c[f"used_{amount}"] >= sa.bindparam(f"the_{amount}") for amount in AMOUNTS))
ANY = sa.select(sa.exists().where(ENABLED), sa.exists().where(ENABLED, ROOMY))
ALLOCATE = sa.insert(allocations)
THEIRS = allocations.c.instance == sa.bindparam("the_instance")
HELD = sa.select(allocations).where(THEIRS)
FREE = sa.delete(allocations).where(THEIRS).returning(*allocations.c)
NO_VOLUMES: Mapping[str, int] = MappingProxyType({})


class Hosts:
    def __init__(self, connection: sa.Connection, now: Callable[[], float]) -> None:
        self._connection, self._now = connection, now

    def heard(self, beat: Heartbeat) -> bool:
        """Keeps what a host says of itself; a new one gets its rows. False: from an agent that was replaced since."""
        known = self.find(beat.host)
        if known is None:
            return self._register(beat)
        if beat.epoch < known.epoch:
            return False
        # A host that shrank below what runs on it is full, not in error: the constraint holds at every moment (I4).
        capacity = {name: max(getattr(beat, name), getattr(known, f"used_{name}")) for name in AMOUNTS}
        told = capacity | {"epoch": beat.epoch, "zone": beat.zone, "virt_type": beat.virt_type}
        changed = any(getattr(known, name) != value for name, value in told.items())
        values = told | {"guests": beat.guests, "seen": self._now()}
        if changed:
            values["revision"] = NEXT_REVISION
        self._connection.execute(sa.update(hosts).where(hosts.c.name == beat.host).values(**values))
        return True

    def fence(self, host: str, epoch: int) -> bool | None:
        """Whether facts of this epoch may be believed; after a newer one, older ones never are. None: no such host."""
        known = self._connection.execute(EPOCH, {"the_name": host}).scalar_one_or_none()
        if known is None:
            return None
        if epoch > known:
            newer = sa.and_(hosts.c.name == host, hosts.c.epoch < epoch)
            self._connection.execute(sa.update(hosts).where(newer).values(epoch=epoch))
        return epoch >= known

    def find(self, name: str) -> Host | None:
        row = self._connection.execute(FIND, {"the_name": name}).one_or_none()
        return Host(*row) if row else None

    def all(self) -> list[Host]:
        return [Host(*row) for row in self._connection.execute(sa.select(*COLUMNS).order_by(hosts.c.name))]

    def newer(self, revision: int) -> tuple[float, list[Host]]:
        """(database time, hosts changed after this revision): what the scheduler's view reads."""
        found = self._connection.execute(sa.select(*COLUMNS).where(hosts.c.revision > revision))
        return self._now(), [Host(*row) for row in found]

    def capacities(self) -> dict[str, list[Demand]]:
        """{zone: what hosts there have in all, disabled ones too}: each amount once, however many hosts are alike."""
        found: dict[str, list[Demand]] = {}
        for zone, *amounts in self._connection.execute(CAPACITIES):
            found.setdefault(zone, []).append(Demand(*amounts))
        return found

    def all_full(self, demand: Demand, zone: str | None) -> bool:
        """Whether there are hosts that take instances (in the zone), and none of them has this much room left."""
        wanted = {f"the_{amount}": getattr(demand, amount) for amount in AMOUNTS}
        there, roomy = self._connection.execute(ANY, {"the_zone": zone} | wanted).one()
        return bool(there and not roomy)

    def enable(self, name: str, enabled: bool) -> Host:
        """A disabled host gets no new instances; what runs there stays. Raises HOST_UNKNOWN."""
        mine = sa.update(hosts).where(hosts.c.name == name)
        if not self._connection.execute(mine.values(enabled=enabled, revision=NEXT_REVISION)).rowcount:
            raise CloudError(Code.HOST_UNKNOWN, f"The host '{name}' does not exist")
        found = self.find(name)
        assert found is not None  # noqa: S101  # changed just now
        return found

    def remove(self, name: str) -> None:
        """Raises HOST_UNKNOWN, IN_USE while anything is allocated there. It comes back with its next heartbeat."""
        if self.find(name) is None:
            raise CloudError(Code.HOST_UNKNOWN, f"The host '{name}' does not exist")
        count = sa.select(sa.func.count()).select_from(allocations).where(allocations.c.host == name)
        held = self._connection.execute(count).scalar_one()
        if held:
            raise CloudError(Code.IN_USE, f"The host '{name}' holds {held} instances and volumes")
        self._connection.execute(sa.delete(host_mappings).where(host_mappings.c.host == name))
        self._connection.execute(sa.delete(hosts).where(hosts.c.name == name))

    def claim(self, instance: str, name: str, demand: Demand, volumes: Mapping[str, int] = NO_VOLUMES) -> bool:
        """Takes the room and writes the allocation, or returns False: there is no room any more, or it is disabled.
        `volumes` ({id: GiB}) get allocations of their own, beside the demand: all of it together or nothing.

        The scheduler proposed from a view that may be a second old. What decides is the row as it is in this
        transaction, by the same rule; the generation then proves that nobody came in between. Raises LostRace.
        """
        row = self._connection.execute(LOCK, {"the_name": name}).one_or_none()
        if row is None:
            return False
        host, whole = Host(*row), demand + Demand(0, 0, sum(volumes.values()))
        if not host.enabled or lacks(host, whole):
            return False
        self._move(host, {amount: getattr(whole, amount) for amount in AMOUNTS})
        parts = {instance: demand} | {volume: Demand(0, 0, size) for volume, size in volumes.items()}
        held = [{"instance": subject, "host": name, "vcpus": part.vcpus, "memory_mib": part.memory_mib,
                 "disk_gib": part.disk_gib} for subject, part in parts.items()]  # fmt: skip
        try:
            self._connection.execute(ALLOCATE, held)
        except sa.exc.IntegrityError as problem:
            raise LostRace(instance) from problem
        return True

    def held(self, instance: str) -> Demand | None:
        row = self._connection.execute(HELD, {"the_instance": instance}).one_or_none()
        return Demand(row.vcpus, row.memory_mib, row.disk_gib) if row else None

    def resize(self, instance: str, demand: Demand) -> bool:
        """Makes the allocation what the instance demands now; False when its host has no room for more."""
        held = self._connection.execute(HELD, {"the_instance": instance}).one_or_none()
        if held is None:
            return False
        more = {amount: getattr(demand, amount) - getattr(held, amount) for amount in AMOUNTS}
        if not any(more.values()):
            return True
        host = Host(*self._connection.execute(LOCK, {"the_name": held.host}).one())
        if any(number > max(0, getattr(host.free, amount)) for amount, number in more.items()):
            return False  # what shrinks fits also where a host has shrunk below what it holds
        self._move(host, more)
        mine = sa.update(allocations).where(allocations.c.instance == instance)
        self._connection.execute(mine.values(**{amount: getattr(demand, amount) for amount in AMOUNTS}))
        return True

    def release(self, instance: str) -> bool:
        """Gives back what the instance holds; False when it holds nothing."""
        held = self._connection.execute(FREE, {"the_instance": instance}).one_or_none()
        if held is None:
            return False
        row = self._connection.execute(LOCK, {"the_name": held.host}).one()
        self._move(Host(*row), {amount: -getattr(held, amount) for amount in AMOUNTS})
        return True

    def allocated(self, host: str) -> dict[str, Demand]:
        """{instance: what it holds} of one host."""
        found = self._connection.execute(sa.select(allocations).where(allocations.c.host == host))
        return {row.instance: Demand(row.vcpus, row.memory_mib, row.disk_gib) for row in found}

    def _register(self, beat: Heartbeat) -> bool:
        row = {field: getattr(beat, field) for field in ("cell", "zone", "epoch", "virt_type", "guests", *AMOUNTS)}
        used = {f"used_{amount}": 0 for amount in AMOUNTS}
        fixed = {"name": beat.host, "generation": 0, "enabled": True, "seen": self._now()}
        try:
            self._connection.execute(sa.insert(hosts).values(revision=NEXT_REVISION, **row, **used, **fixed))
            self._connection.execute(sa.insert(host_mappings).values(host=beat.host, cell=beat.cell))
            if not self._connection.execute(sa.select(cells).where(cells.c.name == beat.cell)).one_or_none():
                self._connection.execute(sa.insert(cells).values(name=beat.cell))
        except sa.exc.IntegrityError as problem:
            raise LostRace(beat.host) from problem  # another conductor heard it as well
        return True

    def _move(self, host: Host, amounts: dict[str, int]) -> None:
        seen = {"the_name": host.name, "the_generation": host.generation}
        used = {f"new_{name}": getattr(host, f"used_{name}") + amount for name, amount in amounts.items()}
        if self._connection.execute(MOVE, seen | used).rowcount != 1:
            raise LostRace(host.name)
