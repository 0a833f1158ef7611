"""Security groups as hosts need them: rules, and the addresses of members wherever they run.

What one group is stands in store/security_groups.py; here is which groups and hosts concern one another.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import sqlalchemy as sa

from cloudcore.domain.instances import State
from cloudcore.domain.security_groups import Group
from cloudcore.store.schema import instance_groups, instances, security_groups
from cloudcore.store.schema import security_group_rules as rules
from cloudcore.store.security_groups import SecurityGroups

THE_GROUP, THE_INSTANCE = sa.bindparam("the_group", type_=sa.Text), sa.bindparam("the_instance", type_=sa.Text)
NAMED = sa.select(rules.c.source_group).where(
    rules.c.group_id.in_(sa.bindparam("the_groups", expanding=True)), rules.c.source_group != "")  # fmt: skip
OTHER = sa.and_(instance_groups.c.instance != THE_INSTANCE, instances.c.id == instance_groups.c.instance)
AWAITED = sa.select(sa.literal(1)).limit(1).where(
    OTHER, instance_groups.c.group_id.in_(sa.select(rules.c.group_id).where(rules.c.source_group == THE_GROUP)),
    instances.c.address.is_not(None))  # fmt: skip
SHARED = sa.select(sa.literal(1)).limit(1).where(
    OTHER, instance_groups.c.group_id == THE_GROUP, instances.c.host == sa.bindparam("the_host"),
    instances.c.state.in_(sa.bindparam("the_states", expanding=True)))  # fmt: skip

BUMP = (
    sa.update(security_groups).where(security_groups.c.id == THE_GROUP)
    .values(revision=security_groups.c.revision + 1).returning(security_groups.c.revision)
)  # fmt: skip


class Memberships:
    def __init__(self, connection: sa.Connection, now: Callable[[], float]) -> None:
        self._connection = connection
        self._groups = SecurityGroups(connection, now)

    def needed(self, groups: Collection[str]) -> tuple[Group, ...]:
        """These groups and those that their rules name, ordered by id."""
        if not groups:
            return ()
        ids = sorted({*groups, *self._connection.execute(NAMED, {"the_groups": list(groups)}).scalars()})
        found = (self._groups.value(id) for id in ids)
        return tuple(group for group in found if group is not None)

    def bump(self, groups: Collection[str]) -> dict[str, int]:
        """A new revision of each; ordered, so that two transactions never wait for each other in a circle."""
        bump = self._connection.execute
        return {group: int(bump(BUMP, {"the_group": group}).scalar_one()) for group in sorted(groups)}

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

    def awaited(self, groups: Collection[str], instance: str) -> list[str]:
        """Those of the groups whose members somebody else than this instance has to know, ordered."""
        return [group for group in sorted(groups) if self._is_awaited(group, instance)]

    def shared(self, groups: Collection[str], instance: str, host: str, states: Collection[State]) -> list[str]:
        """Those of the groups that have another member on the host in one of these states, ordered."""
        return [group for group in sorted(groups) if self._is_shared(group, instance, host, states)]

    def leave(self, instance: str) -> None:
        self._connection.execute(sa.delete(instance_groups).where(instance_groups.c.instance == instance))

    def _is_awaited(self, group: str, instance: str) -> bool:
        asked = {"the_group": group, "the_instance": instance}
        return self._connection.execute(AWAITED, asked).first() is not None

    def _is_shared(self, group: str, instance: str, host: str, states: Collection[State]) -> bool:
        asked = {"the_group": group, "the_instance": instance, "the_host": host,
                 "the_states": [state.value for state in states]}  # fmt: skip
        return self._connection.execute(SHARED, asked).first() is not None
