"""Elastic addresses: given to projects, associated with instances, held by hosts. A row is made when its address is
first given, and stays: its revision orders what hosts are told of it, whoever has it.

Writes name the revision that was read: whoever comes second loses the race and runs again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from cloudcore.domain.elastic_addresses import ElasticAddress
from cloudcore.domain.instances import State
from cloudcore.errors import CloudError, Code
from cloudcore.store.addresses import IN_USE, RESTS
from cloudcore.store.instances import LostRace
from cloudcore.store.pages import Wanted, page
from cloudcore.store.schema import elastic_addresses, elastic_pools, instances

Row = elastic_addresses.c
COLUMNS: list[sa.Column[Any]] = [Row.address, Row.id, Row.project, Row.created, Row.revision, Row.association,
                                 Row.instance, Row.holder]  # fmt: skip
OF_INSTANCES = (
    sa.select(*COLUMNS).where(Row.instance.in_(sa.bindparam("ids", expanding=True))).order_by(Row.address)
)  # fmt: skip
FREE = sa.and_(Row.id.is_(None), Row.holder.is_(None))
ENDING = (State.SHUTTING_DOWN.value, State.TERMINATED.value)


@dataclass(frozen=True, slots=True)
class ShownElastic:
    """`private` is the fixed address that it leads to, None while there is none."""

    elastic: ElasticAddress
    private: str | None


class ElasticAddresses:
    def __init__(self, connection: sa.Connection, now: Callable[[], float]) -> None:
        self._connection, self._now = connection, now

    # -- reading --

    def find(self, address: str) -> ElasticAddress | None:
        """Whoever has it: for the conductor."""
        return next(iter(self._where(Row.address == address)), None)

    def of_project(self, project: str, ids: Iterable[str]) -> dict[str, ElasticAddress]:
        """By allocation id; foreign equals absent."""
        return {one.id: one for one in self._where(Row.project == project, Row.id.in_(list(ids)))}

    def at(self, project: str, addresses: Iterable[str]) -> dict[str, ElasticAddress]:
        """By the address itself; foreign equals absent."""
        return {one.address: one for one in self._where(Row.project == project, Row.address.in_(list(addresses)))}

    def associated(self, project: str, association: str) -> ElasticAddress | None:
        return next(iter(self._where(Row.project == project, Row.association == association)), None)

    def of_instances(self, ids: Collection[str]) -> dict[str, ElasticAddress]:
        """By instance; those that have none are not in it."""
        if not ids:
            return {}
        return {row.instance: from_row(row) for row in self._connection.execute(OF_INSTANCES, {"ids": list(ids)})}

    def held_by(self, host: str) -> list[ElasticAddress]:
        return self._where(Row.holder == host)

    def page(self, project: str, wanted: Wanted) -> list[ShownElastic]:
        """By (created, id)."""
        visible = sa.and_(Row.project == project, Row.id.is_not(None))
        found = [from_row(row) for row in self._connection.execute(page(elastic_addresses, COLUMNS, visible, wanted))]
        led_to = [one.instance for one in found if one.instance is not None]
        chosen = sa.select(instances.c.id, instances.c.address).where(instances.c.id.in_(led_to))
        private = {row.id: row.address for row in self._connection.execute(chosen)} if led_to else {}
        return [ShownElastic(one, private.get(one.instance or "")) for one in found]

    # -- writing --

    def claim(self, pool: str, project: str, id: str) -> ElasticAddress:
        """An address of this pool (its CIDR; made at its first use) that has rested, else the next that was never
        given. Raises ELASTIC_EXHAUSTED."""
        given = {"id": id, "project": project, "created": self._now(), "rests_until": IN_USE}
        address = self._rested(pool, given) if pool else None
        address = address or (self._never_given(pool, given) if pool else None)
        found = self.find(address) if address else None
        if found is None:
            raise CloudError(Code.ELASTIC_EXHAUSTED, "There are not enough free elastic addresses")
        return found

    def associate(self, elastic: ElasticAddress, instance: str, association: str) -> ElasticAddress:
        """The instance's row is locked, so that its end comes before or after. Raises INSTANCE_STATE, LostRace."""
        alive = sa.select(instances.c.id).where(instances.c.id == instance, instances.c.state.not_in(ENDING))
        if self._connection.execute(alive.with_for_update()).first() is None:
            raise CloudError(Code.INSTANCE_STATE, f"The instance '{instance}' is about to end or has ended")
        return self._changed(elastic, instance=instance, association=association)

    def disassociate(self, elastic: ElasticAddress) -> ElasticAddress:
        return self._changed(elastic, instance=None, association=None)

    def release(self, elastic: ElasticAddress) -> None:
        """Nobody's from now on; it rests, and is given to nobody while a host still holds it."""
        self._changed(elastic, revision=elastic.revision, id=None, project=None, rests_until=self._now() + RESTS)

    def hold(self, elastic: ElasticAddress, host: str | None) -> bool:
        """Notes which host may lead it to a guest. False: it is of a newer revision."""
        mine = sa.and_(Row.address == elastic.address, Row.revision == elastic.revision)
        return self._connection.execute(sa.update(elastic_addresses).where(mine).values(holder=host)).rowcount == 1

    # -- inside --

    def _where(self, *conditions: sa.ColumnElement[bool]) -> list[ElasticAddress]:
        chosen = sa.select(*COLUMNS).where(*conditions).order_by(Row.address)
        return [from_row(row) for row in self._connection.execute(chosen)]

    def _changed(self, before: ElasticAddress, **changes: Any) -> ElasticAddress:
        values = {"revision": before.revision + 1} | changes
        same = sa.and_(Row.address == before.address, Row.revision == before.revision, Row.id == before.id)
        try:
            done = self._connection.execute(sa.update(elastic_addresses).where(same).values(**values))
        except sa.exc.IntegrityError:  # the instance got another address at this moment
            raise LostRace(before.address) from None
        if done.rowcount != 1:
            raise LostRace(before.address)
        found = self.find(before.address)
        if found is None:
            raise LostRace(before.address)
        return found

    def _rested(self, pool: str, given: dict[str, Any]) -> str | None:
        ready = sa.and_(Row.pool == pool, FREE, Row.rests_until <= self._now())
        chosen = sa.select(Row.address).where(ready).order_by(Row.rests_until).limit(1)
        found: str | None = self._connection.execute(chosen.with_for_update(skip_locked=True)).scalar_one_or_none()
        if found is not None:
            mine = sa.update(elastic_addresses).where(Row.address == found, FREE).values(**given)
            if self._connection.execute(mine).rowcount != 1:
                raise LostRace(found)
        return found

    def _never_given(self, pool: str, given: dict[str, Any]) -> str | None:
        """What an overlapping pool of former days has given already is passed over."""
        self._insert(elastic_pools, span(pool))
        mine = sa.and_(elastic_pools.c.cidr == pool, elastic_pools.c.next <= elastic_pools.c.last)
        step = sa.update(elastic_pools).where(mine).values(next=elastic_pools.c.next + 1)
        while True:
            after: int | None = self._connection.execute(step.returning(elastic_pools.c.next)).scalar_one_or_none()
            if after is None:
                return None
            found = str(IPv4Address(after - 1))
            if self._insert(elastic_addresses, {"address": found, "pool": pool, "revision": 0} | given):
                return found

    def _insert(self, table: sa.Table, row: dict[str, Any]) -> bool:
        """False: it is there already."""
        insert = sqlite.insert if self._connection.dialect.name == "sqlite" else postgresql.insert
        made = insert(table).values(**row).on_conflict_do_nothing().returning(*table.primary_key)
        return self._connection.execute(made).first() is not None


def span(pool: str) -> dict[str, Any]:
    net = IPv4Network(pool)
    return {"cidr": pool, "next": int(net.network_address) + 1, "last": int(net.broadcast_address) - 1}


def from_row(row: sa.Row[Any]) -> ElasticAddress:
    return ElasticAddress(row.address, row.id or "", row.project or "", row.created, row.revision, row.association,
                          row.instance, row.holder)  # fmt: skip
