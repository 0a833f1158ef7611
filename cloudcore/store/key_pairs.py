"""Key pairs, public halves only: private keys leave in one answer and are stored nowhere (S45)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, fields

import sqlalchemy as sa

from cloudcore.domain.keys import KeyPair
from cloudcore.errors import CloudError, Code
from cloudcore.store.pages import Wanted, page
from cloudcore.store.schema import key_pairs

COLUMNS = [key_pairs.c[field.name] for field in fields(KeyPair)]


class KeyPairs:
    def __init__(self, connection: sa.Connection, now: Callable[[], float]) -> None:
        self._connection, self._now = connection, now

    def insert(self, pair: KeyPair) -> None:
        """Raises KEY_PAIR_DUPLICATE."""
        try:
            self._connection.execute(sa.insert(key_pairs).values(**asdict(pair)))
        except sa.exc.IntegrityError:
            raise CloudError(Code.KEY_PAIR_DUPLICATE, f"The keypair '{pair.name}' already exists") from None

    def find(self, pair: str) -> KeyPair | None:
        """By id, whoever owns it: for the metadata service."""
        row = self._connection.execute(sa.select(*COLUMNS).where(key_pairs.c.id == pair)).one_or_none()
        return KeyPair(**row._mapping) if row else None

    def named(self, project: str, name: str) -> KeyPair:
        """Raises KEY_PAIR_UNKNOWN."""
        mine = sa.and_(key_pairs.c.project == project, key_pairs.c.name == name)
        row = self._connection.execute(sa.select(*COLUMNS).where(mine)).one_or_none()
        if row is None:
            raise CloudError(Code.KEY_PAIR_UNKNOWN, f"The key pair '{name}' does not exist")
        return KeyPair(**row._mapping)

    def page(self, project: str, wanted: Wanted) -> list[KeyPair]:
        found = page(key_pairs, COLUMNS, key_pairs.c.project == project, wanted)
        return [KeyPair(**row._mapping) for row in self._connection.execute(found)]

    def delete(self, project: str, *, name: str | None = None, id: str | None = None) -> KeyPair | None:
        """What was deleted; None when there was nothing: deleting twice is no error."""
        column, value = (key_pairs.c.id, id) if id is not None else (key_pairs.c.name, name)
        mine = sa.and_(key_pairs.c.project == project, column == value)
        row = self._connection.execute(sa.select(*COLUMNS).where(mine)).one_or_none()
        if row is None:
            return None
        self._connection.execute(sa.delete(key_pairs).where(mine))
        return KeyPair(**row._mapping)
