"""Instances as describes show them: one page in four statements, with group names, the zone of the host and
the elastic address, and without user data, which no describe shows and which may be 16 KiB each."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, fields

import sqlalchemy as sa

from cloudcore.domain.instances import Instance, State
from cloudcore.store.instances import from_row
from cloudcore.store.pages import Wanted, page
from cloudcore.store.schema import elastic_addresses, hosts, instance_groups, instances, security_groups

COLUMNS = [instances.c[field.name] for field in fields(Instance) if field.name != "user_data"]


@dataclass(frozen=True, slots=True)
class ShownInstance:
    """`groups` are (id, name), by id; `zone` is the one asked for, else that of the host, else None; `public` is the
    elastic address that leads to it."""

    instance: Instance
    groups: tuple[tuple[str, str], ...]
    zone: str | None
    public: str | None = None


class InstancePages:
    def __init__(self, connection: sa.Connection, now: Callable[[], float]) -> None:
        self._connection, self._now = connection, now

    def page(self, project: str, wanted: Wanted, lingers: float) -> list[ShownInstance]:
        """By (created, id). Terminated ones are shown for `lingers` seconds after their last change."""
        shown = sa.or_(instances.c.state != State.TERMINATED.value, instances.c.changed > self._now() - lingers)
        visible = sa.and_(instances.c.project == project, shown)
        rows = self._connection.execute(page(instances, COLUMNS, visible, wanted))
        found = [from_row(row) for row in rows]
        groups = self.groups([one.id for one in found])
        zones = self._zones({one.host for one in found if one.zone is None and one.host})
        public = self._public([one.id for one in found])
        return [
            ShownInstance(one, tuple(groups.get(one.id, ())), one.zone or zones.get(one.host or ""), public.get(one.id))
            for one in found
        ]

    def groups(self, ids: Collection[str]) -> dict[str, list[tuple[str, str]]]:
        """{instance: [(group id, name)]}"""
        found: dict[str, list[tuple[str, str]]] = {}
        if ids:
            members = instance_groups.c.instance
            belongs = sa.and_(instance_groups.c.group_id == security_groups.c.id, members.in_(list(ids)))
            chosen = sa.select(members, security_groups.c.id, security_groups.c.name).where(belongs)
            for instance, group, name in self._connection.execute(chosen.order_by(security_groups.c.id)):
                found.setdefault(instance, []).append((group, name))
        return found

    def _public(self, ids: Collection[str]) -> dict[str, str]:
        if not ids:
            return {}
        led = elastic_addresses.c
        found = self._connection.execute(sa.select(led.instance, led.address).where(led.instance.in_(list(ids))))
        return {row.instance: row.address for row in found}

    def _zones(self, names: Collection[str]) -> dict[str, str]:
        if not names:
            return {}
        chosen = sa.select(hosts.c.name, hosts.c.zone).where(hosts.c.name.in_(list(names)))
        return {row.name: row.zone for row in self._connection.execute(chosen)}
