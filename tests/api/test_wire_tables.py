"""Runs the tables of tests/wire: conversations in requests and answers, readable without Python.

A step is `ask` (a query string; {name} is what an earlier step kept), and what the answer must be: `code` (an error;
the status follows from codes.py unless `status` says otherwise), `has` (path = text), `count` (path = number), `lacks`
(paths). `keep` names texts for later steps. `who` asks, alice if nobody is named. `event` moves an instance as the
conductor would: "guest-started {i}".
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
import sqlalchemy as sa
from twisted.internet.defer import Deferred, maybeDeferred

from cloudcore.api import codes
from cloudcore.domain.instances import Event
from cloudcore.store.books import Books
from cloudcore.store.database import with_driver
from cloudcore.store.schema import metadata
from tests.api.conftest import START, a_house

TABLES = Path(__file__).parents[1] / "wire"


def cases() -> Iterator[Any]:
    for table in sorted(TABLES.glob("*.toml")):
        for case in tomllib.loads(table.read_text())["case"]:
            yield pytest.param(case, id=f"{table.stem}: {case['title']}")


@pytest.mark.parametrize("case", list(cases()))
def test_conversation(house: Any, case: dict[str, Any]) -> None:
    converse(house, case)


@pytest.mark.deadline(120)
def test_every_conversation_on_postgresql(postgresql_url: str) -> None:
    store = PostgreSQLInline(postgresql_url)
    try:
        for case in cases():
            store.empty()
            house = next(a_house(store=store))
            converse(house, case.values[0])
    finally:
        store.end()


class PostgreSQLInline:
    """As InlineDatabase, on PostgreSQL; `close` leaves it open for the next case."""

    def __init__(self, url: str) -> None:
        self._engine = sa.create_engine(with_driver(url))
        metadata.create_all(self._engine)

    def run(self, work: Callable[..., Any], *args: Any) -> Any:
        with self._engine.begin() as connection:
            return work(Books(connection, lambda connection: START), *args)

    def transact(self, work: Callable[..., Any], *args: Any) -> Deferred[Any]:
        return maybeDeferred(self.run, work, *args)

    look = transact

    def empty(self) -> None:
        with self._engine.begin() as connection:
            connection.execute(sa.text(f"TRUNCATE {', '.join(metadata.tables)} CASCADE"))

    def close(self) -> None:
        pass

    def end(self) -> None:
        self._engine.dispose()


def converse(house: Any, case: dict[str, Any]) -> None:
    kept: dict[str, str] = {}
    for step in case["step"]:
        if "event" in step:
            event, id = step["event"].format(**kept).split()
            house.moved(id, Event(event), host="h1", address="10.0.0.9" if event == "guest-started" else None)
            continue
        pairs = parse_qsl(step["ask"].format(**kept), keep_blank_values=True, errors="surrogateescape")
        service = step.get("service", "ec2")
        version = {"ec2": "2016-11-15", "sts": "2011-06-15", "iam": "2010-05-08"}[service]
        answer = house.post([*pairs, ("Version", version)], step.get("who", "alice"), service)
        expected = codes.STATUS.get(step["code"], 400) if "code" in step else 200
        assert (answer.code, answer.status) == (step.get("code"), step.get("status", expected)), (step, answer)
        for path, value in step.get("has", {}).items():
            assert value.format(**kept) in answer.texts(f".//{path}"), (step, answer)
        for path, number in step.get("count", {}).items():
            assert len(answer.texts(f".//{path}")) == number, (step, answer)
        for path in step.get("lacks", []):
            assert not answer.texts(f".//{path}"), (step, answer)
        for name, path in step.get("keep", {}).items():
            kept[name] = answer.text(f".//{path}")
            assert kept[name], (step, answer)


def test_every_ec2_code_that_we_emit_is_in_a_table() -> None:
    """But those that need a broken world, a clock or a bad signature, which have tests of their own."""
    elsewhere = {"AuthFailure", "RequestExpired", "InternalError", "Unavailable", "RequestLimitExceeded",
                 "InvalidRequest", "InsufficientInstanceCapacity", "InvalidAMIID.Unavailable",
                 "InsufficientFreeAddressesInSubnet", "InsufficientAddressCapacity",
                 "Unsupported", "InvalidManifest", "TagLimitExceeded",
                 "RulesPerSecurityGroupLimitExceeded", "SecurityGroupLimitExceeded"}  # fmt: skip
    seen = {step.get("code") for case in cases() for step in case.values[0]["step"]}
    assert set(codes.EC2.values()) - elsewhere - seen == set()
