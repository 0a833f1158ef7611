"""Legal requests with one thing wrong in each: refused by a code of the catalogue or served, never a 5xx, never slowly,
and never at the price of much memory.

They are made from the services' descriptions, for every action that is offered, the same in every run.
"""

from __future__ import annotations

import random
import re
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import fields
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from botocore.serialize import create_serializer

from cloudcore.api import codes
from cloudcore.api.catalogue import ACTIONS
from cloudcore.api.reading import PARAMETERS
from cloudcore.signing.heads import Head, body_hash
from cloudcore.signing.signer import Signer, sign
from tests.api.test_every_request import MODELS, OFFERED, legal

Pairs = list[tuple[str, str]]
QUERY = {code for code, _ in codes.QUERY.values()}
CATALOGUE = {"ec2": set(codes.EC2.values()), "sts": QUERY, "iam": QUERY}
SECONDS = 2.0  # of CPU, for one request; the slowest makes an RSA key in 0.3 s on a slow machine
INDEX = re.compile(r"\.[0-9]+(?=\.|$)")
MIB = 1 << 20
LARGEST = MIB  # of a body; more does not pass the transport
# A body is held as bytes and as text, once more in names and values, once in what the answer quotes, and an array of
# parameters costs a few objects each: ten times the body is ample, and far from what hurts.
MOST_MEMORY = 10 * LARGEST

WRONG_VALUES = (
    "", " ", "x" * 100_000, "perhaps", "-1", "-9223372036854775809", "9" * 40, "1e999", "NaN", "0x10", "\u0661",
    "====", "dmFsdWU", "\u20ac", "2026-13-45T99:99:99Z", "9999-99-99", "0001-01-01T00:00:00+23:59", "\x00",
    "a\x1b[2Jb", "a\r\nb: c", "\udcff\udcfe", "\ufffe", "%00", "*", "\\", "[", "(?:x+)+y", "../../etc/passwd", "{{}}",
    "{0.__class__}", "' OR 1=1 --", "<!DOCTYPE x [<!ENTITY y SYSTEM 'file:///etc/passwd'>]>",
)  # fmt: skip


def another_value(value: str) -> Callable[[Pairs, int, random.Random], None]:
    def wrong(pairs: Pairs, at: int, chance: random.Random) -> None:
        pairs[at] = pairs[at][0], value

    return wrong


def another_name(change: Callable[[str], str]) -> Callable[[Pairs, int, random.Random], None]:
    def wrong(pairs: Pairs, at: int, chance: random.Random) -> None:
        pairs[at] = change(pairs[at][0]), pairs[at][1]

    return wrong


def another_index(index: str) -> Callable[[Pairs, int, random.Random], None]:
    """Of a list on the way, where there is one; else the scalar becomes a list."""

    def wrong(pairs: Pairs, at: int, chance: random.Random) -> None:
        parts = pairs[at][0].split(".")
        places = [place for place, part in enumerate(parts) if part.isdigit()]
        if places:
            parts[chance.choice(places)] = index
        else:
            parts.append(index)
        pairs[at] = ".".join(parts), pairs[at][1]

    return wrong


def one_more(name: Callable[[str], str], value: Callable[[str], str]) -> Callable[[Pairs, int, random.Random], None]:
    def wrong(pairs: Pairs, at: int, chance: random.Random) -> None:
        pairs.insert(chance.randint(0, len(pairs)), (name(pairs[at][0]), value(pairs[at][1])))

    return wrong


def other_case(pairs: Pairs, at: int, chance: random.Random) -> None:
    pairs[at] = pairs[at][0], pairs[at][1].swapcase()


def taken_away(pairs: Pairs, at: int, chance: random.Random) -> None:
    del pairs[at]


MISTAKES: tuple[Callable[[Pairs, int, random.Random], None], ...] = (
    *map(another_value, WRONG_VALUES),
    *map(another_index, ("0", "7", "00", "-1", "999999", "1000000", "9" * 30, "x", "1.1", "")),
    another_name(lambda name: name + ".Colour"), another_name(lambda name: name.swapcase()),
    another_name(lambda name: "." + name), another_name(lambda name: name + "."),
    another_name(lambda name: name.partition(".")[0]), another_name(lambda name: "__class__"),
    another_name(lambda name: ".".join([name] * 40)[:255]), another_name(lambda name: "x" * 300),
    another_name(lambda name: name + "\x00"), another_name(lambda name: name + "\udcff"),
    one_more(lambda name: "Colour", lambda value: "red"), one_more(lambda name: name, lambda value: value),
    one_more(lambda name: name + ".1", lambda value: value), one_more(lambda name: name + ".Name", lambda value: "x"),
    one_more(lambda name: "Filter.1.Name", lambda value: "tag:"),
    one_more(lambda name: "DryRun", lambda value: "maybe"),
    one_more(lambda name: "NextToken", lambda value: "AAAA"), one_more(lambda name: "MaxResults", lambda value: "0"),
    one_more(lambda name: "Action", lambda value: "DescribeInstances"),
    other_case, taken_away,
)  # fmt: skip


def test_every_mistake_is_another() -> None:
    assert len(set(map(id, MISTAKES))) == len(MISTAKES) > 60


