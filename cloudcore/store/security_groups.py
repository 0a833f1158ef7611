"""Security groups and their rules. `revision` grows with each change of rules or members; hosts ignore older ones."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from cloudcore.domain.instances import State
from cloudcore.domain.security_groups import DEFAULT_NAME, DescribedRule, Group, Rule, SecurityGroup, matching
from cloudcore.errors import CloudError, Code
from cloudcore.store.instances import LostRace
from cloudcore.store.pages import Wanted, page
from cloudcore.store.schema import instance_groups, instances
from cloudcore.store.schema import security_group_rules as rules
from cloudcore.store.schema import security_groups as groups

COLUMNS = [groups.c.id, groups.c.project, groups.c.name, groups.c.description, groups.c.revision, groups.c.created]

NAMED = sa.select(groups.c.name, groups.c.id).where(
    groups.c.project == sa.bindparam("whose"), groups.c.name.in_(sa.bindparam("names", expanding=True)))  # fmt: skip
NAMES = sa.select(groups.c.id, groups.c.name).where(
    groups.c.project == sa.bindparam("whose"), groups.c.id.in_(sa.bindparam("ids", expanding=True)))  # fmt: skip

ALL_NAMES = sa.select(groups.c.id, groups.c.name).where(groups.c.id.in_(sa.bindparam("ids", expanding=True)))
THE_GROUP = sa.bindparam("the_group", type_=sa.Text)
REVISION = sa.select(groups.c.revision).where(groups.c.id == THE_GROUP)
MEMBERS = (
    sa.select(instances.c.address).order_by(instances.c.address)
    .where(instance_groups.c.group_id == THE_GROUP, instance_groups.c.instance == instances.c.id,
           instances.c.address.is_not(None))
)  # fmt: skip


class SecurityGroups:
    def __init__(self, connection: sa.Connection, now: Callable[[], float]) -> None:
        self._connection, self._now = connection, now

    # -- for api --

    def insert(self, group: SecurityGroup) -> None:
        """With its first rules. Raises GROUP_DUPLICATE."""
        row = {column.name: getattr(group, column.name) for column in COLUMNS}
        try:
            self._connection.execute(sa.insert(groups).values(**row))
        except sa.exc.IntegrityError:
            text = f"The security group '{group.name}' already exists"
            raise CloudError(Code.GROUP_DUPLICATE, text) from None
        self._insert_rules(group.id, group.rules)

    def named(self, project: str, names: Collection[str]) -> dict[str, str]:
        """{name: id} of those that exist."""
        asked = {"whose": project, "names": list(names)}
        return _pairs(self._connection.execute(NAMED, asked)) if names else {}

    def of_project(self, project: str, ids: Collection[str]) -> dict[str, SecurityGroup]:
        """Those of the ids that belong to this project: foreign equals absent."""
        return {group.id: group for group in self.page(project, Wanted(ids=ids, limit=len(ids)))} if ids else {}

    def names(self, ids: Collection[str]) -> dict[str, str]:
        """{id: name}, whoever owns them: for the conductor."""
        return _pairs(self._connection.execute(ALL_NAMES, {"ids": list(ids)})) if ids else {}

    def own_names(self, project: str, ids: Collection[str]) -> dict[str, str]:
        """{id: name} of those of the ids that belong to this project."""
        return _pairs(self._connection.execute(NAMES, {"whose": project, "ids": list(ids)})) if ids else {}

    def page(self, project: str, wanted: Wanted) -> list[SecurityGroup]:
        rows = self._connection.execute(page(groups, COLUMNS, groups.c.project == project, wanted))
        found = [SecurityGroup(*row) for row in rows]
        described = self._rules([group.id for group in found])
        return [replace(group, rules=tuple(described.get(group.id, ()))) for group in found]

    def rules_page(self, project: str, wanted: Wanted) -> list[tuple[float, DescribedRule]]:
        """(created, rule), by (created, id)."""
        columns = [rules.c.created, *_rule_columns()]
        mine = rules.c.group_id.in_(sa.select(groups.c.id).where(groups.c.project == project))
        rows = self._connection.execute(page(rules, columns, mine, wanted))
        return [(row[0], _described(row[1:])) for row in rows]

    def add_rules(self, group: str, added: Sequence[DescribedRule], limit: int) -> int:
        """The new revision. Raises RULE_DUPLICATE, RULE_QUOTA when the group would have more than `limit` rules."""
        revision = self.touch(group)  # first: it makes two transactions on one group wait for each other
        present = {matching(one.rule) for one in self._rules([group]).get(group, ())}
        for one in added:
            if matching(one.rule) in present:
                raise CloudError(Code.RULE_DUPLICATE, f"The specified rule {sentence(one.rule)} already exists")
            present.add(matching(one.rule))
        if len(present) > limit:
            raise CloudError(Code.RULE_QUOTA, f"The security group '{group}' would have more than {limit} rules")
        self._insert_rules(group, added)
        return revision

    def remove_rules(self, group: str, removed: Iterable[Rule]) -> tuple[int, list[DescribedRule]]:
        """The new revision and what went. A rule with an id is found by it. Raises RULE_UNKNOWN."""
        revision = self.touch(group)
        present = self._rules([group]).get(group, [])
        by_id, by_terms = {one.rule.id: one for one in present}, {matching(one.rule): one for one in present}
        gone = []
        for rule in removed:
            found = by_id.get(rule.id) if rule.id else by_terms.get(matching(rule))
            if found is None or found.rule.egress != rule.egress:
                text = f"The specified rule {rule.id or sentence(rule)} does not exist in this security group"
                raise CloudError(Code.RULE_UNKNOWN, text)
            if found not in gone:
                gone.append(found)
        ids = [one.rule.id for one in gone]
        self._connection.execute(sa.delete(rules).where(rules.c.group_id == group, rules.c.id.in_(ids)))
        return revision, gone

    def change_rules(self, group: str, changed: Sequence[DescribedRule]) -> int:
        """The new revision. Rules with these ids say this from now on. Raises RULE_DUPLICATE, LostRace."""
        revision = self.touch(group)
        after = {one.rule.id: one.rule for one in self._rules([group]).get(group, ())}
        if not {one.rule.id for one in changed} <= after.keys():
            raise LostRace(group)  # one has just gone: another try finds out
        after |= {one.rule.id: one.rule for one in changed}
        seen: set[object] = set()
        for rule in after.values():
            if matching(rule) in seen:
                raise CloudError(Code.RULE_DUPLICATE, f"The specified rule {sentence(rule)} already exists")
            seen.add(matching(rule))
        ids = [one.rule.id for one in changed]  # away and back, for two rules may change places
        created = self._created(ids)
        self._connection.execute(sa.delete(rules).where(rules.c.id.in_(ids)))
        self._insert_rules(group, changed, created)
        return revision

    def describe_rules(self, described: Iterable[DescribedRule]) -> None:
        for one in described:
            mine = rules.c.id == one.rule.id
            self._connection.execute(sa.update(rules).where(mine).values(description=one.description))

    def delete(self, group: SecurityGroup) -> None:
        """Raises GROUP_RESERVED, GROUP_IN_USE."""
        if group.name == DEFAULT_NAME:
            text = f"The security group '{group.id}' is the default group of its account and stays"
            raise CloudError(Code.GROUP_RESERVED, text)
        alive = sa.and_(instance_groups.c.group_id == group.id, instance_groups.c.instance == instances.c.id,
                        instances.c.state != State.TERMINATED.value)  # fmt: skip
        member = self._connection.execute(sa.select(instances.c.id).where(alive).limit(1)).scalar()
        referring = [other for other in self.referring(group.id) if other != group.id]
        if member or referring:
            user = f"instance {member}" if member else f"security group {referring[0]}"
            raise CloudError(Code.GROUP_IN_USE, f"The security group '{group.id}' is used by {user}")
        self._connection.execute(sa.delete(instance_groups).where(instance_groups.c.group_id == group.id))
        self._connection.execute(sa.delete(rules).where(rules.c.group_id == group.id))
        try:
            gone = self._connection.execute(sa.delete(groups).where(groups.c.id == group.id)).rowcount
        except sa.exc.IntegrityError:  # an instance has just joined: another try sees it
            raise LostRace(group.id) from None
        if gone != 1:  # somebody else has just deleted it, and given back what it counted
            raise LostRace(group.id)

    # -- for conductor --

    def touch(self, group: str) -> int:
        """One more revision: rules or members have changed. Returns it."""
        mine = groups.c.id == group
        self._connection.execute(sa.update(groups).where(mine).values(revision=groups.c.revision + 1))
        return int(self._connection.execute(sa.select(groups.c.revision).where(mine)).scalar_one())

    def value(self, group: str) -> Group | None:
        """What hosts must know of a group: its rules, and its members' fixed addresses. None when it is gone."""
        revision = self._connection.execute(REVISION, {"the_group": group}).scalar()
        if revision is None:
            return None
        described = self._rules([group]).get(group, ())
        members = self._connection.execute(MEMBERS, {"the_group": group})
        return Group(group, revision, tuple(one.rule for one in described), tuple(members.scalars()))

    def referring(self, group: str) -> list[str]:
        """Groups with a rule that names this group."""
        found = sa.select(rules.c.group_id).where(rules.c.source_group == group).distinct().order_by(rules.c.group_id)
        return list(self._connection.execute(found).scalars())

    def _created(self, ids: Collection[str]) -> dict[str, float]:
        chosen = sa.select(rules.c.id, rules.c.created).where(rules.c.id.in_(list(ids)))
        return _pairs(self._connection.execute(chosen))

    def _insert_rules(self, group: str, added: Iterable[DescribedRule],
                      created: Mapping[str, float] | None = None) -> None:  # fmt: skip
        now, earlier = self._now(), created or {}
        rows = [
            {"id": one.rule.id, "group_id": group, "egress": one.rule.egress, "protocol": one.rule.protocol,
             "from_port": one.rule.from_port, "to_port": one.rule.to_port, "cidr": one.rule.cidr or "",
             "source_group": one.rule.source_group or "", "description": one.description,
             "created": earlier.get(one.rule.id, now)}
            for one in added
        ]  # fmt: skip
        if rows:
            self._connection.execute(sa.insert(rules), rows)

    def _rules(self, ids: Collection[str]) -> dict[str, list[DescribedRule]]:
        found: dict[str, list[DescribedRule]] = {}
        for row in self._connection.execute(RULES, {"ids": list(ids)}) if ids else ():
            one = _described(row)
            found.setdefault(one.group, []).append(one)
        return found


def _pairs(rows: Iterable[Any]) -> dict[str, Any]:
    return {first: second for first, second in rows}  # noqa: C416  (a Row is no pair to dict)


def _rule_columns() -> list[Any]:
    return [rules.c.id, rules.c.protocol, rules.c.from_port, rules.c.to_port, rules.c.cidr, rules.c.source_group,
            rules.c.egress, rules.c.group_id, rules.c.description]  # fmt: skip

RULES = (
    sa.select(*_rule_columns()).where(rules.c.group_id.in_(sa.bindparam("ids", expanding=True)))
    .order_by(rules.c.created, rules.c.id)
)  # fmt: skip


def _described(row: Any) -> DescribedRule:
    id, protocol, from_port, to_port, cidr, source_group, egress, group, description = row
    return DescribedRule(Rule(id, protocol, from_port, to_port, cidr or None, source_group or None, egress), group,
                         description)  # fmt: skip


def sentence(rule: Rule) -> str:
    peer = rule.cidr or rule.source_group
    return f"'peer: {peer}, {rule.protocol}, from port: {rule.from_port}, to port: {rule.to_port}'"
