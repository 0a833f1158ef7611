"""Operations and their leased steps. The steps table is the outbox: a message is only a hint, the sweeper needs none.

A lease is taken by database time; every later write names owner and lease epoch, and 0 rows means stop (R4).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from cloudcore.domain.operations import GIVES_UP, STEPS
from cloudcore.store.schema import operations, steps

FOREVER = 1e12  # seconds; infinity has no portable form in a database


@dataclass(frozen=True, slots=True)
class Step:
    operation: str
    n: int
    kind: str
    subject: str
    attempt: int
    lease_epoch: int
    deadline: float
    operation_kind: str
    generation: int
    project: str


class Operations:
    def __init__(self, connection: sa.Connection, now: Callable[[], float]) -> None:
        self._connection, self._now = connection, now

    def begin(self, kind: str, subject: str, generation: int, project: str, request_id: str) -> str:
        """The operation row and its first step, due at once. Returns the operation's id, for the hint."""
        now = self._now()
        operation = "op-" + secrets.token_hex(10)
        self._connection.execute(sa.insert(operations).values(
            id=operation, kind=kind, subject=subject, generation=generation, project=project, request_id=request_id,
            state="open", created=now, cell="cell1"))  # fmt: skip
        self._connection.execute(sa.insert(steps).values(
            operation=operation, n=0, kind=STEPS[kind][0], subject=subject, state="due", attempt=0, due=now,
            lease_epoch=0, lease_expires=0.0, deadline=min(now + GIVES_UP[kind], FOREVER)))  # fmt: skip
        return operation
