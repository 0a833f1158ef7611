"""The cell database for commands that work whether or not the cloud runs: SQLite's WAL lets both write."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cloudcore.auth.model import AuthManager
from cloudcore.auth.seal import make_master_key, read_sealer
from cloudcore.auth.sql import SqlAuthManager
from cloudcore.cli import reactor, state
from cloudcore.cli.printing import DONE, Console, Refusal
from cloudcore.config.model import Config
from cloudcore.config.places import database_file, database_url, master_key_file
from cloudcore.errors import Code
from cloudcore.store import migrating
from cloudcore.store.database import Database

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Open:
    """What an account command works with."""

    config: Config
    database: Database[Any]
    auth: AuthManager
    clock: Any


def with_database(options: Any, work: Callable[[Open], Awaitable[T]]) -> T:
    """Runs `work` on the database of `--state`, which must have been made."""
    config = state.configuration(options)
    if not config.database.url:
        state.existing(options.state)
    file = database_file(config, options.state)
    if file is not None and not file.exists():
        raise Refusal(Code.STATE_DIRECTORY, f"there is no database {file}", "cloudcore up    or: cloudcore db migrate")
    migrating.check(database_url(config, options.state))

    async def inside(clock: Any) -> T:
        opened = open_database(clock, config, options.state)
        opened.database.startService()
        try:
            return await work(opened)
        finally:
            opened.database.stopService()

    return reactor.run(inside)


def open_database(clock: Any, config: Config, directory: Path) -> Open:
    database: Database[Any] = Database(clock, database_url(config, directory))
    sealer = read_sealer(master_key_file(config, directory), os.urandom)
    return Open(config, database, SqlAuthManager(database, sealer), clock)


def make(config: Config, directory: Path) -> migrating.Migrated:
    """State directory, master key and schema; twice equals once. STATE_DIRECTORY, SCHEMA_NEWER, CONFIGURATION."""
    state.prepare(directory)
    if not config.auth.master_key_file:
        make_master_key(master_key_file(config, directory), os.urandom)
    done = migrating.migrate(database_url(config, directory))
    file = database_file(config, directory)
    if file is not None:
        file.chmod(0o600)
    return done


def migrate(options: Any, console: Console) -> int:
    done = make(state.configuration(options), options.state)
    console.record({"before": done.before, "after": done.after, "copy": done.copy}, options.json)
    return DONE
