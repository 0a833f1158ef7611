"""Instance profiles and the keys of instances, on SQLite in memory, SQLite in a file, and PostgreSQL."""

from __future__ import annotations

import json
import random

import pytest

from cloudcore.auth.instances import LIFETIME, RENEWED, Keyring
from cloudcore.auth.seal import Envelope
from cloudcore.auth.sql import derived_credential
from cloudcore.domain.instance_profiles import InstanceProfile
from cloudcore.domain.instances import Event, State
from cloudcore.domain.roles import Role
from cloudcore.errors import CloudError, Code
from cloudcore.store.schema import projects
from tests.contracts.test_books import PROJECT, an_instance, migrated_postgresql, store, time

__all__ = ["migrated_postgresql", "store", "time"]  # fixtures
TRUST = json.dumps({"Statement": {"Effect": "Allow", "Action": "sts:AssumeRole",
                                  "Principal": {"Service": "ec2.amazonaws.com"}}})  # fmt: skip
ROLE = Role("AROA1", PROJECT, "server", "", TRUST, 3600, 0, 0.0)
PROFILE = InstanceProfile("AIPA1", PROJECT, "web", "/", 0.0, ROLE.id)
HERE = {"state": State.RUNNING, "profile": PROFILE.id}
KEYRING = Keyring(Envelope(b"k" * 32, random.Random(1).randbytes), random.Random(2).randbytes)  # noqa: S311


def furnish(books, number=1):
    """A project, a role, its profile, and instances that have it."""
    books._connection.execute(projects.insert().values(id=PROJECT, name="engines", enabled=True))
    books.roles.insert(ROLE)
    books.profiles.insert(PROFILE)
    made = [an_instance(at, **HERE, host=f"h{at}") for at in range(1, number + 1)]
    books.instances.insert(made, ())
    books.profile_associations.begin(PROFILE, [(f"iip-assoc-{one.id}", one.id) for one in made])
    return made


def minted(books, number=1):
    made = furnish(books, number)
    assert all(KEYRING.mint(books, one) for one in made)
    return made


def mint(books, one):
    return KEYRING.mint(books, one)


async def test_a_key_is_made_once_and_opens_as_it_was_made(store):
    def work(books):
        [one] = minted(books)
        assert not KEYRING.mint(books, one)
        held = KEYRING.held(books, one)
        found = derived_credential(books, held.access_key)
        caller = found.caller
        assert (caller.arn, caller.unique_id) == (f"arn:aws:sts::{PROJECT}:assumed-role/server/{one.id}",
                                                  f"AROA1:{one.id}")  # fmt: skip
        assert found.expires == books.now() + LIFETIME and caller.boundary == frozenset()
        assert books.instances.find(one.id).port_revision == 1

    await store.transact(work)


async def test_what_wanes_is_found_and_what_lasts_is_not(store, time):
    def look(books, most=10):
        roles = [id for id, _, _ in books.instance_keys.roles_in_use()]
        assert roles in ([], [ROLE.id])
        return [id for id, _, _ in books.instance_keys.waning(roles, RENEWED, most)]

    made = await store.transact(minted, 3)
    ids = [one.id for one in made]
    assert await store.look(look) == []
    time.now += LIFETIME - RENEWED
    assert await store.look(look) == ids
    assert await store.look(look, 2) == ids[:2]
    await store.transact(lambda books: [KEYRING.mint(books, one) for one in made[:1]])
    assert await store.look(look) == ids[1:]
    await store.transact(lambda books: books.instances.observe(made[1], Event.GUEST_STOPPED))
    assert await store.look(look) == ids[2:]
    await store.transact(lambda books: books.profiles.remove_role(PROFILE, ROLE))
    assert await store.look(look) == []


async def test_expired_keys_go_with_their_successor(store, time):
    [one] = await store.transact(minted, 1)
    for _ in range(4):
        time.now += LIFETIME / 2
        assert await store.transact(mint, one)
    left = await store.look(lambda books: books._connection.exec_driver_sql("SELECT * FROM instance_keys").all())
    assert len(left) == 2


async def test_a_profile_holds_one_role_and_a_held_role_stays(store):
    await store.transact(furnish)
    other = Role("AROA2", PROJECT, "other", "", TRUST, 3600, 0, 0.0)
    await store.transact(lambda books: books.roles.insert(other))
    for work, code in (
        (lambda books: books.profiles.add_role(PROFILE, other), Code.IDENTITY_QUOTA),
        (lambda books: books.roles.delete(ROLE), Code.IN_USE),
        (lambda books: books.profiles.delete(PROFILE), Code.IN_USE),
        (lambda books: books.profiles.remove_role(PROFILE, other), Code.ROLE_UNKNOWN),
        (lambda books: books.profiles.insert(PROFILE), Code.PROFILE_DUPLICATE),
        (lambda books: books.profile_associations.begin(PROFILE, [("iip-assoc-9", an_instance().id)]),
         Code.PROFILE_ASSOCIATED)):  # fmt: skip
        with pytest.raises(CloudError) as refusal:
            await store.transact(work)
        assert refusal.value.code is code


async def test_a_role_that_has_just_gone_is_unknown(store):
    await store.transact(furnish)
    await store.transact(lambda books: books.profiles.remove_role(PROFILE, ROLE))
    gone = Role("AROA9", PROJECT, "gone", "", TRUST, 3600, 0, 0.0)
    with pytest.raises(CloudError) as refusal:
        await store.transact(lambda books: books.profiles.add_role(PROFILE, gone))
    assert refusal.value.code is Code.ROLE_UNKNOWN


async def test_holders_are_those_that_are_not_about_to_end(store):
    made = await store.transact(furnish, 2)
    await store.transact(lambda books: books.instances.terminate(made[0], "Client.UserInitiatedShutdown", ""))
    assert [one.id for one in await store.look(lambda books: books.profile_associations.holders(PROFILE.id))] == [
        made[1].id]  # fmt: skip
