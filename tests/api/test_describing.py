"""The describe engine against a naive model: the same rows filtered in plain Python and cut into pages."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloudcore.api import pages
from cloudcore.domain.instances import Event
from cloudcore.errors import CloudError
from tests.api.conftest import ALICE, IMAGE

TYPES = ("t3.nano", "t3.micro", "m5.large")
NAMES = ("web", "db", "webmail")
FILTERS = st.lists(
    st.sampled_from([
        ("instance-type", ("t3.nano",)), ("instance-type", ("t3.*", "m5.large")), ("instance-type", ("m?.large",)),
        ("tag:Name", ("web",)), ("tag:Name", ("web*",)), ("tag:Name", ("db", "web")), ("tag-key", ("Name",)),
        ("tag-value", ("*b",)), ("tag:None", ("x",)), ("launch-index", ("0", "2")),
        ("instance-state-name", ("pending",)),
        ("vpc-id", ("vpc-*",)), ("owner-id", ("222222222222",)), ("availability-zone", ("us-east-2b",)),
    ]),
    max_size=3,
)  # fmt: skip


def furnished(house: Any) -> list[dict[str, str]]:
    """What is there, as plain records."""
    records = []
    for n, kind in enumerate(TYPES * 2):
        tags = {"TagSpecification.1.ResourceType": "instance", "TagSpecification.1.Tag.1.Key": "Name",
                "TagSpecification.1.Tag.1.Value": NAMES[n % 3]} if n % 2 else {}  # fmt: skip
        zone = "us-east-2b" if n % 3 else "us-east-2a"
        ids = house.run(InstanceType=kind, MaxCount=3, **{"Placement.AvailabilityZone": zone}, **tags)
        records += [{"id": id, "instance-type": kind, "launch-index": str(index), "instance-state-name": "pending",
                     "vpc-id": "vpc-1", "owner-id": "111111111111", "availability-zone": zone,
                     **({"tag:Name": NAMES[n % 3], "tag-key": "Name", "tag-value": NAMES[n % 3]} if tags else {})}
                    for index, id in enumerate(ids)]  # fmt: skip
        house.clock.advance(1)
    return records


def naive(records: list[dict[str, str]], filters: list[tuple[str, tuple[str, ...]]]) -> list[str]:
    return [one["id"] for one in records
            if all(name in one and any(fnmatchcase(one[name], value) for value in values) for name, values in filters)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(filters=FILTERS, size=st.sampled_from([None, 5, 7, 1000]))
def test_pages_hold_what_the_filters_select_once_and_in_order(house: Any, filters: Any, size: int | None) -> None:
    if not hasattr(house, "records"):
        house.records = furnished(house)
    found: list[str] = []
    pairs = [("Action", "DescribeInstances")]
    for n, (name, values) in enumerate(filters, 1):
        pairs.append((f"Filter.{n}.Name", name))
        pairs += [(f"Filter.{n}.Value.{m}", value) for m, value in enumerate(values, 1)]
    if size:
        pairs.append(("MaxResults", str(size)))
    token = ""
    for _ in range(20):
        answer = house.post(pairs + ([("NextToken", token)] if token else []))
        got = answer.texts(".//instanceId")
        assert len(got) <= (size or 1000)
        found += got
        token = answer.text("nextToken")
        if not token:
            break
    order = {one["id"]: n for n, one in enumerate(house.records)}
    assert sorted(found, key=order.__getitem__) == naive(house.records, filters)
    assert len(found) == len(set(found))


def test_pages_do_not_shift_when_rows_come_and_go(house: Any) -> None:
    before = house.run(MaxCount=12)
    house.clock.advance(1)
    first = house.ask("DescribeInstances", MaxResults=5)
    later = house.run(MaxCount=3)
    rest = house.ask("DescribeInstances", NextToken=first.text("nextToken"))
    found = first.texts(".//instanceId") + rest.texts(".//instanceId")
    assert sorted(found) == sorted(before + later)


def test_all_filters_that_clients_send_are_known(house: Any) -> None:
    for action, names in {
        "DescribeInstances": ("image-id", "instance-state-name", "subnet-id", "tag:Name"),
        "DescribeImages": ("name", "architecture", "root-device-type", "state", "virtualization-type"),
        "DescribeInstanceTypes": ("instance-type",), "DescribeSecurityGroupRules": ("group-id",),
        "DescribeVpcs": ("is-default", "isDefault", "cidr-block", "cidrBlock", "dhcp-options-id", "dhcpOptionsId"),
        "DescribeSubnets": ("vpc-id", "cidr-block", "cidr", "availabilityZone", "defaultForAz"),
        "DescribeSecurityGroups": ("group-name", "vpc-id"), "DescribeAvailabilityZones": ("region-name", "state"),
        "DescribeTags": ("key", "resource-id", "resource-type"),
    }.items():  # fmt: skip
        for name in names:
            answer = house.post([("Action", action), ("Filter.1.Name", name), ("Filter.1.Value.1", "x")])
            assert answer.status == 200, (action, name, answer)


def test_a_filter_has_at_most_200_values(house: Any) -> None:
    for count, status in ((200, 200), (201, 400)):
        values = [(f"Filter.1.Value.{n}", str(n)) for n in range(count)]
        asked = [("Action", "DescribeInstances"), ("Filter.1.Name", "image-id"), *values]
        assert house.post(asked).status == status


@given(st.binary(max_size=64), st.floats(allow_nan=False, allow_infinity=False), st.text("i-0123456789abcdef"))
def test_a_token_opens_only_where_it_was_sealed(noise: bytes, created: float, id: str) -> None:
    token = pages.seal(b"secret", "111 ec2:A", (created, id))
    assert pages.unseal(b"secret", "111 ec2:A", token) == (created, id)
    mine = "111 ec2:A"
    for secret, purpose, other in ((b"other", mine, token), (b"secret", "222 ec2:A", token),
                                   (b"secret", mine, token[:-4]), (b"secret", mine, noise.hex())):  # fmt: skip
        with pytest.raises(CloudError):
            pages.unseal(secret, purpose, other)


def test_a_terminated_instance_is_shown_for_more_than_an_hour_and_then_gone(house: Any) -> None:
    (id,) = house.run()
    house.ask("TerminateInstances", InstanceId=id)
    house.moved(id, Event.GUEST_GONE)
    house.clock.advance(3601)
    assert house.ask("DescribeInstances", InstanceId=id).text(".//instanceState/name") == "terminated"
    house.clock.advance(3600)
    assert house.ask("DescribeInstances", InstanceId=id).code == "InvalidInstanceID.NotFound"


def test_a_running_instance_is_initializing_first_and_ok_soon_after(house: Any) -> None:
    (id,) = house.run()
    house.moved(id, Event.GUEST_STARTED, "h1", "10.0.0.9")
    assert house.ask("DescribeInstanceStatus").text(".//instanceStatus/status") == "initializing"
    house.clock.advance(10)
    assert house.ask("DescribeInstanceStatus").text(".//instanceStatus/status") == "ok"


def test_s31_a_filter_value_has_a_limit_so_that_kept_patterns_stay_small(house: Any) -> None:
    def asked(length: int) -> str | None:
        pattern = "*" + "a" * (length - 1)
        return house.ask("DescribeInstances", Filter__1__Name="key-name", Filter__1__Value__1=pattern).code

    assert asked(1024) is None
    assert asked(1025) == "InvalidParameterValue"


def test_s31_an_audit_record_holds_no_long_parameter(house: Any) -> None:
    key = "k" * 100_000
    house.ask("DeleteTags", ResourceId__1=IMAGE, Tag__1__Key=key)
    entry = house.works(lambda books: books.audit.entries(ALICE))[0]
    assert entry.action == "ec2:DeleteTags" and len(str(entry.parameters)) < 2000
