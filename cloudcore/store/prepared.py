"""Selects that are asked with almost every request: text and order of parameters are made once, and rows come as plain
tuples. SQLAlchemy's own way from a statement to its rows costs several times what SQLite needs to find them.

A list of ids is filled up with its last one to the next power of two, so that few texts serve every length.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

Value = str | int | float | None
PLAIN = (sa.Text, sa.BigInteger, sa.Double, sa.Boolean)
FLAG = {0: False, 1: True, None: None}
LIST = "ids"  # the name of the parameter that is a list


@dataclass(frozen=True, slots=True)
class Plan:
    """`order` names the parameters of `text`, (LIST, n) being the nth id; `constants` are those of the statement."""

    text: str
    order: tuple[tuple[str, int], ...]
    constants: Mapping[str, Any]
    named: bool  # whether the driver wants a dictionary, by `names`
    names: tuple[str, ...]
    flags: tuple[int, ...]  # columns that SQLite keeps as 0 and 1


class Prepared:
    """`statement` may have one expanding parameter, with the name `ids`; the others are single values."""

    def __init__(self, statement: sa.Select[Any]) -> None:
        self._statement = statement
        self._plans: dict[tuple[str, int], Plan] = {}

    def rows(self, connection: sa.Connection, values: Mapping[str, Value],
             ids: Sequence[str] | None = None) -> list[Any]:  # fmt: skip
        """A sequence of values each, in the order of the statement's columns. An empty list of ids finds nothing."""
        if ids is not None:
            if not ids:
                return []
            ids = filled(ids)
        plan = self._plan(connection.dialect, 0 if ids is None else len(ids))
        given: list[Any] = [
            ids[at] if ids is not None and name == LIST else values[name] if name in values else plan.constants[name]
            for name, at in plan.order
        ]  # fmt: skip
        found = fetched(connection, plan.text, dict(zip(plan.names, given, strict=True)) if plan.named else given)
        return with_flags(found, plan.flags) if plan.flags else found

    def _plan(self, dialect: sa.Dialect, count: int) -> Plan:
        key = dialect.name, count
        found = self._plans.get(key)
        if found is None:
            found = self._plans[key] = planned(self._statement, dialect, count)
        return found


def filled(ids: Sequence[str]) -> Sequence[str]:
    count = 1 << (len(ids) - 1).bit_length()
    return ids if count == len(ids) else [*ids, *[ids[-1]] * (count - len(ids))]


def planned(statement: sa.Select[Any], dialect: sa.Dialect, count: int) -> Plan:
    compiled: Any = statement.compile(dialect=dialect)
    wanted = {name: [""] * count if name == LIST else None for name, one in compiled.binds.items() if one.required}
    state = compiled.construct_expanded_state(wanted)
    expanded = {name: at for at, name in enumerate(state.parameter_expansion.get(LIST, ()))}
    names = tuple(state.positiontup if state.positiontup is not None else state.parameters)
    order = tuple((LIST, expanded[name]) if name in expanded else (name, 0) for name in names)
    types = [column.type for column in statement.selected_columns]
    if not all(isinstance(one, PLAIN) for one in types):
        raise TypeError(f"a column's type is none of those that drivers read by themselves: {types}")
    flags = [at for at, one in enumerate(types) if isinstance(one, sa.Boolean) and dialect.name == "sqlite"]
    return Plan(state.statement, order, dict(state.parameters), state.positiontup is None, names, tuple(flags))


def fetched(connection: sa.Connection, text: str, given: Any) -> list[Any]:
    """On SQLite by the driver itself; its errors look as SQLAlchemy's do."""
    if connection.dialect.name != "sqlite":
        return [tuple(row) for row in connection.exec_driver_sql(text, given)]
    driver: Any = connection.connection.dbapi_connection
    try:
        rows: list[Any] = driver.execute(text, given).fetchall()
    except sqlite3.Error as problem:
        raise sa.exc.DBAPIError.instance(text, given, problem, sqlite3.Error, dialect=connection.dialect) from problem
    return rows


def with_flags(rows: list[Any], flags: Sequence[int]) -> list[Any]:
    made = []
    for row in rows:
        values = list(row)
        for at in flags:
            values[at] = FLAG[values[at]]
        made.append(values)
    return made
