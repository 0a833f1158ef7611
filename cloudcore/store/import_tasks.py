"""Imports of images and snapshots: tasks that the conductor performs and the api shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import sqlalchemy as sa

from cloudcore.domain.imports import Import, ImportState, ImportTask
from cloudcore.store.pages import Wanted, page
from cloudcore.store.schema import import_tasks

COLUMNS = [import_tasks.c[field.name] for field in fields(ImportTask)]


class ImportTasks:
    def __init__(self, connection: sa.Connection, now: Callable[[], float]) -> None:
        self._connection, self._now = connection, now

    def insert(self, task: ImportTask) -> None:
        row = {field.name: getattr(task, field.name) for field in fields(ImportTask)}
        stored = row | {"state": task.state.value, "wanted": task.wanted.to_json()}
        self._connection.execute(sa.insert(import_tasks).values(**stored))

    def find(self, task: str) -> ImportTask | None:
        """Whoever owns it: for the conductor."""
        row = self._connection.execute(sa.select(*COLUMNS).where(import_tasks.c.id == task)).one_or_none()
        return task_of(row) if row else None

    def page(self, project: str, wanted: Wanted) -> list[ImportTask]:
        """By (created, id)."""
        rows = self._connection.execute(page(import_tasks, COLUMNS, import_tasks.c.project == project, wanted))
        return [task_of(row) for row in rows]

    def change(self, task: str, **changes: Any) -> bool:
        """False, and nothing changes, when it is active no more: it has ended, or was cancelled."""
        stored = {name: value.value if isinstance(value, ImportState) else value for name, value in changes.items()}
        active = sa.and_(import_tasks.c.id == task, import_tasks.c.state == ImportState.ACTIVE.value)
        return self._connection.execute(sa.update(import_tasks).where(active).values(**stored)).rowcount == 1


def task_of(row: sa.Row[Any]) -> ImportTask:
    values = dict(row._mapping)
    return ImportTask(**values | {"state": ImportState(values["state"]), "wanted": Import.from_json(values["wanted"])})
