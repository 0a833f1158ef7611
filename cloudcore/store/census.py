"""What a cloud holds in all, whoever owns it: for the operator's own screen, never for a request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from cloudcore.domain.instances import State
from cloudcore.store.schema import images, instances, tags

NAMED = sa.and_(tags.c.resource == instances.c.id, tags.c.key == "Name")


@dataclass(frozen=True, slots=True)
class Counted:
    """`name` is the tag Name, else the id."""

    id: str
    name: str
    state: State


class Census:
    def __init__(self, connection: sa.Connection, now: Callable[[], float]) -> None:
        self._connection = connection

    def instances(self) -> list[Counted]:
        """All that are not terminated, oldest first."""
        wanted = (sa.select(instances.c.id, instances.c.state, tags.c.value)
                  .select_from(instances.outerjoin(tags, NAMED))
                  .where(instances.c.state != State.TERMINATED.value)
                  .order_by(instances.c.created, instances.c.id))
        return [Counted(row.id, row.value or row.id, State(row.state)) for row in self._connection.execute(wanted)]

    def images(self) -> int:
        counted = sa.select(sa.func.count()).select_from(images).where(images.c.state == "available")
        return int(self._connection.execute(counted).scalar_one())
