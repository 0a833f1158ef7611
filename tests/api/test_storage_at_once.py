"""The same thing asked many times at once, on a database whose transactions run beside one another: what is counted is
given back once, and nothing is made of what has just gone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import fields, replace
from typing import Any
from urllib.parse import urlencode

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from cloudcore.api.site import Api, Reply
from cloudcore.domain.instances import Event
from cloudcore.store.books import Books
from cloudcore.store.database import Database
from cloudcore.store.migrating import migrate
from tests.api.conftest import ALICE, VERSIONS, Answer, House, a_house

AT_ONCE, ROUNDS = 6, 4


class Real(House):
    """Asked without waiting."""

    def respond(self, method: bytes, target: bytes, headers: Any, body: bytes = b"") -> Any:
        raw = [(name.encode(), [value.encode()]) for name, value in headers.items()]
        answered: Deferred[Reply] = Deferred.fromCoroutine(self.api.respond(method, target, raw, body))
        return answered.addCallback(Answer)

    def asked(self, action: str, **parameters: Any) -> Any:
        """Will be the Answer."""
        pairs = {"Action": action, "Version": VERSIONS["ec2"], **parameters}
        return self.send(urlencode(pairs).encode())

    async def used(self, resource: str = "snapshots") -> int:
        return (await self.cloud.database.look(lambda books: books.quotas.usage(ALICE)))[resource][0]


@pytest_twisted.async_yield_fixture
async def real(postgresql_url: str) -> AsyncIterator[Real]:
    migrate(postgresql_url)
    database = Database(reactor, postgresql_url)
    database.startService()
    houses = a_house()
    house = next(houses)
    cloud = replace(house.cloud, database=database)
    values = {field.name: getattr(house, field.name) for field in fields(House)}
    yield Real(**values | {"cloud": cloud, "api": Api(cloud)})
    database.stopService()
    houses.close()


async def snapshots(real: Real, count: int) -> list[str]:
    """Of the same bytes; the image that the first was made with is no more."""
    image = (await real.asked("RegisterImage", Name="own", ImageLocation="bucket/own")).text("imageId")
    shown = await real.asked("DescribeImages", **{"ImageId.1": image})
    made = [shown.text(".//snapshotId")]
    while len(made) < count:
        copied = await real.asked("CopySnapshot", SourceSnapshotId=made[0], SourceRegion="us-east-2")
        made.append(copied.text("snapshotId"))
    await real.asked("DeregisterImage", ImageId=image)
    return made


@pytest.mark.deadline(60)
async def test_a_snapshot_deleted_many_times_gives_its_quota_back_once(real: Real) -> None:
    made = await snapshots(real, ROUNDS + 1)
    for gone, snapshot in enumerate(made[1:], 1):
        answers = await gatherResults([real.asked("DeleteSnapshot", SnapshotId=snapshot) for _ in range(AT_ONCE)])
        codes = [answer.code for answer in answers]
        assert sorted(codes, key=str) == ["InvalidSnapshot.NotFound"] * (AT_ONCE - 1) + [None]
        assert await real.used() == len(made) - gone


@pytest.mark.deadline(60)
async def test_no_image_is_made_of_a_snapshot_that_goes_at_the_same_moment(real: Real) -> None:
    made = await snapshots(real, 2 * ROUNDS + 1)
    for number, snapshot in enumerate(made[1:]):
        disk = {"BlockDeviceMapping.1.DeviceName": "/dev/sda1", "BlockDeviceMapping.1.Ebs.SnapshotId": snapshot,
                "RootDeviceName": "/dev/sda1", "Name": f"image-{number}"}  # fmt: skip
        calls = [("RegisterImage", disk), ("DeleteSnapshot", {"SnapshotId": snapshot})]
        answers = await gatherResults([
            real.asked(action, **asked) for action, asked in (calls if number % 2 else reversed(calls))])  # fmt: skip
        assert [answer.status for answer in answers].count(200) == 1, answers


@pytest.mark.deadline(60)
async def test_a_security_group_deleted_many_times_gives_its_quota_back_once(real: Real) -> None:
    for number in range(ROUNDS + 1):
        made = await real.asked("CreateSecurityGroup", GroupName=f"group-{number}", GroupDescription="one")
    before = await real.used("security-groups")
    await gatherResults([real.asked("DeleteSecurityGroup", GroupId=made.text("groupId")) for _ in range(AT_ONCE)])
    assert await real.used("security-groups") == before - 1


def stopped(books: Books, id: str) -> None:
    books.instances.request(ALICE, id, Event.STOP)
    found = books.instances.find(id)
    assert found
    books.instances.observe(found, Event.GUEST_STOPPED)


@pytest.mark.deadline(60)
async def test_an_instance_made_smaller_many_times_gives_its_vcpus_back_once(real: Real) -> None:
    await real.asked("RegisterImage", Name="own", ImageLocation="bucket/own")
    image = (await real.asked("DescribeImages", **{"Owner.1": "self"})).text(".//imageId")
    many = {"ImageId": image, "InstanceType": "t3.xlarge", "MinCount": ROUNDS, "MaxCount": ROUNDS}
    each = real.cloud.types
    for one in (await real.asked("RunInstances", **many)).texts(".//instanceId"):
        await real.cloud.database.transact(stopped, one)
        before, smaller = await real.used("vcpus"), {"InstanceId": one, "InstanceType.Value": "t3.nano"}
        await gatherResults([real.asked("ModifyInstanceAttribute", **smaller) for _ in range(AT_ONCE)])
        assert before - await real.used("vcpus") == each["t3.xlarge"].vcpus - each["t3.nano"].vcpus
