"""An account that calls too often is refused, that account only, and for that action only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from cloudcore.api.site import Api
from cloudcore.api.throttling import ATTRIBUTES, CHANGES, LIFE, READS, Throttle, rate_of
from tests.api.conftest import a_house


@pytest.fixture
def house() -> Iterator[Any]:
    for one in a_house():
        one.cloud = replace(one.cloud, throttle=Throttle(one.clock.seconds))
        one.api = Api(one.cloud)
        yield one


def answers(house: Any, action: str, count: int, who: str = "alice", **parameters: str) -> list[tuple[int, str | None]]:
    return [(one.status, one.code) for one in (house.ask(action, who, **parameters) for _ in range(count))]


GOOD, REFUSED = (200, None), (503, "RequestLimitExceeded")


def test_a_hundred_reads_at_once_and_twenty_more_a_second(house: Any) -> None:
    assert answers(house, "DescribeKeyPairs", 102) == [GOOD] * 100 + [REFUSED] * 2
    house.clock.advance(0.125)
    assert answers(house, "DescribeKeyPairs", 3) == [GOOD] * 2 + [REFUSED]
    assert answers(house, "DescribeKeyPairs", 1, "bob") == [GOOD]
    assert answers(house, "DescribeKeyPairs", 1, "eve") == [REFUSED]  # another user of the same account
    assert answers(house, "DescribeRegions", 1) == [GOOD]


def test_only_who_may_call_takes_a_token(house: Any) -> None:
    assert answers(house, "DescribeKeyPairs", 101, "nobody") == [(403, "UnauthorizedOperation")] * 101
    assert answers(house, "DescribeKeyPairs", 1) == [GOOD]


def test_terraforms_favourite_has_a_larger_bucket(house: Any) -> None:
    (id,) = house.run()
    found = answers(house, "DescribeInstanceAttribute", 300, InstanceId=id, Attribute="userData")
    assert set(found) == {GOOD}


def test_sts_says_it_in_its_own_words(house: Any) -> None:
    for _ in range(100):
        house.ask("GetCallerIdentity", service="sts")
    refused = house.ask("GetCallerIdentity", service="sts")
    assert (refused.status, refused.code) == (400, "Throttling")


def test_each_action_has_a_rate() -> None:
    assert rate_of("DescribeInstances") == rate_of("GetConsoleOutput") == rate_of("ListRoles") == READS
    assert rate_of("DescribeInstanceAttribute") == ATTRIBUTES
    assert rate_of("RunInstances") == LIFE
    assert rate_of("CreateTags") == CHANGES
    assert LIFE.refill >= 200  # what the cloud is to accept, it must admit


def test_a_factor_widens_every_bucket() -> None:
    throttle = Throttle(lambda: 0.0, 3.0)
    for _ in range(300):
        throttle.admit("1", "ec2", "DescribeVpcs")
