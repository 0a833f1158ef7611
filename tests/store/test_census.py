from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from cloudcore.domain.instances import State
from cloudcore.store.books import Books
from cloudcore.store.census import Census, Counted
from cloudcore.store.database import with_driver
from cloudcore.store.schema import images, instances, metadata, tags

KINDS = {sa.Integer: 0, sa.Float: 0.0, sa.Boolean: False}


def a_row(table: sa.Table, **values: object) -> dict[str, object]:
    """Every column that must have a value has one."""
    return {column.name: next((value for kind, value in KINDS.items() if isinstance(column.type, kind)), "")
            for column in table.c if not column.nullable} | values


@pytest.fixture(params=["sqlite", "postgresql"])
def connection(request: pytest.FixtureRequest) -> Iterator[sa.Connection]:
    sqlite = request.param == "sqlite"
    engine = sa.create_engine("sqlite://" if sqlite else with_driver(request.getfixturevalue("postgresql_url")))
    metadata.create_all(engine)
    with engine.connect() as opened:
        yield opened
    engine.dispose()


def test_everybodys_instances_by_name_and_the_images_there_are(connection: sa.Connection) -> None:
    for at, (name, state) in enumerate([("web", "running"), ("", "stopped"), ("gone", "terminated")]):
        row = a_row(instances, id=f"i-{at}", project=str(at), state=state, created=float(at), mac=f"m{at}")
        connection.execute(sa.insert(instances).values(**row))
        named = {"resource": f"i-{at}", "value": name, "kind": "instance", "project": str(at)}
        if name:
            connection.execute(sa.insert(tags).values(key="Name", **named))
        connection.execute(sa.insert(tags).values(key="other", **named))
    for at, state in enumerate(["available", "available", "deregistered"]):
        row = a_row(images, id=f"ami-{at}", project=str(at), name="x", state=state)
        connection.execute(sa.insert(images).values(**row))
    census = Books(connection).over(Census)
    assert census.instances() == [Counted("i-0", "web", State.RUNNING), Counted("i-1", "i-1", State.STOPPED)]
    assert census.images() == 2
