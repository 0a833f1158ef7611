"""What follows from a change of an instance's port: who is told, and what is written down."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from cloudcore.domain.instances import Event, State
from cloudcore.store.books import Books
from cloudcore.store.schema import audit, operations, steps


def due(books: Books) -> set[tuple[str, str]]:
    """(kind, subject) of what is open, launches and the like apart."""
    chosen = sa.select(operations.c.kind, operations.c.subject).where(operations.c.state == "open")
    found = {(row.kind, row.subject) for row in books._connection.execute(chosen)}
    return {one for one in found if one[0] in ("replug", "regroup")}


def clear(books: Books) -> None:
    books._connection.execute(sa.delete(steps))
    books._connection.execute(sa.delete(operations))


@pytest.fixture
def two(house: Any) -> list[str]:
    """Two running instances in the default group, whose members may reach one another."""
    ids = [house.run()[0] for _ in range(2)]
    for number, id in enumerate(ids):
        house.moved(id, Event.GUEST_STARTED, host=f"h{number}", address=f"10.0.0.{number + 5}")
    house.works(clear)
    return ids


def group(house: Any, name: str) -> str:
    return house.ask("CreateSecurityGroup", GroupName=name, GroupDescription="d").text("groupId")


def test_metadata_options_are_told_to_the_instances_host_alone(house: Any, two: list[str]) -> None:
    before = len(house.beyond.hints)
    house.ask("ModifyInstanceMetadataOptions", InstanceId=two[0], HttpTokens="required")
    assert house.works(due) == {("replug", two[0])}
    assert len(house.beyond.hints) == before + 1


def test_leaving_a_group_is_told_to_those_who_let_its_members_in(house: Any, two: list[str]) -> None:
    web = group(house, "web")
    (default,) = house.works(lambda books: books.instances.groups_of(two[0]))
    assert house.ask("ModifyInstanceAttribute", InstanceId=two[0], **{"GroupId.1": web}).status == 200
    assert house.works(due) == {("replug", two[0]), ("regroup", default)}
    value = house.works(lambda books: books.groups.value(default))
    assert value.members == ("10.0.0.6",)
    assert house.works(lambda books: books.groups.value(web)).members == ("10.0.0.5",)


def test_joining_a_group_that_nobody_names_is_told_to_nobody_else(house: Any, two: list[str]) -> None:
    web = group(house, "web")
    (default,) = house.works(lambda books: books.instances.groups_of(two[0]))
    house.ask("ModifyInstanceAttribute", InstanceId=two[0], **{"GroupId.1": default, "GroupId.2": web})
    assert house.works(due) == {("replug", two[0])}


def test_a_rehearsal_changes_nothing(house: Any, two: list[str]) -> None:
    web = group(house, "web")
    asked = {"InstanceId": two[0], "GroupId.1": web, "DryRun": "true"}
    assert house.ask("ModifyInstanceAttribute", **asked).code == "DryRunOperation"
    assert house.works(due) == set()
    assert web not in house.works(lambda books: books.instances.groups_of(two[0]))


def test_tags_are_told_where_the_guest_may_read_them(house: Any, two: list[str]) -> None:
    house.ask("ModifyInstanceMetadataOptions", InstanceId=two[0], InstanceMetadataTags="enabled")
    house.works(clear)
    for action in ("CreateTags", "DeleteTags"):
        house.ask(action, **{"ResourceId.1": two[0], "ResourceId.2": two[1], "Tag.1.Key": "role"})
        assert house.works(due) == {("replug", two[0])}, action
        house.works(clear)


def test_tags_that_cannot_be_a_path_keep_the_guest_from_reading_them(house: Any, two: list[str]) -> None:
    house.ask("CreateTags", **{"ResourceId.1": two[0], "Tag.1.Key": "a b"})
    refused = house.ask("ModifyInstanceMetadataOptions", InstanceId=two[0], InstanceMetadataTags="enabled")
    assert refused.code == "InvalidParameterValue"


def test_user_data_is_in_no_audit_record_however_it_came(house: Any, two: list[str]) -> None:
    house.ask("StopInstances", **{"InstanceId.1": two[0]})
    house.moved(two[0], Event.GUEST_STOPPED)
    for more in ({"UserData.Value": "c2VjcmV0IQ=="}, {"Attribute": "userData", "Value": "c2VjcmV0IQ=="}):
        assert house.ask("ModifyInstanceAttribute", InstanceId=two[0], **more).status == 200
    assert house.works(lambda books: books.instances.find(two[0])).user_data == b"secret!"
    written = house.works(lambda books: list(books._connection.execute(sa.select(audit.c.parameters)).scalars()))
    assert not [one for one in written if "c2VjcmV0" in one or "secret" in one]
    assert house.works(lambda books: books.instances.find(two[0])).state is State.STOPPED
