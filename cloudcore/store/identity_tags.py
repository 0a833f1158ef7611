"""Tags of roles and instance profiles: IAM's, which no describe of EC2 shows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import sqlalchemy as sa

from cloudcore.errors import CloudError, Code
from cloudcore.store.schema import identity_tags
from cloudcore.store.tags import MOST

Tag = identity_tags.c


class IdentityTags:
    def __init__(self, connection: sa.Connection, now: Callable[[], float]) -> None:
        self._connection, self._now = connection, now

    def of(self, resource: str) -> dict[str, str]:
        """In order of key."""
        chosen = sa.select(Tag.key, Tag.value).where(Tag.resource == resource).order_by(Tag.key)
        return {row.key: row.value for row in self._connection.execute(chosen)}

    def put(self, resource: str, wanted: Mapping[str, str]) -> None:
        """Raises IDENTITY_QUOTA."""
        self.remove(resource, wanted.keys())
        rows = [{"resource": resource, "key": key, "value": value} for key, value in wanted.items()]
        if rows:
            self._connection.execute(sa.insert(identity_tags), rows)
        mine = sa.select(sa.func.count()).select_from(identity_tags).where(Tag.resource == resource)
        if (self._connection.scalar(mine) or 0) > MOST:
            raise CloudError(Code.IDENTITY_QUOTA, f"The number of tags has reached the maximum limit: {MOST}")

    def remove(self, resource: str, keys: Collection[str]) -> None:
        mine = sa.and_(Tag.resource == resource, Tag.key.in_(list(keys)))
        self._connection.execute(sa.delete(identity_tags).where(mine))
