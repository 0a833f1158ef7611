from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa


class KeyPairs:
    def __init__(self, connection: sa.Connection, now: Callable[[], float]) -> None:
        self._connection, self._now = connection, now
