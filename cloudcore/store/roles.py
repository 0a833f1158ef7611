"""Roles of projects and their policies. A change of policies raises the revision, which ends the role's sessions."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import asdict, fields
from typing import Any

import sqlalchemy as sa

from cloudcore.domain.roles import Role
from cloudcore.errors import CloudError, Code
from cloudcore.store.schema import identity_tags, role_policies, roles

COLUMNS = [roles.c[field.name] for field in fields(Role)]


class Roles:
    def __init__(self, connection: sa.Connection, now: Callable[[], float]) -> None:
        self._connection, self._now = connection, now

    def insert(self, role: Role) -> None:
        """Raises ROLE_DUPLICATE."""
        try:
            self._connection.execute(sa.insert(roles).values(**asdict(role)))
        except sa.exc.IntegrityError:
            raise CloudError(Code.ROLE_DUPLICATE, f"Role with name {role.name} already exists.") from None

    def named(self, project: str, name: str) -> Role:
        """Raises ROLE_UNKNOWN."""
        mine = sa.select(*COLUMNS).where(roles.c.project == project, roles.c.name == name)
        row = self._connection.execute(mine).one_or_none()
        if row is None:
            raise role_unknown(name)
        return Role(**row._mapping)

    def found(self, ids: Collection[str]) -> dict[str, Role]:
        """By id."""
        chosen = sa.select(*COLUMNS).where(roles.c.id.in_(list(ids)))
        return {row.id: Role(**row._mapping) for row in self._connection.execute(chosen)} if ids else {}

    def page(self, project: str, after: str, count: int) -> list[Role]:
        """In order of name, those after this one."""
        mine = sa.select(*COLUMNS).where(roles.c.project == project, roles.c.name > after)
        found = self._connection.execute(mine.order_by(roles.c.name).limit(count))
        return [Role(**row._mapping) for row in found]

    def count(self, project: str) -> int:
        return self._connection.scalar(
            sa.select(sa.func.count()).select_from(roles).where(roles.c.project == project)) or 0  # fmt: skip

    def update(self, role: Role, **changes: Any) -> None:
        """Description, trust, longest. Sessions go on: these say who may begin one, and how long it may be."""
        self._connection.execute(sa.update(roles).where(roles.c.id == role.id).values(**changes))

    def delete(self, role: Role) -> None:
        """Its sessions end with it. Raises IN_USE while it has policies or an instance profile holds it."""
        if self.policies(role):
            raise CloudError(Code.IN_USE, "Cannot delete entity, must delete policies first.")
        try:
            self._connection.execute(sa.delete(roles).where(roles.c.id == role.id))
        except sa.exc.IntegrityError:
            text = "Cannot delete entity, must remove roles from instance profile first."
            raise CloudError(Code.IN_USE, text) from None
        self._connection.execute(sa.delete(identity_tags).where(identity_tags.c.resource == role.id))

    def policies(self, role: Role) -> dict[str, str]:
        """Documents by name, in order of name."""
        mine = sa.select(role_policies.c.name, role_policies.c.document).where(role_policies.c.role_id == role.id)
        found = self._connection.execute(mine.order_by(role_policies.c.name))
        return {row.name: row.document for row in found}

    def put_policy(self, role: Role, name: str, document: str) -> None:
        self._revise(role)
        self._drop(role, name)
        row = {"role_id": role.id, "name": name, "document": document}
        self._connection.execute(sa.insert(role_policies).values(row))

    def delete_policy(self, role: Role, name: str) -> None:
        """Raises POLICY_UNKNOWN."""
        self._revise(role)
        if not self._drop(role, name):
            raise policy_unknown(name)

    def _drop(self, role: Role, name: str) -> int:
        mine = sa.delete(role_policies).where(role_policies.c.role_id == role.id, role_policies.c.name == name)
        return self._connection.execute(mine).rowcount

    def _revise(self, role: Role) -> None:
        """Comes first: it locks the role against other changes of it."""
        raised = sa.update(roles).where(roles.c.id == role.id).values(revision=roles.c.revision + 1)
        if not self._connection.execute(raised).rowcount:
            raise role_unknown(role.name)


def policy_unknown(name: str) -> CloudError:
    return CloudError(Code.POLICY_UNKNOWN, f"The role policy with name {name} cannot be found.")


def role_unknown(name: str) -> CloudError:
    return CloudError(Code.ROLE_UNKNOWN, f"The role with name {name} cannot be found.")
