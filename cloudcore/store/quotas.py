"""Quotas as counters: one conditional UPDATE decides, in the transaction that makes what is counted.

A project's row is made at its first use, with the limit of that day. Several resources are always taken in the order of
their names, so that two transactions never wait for each other in a circle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from cloudcore.store.schema import quotas

# Made once: to build a statement costs more than to execute it, and this one runs twice in every launch.
AMOUNT = sa.bindparam("amount", type_=sa.BigInteger)
TAKE = (sa.update(quotas)
        .where(quotas.c.project == sa.bindparam("whose"), quotas.c.resource == sa.bindparam("what"),
               quotas.c.used + AMOUNT <= quotas.c.limit)
        .values(used=quotas.c.used + AMOUNT))  # fmt: skip


class Quotas:
    def __init__(self, connection: sa.Connection, now: Callable[[], float]) -> None:
        self._connection, self._now = connection, now

    def take(self, project: str, limits: Mapping[str, int], **amounts: int) -> bool:
        """All of it or nothing: False, with nothing taken, when one resource has too little left.

        Resource names are those of domain/quotas.py, hyphens as underscores: `take(p, limits, instances=2, vcpus=4)`.
        """
        taken: dict[str, int] = {}
        for resource, amount in _named(amounts):
            if not self._take_one(project, resource, amount, limits):
                self.release(project, **{name.replace("-", "_"): back for name, back in taken.items()})
                return False
            taken[resource] = amount
        return True

    def room(self, project: str, limits: Mapping[str, int], *resources: str) -> dict[str, int]:
        """What is left of each resource; below zero where a limit was lowered."""
        mine = sa.and_(quotas.c.project == project, quotas.c.resource.in_(resources))
        left = {resource: limits[resource] for resource in resources}
        for row in self._connection.execute(sa.select(quotas).where(mine)):
            left[row.resource] = row.limit - row.used
        return left

    def release(self, project: str, **amounts: int) -> None:
        """Gives back what `take` took; never below zero. Call it once per thing that ends (the `forget` step)."""
        for resource, amount in _named(amounts):
            mine = sa.and_(quotas.c.project == project, quotas.c.resource == resource)
            left = sa.case((quotas.c.used > amount, quotas.c.used - amount), else_=0)
            self._connection.execute(sa.update(quotas).where(mine).values(used=left))

    def limit(self, project: str, resource: str, limit: int) -> None:
        """Sets the limit of one project."""
        self._make(project, resource, limit)
        mine = sa.and_(quotas.c.project == project, quotas.c.resource == resource)
        self._connection.execute(sa.update(quotas).where(mine).values(limit=limit))

    def usage(self, project: str) -> dict[str, tuple[int, int]]:
        """{resource: (used, limit)} of what the project has ever used."""
        found = self._connection.execute(sa.select(quotas).where(quotas.c.project == project))
        return {row.resource: (row.used, row.limit) for row in found}

    def _take_one(self, project: str, resource: str, amount: int, limits: Mapping[str, int]) -> bool:
        asked = {"whose": project, "what": resource, "amount": amount}
        if self._connection.execute(TAKE, asked).rowcount:
            return True
        made = self._make(project, resource, limits[resource])
        return made and bool(self._connection.execute(TAKE, asked).rowcount)

    def _make(self, project: str, resource: str, limit: int) -> bool:
        """Whether there was no row before."""
        insert = sqlite.insert if self._connection.dialect.name == "sqlite" else postgresql.insert
        row = insert(quotas).values(project=project, resource=resource, limit=limit, used=0)
        return bool(self._connection.execute(row.on_conflict_do_nothing()).rowcount)


def _named(amounts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted((name.replace("_", "-"), amount) for name, amount in amounts.items() if amount)