def a_legal_request(service: str, name: str, chance: random.Random, things: dict[str, str]) -> Pairs:
    """Mostly of what the action honours, and about things that are there: what is refused at once proves little."""
    model = MODELS[service].operation_model(name)
    serializer = create_serializer("ec2" if service == "ec2" else "query", include_validation=False)
    asked = legal(model.input_shape, chance) if model.input_shape else {}
    if chance.random() < 0.7:
        honoured = {one.name for one in fields(ACTIONS[service][name].parameters)}
        asked = {member: value for member, value in asked.items() if member in honoured}
    if "MaxCount" in asked:
        asked |= {"MinCount": 1, "MaxCount": 2}
    if name == "CreateKeyPair":
        asked |= {"KeyType": "ed25519"}
    body = urlencode(serializer.serialize_to_request(asked, model)["body"])
    pairs = parse_qsl(body, keep_blank_values=True)
    return [(part, things.get(INDEX.sub("", part).rpartition(".")[2], value) if chance.random() < 0.7 else value)
            for part, value in pairs]  # fmt: skip


def things_of(house: Any) -> dict[str, str]:
    """By the last part of the parameter that names them."""
    (instance,) = house.run()
    group = house.ask("CreateSecurityGroup", GroupName="web", GroupDescription="d").text(".//groupId")
    image = house.ask("DescribeImages", Owner__1="self").text(".//imageId")
    house.ask("CreateKeyPair", KeyName="key", KeyType="ed25519")
    network = house.ask("DescribeSubnets")
    made = {"InstanceId": instance, "GroupId": group, "SecurityGroupId": group, "ImageId": image, "KeyName": "key",
            "SubnetId": network.text(".//subnetId"), "VpcId": network.text(".//vpcId"), "ResourceId": instance,
            "AllocationId": house.ask("AllocateAddress").text(".//allocationId"), "ClientToken": "once"}  # fmt: skip
    made["VolumeId"] = house.ask("CreateVolume", AvailabilityZone="us-east-2a", Size=1).text(".//volumeId")
    house.settled()
    made["SnapshotId"] = house.ask("CreateSnapshot", VolumeId=made["VolumeId"]).text(".//snapshotId")
    assert all(made.values()), made
    return made


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("service", "name"), OFFERED)
def test_one_mistake_is_refused_in_words_of_the_catalogue_or_does_no_harm(house: Any, service: str, name: str) -> None:
    chance = random.Random(f"{service} {name}")  # noqa: S311
    things = things_of(house)
    for mistake in MISTAKES * 2:
        pairs = a_legal_request(service, name, chance, things)
        own = [at for at, (part, _) in enumerate(pairs) if part not in ("Action", "Version")]
        if not own:
            pairs.append(("Colour", "red"))
            own = [len(pairs) - 1]
        mistake(pairs, chance.choice(own), chance)
        began = time.process_time()
        answer = house.post(pairs, "ada" if service == "iam" else "alice", service)
        took = time.process_time() - began
        assert answer.status < 500, (pairs, answer)
        assert answer.code is None or answer.code in CATALOGUE[service], (pairs, answer)
        assert took < SECONDS, (pairs, took)


HEAVY = {
    "one value": [("Filter.1.Name", "image-id"), ("Filter.1.Value.1", "x" * LARGEST)],
    "stars": [("Filter.1.Name", "image-id"), ("Filter.1.Value.1", "*a" * (LARGEST // 2))],
    "many parameters": [(f"InstanceId.{number}", "i" * 1000) for number in range(PARAMETERS - 2)],
    "too many": [(f"a{number}", "") for number in range(LARGEST // 8)],
    "indices far apart": [(f"InstanceId.{number * 1000}", "i-01234567") for number in range(900)],
    "deep": [(".".join(["Filter"] * 36) + str(number), "x") for number in range(900)],
    "escapes": [("KeyName.1", "%e2%82%ac" * (LARGEST // 9))],
    "half escapes": [("KeyName.1", "%2" * (LARGEST // 2))],
}


@pytest.mark.parametrize("name", ["DescribeInstances", "DescribeKeyPairs", "CreateTags"])
@pytest.mark.parametrize("pairs", HEAVY.values(), ids=HEAVY)
def test_the_largest_requests_take_little_memory_and_time(house: Any, name: str, pairs: Pairs) -> None:
    house.ask(name)  # what is made once is made
    body = "&".join(f"{name}={value}" for name, value in [("Action", name), *pairs]).encode()
    key, secret = house.keys["alice"]
    head = Head("POST", "/", "", {"host": "cloud:8773", "content-type": "application/x-www-form-urlencoded"})
    signed = sign(head, Signer(key, secret, "us-east-2", "ec2"), house.clock.seconds(), body_hash(body))
    tracemalloc.start()
    try:
        began = time.process_time()
        reply = house.respond(b"POST", b"/", signed, body)
        took = time.process_time() - began
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert reply.status < 500, reply
    assert peak < MOST_MEMORY, f"{peak / MIB:.1f} MiB"
    assert took < 4 * SECONDS  # tracing makes it slower
    assert len(reply.document) < 4 * LARGEST
