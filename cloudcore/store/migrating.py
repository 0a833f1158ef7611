"""The schema's versions: one command moves it forward under a lock; daemons only look and refuse.

Migrations are numbered files in store/migrations/versions/, forward only: they add, and a later release takes away what
nobody reads any more, so that the release before runs on today's schema. Before a SQLite file with content is changed,
a copy is put beside it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from cloudcore.errors import CloudError, Code
from cloudcore.store.database import PRAGMAS, prepare_sqlite, with_driver

PLACE = Path(__file__).with_name("migrations")
LOCK = 0x636C6F7564  # "cloud": the key of PostgreSQL's advisory lock, which all migrations share
ADVICE = "run `cloudcore up`, or `cloudcore db migrate` where daemons run on their own"
PATIENCE = "busy_timeout=60000"  # milliseconds: another's migration may take its time


@dataclass(frozen=True, slots=True)
class Migrated:
    """`before` is None for a new database; `copy` is where the SQLite file's content was put first."""

    before: str | None
    after: str
    copy: str | None = None


def migrate(url: str, place: Path = PLACE) -> Migrated:
    """Brings the database to this release's schema. Blocks; twice equals once. Raises SCHEMA_NEWER, and STATE_DIRECTORY
    where the SQLite file cannot be made or written."""
    engine = opened(url, "BEGIN EXCLUSIVE", create=True)
    try:
        with engine.connect() as connection, locked(connection):
            before = revision(connection)
            after = known(before, place)
            if before == after:
                return Migrated(before, after)
            copy = copied(url, before) if before is not None else None
            command.upgrade(settings(place, connection), "head")
            connection.commit()
            return Migrated(before, after, copy)
    except sa.exc.OperationalError as problem:
        text = f"The database {shown(url)} cannot be migrated: {problem.orig}"
        raise CloudError(Code.STATE_DIRECTORY if url.startswith("sqlite") else Code.UNAVAILABLE, text) from problem
    finally:
        engine.dispose()


def check(url: str, place: Path = PLACE) -> str:
    """The revision, if it is this release's. Raises SCHEMA_NEWER where a newer release has migrated, CONFIGURATION
    where the schema is older or there is none. For daemons, before they serve. Blocks for milliseconds."""
    engine = opened(url, "BEGIN", create=False)
    try:
        with engine.connect() as connection:
            found = revision(connection)
    except sa.exc.OperationalError as problem:
        raise CloudError(Code.UNAVAILABLE, f"The database {shown(url)} cannot be opened: {problem.orig}") from problem
    finally:
        engine.dispose()
    wanted = known(found, place)
    if found is None:
        raise CloudError(Code.CONFIGURATION, f"The database {shown(url)} has no schema yet: {ADVICE}")
    if found != wanted:
        text = f"The database {shown(url)} has schema {found}, and this release needs {wanted}: {ADVICE}"
        raise CloudError(Code.CONFIGURATION, text)
    return found


def known(found: str | None, place: Path = PLACE) -> str:
    """The revision of this release. Raises SCHEMA_NEWER when it does not know the one that was found."""
    scripts = ScriptDirectory.from_config(settings(place))
    ours = {script.revision for script in scripts.walk_revisions()}
    if found is not None and found not in ours:
        text = f"The database has schema {found}, which this release does not know: it was made by a newer cloudcore"
        raise CloudError(Code.SCHEMA_NEWER, text)
    head = scripts.get_current_head()
    assert head is not None, place  # noqa: S101  # a release without migrations is a packaging mistake
    return head


def settings(place: Path, connection: sa.Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(place).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def revision(connection: sa.Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def opened(url: str, begin: str, create: bool) -> sa.Engine:
    if not url.startswith("sqlite"):
        return sa.create_engine(with_driver(url), poolclass=sa.NullPool, connect_args={"connect_timeout": 5})
    path = sa.make_url(url).database
    if create and path:
        make_private(path)
    if not path or not Path(path).exists():
        raise CloudError(Code.CONFIGURATION, f"There is no database at {path or url}: {ADVICE}")
    return prepare_sqlite(sa.create_engine(url, poolclass=sa.NullPool), begin, (*PRAGMAS, PATIENCE))


def make_private(path: str) -> None:
    """The database holds secrets: nobody else reads it, nor the files that SQLite makes after its pattern."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as problem:
        raise CloudError(Code.STATE_DIRECTORY, f"{path} cannot be written: {problem.strerror}") from problem


class locked:  # noqa: N801  # reads as a word: `with locked(connection)`
    """One migration at a time. SQLite's own lock is the transaction (BEGIN EXCLUSIVE)."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._execute: Callable[..., Any] | None = None
        if connection.dialect.name == "postgresql":
            self._execute = connection.exec_driver_sql

    def __enter__(self) -> None:
        if self._execute:
            self._execute(f"SELECT pg_advisory_lock({LOCK})")
            self._connection.commit()  # the session keeps the lock, and what another has just done becomes visible

    def __exit__(self, *problem: object) -> None:
        if self._execute:
            self._connection.rollback()
            self._execute(f"SELECT pg_advisory_unlock({LOCK})")
            self._connection.commit()


def copied(url: str, before: str) -> str | None:
    """A consistent copy beside the file; the caller holds the write lock, which WAL lets readers pass."""
    path = sa.make_url(url).database if url.startswith("sqlite") else None
    if not path:
        return None
    copy = f"{path}.before-{before}"
    make_private(copy)
    source, target = sqlite3.connect(path), sqlite3.connect(copy)
    try:
        source.backup(target)
    finally:
        target.close()
        source.close()
    return copy


def shown(url: str) -> str:
    """Without the password."""
    return sa.make_url(with_driver(url)).render_as_string(hide_password=True)
