"""Security groups as hosts need them: rules, and the addresses of members wherever they run.

The api's own view of groups is store/security_groups.py; here only the conductor reads, after instances came or went.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection

import sqlalchemy as sa

from cloudcore.domain.security_groups import Group, Rule
from cloudcore.store.schema import instance_groups, instances, security_group_rules, security_groups

rules = security_group_rules


class Memberships:
    def __init__(self, connection: sa.Connection, now: Callable[[], float]) -> None:
        self._connection, self._now = connection, now

    def needed(self, groups: Collection[str]) -> tuple[Group, ...]:
        """These groups and those that their rules name, ordered by id."""
        named = sa.select(rules.c.source_group).where(rules.c.group_id.in_(list(groups)), rules.c.source_group != "")
        ids = sorted({*groups, *self._connection.execute(named).scalars()})
        found = self._connection.execute(
            sa.select(security_groups.c.id, security_groups.c.revision).where(security_groups.c.id.in_(ids))
        )
        revisions = {row.id: row.revision for row in found}
        by_group, members = self._rules(ids), self._members(ids)
        return tuple(Group(id, revisions[id], tuple(by_group[id]), tuple(members[id])) for id in ids if id in revisions)

    def bump(self, groups: Collection[str]) -> dict[str, int]:
        """A new revision of each; ordered, so that two transactions never wait for each other in a circle."""
        revisions = {}
        for group in sorted(groups):
            newer = sa.update(security_groups).where(security_groups.c.id == group)
            grown = newer.values(revision=security_groups.c.revision + 1).returning(security_groups.c.revision)
            revision = self._connection.execute(grown).scalar_one_or_none()
            if revision is not None:
                revisions[group] = revision
        return revisions

    def hosts(self, group: str) -> set[str]:
        """Where the group matters: hosts of its members, and of members of groups that name it."""
        naming = sa.select(rules.c.group_id).where(rules.c.source_group == group)
        concerned = sa.or_(instance_groups.c.group_id == group, instance_groups.c.group_id.in_(naming))
        found = self._connection.execute(
            sa.select(instances.c.host).distinct()
            .join_from(instance_groups, instances, instances.c.id == instance_groups.c.instance)
            .where(concerned, instances.c.host.is_not(None), instances.c.address.is_not(None))
        )  # fmt: skip
        return set(found.scalars())

    def named(self, groups: Collection[str]) -> set[str]:
        """Those of the groups that any rule names: of the others nobody needs to know the members."""
        named = sa.select(rules.c.source_group).distinct().where(rules.c.source_group.in_(list(groups)))
        return set(self._connection.execute(named).scalars())

    def leave(self, instance: str) -> None:
        self._connection.execute(sa.delete(instance_groups).where(instance_groups.c.instance == instance))

    def _rules(self, ids: list[str]) -> dict[str, list[Rule]]:
        found: dict[str, list[Rule]] = defaultdict(list)
        for row in self._connection.execute(sa.select(rules).where(rules.c.group_id.in_(ids)).order_by(rules.c.id)):
            found[row.group_id].append(Rule(row.id, row.protocol, row.from_port, row.to_port, row.cidr or None,
                                            row.source_group or None, row.egress))  # fmt: skip
        return found

    def _members(self, ids: list[str]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        wanted = self._connection.execute(
            sa.select(instance_groups.c.group_id, instances.c.address)
            .join_from(instance_groups, instances, instances.c.id == instance_groups.c.instance)
            .where(instance_groups.c.group_id.in_(ids), instances.c.address.is_not(None))
            .order_by(instances.c.address)
        )  # fmt: skip
        for group, address in wanted:
            found[group].append(address)
        return found
