"""One record per accepted mutation, in its own transaction (I18). Parameters arrive redacted: no user data, no keys."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa

from cloudcore.domain.callers import Caller
from cloudcore.store.schema import audit

INSERT = sa.insert(audit)


@dataclass(frozen=True, slots=True)
class Entry:
    at: float  # seconds since the epoch, database time
    request_id: str
    project: str
    user_name: str
    access_key: str
    action: str
    resources: tuple[str, ...]
    parameters: Mapping[str, Any]


class Audit:
    def __init__(self, connection: sa.Connection, now: Callable[[], float]) -> None:
        self._connection, self._now = connection, now

    def record(self, caller: Caller, request_id: str, action: str, resources: Collection[str],
               parameters: Mapping[str, Any]) -> None:  # fmt: skip
        """`action` with its service (ec2:RunInstances); `parameters` must be fit for JSON."""
        self._connection.execute(INSERT, {
            "at": self._now(), "request_id": request_id, "project": caller.project_id, "user_name": caller.user_name,
            "access_key": caller.access_key, "action": action, "resources": orjson.dumps(list(resources)).decode(),
            "parameters": orjson.dumps(parameters).decode()})  # fmt: skip

    def entries(self, project: str, limit: int = 1000) -> list[Entry]:
        """The latest first."""
        found = sa.select(audit).where(audit.c.project == project).order_by(audit.c.id.desc()).limit(limit)
        return [
            Entry(row.at, row.request_id, row.project, row.user_name, row.access_key, row.action,
                  tuple(orjson.loads(row.resources)), orjson.loads(row.parameters))
            for row in self._connection.execute(found)
        ]  # fmt: skip
