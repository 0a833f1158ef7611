"""Signature Version 2: for EC2 and STS, where it is switched on, and for nobody else."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import replace
from time import gmtime, strftime
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from cloudcore.api.site import Api
from tests.api.conftest import a_house

STAMP = "%Y-%m-%dT%H:%M:%SZ"
FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def house() -> Iterator[Any]:
    for one in a_house():
        one.cloud = replace(one.cloud, sigv2=True)
        one.api = Api(one.cloud)
        one.clock.advance(3600 * 12)
        yield one


def signed(house: Any, method: str = "GET", late: float = 0.0, secret: str | None = None,
           **parameters: str) -> list[tuple[str, str]]:  # fmt: skip
    """As libcloud signs: written out once more, so that a mistake of ours would not meet itself."""
    key, own = house.keys["alice"]
    given = {"Action": "DescribeInstances", "Version": "2016-11-15", "AWSAccessKeyId": key, "SignatureVersion": "2",
             "SignatureMethod": "HmacSHA256", "Timestamp": strftime(STAMP, gmtime(house.clock.seconds() - late)),
             **parameters}  # fmt: skip
    given = {name: value for name, value in given.items() if value}
    query = "&".join(f"{quote(name, safe='')}={quote(given[name], safe='-_~')}" for name in sorted(given))
    to_sign = f"{method}\ncloud:8773\n/\n{query}"
    digest = hmac.new((secret or own).encode(), to_sign.encode(), hashlib.sha256).digest()
    return [*given.items(), ("Signature", base64.b64encode(digest).decode())]


def outcome(house: Any, pairs: list[tuple[str, str]], method: str = "GET") -> tuple[int, str]:
    target, body = b"/", b""
    headers = {"host": "Cloud:8773"}
    if method == "GET":
        target = b"/?" + urlencode(pairs).encode()
    else:
        body, headers = urlencode(pairs).encode(), headers | {"content-type": FORM}
    reply = house.respond(method.encode(), target, headers, body)
    return reply.status, reply.document.partition(b"<Code>")[2].partition(b"</Code>")[0].decode()


GOOD, REFUSED = (200, ""), (401, "AuthFailure")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_right_signature_opens(house: Any, method: str) -> None:
    more = {"Filter.1.Name": "tag:a b", "Filter.1.Value.1": "x~*&=é"}
    assert outcome(house, signed(house, method, **more), method) == GOOD


def test_sts_too_but_not_iam(house: Any) -> None:
    assert outcome(house, signed(house, Action="GetCallerIdentity", Version="2011-06-15")) == GOOD
    assert outcome(house, signed(house, Action="GetUser", Version="2010-05-08")) == REFUSED


def test_nothing_else_opens(house: Any) -> None:
    assert outcome(house, signed(house, secret="wrong")) == REFUSED  # noqa: S106
    assert outcome(house, [*signed(house), ("MaxResults", "5")]) == REFUSED
    assert outcome(house, signed(house, "POST"), "GET") == REFUSED
    assert outcome(house, signed(house, AWSAccessKeyId="CCIA0000000000000000")) == REFUSED
    assert outcome(house, signed(house, SignatureMethod="HmacSHA1")) == REFUSED
    assert outcome(house, signed(house, SignatureVersion="1")) == REFUSED
    assert outcome(house, signed(house, SecurityToken="x")) == REFUSED  # noqa: S106
    assert outcome(house, signed(house, Timestamp="yesterday")) == REFUSED
    assert outcome(house, signed(house, Timestamp="2026-99-99T00:00:00Z")) == REFUSED
    assert outcome(house, signed(house, Timestamp="")) == REFUSED
    assert outcome(house, [*signed(house)[:-1], ("Signature", "%%%")]) == REFUSED
    assert outcome(house, [*signed(house), ("Signature", "x")]) == REFUSED


@pytest.mark.parametrize(("late", "expected"), [(14 * 60, GOOD), (-14 * 60, GOOD), (16 * 60, (400, "RequestExpired")),
                                                (-16 * 60, (400, "RequestExpired"))])  # fmt: skip
def test_a_date_is_fresh_for_fifteen_minutes(house: Any, late: float, expected: tuple[int, str]) -> None:
    assert outcome(house, signed(house, late=late)) == expected


@pytest.mark.parametrize(("ahead", "expected"), [(60, GOOD), (-1, (400, "RequestExpired")),
                                                 (8 * 86400, (400, "RequestExpired"))])  # fmt: skip
def test_or_until_it_says(house: Any, ahead: float, expected: tuple[int, str]) -> None:
    expires = strftime(STAMP, gmtime(house.clock.seconds() + ahead))
    assert outcome(house, signed(house, Timestamp="", Expires=expires)) == expected


def test_it_is_off_unless_switched_on(house: Any) -> None:
    house.api = Api(replace(house.cloud, sigv2=False))
    assert outcome(house, signed(house)) == REFUSED
    assert outcome(house, signed(house, "POST"), "POST") == REFUSED
