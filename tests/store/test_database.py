"""Transactions off the reactor: commits that are shared, errors that are not, queues that end."""

import sqlite3
from threading import Event as Gate
from threading import current_thread, main_thread
from time import monotonic

import pytest
import sqlalchemy as sa
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, DeferredList, gatherResults

from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books
from cloudcore.store.database import Database, InlineDatabase, Limits, with_driver
from cloudcore.store.instances import LostRace
from cloudcore.store.migrating import migrate
from cloudcore.store.schema import cells


def add(books, name, fault=None):
    books._connection.execute(sa.insert(cells).values(name=name))
    if fault is not None:
        raise fault
    return name


def names(books):
    return set(books._connection.execute(sa.select(cells.c.name)).scalars())


@pytest.fixture
def url(tmp_path):
    url = f"sqlite:///{tmp_path}/cloudcore.db"
    migrate(url)
    return url


@pytest.fixture
def opened():
    databases = []

    def open_one(url, books=Books, limits=Limits()):  # noqa: B008
        database = Database(reactor, url, books, limits)
        database.startService()
        databases.append(database)
        return database

    yield open_one
    for database in databases:
        database.stopService()


class Commits:
    """Counts commits of a database's writing engine, and can hold the writer in its first work."""

    def __init__(self, database):
        self.count, self.held, self.entered = 0, Gate(), Gate()
        sa.event.listen(database._writer, "commit", self._committed)

    def _committed(self, connection):
        self.count += 1

    def hold(self, books):
        self.entered.set()
        assert self.held.wait(10)


async def test_what_waits_together_is_committed_together(url, opened):
    database = opened(url)
    commits = Commits(database)
    first = database.transact(commits.hold)
    assert commits.entered.wait(10)
    waiting = [database.transact(add, f"cell-{number}") for number in range(50)]
    commits.held.set()
    await first
    await gatherResults(waiting)
    assert commits.count == 2
    assert len(await database.look(names)) == 50


async def test_an_error_is_its_works_own(url, opened):
    database = opened(url)
    commits = Commits(database)
    first = database.transact(commits.hold)
    assert commits.entered.wait(10)
    wanted = [database.transact(add, "a"), database.transact(add, "b", CloudError(Code.IN_USE, "b")),
              database.transact(add, "a"), database.transact(add, "c")]  # fmt: skip
    commits.held.set()
    await first
    outcomes = await DeferredList(wanted, consumeErrors=True)
    assert [success for success, _ in outcomes] == [True, False, False, True]
    assert outcomes[1][1].check(CloudError)
    assert outcomes[2][1].check(sa.exc.IntegrityError)
    assert await database.look(names) == {"a", "c"}


async def test_a_commit_that_fails_is_the_answer_to_all(url, opened):
    database = opened(url)

    def poison(books):
        books._connection.exec_driver_sql("PRAGMA defer_foreign_keys=ON")
        books._connection.exec_driver_sql("INSERT INTO allocations VALUES ('i-1', 'nowhere', 1, 1, 1)")

    commits = Commits(database)
    first = database.transact(commits.hold)
    assert commits.entered.wait(10)
    wanted = [database.transact(add, "a"), database.transact(poison)]
    commits.held.set()
    await first
    outcomes = await DeferredList(wanted, consumeErrors=True)
    assert [success for success, _ in outcomes] == [False, False]
    assert await database.look(names) == set()
    assert await database.transact(add, "b") == "b"


async def test_works_run_off_the_reactor_and_answers_come_in_it(url, opened):
    database = opened(url)
    thread = await database.transact(lambda books: current_thread())
    assert thread is not main_thread()
    assert current_thread() is main_thread()


async def test_readers_cannot_write(url, opened):
    database = opened(url)
    with pytest.raises(sa.exc.OperationalError, match="readonly"):
        await database.look(add, "a")


async def test_readers_do_not_wait_for_the_writer(url, opened):
    database = opened(url)
    commits = Commits(database)
    first = database.transact(commits.hold)
    assert commits.entered.wait(10)
    assert await database.look(names) == set()
    commits.held.set()
    await first


async def test_a_full_queue_refuses_instead_of_growing(url, opened):
    database = opened(url, limits=Limits(waiting=2))
    commits = Commits(database)
    first = database.transact(commits.hold)
    assert commits.entered.wait(10)
    waiting = [database.transact(add, "a"), database.transact(add, "b")]
    with pytest.raises(CloudError) as refused:
        await database.transact(add, "c")
    assert refused.value.code is Code.UNAVAILABLE
    commits.held.set()
    await first
    await gatherResults(waiting)
    assert await database.look(names) == {"a", "b"}


async def test_what_waited_too_long_is_refused_and_not_executed(url, opened):
    database = opened(url, limits=Limits(patience=0.0))
    commits = Commits(database)
    first = database.transact(commits.hold).addErrback(lambda failure: None)
    late = database.transact(add, "late")
    commits.held.set()
    with pytest.raises(CloudError) as refused:
        await late
    assert refused.value.code is Code.UNAVAILABLE
    await first


async def test_a_cancelled_work_leaves_the_queue(url, opened):
    database = opened(url)
    commits = Commits(database)
    first = database.transact(commits.hold)
    assert commits.entered.wait(10)
    unwanted = database.transact(add, "unwanted")
    unwanted.cancel()
    commits.held.set()
    with pytest.raises(CancelledError):
        await unwanted
    await first
    assert await database.look(names) == set()


