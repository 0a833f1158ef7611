"""What a launch cannot beat on this machine: a bare twisted.web POST, a bare durable commit. Run beside the launch."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BARE_POST = """
import sys
from twisted.internet import reactor
from twisted.web import resource, server

class Answer(resource.Resource):
    isLeaf = True
    def render_POST(self, request):
        request.content.read()
        return b"<ok/>"

port = reactor.listenTCP(0, server.Site(Answer()), interface="127.0.0.1")
print(port.getHost().port, flush=True)
reactor.run()
"""


@contextmanager
def bare_post() -> Iterator[tuple[int, int]]:
    """Port and pid of a twisted.web server that reads a body and answers five bytes."""
    child = subprocess.Popen([sys.executable, "-c", BARE_POST], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        yield int(child.stdout.readline()), child.pid
    finally:
        child.terminate()
        child.wait()


def sqlite_commits(seconds: float = 2.0) -> float:
    """Durable single-row transactions per second, one connection: WAL, synchronous=FULL, as the cell database has."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIRECTORY", ".")) as directory:
        connection = sqlite3.connect(Path(directory) / "floor.db", isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE floor (id INTEGER PRIMARY KEY, text TEXT)")
        began, done = time.monotonic(), 0
        while time.monotonic() - began < seconds:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO floor (text) VALUES (?)", ("x" * 400,))
            connection.execute("COMMIT")
            done += 1
        spent = time.monotonic() - began
        connection.close()
    return done / spent


def postgresql_commits(url: str, seconds: float = 2.0) -> float:
    """The same on a PostgreSQL with fsync on; `url` is a psycopg conninfo."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS bench_floor (id BIGSERIAL PRIMARY KEY, text TEXT)")
        began, done = time.monotonic(), 0
        while time.monotonic() - began < seconds:
            with connection.transaction():
                connection.execute("INSERT INTO bench_floor (text) VALUES (%s)", ("x" * 400,))
            done += 1
        spent = time.monotonic() - began
        connection.execute("DROP TABLE bench_floor")
    return done / spent
