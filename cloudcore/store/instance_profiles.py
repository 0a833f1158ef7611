"""Instance profiles of projects, the one role that each may hold, and the instances that have them.

Which profile an instance has stands in its own row too (`instances.profile`), so that those without cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import asdict, fields
from typing import Any

import sqlalchemy as sa

from cloudcore.domain.instance_profiles import InstanceProfile, ProfileAssociation
from cloudcore.domain.instances import Instance, State
from cloudcore.domain.roles import Role
from cloudcore.errors import CloudError, Code
from cloudcore.store.instances import from_row as instance_from_row
from cloudcore.store.pages import Wanted, page
from cloudcore.store.roles import role_unknown
from cloudcore.store.schema import identity_tags, instance_profiles, instances, profile_associations

Row, Association = instance_profiles.c, profile_associations.c
COLUMNS = [Row[field.name] for field in fields(InstanceProfile)]
ASSOCIATED = [Association[field.name] for field in fields(ProfileAssociation)]
ENDING = (State.SHUTTING_DOWN.value, State.TERMINATED.value)


class InstanceProfiles:
    def __init__(self, connection: sa.Connection, now: Callable[[], float]) -> None:
        self._connection, self._now = connection, now

    def insert(self, profile: InstanceProfile) -> None:
        """Raises PROFILE_DUPLICATE."""
        try:
            self._connection.execute(sa.insert(instance_profiles).values(**asdict(profile)))
        except sa.exc.IntegrityError:
            raise CloudError(Code.PROFILE_DUPLICATE, f"Instance Profile {profile.name} already exists.") from None

    def named(self, project: str, name: str) -> InstanceProfile:
        """Raises PROFILE_UNKNOWN."""
        row = self._first(Row.project == project, Row.name == name)
        if row is None:
            raise profile_unknown(name)
        return row

    def find(self, id: str) -> InstanceProfile | None:
        """Whoever has it: for the conductor."""
        return self._first(Row.id == id)

    def page(self, project: str, after: str, count: int, prefix: str = "/",
             role: str | None = None) -> list[InstanceProfile]:  # fmt: skip
        """In order of name, those after this one; `role` is the id of one that they hold."""
        where = [Row.project == project, Row.name > after, Row.path.startswith(prefix, autoescape=True)]
        where += [] if role is None else [Row.role_id == role]
        found = self._connection.execute(sa.select(*COLUMNS).where(*where).order_by(Row.name).limit(count))
        return [InstanceProfile(**row._mapping) for row in found]

    def count(self, project: str) -> int:
        mine = sa.select(sa.func.count()).select_from(instance_profiles).where(Row.project == project)
        return self._connection.scalar(mine) or 0

    def delete(self, profile: InstanceProfile) -> None:
        """Raises IN_USE while it holds a role. Instances that have it keep its name and get nothing by it."""
        mine = sa.delete(instance_profiles).where(Row.id == profile.id, Row.role_id.is_(None))
        if not self._connection.execute(mine).rowcount:
            raise CloudError(Code.IN_USE, "Cannot delete entity, must remove roles from instance profile first.")
        self._connection.execute(sa.delete(identity_tags).where(identity_tags.c.resource == profile.id))

    def add_role(self, profile: InstanceProfile, role: Role) -> None:
        """Raises IDENTITY_QUOTA when it holds one already, ROLE_UNKNOWN when that has just gone."""
        mine = sa.update(instance_profiles).where(Row.id == profile.id, Row.role_id.is_(None))
        try:
            done = self._connection.execute(mine.values(role_id=role.id)).rowcount
        except sa.exc.IntegrityError:
            raise role_unknown(role.name) from None
        if not done:
            text = "Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1"
            raise CloudError(Code.IDENTITY_QUOTA, text)

    def remove_role(self, profile: InstanceProfile, role: Role) -> None:
        """Raises ROLE_UNKNOWN when it does not hold that one."""
        mine = sa.update(instance_profiles).where(Row.id == profile.id, Row.role_id == role.id)
        if not self._connection.execute(mine.values(role_id=None)).rowcount:
            raise role_unknown(role.name)

    def _first(self, *conditions: sa.ColumnElement[bool]) -> InstanceProfile | None:
        row = self._connection.execute(sa.select(*COLUMNS).where(*conditions)).one_or_none()
        return InstanceProfile(**row._mapping) if row else None


class ProfileAssociations:
    """Which instance has which profile. Whoever writes here writes `instances.profile` in the same transaction."""

    def __init__(self, connection: sa.Connection, now: Callable[[], float]) -> None:
        self._connection, self._now = connection, now

    def begin(self, profile: InstanceProfile, made: Collection[tuple[str, str]]) -> list[ProfileAssociation]:
        """Pairs of association id and instance. Raises PROFILE_ASSOCIATED when the instance has a profile."""
        new = [ProfileAssociation(id, profile.project, instance, profile.id, profile.arn, self._now())
               for id, instance in made]  # fmt: skip
        try:
            self._connection.execute(sa.insert(profile_associations), [asdict(one) for one in new])
        except sa.exc.IntegrityError:
            text = f"There is an existing association for instance {new[0].instance}"
            raise CloudError(Code.PROFILE_ASSOCIATED, text) from None
        return new

    def find(self, project: str, id: str) -> ProfileAssociation | None:
        return next(iter(self._where(Association.project == project, Association.id == id)), None)

    def of_instances(self, ids: Collection[str]) -> dict[str, ProfileAssociation]:
        """By instance; those that have no profile are not in it."""
        return {one.instance: one for one in self._where(Association.instance.in_(list(ids)))} if ids else {}

    def end(self, instance: str) -> None:
        self._connection.execute(sa.delete(profile_associations).where(Association.instance == instance))

    def page(self, project: str, wanted: Wanted) -> list[tuple[ProfileAssociation, Instance]]:
        """By (created, id)."""
        chosen = page(profile_associations, ASSOCIATED, Association.project == project, wanted)
        found = [ProfileAssociation(**row._mapping) for row in self._connection.execute(chosen)]
        theirs = self._instances([one.instance for one in found])
        return [(one, theirs[one.instance]) for one in found]

    def holders(self, profile: str) -> list[Instance]:
        """Instances that have this profile (its id) and are not about to end."""
        mine = sa.select(Association.instance).where(Association.profile_id == profile)
        return sorted(self._instances(list(self._connection.execute(mine).scalars()), ENDING).values(),
                      key=lambda one: one.id)  # fmt: skip

    def _where(self, *conditions: sa.ColumnElement[bool]) -> list[ProfileAssociation]:
        chosen = sa.select(*ASSOCIATED).where(*conditions).order_by(Association.created, Association.id)
        return [ProfileAssociation(**row._mapping) for row in self._connection.execute(chosen)]

    def _instances(self, ids: list[str], without: Collection[str] = ()) -> dict[str, Instance]:
        columns: list[Any] = [instances.c[field.name] for field in fields(Instance) if field.name != "user_data"]
        chosen = sa.select(*columns).where(instances.c.id.in_(ids), instances.c.state.not_in(list(without)))
        return {row.id: instance_from_row(row) for row in self._connection.execute(chosen)} if ids else {}


def profile_unknown(name: str) -> CloudError:
    return CloudError(Code.PROFILE_UNKNOWN, f"Instance Profile {name} cannot be found.")
