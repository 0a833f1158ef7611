"""Quotas, client tokens, tags, keys, images and groups on a real SQLite file, also with many clients at once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cloudcore.domain.images import Image
from cloudcore.domain.keys import KeyPair
from cloudcore.domain.security_groups import DescribedRule, Rule, SecurityGroup
from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books
from cloudcore.store.database import InlineDatabase, sqlite_engine, with_driver
from cloudcore.store.pages import Wanted
from cloudcore.store.requests import Token
from cloudcore.store.schema import metadata

LIMITS = {"instances": 10, "vcpus": 12, "security-groups": 2, "rules-per-security-group": 3}
MINE, THEIRS = "111111111111", "222222222222"


@pytest.fixture(params=["sqlite", "postgresql"])
def books(request: pytest.FixtureRequest) -> Iterator[Books]:
    sqlite = request.param == "sqlite"
    engine = sa.create_engine("sqlite://" if sqlite else with_driver(request.getfixturevalue("postgresql_url")))
    metadata.create_all(engine)
    connection = engine.connect()
    yield Books(connection, lambda connection: 1000.0)
    connection.close()
    engine.dispose()


def refused(code: Code, call: Any, *args: Any) -> None:
    """A refused transaction is rolled back; here only to where it was before."""
    connection = getattr(getattr(call, "__self__", None), "_connection", None)
    with pytest.raises(CloudError) as caught, connection.begin_nested() if connection is not None else nullcontext():
        call(*args)
    assert caught.value.code is code


# -- quotas -----------------------------------------------------------------------------------------------------------


def test_all_resources_are_taken_or_none(books: Books) -> None:
    assert books.quotas.take(MINE, LIMITS, instances=8, vcpus=8)
    assert not books.quotas.take(MINE, LIMITS, instances=1, vcpus=5)
    assert books.quotas.usage(MINE) == {"instances": (8, 10), "vcpus": (8, 12)}
    assert books.quotas.room(MINE, LIMITS, "instances", "vcpus", "security-groups") == {
        "instances": 2, "vcpus": 4, "security-groups": 2}  # fmt: skip
    assert books.quotas.usage(THEIRS) == {}


def test_what_is_given_back_can_be_taken_again_and_never_falls_below_zero(books: Books) -> None:
    books.quotas.take(MINE, LIMITS, instances=10)
    books.quotas.release(MINE, instances=4, vcpus=4)
    assert books.quotas.take(MINE, LIMITS, instances=4)
    books.quotas.release(MINE, instances=99)
    assert books.quotas.usage(MINE)["instances"] == (0, 10)


def test_a_limit_of_one_project_overrides_the_default(books: Books) -> None:
    books.quotas.limit(MINE, "instances", 1)
    assert not books.quotas.take(MINE, LIMITS, instances=2)
    assert books.quotas.take(MINE, LIMITS, instances=1)
    assert books.quotas.take(THEIRS, LIMITS, instances=2)


def test_s36_of_many_clients_at_the_limit_exactly_as_many_win_as_fit(tmp_path: Path) -> None:
    engine = sqlite_engine(f"sqlite:///{tmp_path}/cell.sqlite", "BEGIN IMMEDIATE", connections=8)
    metadata.create_all(engine)

    def client(n: int) -> bool:
        with engine.begin() as connection:
            return Books(connection).quotas.take(MINE, LIMITS, instances=1, vcpus=1)

    with ThreadPoolExecutor(8) as threads:
        won = sum(threads.map(client, range(64)))
    engine.dispose()
    assert won == 10


# -- client tokens ----------------------------------------------------------------------------------------------------


def test_a_token_gives_what_it_gave_before_and_refuses_other_parameters(books: Books) -> None:
    token = Token(MINE, "RunInstances", "once", "hash")
    assert books.requests.earlier(token) is None
    books.requests.keep(token, ["i-1", "i-2"])
    assert books.requests.earlier(token) == ["i-1", "i-2"]
    refused(Code.TOKEN_MISMATCH, books.requests.earlier, Token(MINE, "RunInstances", "once", "other"))
    assert books.requests.earlier(Token(THEIRS, "RunInstances", "once", "hash")) is None
    assert books.requests.earlier(Token(MINE, "CreateVolume", "once", "hash")) is None


def test_a_failed_attempt_burns_no_token() -> None:
    database, token = InlineDatabase(), Token(MINE, "RunInstances", "once", "hash")

    def failing(books: Books) -> None:
        books.requests.keep(token, ["i-1"])
        raise CloudError(Code.INSTANCE_QUOTA, "full")

    with pytest.raises(CloudError):
        database.run(failing)
    assert database.run(lambda books: books.requests.earlier(token)) is None
    database.close()


# -- tags -------------------------------------------------------------------------------------------------------------


def test_tags_are_set_changed_listed_and_removed(books: Books) -> None:
    books.tags.put(MINE, {"i-1": "instance", "i-2": "instance"}, {"b": "1", "a": "2"})
    books.tags.put(MINE, {"i-1": "instance"}, {"b": "3"})
    assert books.tags.of(MINE, ["i-1", "i-2", "i-3"]) == {"i-1": {"a": "2", "b": "3"}, "i-2": {"a": "2", "b": "1"}}
    assert books.tags.of(THEIRS, ["i-1"]) == {}
    first = books.tags.page(MINE, None, 3, {})
    rest = books.tags.page(MINE, (first[-1].resource, first[-1].key), 3, {})
    assert [(one.resource, one.key) for one in first + rest] == [("i-1", "a"), ("i-1", "b"), ("i-2", "a"), ("i-2", "b")]
    books.tags.remove(MINE, ["i-1"], {"b": "other", "a": None})
    assert books.tags.of(MINE, ["i-1"]) == {"i-1": {"b": "3"}}
    books.tags.remove(THEIRS, ["i-1"], None)
    books.tags.remove(MINE, ["i-2"], None)
    assert books.tags.of(MINE, ["i-1", "i-2"]) == {"i-1": {"b": "3"}}


def test_a_resource_has_at_most_fifty_tags(books: Books) -> None:
    books.tags.put(MINE, {"i-1": "instance"}, {str(n): "" for n in range(50)})
    books.tags.put(MINE, {"i-1": "instance"}, {"0": "changed"})
    refused(Code.TAG_LIMIT, books.tags.put, MINE, {"i-1": "instance"}, {"more": ""})


# -- keys and images --------------------------------------------------------------------------------------------------


def a_pair(name: str, project: str = MINE) -> KeyPair:
    return KeyPair(f"key-{project[:1]}{name}", project, name, "ed25519", "x", "ssh-ed25519 AAAA", 1.0)


def test_key_names_are_unique_within_a_project(books: Books) -> None:
    books.key_pairs.insert(a_pair("a"))
    books.key_pairs.insert(a_pair("a", THEIRS))
    refused(Code.KEY_PAIR_DUPLICATE, books.key_pairs.insert, a_pair("a"))


def test_keys_are_found_by_name_and_deleted_twice(books: Books) -> None:
    books.key_pairs.insert(a_pair("a"))
    assert books.key_pairs.named(MINE, "a").id == "key-1a"
    refused(Code.KEY_PAIR_UNKNOWN, books.key_pairs.named, THEIRS, "a")
    assert books.key_pairs.delete(THEIRS, id="key-1a") is None
    assert books.key_pairs.delete(MINE, name="a")
    assert books.key_pairs.delete(MINE, name="a") is None
    assert books.key_pairs.find("key-1a") is None


def an_image(id: str, project: str = MINE, public: bool = False, created: float = 1.0) -> Image:
    return Image(id, project, f"name-{id}", "", "b/k", "b/k", "0", 1, "raw", 1, "x86_64", "/dev/sda1", public,
                 "available", created)  # fmt: skip


def test_images_are_seen_by_their_project_and_when_public_by_all(books: Books) -> None:
    books.images.insert(an_image("ami-1"))
    books.images.insert(an_image("ami-2", public=True))
    assert [one.id for one in books.images.page(THEIRS, Wanted())] == ["ami-2"]
    refused(Code.IMAGE_UNKNOWN, books.images.visible, THEIRS, "ami-1")
    refused(Code.NOT_AUTHORISED, books.images.deregister, THEIRS, "ami-2")
    refused(Code.IMAGE_UNKNOWN, books.images.deregister, THEIRS, "ami-1")
    books.images.set_public(MINE, "ami-2", public=False)
    refused(Code.IMAGE_UNKNOWN, books.images.visible, THEIRS, "ami-2")


def test_a_deregistered_image_frees_its_name_and_is_still_found_for_guests_that_run(books: Books) -> None:
    books.images.insert(an_image("ami-1"))
    books.images.deregister(MINE, "ami-1")
    refused(Code.IMAGE_UNKNOWN, books.images.visible, MINE, "ami-1")
    found = books.images.find("ami-1")
    assert found
    assert found.state == "deregistered"


def test_a_page_is_in_order_of_creation_then_id(books: Books) -> None:
    for id, created in (("ami-3", 1.0), ("ami-1", 2.0), ("ami-2", 2.0)):
        books.images.insert(an_image(id, created=created))
    first = books.images.page(MINE, Wanted(limit=2))
    rest = books.images.page(MINE, Wanted(limit=2, after=(first[-1].created, first[-1].id)))
    assert [one.id for one in first + rest] == ["ami-3", "ami-1", "ami-2"]


# -- groups -----------------------------------------------------------------------------------------------------------


def a_group(id: str, name: str = "web", project: str = MINE) -> SecurityGroup:
    return SecurityGroup(id, project, name, "d", 1, 1.0)


def a_rule(id: str, port: int, group: str = "sg-1") -> DescribedRule:
    return DescribedRule(Rule(id, "tcp", port, port, "0.0.0.0/0"), group)


def test_each_change_of_rules_is_a_revision(books: Books) -> None:
    books.groups.insert(a_group("sg-1"))
    assert books.groups.add_rules("sg-1", [a_rule("sgr-1", 80), a_rule("sgr-2", 81)], 3) == 2
    revision, gone = books.groups.remove_rules("sg-1", [Rule("", "tcp", 80, 80, "0.0.0.0/0")])
    assert (revision, [one.rule.id for one in gone]) == (3, ["sgr-1"])
    value = books.groups.value("sg-1")
    assert value
    assert (value.revision, [rule.id for rule in value.rules], value.members) == (3, ["sgr-2"], ())


def test_rules_are_unique_limited_and_known(books: Books) -> None:
    books.groups.insert(a_group("sg-1"))
    books.groups.add_rules("sg-1", [a_rule("sgr-1", 80)], 3)
    refused(Code.RULE_DUPLICATE, books.groups.add_rules, "sg-1", [a_rule("sgr-2", 80)], 3)
    refused(Code.RULE_DUPLICATE, books.groups.add_rules, "sg-1", [a_rule("sgr-2", 81), a_rule("sgr-3", 81)], 3)
    refused(Code.RULE_QUOTA, books.groups.add_rules, "sg-1", [a_rule(f"sgr-{n}", n) for n in (1, 2, 3)], 3)
    refused(Code.RULE_UNKNOWN, books.groups.remove_rules, "sg-1", [Rule("", "tcp", 22, 22, "0.0.0.0/0")])
    refused(Code.RULE_UNKNOWN, books.groups.remove_rules, "sg-1", [Rule("", "tcp", 80, 80, "0.0.0.0/0", egress=True)])


def test_a_group_that_another_names_or_that_is_the_default_stays(books: Books) -> None:
    books.groups.insert(a_group("sg-1"))
    books.groups.insert(a_group("sg-2", "db"))
    books.groups.insert(a_group("sg-3", "default"))
    books.groups.add_rules("sg-2", [DescribedRule(Rule("sgr-1", "-1", -1, -1, source_group="sg-1"), "sg-2")], 3)
    own = books.groups.of_project(MINE, ["sg-1", "sg-2", "sg-3"])
    assert books.groups.of_project(THEIRS, ["sg-1"]) == {}
    refused(Code.GROUP_IN_USE, books.groups.delete, own["sg-1"])
    refused(Code.GROUP_RESERVED, books.groups.delete, own["sg-3"])
    books.groups.delete(own["sg-2"])
    books.groups.delete(own["sg-1"])
    assert books.groups.value("sg-1") is None
    refused(Code.GROUP_DUPLICATE, books.groups.insert, a_group("sg-9", "default"))
