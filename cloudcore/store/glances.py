"""Short reads of SQLite in the reactor's own thread.

To find one row takes SQLite some tens of microseconds; to hand that to another thread and back takes several times as
much, and a thread that computes holds up the reactor all the same, since both take turns at one interpreter. What
makes this safe is that every read here has an end: SQLite counts the instructions of its virtual machine, and looks at
the clock, and interrupts what goes over its budget. Whoever asked then asks a thread. In WAL mode a reader waits for no
writer; where it would have to wait after all (the log is being recovered), it does not, and is too long as well.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

import sqlalchemy as sa

from cloudcore.store.lasting import line

INSTRUCTIONS = 200  # between two looks at the budget
BUDGET = 100  # looks: 20,000 instructions, which a hundred instances with all that is shown of them stay below
LONGEST = 0.02  # seconds until what waits for a slow disk is interrupted at the next look


class TooLong(Exception):
    """Interrupted, or the database would have had to wait: nothing is known."""


class Glances:
    """`engine` must neither wait nor begin transactions by itself. One thread alone may use it."""

    def __init__(self, engine: sa.Engine, books: Callable[[sa.Connection], Any], budget: int = BUDGET) -> None:
        self._engine, self._books, self._budget = engine, books, budget
        self._connection: sa.Connection | None = None
        self._driver: Any = None
        self._left, self._until = 0, 0.0

    def at(self, work: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """What `work(books, ...)` returns or raises. Raises TooLong."""
        try:
            connection = self._connection or self._connected()
            self._left, self._until = self._budget, monotonic() + LONGEST
            self._driver.execute("BEGIN")
            try:
                return work(self._books(line(connection)), *args, **kwargs)
            finally:
                self._driver.execute("ROLLBACK")  # it has only read
        except sa.exc.DBAPIError as problem:
            raise TooLong from problem
        except self._engine.dialect.loaded_dbapi.Error as problem:  # of our own two statements
            self.close()
            raise TooLong from problem

    def close(self) -> None:
        connection, self._connection, self._driver = self._connection, None, None
        if connection is not None:
            connection.invalidate()
            connection.close()

    def _connected(self) -> sa.Connection:
        try:
            connection = self._engine.connect()
        except sa.exc.TimeoutError as problem:
            raise TooLong from problem
        self._driver = connection.connection.dbapi_connection
        self._driver.set_progress_handler(self._spent, INSTRUCTIONS)
        self._connection = connection
        return connection

    def _spent(self) -> bool:
        self._left -= 1
        return self._left < 0 or monotonic() > self._until
