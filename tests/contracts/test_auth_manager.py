"""One suite for every Auth Manager."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from twisted.internet import reactor
from twisted.internet.defer import gatherResults

from cloudcore.auth.cached import CachedAuthManager
from cloudcore.auth.memory import MemoryAuthManager
from cloudcore.auth.model import AuthManager, Derivation, RoleGrant
from cloudcore.auth.rules import MOST_DERIVED
from cloudcore.auth.seal import Envelope
from cloudcore.auth.sessions import token_hash
from cloudcore.auth.sql import SqlAuthManager
from cloudcore.domain.policy import permits
from cloudcore.errors import CloudError, Code
from cloudcore.store.database import Database, InlineDatabase, with_driver
from cloudcore.store.migrating import migrate
from cloudcore.store.schema import access_keys, grants, metadata, projects, users


@pytest.fixture(scope="session")
def migrated(postgresql: Any) -> str:
    url: str = postgresql.url()
    migrate(url)
    return url


@pytest.fixture(params=["memory", "inline", "sqlite", "postgresql", "cached-memory", "cached-sqlite"])
def auth(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AuthManager]:
    form, _, kind = request.param.rpartition("-")
    database: Any = InlineDatabase() if kind == "inline" else None
    if kind in ("sqlite", "postgresql"):
        url = f"sqlite:///{tmp_path / 'auth.sqlite'}" if kind == "sqlite" else request.getfixturevalue("migrated")
        engine = sa.create_engine(with_driver(url))
        if kind == "sqlite":
            metadata.create_all(engine)
        with engine.begin() as connection:
            for table in (access_keys, grants, users, projects):
                connection.execute(sa.delete(table))
        engine.dispose()
        database = Database(reactor, url)
        database.startService()
    made: AuthManager = MemoryAuthManager(reactor, os.urandom)
    if database is not None:
        made = SqlAuthManager(database, Envelope(b"k" * 32, os.urandom))
    yield CachedAuthManager(made, reactor) if form else made
    if kind == "inline":
        database.close()
    elif database is not None:
        database.stopService()


async def refused(code: Code, asked: Any) -> str:
    with pytest.raises(CloudError) as refusal:
        await asked
    assert refusal.value.code is code
    return refusal.value.text


async def a_user(auth: AuthManager, name: str = "ada", project: str = "engines", role: str = "user") -> str:
    """The access key of a new user with one role in a new project."""
    await auth.create_project(project)
    await auth.create_user(name)
    await auth.grant(name, role, project)
    return (await auth.create_access_key(name, project)).id


async def test_a_key_says_who_acts_where_and_as_what(auth: AuthManager) -> None:
    project = await auth.create_project("engines", "123456789012")
    user = await auth.create_user("ada", "ada@example.org")
    await auth.grant("ada", "user", "engines")
    key = await auth.create_access_key("ada", "engines")
    credential = await auth.credential(key.id)
    assert credential is not None and credential.secret == key.secret
    caller = credential.caller
    assert (caller.access_key, caller.user_id, caller.user_name) == (key.id, user.id, "ada")
    assert (caller.project_id, caller.project_name, caller.roles) == ("123456789012", "engines", {"user"})
    assert caller.everywhere == frozenset()
    await auth.grant("ada", "auditor")
    both = await auth.credential(key.id)
    assert both is not None and both.caller.roles == {"user", "auditor"} and both.caller.everywhere == {"auditor"}
    assert project.id == "123456789012" and caller.arn == "arn:aws:iam::123456789012:user/ada"


async def test_random_names_have_the_promised_forms(auth: AuthManager) -> None:
    key_id = await a_user(auth)
    (key,) = await auth.access_keys("ada")
    assert key.id == key_id and len(key.id) == 20 and key.id.startswith("CCIA")
    assert len(key.secret.reveal()) == 40 and key.secret.reveal().isalnum() and key.created > 1e9
    (user,), (project,) = await auth.users(), await auth.projects()
    assert len(user.id) == 21 and user.id.startswith("AIDA") and user.id.isupper()
    assert len(project.id) == 12 and project.id.isdigit()
    assert key.user_id == user.id and key.project_id == project.id


async def test_an_unknown_key_is_nobody(auth: AuthManager) -> None:
    await a_user(auth)
    assert await auth.credential("CCIANOBODY") is None
    assert await auth.credential("") is None


async def test_given_keys_are_kept_as_given_and_once(auth: AuthManager) -> None:
    await a_user(auth)
    key = await auth.create_access_key("ada", "engines", "AKIAEXAMPLE", "s3cret/with+signs")
    assert (key.id, key.secret.reveal()) == ("AKIAEXAMPLE", "s3cret/with+signs")
    credential = await auth.credential("AKIAEXAMPLE")
    assert credential is not None and credential.secret.reveal() == "s3cret/with+signs"
    await refused(Code.ACCESS_KEY_DUPLICATE, auth.create_access_key("ada", "engines", "AKIAEXAMPLE", "another-secret"))


@pytest.mark.parametrize(("key", "secret"), [("abc", "longenough"), ("with-dash", "longenough"), ("AKIAFINE", "short"),
                                             ("AKIAFINE", "with blank s"), ("a" * 129, "longenough")])
async def test_keys_that_are_none_are_refused_without_telling_the_secret(auth: AuthManager, key: str,
                                                                        secret: str) -> None:
    await a_user(auth)
    assert secret not in await refused(Code.BAD_VALUE, auth.create_access_key("ada", "engines", key, secret))


async def test_half_a_key_is_refused(auth: AuthManager) -> None:
    await a_user(auth)
    await refused(Code.BAD_COMBINATION, auth.create_access_key("ada", "engines", "AKIAEXAMPLE"))
    await refused(Code.BAD_COMBINATION, auth.create_access_key("ada", "engines", secret="longenough"))


async def test_the_roles_are_the_union_of_global_ones_and_those_here(auth: AuthManager) -> None:
    here = await a_user(auth, role="user")
    await auth.create_project("elsewhere")
    there = (await auth.create_access_key("ada", "elsewhere")).id
    await auth.grant("ada", "auditor")
    await auth.grant("ada", "operator", "elsewhere")
    assert (await auth.credential(here)).caller.roles == {"user", "auditor"}
    assert (await auth.credential(there)).caller.roles == {"operator", "auditor"}


async def test_no_role_is_no_reason_to_be_unknown(auth: AuthManager) -> None:
    await auth.create_project("engines")
    await auth.create_user("ada")
    key = await auth.create_access_key("ada", "engines")
    assert (await auth.credential(key.id)).caller.roles == frozenset()


async def test_granting_and_revoking_may_be_repeated(auth: AuthManager) -> None:
    key = await a_user(auth)
    await auth.grant("ada", "user", "engines")
    await auth.grant("ada", "auditor")
    (user,), (project,) = await auth.users(), await auth.projects()
    assert await auth.grants("ada") == [RoleGrant(user.id, None, "auditor"), RoleGrant(user.id, project.id, "user")]
    await auth.revoke("ada", "user", "engines")
    await auth.revoke("ada", "user", "engines")
    assert (await auth.credential(key)).caller.roles == {"auditor"}
    await auth.revoke("ada", "auditor")
    assert await auth.grants("ada") == []


async def test_a_disabled_user_is_nobody_until_enabled_again(auth: AuthManager) -> None:
    key = await a_user(auth)
    assert await auth.credential(key) is not None
    await auth.set_user_enabled("ada", False)
    assert await auth.credential(key) is None
    assert [user.enabled for user in await auth.users()] == [False]
    await auth.set_user_enabled("ada", True)
    assert await auth.credential(key) is not None


async def test_keys_and_grants_go_with_their_user(auth: AuthManager) -> None:
    key = await a_user(auth)
    assert await auth.credential(key) is not None
    await auth.delete_user("ada")
    assert await auth.credential(key) is None
    await refused(Code.USER_UNKNOWN, auth.access_keys("ada"))
    await auth.create_user("ada")
    assert await auth.access_keys("ada") == [] and await auth.grants("ada") == []


async def test_a_deleted_key_is_nobody(auth: AuthManager) -> None:
    key = await a_user(auth)
    assert await auth.credential(key) is not None
    await auth.delete_access_key(key)
    assert await auth.credential(key) is None
    await refused(Code.ACCESS_KEY_UNKNOWN, auth.delete_access_key(key))


async def test_a_project_goes_after_its_keys_and_takes_its_grants(auth: AuthManager) -> None:
    key = await a_user(auth)
    await refused(Code.IN_USE, auth.delete_project("engines"))
    await auth.delete_access_key(key)
    await auth.delete_project("engines")
    assert await auth.projects() == [] and await auth.grants("ada") == []


async def test_what_does_not_exist_is_named_in_the_refusal(auth: AuthManager) -> None:
    await a_user(auth)
    for asked in (auth.delete_user("bob"), auth.set_user_enabled("bob", True), auth.grant("bob", "user"),
                  auth.revoke("bob", "user"), auth.grants("bob"), auth.access_keys("bob"),
                  auth.create_access_key("bob", "engines")):
        assert "bob" in await refused(Code.USER_UNKNOWN, asked)
    for asked in (auth.delete_project("moon"), auth.grant("ada", "user", "moon"), auth.revoke("ada", "user", "moon"),
                  auth.create_access_key("ada", "moon")):
        assert "moon" in await refused(Code.PROJECT_UNKNOWN, asked)
    assert "emperor" in await refused(Code.ROLE_UNKNOWN, auth.grant("ada", "emperor"))


async def test_names_and_ids_are_given_once(auth: AuthManager) -> None:
    await auth.create_project("engines", "123456789012")
    await auth.create_user("ada")
    await refused(Code.PROJECT_DUPLICATE, auth.create_project("engines"))
    await refused(Code.PROJECT_DUPLICATE, auth.create_project("other", "123456789012"))
    await refused(Code.USER_DUPLICATE, auth.create_user("ada"))
    assert len(await auth.projects()) == len(await auth.users()) == 1


@pytest.mark.parametrize("name", ["", "-x", "a b", "a" * 65, "ä", "a/b", "a\n"])
async def test_names_that_are_none_are_refused(auth: AuthManager, name: str) -> None:
    await refused(Code.BAD_VALUE, auth.create_user(name))
    await refused(Code.BAD_VALUE, auth.create_project(name))


async def test_ids_and_addresses_that_are_none_are_refused(auth: AuthManager) -> None:
    await refused(Code.BAD_VALUE, auth.create_project("engines", "12345"))
    await refused(Code.BAD_VALUE, auth.create_user("ada", "not an address"))


async def test_lists_are_in_order_of_name(auth: AuthManager) -> None:
    for name in ("c", "a", "b"):
        await auth.create_user(name)
        await auth.create_project(name)
    assert [user.name for user in await auth.users()] == ["a", "b", "c"]
    assert [project.name for project in await auth.projects()] == ["a", "b", "c"]


def derivation(parent: str, *boundary: str, seconds: int = 900) -> Derivation:
    return Derivation(parent, seconds, frozenset(boundary))


async def test_s08_a_temporary_key_is_its_owner_within_a_boundary(auth: AuthManager) -> None:
    parent = await a_user(auth)
    made = await auth.create_temporary_key(derivation(parent, "ec2:*", "s3:Get*"))
    credential, owner = await auth.credential(made.id), await auth.credential(parent)
    assert credential is not None and owner is not None
    assert credential.caller == replace(owner.caller, access_key=made.id, boundary=frozenset({"ec2:*", "s3:Get*"}))
    assert (credential.secret, credential.expires) == (made.secret, made.expires)
    assert credential.token_hash == token_hash(made.token.reveal())
    assert (owner.token_hash, owner.expires, owner.caller.boundary) == (None, None, None)
    assert len(made.id) == 20 and made.id.startswith("CCIT") and len(made.token.reveal()) == 96
    assert [key.id for key in await auth.access_keys("ada")] == [parent]


async def test_an_assumed_role_is_told_of(auth: AuthManager) -> None:
    parent = await a_user(auth)
    made = await auth.create_temporary_key(replace(derivation(parent), assumed="builder/nightly"))
    credential = await auth.credential(made.id)
    assert credential is not None and credential.caller.boundary == frozenset()
    assert credential.caller.arn.endswith(":assumed-role/builder/nightly")


async def test_s08_a_temporary_key_is_no_parent_and_nothing_unknown_is(auth: AuthManager) -> None:
    parent = await a_user(auth)
    made = await auth.create_temporary_key(derivation(parent, "*"))
    await refused(Code.ACCESS_KEY_UNKNOWN, auth.create_temporary_key(derivation(made.id, "*")))
    await refused(Code.ACCESS_KEY_UNKNOWN, auth.create_temporary_key(derivation("CCIANOBODY", "*")))
    await refused(Code.BAD_VALUE, auth.create_access_key("ada", "engines", "CCITMADEUP", "longenough"))


async def test_s11_a_temporary_key_follows_its_owners_rights(auth: AuthManager) -> None:
    parent = await a_user(auth)
    made = await auth.create_temporary_key(derivation(parent, "ec2:*"))
    before = await auth.credential(made.id)
    assert before is not None and permits(before.caller, "ec2:RunInstances")
    await auth.grant("ada", "admin", "engines")
    grown = await auth.credential(made.id)
    assert grown is not None and not permits(grown.caller, "s3:GetObject")
    for role in ("admin", "user"):
        await auth.revoke("ada", role, "engines")
    shrunk = await auth.credential(made.id)
    assert shrunk is not None and not permits(shrunk.caller, "ec2:RunInstances")


@pytest.mark.parametrize("how", ["key", "disabled", "user"])
async def test_s11_a_temporary_key_ends_with_its_owner(auth: AuthManager, how: str) -> None:
    parent = await a_user(auth)
    made = await auth.create_temporary_key(derivation(parent, "*"))
    assert await auth.credential(made.id) is not None
    if how == "key":
        await auth.delete_access_key(parent)
    elif how == "disabled":
        await auth.set_user_enabled("ada", False)
    else:
        await auth.delete_user("ada")
    assert await auth.credential(made.id) is None


async def test_temporary_keys_do_not_come_back_with_a_key_of_the_same_name(auth: AuthManager) -> None:
    await a_user(auth)
    await auth.create_access_key("ada", "engines", "AKIAEXAMPLE", "one-secret")
    made = await auth.create_temporary_key(derivation("AKIAEXAMPLE", "*"))
    await auth.delete_access_key("AKIAEXAMPLE")
    await auth.create_access_key("ada", "engines", "AKIAEXAMPLE", "another-secret")
    assert await auth.credential(made.id) is None


async def test_expired_temporary_keys_make_room_and_living_ones_are_counted(auth: AuthManager) -> None:
    parent = await a_user(auth)
    for _ in range(3):
        await auth.create_temporary_key(derivation(parent, "*", seconds=-1))
    await gatherResults([auth.create_temporary_key(derivation(parent, "*")) for _ in range(MOST_DERIVED)])
    await refused(Code.IDENTITY_QUOTA, auth.create_temporary_key(derivation(parent, "*")))
