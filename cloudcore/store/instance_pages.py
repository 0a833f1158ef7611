"""Instances as describes show them: one page in a few statements, with group names, the zone of the host, the
volumes and the elastic address, and without user data, which no describe shows and which may be 16 KiB each."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

import sqlalchemy as sa

from cloudcore.domain.instance_profiles import ProfileAssociation
from cloudcore.domain.instances import Instance, State
from cloudcore.domain.volumes import Attachment
from cloudcore.store.instance_profiles import ProfileAssociations
from cloudcore.store.instances import from_row
from cloudcore.store.pages import Wanted, page
from cloudcore.store.schema import elastic_addresses, hosts, instance_groups, instances, security_groups
from cloudcore.store.volumes import Attachments

COLUMNS = [instances.c[field.name] for field in fields(Instance) if field.name != "user_data"]
VISIBLE = sa.and_(
    instances.c.project == sa.bindparam("the_project"),
    sa.or_(instances.c.state != State.TERMINATED.value, instances.c.changed > sa.bindparam("since")),
)
GROUPS = (
    sa.select(instance_groups.c.instance, security_groups.c.id, security_groups.c.name)
    .where(instance_groups.c.group_id == security_groups.c.id)
    .where(instance_groups.c.instance.in_(sa.bindparam("ids", expanding=True)))
    .order_by(security_groups.c.id)
)
PUBLIC = sa.select(elastic_addresses.c.instance, elastic_addresses.c.address).where(
    elastic_addresses.c.instance.in_(sa.bindparam("ids", expanding=True))
)


@dataclass(frozen=True, slots=True)
class ShownInstance:
    """`groups` are (id, name), by id; `zone` is the one asked for, else that of the host, else None; `public` is the
    elastic address that leads to it; `disks` are its volumes, the root's first."""

    instance: Instance
    groups: tuple[tuple[str, str], ...]
    zone: str | None
    public: str | None = None
    profile: ProfileAssociation | None = None
    disks: tuple[Attachment, ...] = ()


class InstancePages:
    def __init__(self, connection: sa.Connection, now: Callable[[], float]) -> None:
        self._connection, self._now = connection, now

    def page(self, project: str, wanted: Wanted, lingers: float) -> list[ShownInstance]:
        """By (created, id). Terminated ones are shown for `lingers` seconds after their last change."""
        statement = page(instances, COLUMNS, VISIBLE, wanted) if selects(wanted) else plain(wanted.ids is not None)
        values = {"the_project": project, "since": self._now() - lingers}
        if not selects(wanted):
            values |= {"most": wanted.limit} | ({} if wanted.ids is None else {"ids": list(wanted.ids)})
        rows = self._connection.execute(statement, values)
        found = [from_row(row) for row in rows]
        ids = [one.id for one in found]
        groups, disks = self.groups(ids), Attachments(self._connection, self._now).of_instances(ids)
        zones = self._zones({one.host for one in found if one.zone is None and one.host})
        public = self._public(ids)
        associations = ProfileAssociations(self._connection, self._now)
        profiles = associations.of_instances([one.id for one in found if one.profile])
        return [
            ShownInstance(one, tuple(groups.get(one.id, ())), one.zone or zones.get(one.host or ""),
                          public.get(one.id), profiles.get(one.id), tuple(disks.get(one.id, ())))
            for one in found
        ]  # fmt: skip

    def groups(self, ids: Collection[str]) -> dict[str, list[tuple[str, str]]]:
        """{instance: [(group id, name)]}"""
        found: dict[str, list[tuple[str, str]]] = {}
        if ids:
            for instance, group, name in self._connection.execute(GROUPS, {"ids": list(ids)}):
                found.setdefault(instance, []).append((group, name))
        return found

    def _public(self, ids: Collection[str]) -> dict[str, str]:
        if not ids:
            return {}
        found = self._connection.execute(PUBLIC, {"ids": list(ids)})
        return {row.instance: row.address for row in found}

    def _zones(self, names: Collection[str]) -> dict[str, str]:
        if not names:
            return {}
        chosen = sa.select(hosts.c.name, hosts.c.zone).where(hosts.c.name.in_(list(names)))
        return {row.name: row.zone for row in self._connection.execute(chosen)}


def selects(wanted: Wanted) -> bool:
    """By more than ids."""
    return bool(wanted.equal or wanted.tagged or wanted.after)


@cache
def plain(by_ids: bool) -> sa.Select[Any]:
    """The page that is asked most: making this statement takes longer than running it."""
    mine = sa.and_(VISIBLE, instances.c.id.in_(sa.bindparam("ids", expanding=True))) if by_ids else VISIBLE
    chosen = sa.select(*COLUMNS).where(mine).order_by(instances.c.created, instances.c.id)
    return chosen.limit(sa.bindparam("most"))
