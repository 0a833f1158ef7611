"""Statements that modules keep, run on SQLite with a fraction of SQLAlchemy's work for each run.

SQLAlchemy looks for the text of a statement anew each time, makes a context for it and learns its result's columns from
the cursor: 50 microseconds and more around a few of SQLite's own. What a module of the store keeps as a constant never
changes, so all that is found out once, here, for each form of its parameters. Rows and errors are SQLAlchemy's own. A
statement that is made for one use goes SQLAlchemy's way, and so does everything on PostgreSQL, where the network costs
more than all of this.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine.result import IteratorResult, SimpleResultMetaData

Form = tuple[Any, ...]
S = TypeVar("S", bound=sa.Executable)


class Written:
    """What a statement without rows answers."""

    __slots__ = ("rowcount",)

    def __init__(self, rowcount: int) -> None:
        self.rowcount = rowcount


class Found(IteratorResult[Any]):
    rowcount = -1


@dataclass(slots=True)
class Plan:
    """`order` has, for each parameter of `text`: its name, the place in its list or -1, and what makes it fit for the
    driver or None. `constants` are values that stand in the statement. `columns` are known from the first run on."""

    text: str
    order: tuple[tuple[str, int, Callable[[Any], Any] | None], ...]
    constants: Mapping[str, Any]
    readers: tuple[tuple[int, Callable[[Any], Any]], ...]
    columns: SimpleResultMetaData | None = None


@dataclass(slots=True)
class Lasting:
    """A statement and its plans by the form of the parameters; None: this form goes SQLAlchemy's way."""

    statement: Any
    lists: frozenset[str]
    plans: dict[Form, Plan | None] = field(default_factory=dict)


KEPT: dict[int, Lasting] = {}  # by the identity of the statement, which is never let go


def lasting(statement: S) -> S:
    """Declares that exactly this statement will be run again and again."""
    made: Any = statement
    compiled = None if isinstance(statement, sa.Insert) else made.compile()
    lists = {name for name, one in compiled.binds.items() if one.expanding and one.required} if compiled else set()
    KEPT[id(statement)] = Lasting(statement, frozenset(lists))
    return statement


def lasting_in(modules: Iterable[ModuleType]) -> None:
    """All that stand in these modules under a name."""
    for module in modules:
        for value in vars(module).values():
            if isinstance(value, (sa.Select, sa.Insert, sa.Update, sa.Delete)) and id(value) not in KEPT:
                lasting(value)


class Line:
    """A `sa.Connection` to SQLite, with a short way for what lasts."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self.dialect = connection.dialect
        self._driver: Any = connection.connection.dbapi_connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, statement: Any, parameters: Any = None) -> Any:
        kept = KEPT.get(id(statement))
        if kept is None:
            return self._connection.execute(statement, parameters)
        several = isinstance(parameters, list)
        first: Mapping[str, Any] = (parameters[0] if parameters else {}) if several else parameters or {}
        if kept.lists and not several:
            first = {name: filled(value) if name in kept.lists else value for name, value in first.items()}
            form: Form = (*first, *[len(first[name]) for name in first if name in kept.lists])
        else:
            form = tuple(first)
        plan = kept.plans[form] if form in kept.plans else planned(kept, form, first, self.dialect)
        if plan is None or (several and not parameters):
            return self._connection.execute(statement, parameters)
        return self._run(plan, parameters if several else [first], several)

    def scalar(self, statement: Any, parameters: Any = None) -> Any:
        return self.execute(statement, parameters).scalar()

    def _run(self, plan: Plan, given: Sequence[Mapping[str, Any]], several: bool) -> Any:
        values = [bound(plan, one) for one in given]
        try:
            cursor = self._driver.executemany(plan.text, values) if several else self._driver.execute(
                plan.text, values[0])  # fmt: skip
            if cursor.description is None:
                return Written(cursor.rowcount)
            rows = cursor.fetchall()
        except sqlite3.Error as problem:
            raise sa.exc.DBAPIError.instance(plan.text, values, problem, sqlite3.Error,
                                             dialect=self.dialect) from problem  # fmt: skip
        if plan.columns is None:
            plan.columns = SimpleResultMetaData([one[0] for one in cursor.description])
        return Found(plan.columns, iter(read(rows, plan.readers) if plan.readers else rows))


def line(connection: sa.Connection) -> Any:
    """What repositories are given instead of the connection itself."""
    return Line(connection) if connection.dialect.name == "sqlite" else connection


def filled(values: Iterable[Any]) -> list[Any]:
    """Up to a power of two with the last one, so that few texts serve every length."""
    made = list(values)
    return made + made[-1:] * ((1 << (len(made) - 1).bit_length()) - len(made)) if made else made


def planned(kept: Lasting, form: Form, first: Mapping[str, Any], dialect: sa.Dialect) -> Plan | None:
    """A plan for parameters of this form, kept from now on. None where one cannot tell all from their names."""
    compiled: Any = kept.statement.compile(dialect=dialect, column_keys=list(first))
    lists = {name for name, one in compiled.binds.items() if one.expanding and name in first}
    plain = not compiled.escaped_bind_names and not any(one.callable for one in compiled.binds.values())
    plain = plain and lists == kept.lists & first.keys()
    plan = kept.plans[form] = expanded(compiled, kept, first, dialect) if plain else None
    return plan


def expanded(compiled: Any, kept: Lasting, first: Mapping[str, Any], dialect: sa.Dialect) -> Plan:
    state = compiled.construct_expanded_state(dict(first))
    parts = {part: (name, at) for name, every in state.parameter_expansion.items() for at, part in enumerate(every)}
    order = []
    for name in state.positiontup:
        whole, at = parts.get(name, (name, -1))
        if at >= 0 and whole not in first:  # a list that stands in the statement
            whole, at = name, -1
        bind = compiled.binds.get(whole)
        fits = bind.type.dialect_impl(dialect).bind_processor(dialect) if bind is not None else None
        order.append((whole, at, fits or state.processors.get(name)))
    given = {*first, *(part for part, (whole, _) in parts.items() if whole in first)}
    constants = {name: value for name, value in state.parameters.items() if name not in given}
    readers = []
    for at, column in enumerate(columns_of(kept.statement)):
        reader = column.type.dialect_impl(dialect).result_processor(dialect, None)
        if reader is not None:
            readers.append((at, reader))
    return Plan(state.statement, tuple(order), constants, tuple(readers))


def columns_of(statement: Any) -> Iterable[Any]:
    return statement.selected_columns if isinstance(statement, sa.Select) else statement.exported_columns


def bound(plan: Plan, given: Mapping[str, Any]) -> list[Any]:
    values = []
    for name, at, fits in plan.order:
        value = given[name] if name in given else plan.constants[name]
        if at >= 0:
            value = value[at]
        values.append(value if fits is None else fits(value))
    return values


def read(rows: list[Any], readers: Sequence[tuple[int, Callable[[Any], Any]]]) -> list[tuple[Any, ...]]:
    made = []
    for row in rows:
        values = list(row)
        for at, reader in readers:
            values[at] = reader(values[at])
        made.append(tuple(values))
    return made
