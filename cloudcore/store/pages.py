"""One page of one table: keyset paging by (created, id), so that pages do not shift when rows come or go."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from cloudcore.store.schema import tags

Cursor = tuple[float, str]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows: `ids` (None: all), those after a cursor, at most `limit`.

    `equal` are columns and the exact values that one of them must have; `tagged` are tag keys and values in the same
    way (None: any value).
    """

    ids: Collection[str] | None = None
    after: Cursor | None = None
    limit: int = 1000
    equal: Mapping[str, Collection[Any]] = field(default_factory=dict)
    tagged: Mapping[str, Collection[str] | None] = field(default_factory=dict)


def page(table: sa.Table, columns: Iterable[Any], visible: sa.ColumnElement[bool], wanted: Wanted) -> sa.Select[Any]:
    """`visible` says whose rows may be seen at all; the table has the columns `id` and `created`."""
    where = [visible]
    if wanted.ids is not None:
        where.append(table.c.id.in_(list(wanted.ids)))
    if wanted.after is not None:
        created, id = wanted.after
        where.append(sa.or_(table.c.created > created, sa.and_(table.c.created == created, table.c.id > id)))
    where += [table.c[name].in_(list(values)) for name, values in wanted.equal.items()]
    for key, values in wanted.tagged.items():
        has = sa.and_(tags.c.resource == table.c.id, tags.c.key == key)
        if values is not None:
            has = sa.and_(has, tags.c.value.in_(list(values)))
        where.append(sa.exists().where(has))
    return sa.select(*columns).where(*where).order_by(table.c.created, table.c.id).limit(wanted.limit)
