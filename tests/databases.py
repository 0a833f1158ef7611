"""A private PostgreSQL for tests: own directory, own free port on 127.0.0.1, ended with the session.

PostgreSQL refuses to run as root, so then it runs as the user `postgres`. It syncs nothing: only a machine that crashes
would tell the difference.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest

from tests.ports import free_port

VERSIONS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
SETTINGS = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=32MB", "max_connections=60",
            "listen_addresses=127.0.0.1", "unix_socket_directories=")  # fmt: skip
_numbers = count(1)


class PostgreSQL:
    """`url(name)` of a new, empty database."""

    def __init__(self, directory: Path) -> None:
        self._directory, self._bin = directory, VERSIONS[0]
        self._port = free_port()

    def start(self) -> None:
        self._run("initdb", "-D", str(self._data), "-U", "cloudcore", "-A", "trust", "-E", "UTF8", "--no-locale", "-N")
        settings = " ".join(f"-c {setting}" for setting in (*SETTINGS, f"port={self._port}"))
        log = str(self._directory / "log")
        self._run("pg_ctl", "-D", str(self._data), "-w", "-t", "30", "-l", log, "-o", settings, "start")

    def stop(self) -> None:
        if (self._data / "postmaster.pid").exists():
            self._run("pg_ctl", "-D", str(self._data), "-w", "-t", "30", "-m", "immediate", "stop")

    def url(self) -> str:
        name = f"test{next(_numbers)}"
        with psycopg.connect(self._address("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self._address(name)

    @property
    def _data(self) -> Path:
        return self._directory / "data"

    def _address(self, name: str) -> str:
        return f"postgresql://cloudcore@127.0.0.1:{self._port}/{name}"

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._bin / program), *arguments]
        if os.geteuid() == 0:
            command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]
        done = subprocess.run(command, cwd=self._directory, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    if not VERSIONS:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    directory = Path(tempfile.mkdtemp(prefix="cloudcore-postgresql-"))
    if os.geteuid() == 0:
        shutil.chown(directory, "postgres", "postgres")
    server = PostgreSQL(directory)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def postgresql_url(postgresql: PostgreSQL) -> str:
    """Of an empty database of its own."""
    return postgresql.url()
