"""Client tokens: one token, one result (I2). The row is written in the transaction that it makes repeatable, so that a
failed attempt burns no token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import orjson
import sqlalchemy as sa

from cloudcore.errors import CloudError, Code
from cloudcore.store.instances import LostRace
from cloudcore.store.schema import requests

EARLIER = sa.select(requests.c.parameter_hash, requests.c.answer).where(
    requests.c.project == sa.bindparam("whose"), requests.c.action == sa.bindparam("what"),
    requests.c.token == sa.bindparam("which"))  # fmt: skip
KEEP = sa.insert(requests)


@dataclass(frozen=True, slots=True)
class Token:
    """`parameter_hash` is over everything the caller asked for except the token itself."""

    project: str
    action: str
    token: str
    parameter_hash: str


class Requests:
    def __init__(self, connection: sa.Connection, now: Callable[[], float]) -> None:
        self._connection, self._now = connection, now

    def earlier(self, token: Token) -> list[str] | None:
        """The ids that this token made before, or None. Raises TOKEN_MISMATCH when the parameters were others."""
        asked = {"whose": token.project, "what": token.action, "which": token.token}
        row = self._connection.execute(EARLIER, asked).one_or_none()
        if row is None:
            return None
        if row.parameter_hash != token.parameter_hash:
            text = f"The client token '{token.token}' was used before with other parameters"
            raise CloudError(Code.TOKEN_MISMATCH, text)
        return orjson.loads(row.answer)

    def keep(self, token: Token, ids: list[str]) -> None:
        """Raises LostRace when the same token is being used at this moment: the rerun finds what it made."""
        row = {"project": token.project, "action": token.action, "token": token.token,
               "parameter_hash": token.parameter_hash, "answer": orjson.dumps(ids).decode(), "created": self._now()}
        try:
            self._connection.execute(KEEP, row)
        except sa.exc.IntegrityError:
            raise LostRace(token.action) from None
