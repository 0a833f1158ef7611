"""Tags of every kind of resource. That one exists and whose it is, is asked before; here project and id suffice."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from cloudcore.errors import CloudError, Code
from cloudcore.store.prepared import Prepared
from cloudcore.store.schema import tags

MOST = 50  # per resource, as EC2
CHUNK = 512  # ids per statement: databases bound the number of parameters
OF = Prepared(
    sa.select(tags.c.resource, tags.c.key, tags.c.value)
    .where(tags.c.project == sa.bindparam("the_project"), tags.c.resource.in_(sa.bindparam("ids", expanding=True)))
    .order_by(tags.c.key)
)


@dataclass(frozen=True, slots=True)
class Tag:
    resource: str
    kind: str  # as in domain/ids.py
    key: str
    value: str


class Tags:
    def __init__(self, connection: sa.Connection, now: Callable[[], float]) -> None:
        self._connection, self._now = connection, now

    def begin(self, project: str, resources: Mapping[str, str], wanted: Mapping[str, str]) -> None:
        """The first tags of new resources ({id: kind})."""
        if rows := _rows(project, resources, wanted):
            self._connection.execute(sa.insert(tags), rows)

    def put(self, project: str, resources: Mapping[str, str], wanted: Mapping[str, str]) -> None:
        """Sets the same tags on several resources ({id: kind}). Raises TAG_LIMIT."""
        rows = _rows(project, resources, wanted)
        if not rows:
            return
        insert = (sqlite.insert if self._connection.dialect.name == "sqlite" else postgresql.insert)(tags)
        upsert = insert.on_conflict_do_update(tags.primary_key, set_={"value": insert.excluded.value})
        self._connection.execute(upsert, rows)
        over = (sa.select(tags.c.resource).where(tags.c.resource.in_(list(resources)))
                .group_by(tags.c.resource).having(sa.func.count() > MOST))  # fmt: skip
        full = self._connection.execute(over.limit(1)).scalar()
        if full is not None:
            raise CloudError(Code.TAG_LIMIT, f"The resource '{full}' would have more than {MOST} tags")

    def remove(self, project: str, resources: Collection[str], unwanted: Mapping[str, str | None] | None) -> None:
        """`unwanted` maps a key to the value it must have, or to None for any; None removes all tags."""
        mine = sa.and_(tags.c.project == project, tags.c.resource.in_(list(resources)))
        if unwanted is None:
            self._connection.execute(sa.delete(tags).where(mine))
            return
        for key, value in unwanted.items():
            where = [mine, tags.c.key == key] if value is None else [mine, tags.c.key == key, tags.c.value == value]
            self._connection.execute(sa.delete(tags).where(*where))

    def drop(self, resource: str) -> None:
        """All tags of a resource that ends."""
        self._connection.execute(sa.delete(tags).where(tags.c.resource == resource))

    def of(self, project: str, resources: Collection[str]) -> dict[str, dict[str, str]]:
        """{id: {key: value}}, keys sorted; ids without tags are not in it."""
        found: dict[str, dict[str, str]] = {}
        every = list(resources)
        for at in range(0, len(every), CHUNK):
            for resource, key, value in OF.rows(self._connection, {"the_project": project}, every[at : at + CHUNK]):
                found.setdefault(resource, {})[key] = value
        return found

    def page(self, project: str, after: tuple[str, str] | None, limit: int,
             equal: Mapping[str, Collection[str]]) -> list[Tag]:  # fmt: skip
        """By (resource, key), after that pair."""
        where = [tags.c.project == project, *(tags.c[name].in_(list(values)) for name, values in equal.items())]
        if after is not None:
            resource, key = after
            where.append(sa.or_(tags.c.resource > resource, sa.and_(tags.c.resource == resource, tags.c.key > key)))
        chosen = sa.select(tags.c.resource, tags.c.kind, tags.c.key, tags.c.value).where(*where)
        return [Tag(*row) for row in self._connection.execute(chosen.order_by("resource", "key").limit(limit))]


def _rows(project: str, resources: Mapping[str, str], wanted: Mapping[str, str]) -> list[dict[str, str]]:
    return [
        {"resource": resource, "key": key, "value": value, "kind": kind, "project": project}
        for resource, kind in resources.items()
        for key, value in wanted.items()
    ]