async def test_a_stopped_database_refuses(url, opened):
    database = opened(url)
    await database.transact(add, "a")
    database.stopService()
    with pytest.raises(CloudError) as refused:
        await database.transact(add, "b")
    assert refused.value.code is Code.UNAVAILABLE
    database.startService()
    assert await database.look(names) == {"a"}


async def test_commits_survive_another_process(url, opened):
    """Two daemons on one file: neither loses the other's updates."""
    one, other = opened(url), opened(url)
    await gatherResults([(one, other)[number % 2].transact(add, f"cell-{number}") for number in range(40)])
    assert len(await one.look(names)) == 40


@pytest.mark.deadline(60)
async def test_a_lost_race_is_run_again_on_postgresql(postgresql_url, opened):
    migrate(postgresql_url)
    database = opened(postgresql_url)
    tries = []

    def unlucky(books):
        tries.append(1)
        add(books, "a")
        if len(tries) < 3:
            raise LostRace("a")
        return len(tries)

    assert await database.transact(unlucky) == 3
    assert await database.look(names) == {"a"}
    with pytest.raises(CloudError) as refused:
        await database.transact(add, "b", LostRace("b"))
    assert refused.value.code is Code.UNAVAILABLE


@pytest.mark.deadline(60)
async def test_a_connection_that_was_cut_is_replaced(postgresql_url, opened):
    migrate(postgresql_url)
    database = opened(postgresql_url)
    await database.transact(add, "a")
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"  # noqa: E501
    await database.transact(lambda books: books._connection.exec_driver_sql(cut).all())
    await gatherResults([database.transact(add, f"b-{number}") for number in range(8)])
    assert len(await database.look(names)) == 9


@pytest.mark.deadline(60)
async def test_readers_cannot_write_to_postgresql_either(postgresql_url, opened):
    migrate(postgresql_url)
    database = opened(postgresql_url)
    with pytest.raises(sa.exc.InternalError, match="read-only"):
        await database.look(add, "a")


async def test_a_server_that_is_not_there_is_unavailable(opened):
    database = opened("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(CloudError) as refused:
        await database.look(names)
    assert refused.value.code is Code.UNAVAILABLE


async def test_the_inline_database_answers_at_once_and_rolls_back():
    database = InlineDatabase(lambda: 7.0)
    assert database.transact(lambda books: books.now()).result == 7.0
    with pytest.raises(CloudError):
        await database.transact(add, "a", CloudError(Code.IN_USE, "a"))
    assert await database.look(names) == set()
    database.close()


@pytest.mark.parametrize(("url", "meant"), [
    ("postgresql://u@h/d", "postgresql+psycopg://u@h/d"), ("postgres://u@h/d", "postgresql+psycopg://u@h/d"),
    ("postgresql+psycopg://u@h/d", "postgresql+psycopg://u@h/d"), ("sqlite:///f", "sqlite:///f"),
])  # fmt: skip
def test_postgresql_means_psycopg_3(url, meant):
    assert with_driver(url) == meant


# -- reads at once ----------------------------------------------------------------------------------------------------

COUNT = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}) SELECT count(*) FROM n"


def counted(books, most):
    return books._connection.exec_driver_sql(COUNT.format(most)).scalar(), current_thread() is main_thread()


async def test_a_short_read_is_done_at_once(url, opened):
    done = opened(url).glance(counted, 10)
    assert done.called
    assert await done == (10, True)


async def test_a_read_that_turns_out_long_is_done_by_a_thread(url, opened):
    database = opened(url)
    done = database.glance(counted, 300_000)
    assert not done.called
    assert await done == (300_000, False)
    assert await database.glance(counted, 10) == (10, True)


async def test_a_read_at_once_sees_all_that_was_answered_before_and_one_world(url, opened):
    database = opened(url)
    for number in range(3):
        await database.transact(add, f"cell-{number}")
        assert len(database.glance(names).result) == number + 1


async def test_a_read_at_once_waits_for_nobody(url, opened):
    database = opened(url)
    commits = Commits(database)
    first = database.transact(commits.hold)
    assert commits.entered.wait(10)
    assert database.glance(names).result == set()
    commits.held.set()
    await first


async def test_a_read_at_once_cannot_write_and_its_refusals_are_its_own(url, opened):
    def refused(books):
        raise CloudError(Code.IN_USE, "here")

    database = opened(url)
    with pytest.raises(sa.exc.OperationalError, match="readonly"):
        await database.glance(add, "a")
    with pytest.raises(CloudError, match="here"):
        await database.glance(refused)
    assert await database.glance(names) == set()


async def test_a_read_at_once_gives_way_to_who_has_the_whole_file(url, opened, tmp_path):
    """Nobody takes such a lock but for a moment; the reactor does not wait even that long."""
    database = opened(url)
    assert await database.glance(names) == set()
    other = sqlite3.connect(tmp_path / "cloudcore.db", isolation_level=None)
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    before = monotonic()
    done = database.glance(names)
    assert monotonic() - before < 1
    other.close()
    assert await done == set()


async def test_after_the_end_nothing_is_read(url, opened):
    database = opened(url)
    database.stopService()
    with pytest.raises(CloudError):
        await database.glance(names)
