"""One command moves the schema forward; daemons look and refuse."""

import shutil
import sqlite3
import stat
from threading import Thread

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from cloudcore.errors import CloudError, Code
from cloudcore.store.database import with_driver
from cloudcore.store.migrating import PLACE, check, migrate
from cloudcore.store.schema import metadata

HEAD = str(ScriptDirectory(str(PLACE)).get_current_head())  # of this release
SECOND = """
import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "HEAD"


def upgrade() -> None:
    op.create_table("later", sa.Column("name", sa.Text, primary_key=True))
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cloudcore.db"


@pytest.fixture
def url(path):
    return f"sqlite:///{path}"


@pytest.fixture
def next_release(tmp_path):
    """This release's migrations and one more."""
    place = tmp_path / "migrations"
    shutil.copytree(PLACE, place, ignore=shutil.ignore_patterns("__pycache__"))
    (place / "versions" / "9999_later.py").write_text(SECOND.replace("HEAD", HEAD))
    return place


def statements(connection):
    """{name: SQL} of every table and index, whatever its spaces: SQLite writes a later column on the same line."""
    found = connection.execute(sa.text("SELECT name, sql FROM sqlite_master WHERE sql > ''"))
    return {name: "".join(sql.split()) for name, sql in found if name != "alembic_version"}


def test_migrations_build_exactly_the_schema(url):
    migrate(url)
    declared = sa.create_engine("sqlite://")
    metadata.create_all(declared)
    with sa.create_engine(url, poolclass=sa.NullPool).connect() as built, declared.connect() as meant:
        assert statements(built) == statements(meant)


def test_migrations_build_the_schema_on_postgresql_too(postgresql_url):
    assert migrate(postgresql_url).before is None
    assert migrate(postgresql_url).before == check(postgresql_url)
    engine = sa.create_engine(with_driver(postgresql_url), poolclass=sa.NullPool)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_twice_is_once(url):
    assert migrate(url).before is None
    again = migrate(url)
    assert (again.before, again.copy) == (again.after, None)


def test_the_file_is_its_owners_alone(url, path):
    migrate(url)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_copy_is_kept_before_a_file_with_content_changes(url, path, next_release):
    migrate(url)
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO cells VALUES ('precious')")
    connection.close()
    done = migrate(url, next_release)
    assert (done.before, done.after) == (HEAD, "9999")
    copy = sqlite3.connect(done.copy)
    assert copy.execute("SELECT name FROM cells").fetchall() == [("precious",)]
    assert copy.execute("SELECT version_num FROM alembic_version").fetchall() == [(HEAD,)]
    copy.close()
    kept = sqlite3.connect(path)
    assert kept.execute("SELECT name FROM cells").fetchall() == [("precious",)]
    assert kept.execute("SELECT count(*) FROM later").fetchall() == [(0,)]
    kept.close()


def test_a_newer_schema_is_refused_by_daemons_and_by_the_command(url, next_release):
    migrate(url, next_release)
    for refuse in (check, migrate):
        with pytest.raises(CloudError) as refused:
            refuse(url)
        assert refused.value.code is Code.SCHEMA_NEWER
        assert "9999" in refused.value.text


def test_an_older_schema_is_refused_with_the_command_that_helps(url, next_release):
    migrate(url)
    with pytest.raises(CloudError) as refused:
        check(url, next_release)
    assert refused.value.code is Code.CONFIGURATION
    assert "cloudcore db migrate" in refused.value.text
    assert "cloudcore up" in refused.value.text


def test_no_database_is_refused_and_not_made(url, path):
    with pytest.raises(CloudError) as refused:
        check(url)
    assert "cloudcore up" in refused.value.text
    assert not path.exists()


def test_an_empty_file_has_no_schema(url, path):
    path.touch()
    with pytest.raises(CloudError, match="no schema yet"):
        check(url)


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(CloudError) as refused:
        migrate(f"sqlite:///{tmp_path}/missing/cloudcore.db")
    assert refused.value.code is Code.STATE_DIRECTORY
    assert "missing/cloudcore.db" in refused.value.text


def test_passwords_are_not_told():
    with pytest.raises(CloudError) as refused:
        check("postgresql://user:secret@127.0.0.1:1/none")
    assert "secret" not in refused.value.text


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_migrations_that_run_beside_each_other_are_one(kind, url, request):
    place = url if kind == "sqlite" else request.getfixturevalue("postgresql_url")
    done = []
    threads = [Thread(target=lambda: done.append(migrate(place).before)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, done)) == [HEAD, HEAD, HEAD, "None"]


def test_images_of_before_volumes_have_contents(url, tmp_path):
    before = tmp_path / "before"
    later = [path.name for path in (PLACE / "versions").glob("*.py") if path.name >= "0010"]
    shutil.copytree(PLACE, before, ignore=shutil.ignore_patterns("__pycache__", *later))
    migrate(url, before)
    columns = "project, description, location, size, format, virtual_size, architecture, root_device, public, created"
    with sa.create_engine(url, poolclass=sa.NullPool).begin() as connection:
        for id, source, sha256, state in (("ami-1", "b/1", "aa", "available"), ("ami-2", "b/2", "aa", "available"),
                                          ("ami-3", "", "", "pending")):  # fmt: skip
            connection.execute(sa.text(
                f"INSERT INTO images (id, name, source, sha256, state, {columns}) VALUES ('{id}', '{id}', '{source}', "
                f"'{sha256}', '{state}', 'p', '', 'b/k', 1, 'raw', 2, 'x86_64', '/dev/sda1', false, 1.0)"))  # fmt: skip
    migrate(url)
    with sa.create_engine(url, poolclass=sa.NullPool).connect() as connection:
        assert connection.execute(sa.text("SELECT id, source, size FROM contents")).all() == [("aa", "b/1", 1)]
        found = connection.execute(sa.text("SELECT id, content FROM images ORDER BY id")).all()
        assert found == [("ami-1", "aa"), ("ami-2", "aa"), ("ami-3", None)]
