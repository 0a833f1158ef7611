"""Instances as describes show them: one page in a few statements, with group names, the zone of the host, the
volumes and the elastic address, and without user data, which no describe shows and which may be 16 KiB each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, fields
from typing import Any

import sqlalchemy as sa

from cloudcore.domain.instance_profiles import ProfileAssociation
from cloudcore.domain.instances import Instance, State
from cloudcore.domain.volumes import Attachment
from cloudcore.store.instance_profiles import ProfileAssociations
from cloudcore.store.instances import from_row
from cloudcore.store.pages import Wanted, page
from cloudcore.store.prepared import Prepared
from cloudcore.store.schema import elastic_addresses, hosts, instance_groups, instances, security_groups
from cloudcore.store.volumes import Attachments

NAMES = [field.name for field in fields(Instance)]
UNSEEN = NAMES.index("user_data")
COLUMNS = [instances.c[name] for name in NAMES if name != "user_data"]
STATE, STATES = NAMES.index("state"), {one.value: one for one in State}
SHOWN = sa.or_(instances.c.state != State.TERMINATED.value, instances.c.changed > sa.bindparam("since"))
VISIBLE = sa.and_(instances.c.project == sa.bindparam("the_project"), SHOWN)
# Not `project = ...`: for more than ten ids SQLite would rather walk over all that the project has.
THEIRS = sa.and_(sa.func.coalesce(instances.c.project, "") == sa.bindparam("the_project"), SHOWN)
GROUPS = Prepared(
    sa.select(instance_groups.c.instance, security_groups.c.id, security_groups.c.name)
    .where(instance_groups.c.group_id == security_groups.c.id)
    .where(instance_groups.c.instance.in_(sa.bindparam("ids", expanding=True)))
    .order_by(security_groups.c.id)
)
PUBLIC = Prepared(
    sa.select(elastic_addresses.c.instance, elastic_addresses.c.address)
    .where(elastic_addresses.c.instance.in_(sa.bindparam("ids", expanding=True)))
)
EVERY = sa.select(*COLUMNS).order_by(instances.c.created, instances.c.id).limit(sa.bindparam("most"))
PLAIN = Prepared(EVERY.where(VISIBLE))
BY_IDS = Prepared(EVERY.where(THEIRS, instances.c.id.in_(sa.bindparam("ids", expanding=True))))


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
        found = self._found(project, wanted, self._now() - lingers)
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

    def _found(self, project: str, wanted: Wanted, since: float) -> list[Instance]:
        seen: dict[str, Any] = {"the_project": project, "since": since}
        if selects(wanted):
            selected = self._connection.execute(page(instances, COLUMNS, VISIBLE, wanted), seen)
            return [from_row(row) for row in selected]
        statement, ids = (PLAIN, None) if wanted.ids is None else (BY_IDS, list(wanted.ids))
        return [shown_from(row) for row in statement.rows(self._connection, {**seen, "most": wanted.limit}, ids)]

    def groups(self, ids: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
        """{instance: [(group id, name)]}"""
        found: dict[str, list[tuple[str, str]]] = {}
        for instance, group, name in GROUPS.rows(self._connection, {}, ids):
            found.setdefault(instance, []).append((group, name))
        return found

    def _public(self, ids: Sequence[str]) -> dict[str, str]:
        return dict(PUBLIC.rows(self._connection, {}, ids))

    def _zones(self, names: Collection[str]) -> dict[str, str]:
        if not names:
            return {}
        chosen = sa.select(hosts.c.name, hosts.c.zone).where(hosts.c.name.in_(list(names)))
        return {row.name: row.zone for row in self._connection.execute(chosen)}


def selects(wanted: Wanted) -> bool:
    """By more than ids."""
    return bool(wanted.equal or wanted.tagged or wanted.after)


def shown_from(row: Sequence[Any]) -> Instance:
    """Of values in the order of COLUMNS."""
    values = [*row[:UNSEEN], None, *row[UNSEEN:]]
    values[STATE] = STATES[values[STATE]]
    return Instance(*values)
