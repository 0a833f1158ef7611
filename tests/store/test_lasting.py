"""What lasts goes a shorter way, and comes to the same."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from cloudcore.store import lasting
from cloudcore.store.columns import flag, number, text
from cloudcore.store.database import InlineDatabase, memory_engine

metadata = sa.MetaData()
things = sa.Table("things", metadata, text("id", primary_key=True), number("size"), flag("on"),
                  sa.Column("data", sa.LargeBinary), text("word", nullable=True))  # fmt: skip
INSERT = lasting.lasting(sa.insert(things))
EVERY = lasting.lasting(sa.select(things).order_by(things.c.id))
SOME = lasting.lasting(
    sa.select(things.c.id, (things.c.size * 2).label("twice"))
    .where(things.c.id.in_(sa.bindparam("ids", expanding=True)), things.c.size > sa.bindparam("least"),
           things.c.word.in_(["a", "b"])).order_by(things.c.id))  # fmt: skip
GROW = lasting.lasting(
    sa.update(things).where(things.c.id.in_(sa.bindparam("ids", expanding=True)))
    .values(size=things.c.size + sa.bindparam("more")).returning(things.c.id, things.c.size))  # fmt: skip
SET = lasting.lasting(sa.update(things).where(things.c.id == sa.bindparam("which")))
DELETE = lasting.lasting(sa.delete(things).where(things.c.id.in_(sa.bindparam("ids", expanding=True))))
ROWS = [{"id": f"t-{n}", "size": n, "on": n % 2 == 0, "data": bytes([n]), "word": "a" if n < 4 else None}
        for n in range(6)]  # fmt: skip


class Watched:
    """A connection of which no statement may be asked."""

    def __init__(self, connection):
        self.dialect, self.connection = connection.dialect, connection.connection


@pytest.fixture
def connection():
    with memory_engine().connect() as made:
        metadata.create_all(made)
        yield made


@pytest.fixture
def line(connection):
    return lasting.Line(Watched(connection))


def test_rows_are_those_of_sqlalchemy(connection, line):
    assert line.execute(INSERT, ROWS).rowcount == len(ROWS)
    assert line.execute(INSERT, ROWS[0] | {"id": "u", "word": None}).rowcount == 1
    ours, theirs = line.execute(EVERY).all(), connection.execute(EVERY).all()
    assert ours == theirs
    assert [type(value) for value in ours[0]] == [str, int, bool, bytes, str]
    assert (ours[1].id, ours[1]._mapping["size"], ours[1].on) == ("t-1", 1, False)


@pytest.mark.parametrize("ids", [[], ["t-2"], ["t-1", "t-2", "nobody"], ("t-3", "t-1", "t-0", "t-2", "t-5")])
def test_lists_of_every_length(connection, line, ids):
    line.execute(INSERT, ROWS)
    asked = {"ids": ids, "least": 0}
    for _ in range(2):
        assert line.execute(SOME, asked).all() == connection.execute(SOME, asked).all()
    assert sorted(line.execute(GROW, {"ids": ids, "more": 10}).scalars()) == sorted({*ids} - {"nobody"})
    assert line.execute(DELETE, {"ids": ids}).rowcount == len({*ids} - {"nobody"})


def test_what_is_set_is_told_by_the_parameters(connection, line):
    line.execute(INSERT, ROWS)
    assert line.execute(SET, {"which": "t-1", "size": 7}).rowcount == 1
    assert line.execute(SET, {"which": "t-1", "on": True, "word": None}).rowcount == 1
    assert line.execute(SET, {"which": "nobody", "size": 7}).rowcount == 0
    assert connection.execute(sa.select(things).where(things.c.id == "t-1")).one() == ("t-1", 7, True, b"\x01", None)


def test_errors_are_those_of_sqlalchemy(line):
    line.execute(INSERT, ROWS)
    with pytest.raises(sa.exc.IntegrityError, match="UNIQUE"):
        line.execute(INSERT, ROWS)
    with pytest.raises(sa.exc.InvalidRequestError):
        line.execute(SOME, {"ids": ["t-1"]})


def test_a_statement_made_of_a_lasting_one_is_another(connection):
    line = lasting.Line(connection)
    line.execute(INSERT, ROWS)
    assert len(line.execute(EVERY).all()) == 6
    assert len(line.execute(EVERY.limit(2)).all()) == 2


def test_repositories_are_given_a_line_and_their_statements_last():
    assert len(lasting.KEPT) > 40
    assert InlineDatabase().run(lambda books: type(books._connection)) is lasting.Line
