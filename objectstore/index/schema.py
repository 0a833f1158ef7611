"""The tables. Bodies of small objects lie in their row: one sync instead of three."""

from __future__ import annotations

import json
import secrets
import sqlite3

from objectstore.checksums import Checksum
from objectstore.index.model import Headers

VERSION = 1
TABLES = """
create table meta (name text primary key, value blob) without rowid;
create table buckets (name text primary key, project text not null, created integer not null) without rowid;
create index buckets_of_project on buckets (project, name);
create table objects (bucket text, key blob, size integer not null, etag text not null, modified integer not null,
    headers text not null, checksum text, blob text, data blob, primary key (bucket, key)) without rowid;
create table blobs (name text primary key, size integer not null, refs integer not null, crcs blob, parts text)
    without rowid;
create table uploads (id text primary key, bucket text not null, key blob not null, owner text not null,
    owner_name text not null, created integer not null, headers text not null, algorithm text not null,
    kind text not null) without rowid;
create index uploads_of_bucket on uploads (bucket, key, id);
create table parts (upload text, number integer, size integer not null, etag text not null, checksum text not null,
    modified integer not null, blob text not null, primary key (upload, number)) without rowid;
create table completed (upload text primary key, bucket text not null, key blob not null, etag text not null,
    modified integer not null) without rowid;
create table garbage (blob text primary key, after integer not null) without rowid;
create index garbage_by_age on garbage (after);
"""


class NewerSchema(Exception):
    """The files were written by a newer version."""


def prepare(connection: sqlite3.Connection) -> bytes:
    """Makes the tables where there are none; returns the page key."""
    version = connection.execute("pragma user_version").fetchone()[0]
    if version > VERSION:
        raise NewerSchema(f"the object index has version {version}; this program knows {VERSION}")
    if version == 0:
        connection.execute("begin immediate")
        for statement in TABLES.split(";\n"):
            connection.execute(statement)
        connection.execute("insert into meta values ('page_key', ?)", (secrets.token_bytes(32),))
        connection.execute(f"pragma user_version={VERSION}")
        connection.execute("commit")
    key: bytes = connection.execute("select value from meta where name='page_key'").fetchone()[0]
    return key


def pack_headers(headers: Headers) -> str:
    return json.dumps(headers)  # escapes to ASCII, so that bytes that are no UTF-8 come back


def unpack_headers(text: str) -> Headers:
    return tuple((name, value) for name, value in json.loads(text))


def pack_checksum(checksum: Checksum | None) -> str | None:
    return f"{checksum.algorithm} {checksum.kind} {checksum.value}" if checksum else None


def unpack_checksum(text: str | None) -> Checksum | None:
    if text is None:
        return None
    algorithm, kind, value = text.split(" ")
    return Checksum(algorithm, value, kind)
