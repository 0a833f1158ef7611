"""Whatever clients send: random legal requests for every action never break us, and what real clients were seen to send
is understood in full."""

from __future__ import annotations

import json
import random
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.serialize import create_serializer

from cloudcore.api.catalogue import ACTIONS
from cloudcore.api.wire import SERVICES, Wire
from cloudcore.domain.callers import Caller
from cloudcore.domain.policy import PASS_ROLE, POLICY, permits
from cloudcore.errors import CloudError, Code

DATA = Path(__file__).parents[1] / "data"
MODELS = {service: ServiceModel(Loader().load_service_model(service, "service-2"), service) for service in SERVICES}
OFFERED = [(service, name) for service in SERVICES for name in ACTIONS[service]]
TEXTS = ("i-0123456789abcdef0", "ami-00000000000000001", "sg-01234567", "default", "tcp", "-1", "t3.nano",
         "10.0.0.0/8",         "rsa", "ed25519", "tag:Name", "image-id", "us-east-2a",
         "x" * 300, "\u20ac", "'; DROP TABLE x", "*", "stop",
         "bucket/key", "instance", "../../etc/passwd", "self", "vpc-01234567", "0", " ")  # fmt: skip
NUMBERS = (-1, 0, 1, 2, 5, 80, 1000, 65536, 2**31, -(2**63))


def legal(shape: Any, chance: random.Random, depth: int = 0) -> Any:
    match shape.type_name:
        case "structure":
            density = 0.3 if depth < 2 else 0.15
            return {name: legal(ref, chance, depth + 1) for name, ref in shape.members.items()
                    if name in shape.required_members or chance.random() < density}
        case "list":
            return [legal(shape.member, chance, depth + 1) for _ in range(chance.randint(1, 2))]
        case "integer" | "long":
            return chance.choice(NUMBERS)
        case "boolean":
            return chance.random() < 0.3
        case "float" | "double":
            return 0.5
        case "timestamp":
            return 1e9
        case "blob":
            return chance.choice([b"", b"ssh-rsa nonsense", b"\xff" * 20])
    return chance.choice(list(shape.enum) or TEXTS) if chance.random() < 0.9 else chance.choice(TEXTS)


@pytest.mark.parametrize(("service", "name"), OFFERED)
def test_a_random_legal_request_never_breaks_us(house: Any, service: str, name: str) -> None:
    model, chance = MODELS[service].operation_model(name), random.Random(name)  # noqa: S311
    serializer = create_serializer("ec2" if service == "ec2" else "query", include_validation=False)
    for _ in range(25):
        asked = legal(model.input_shape, chance) if model.input_shape else {}
        if asked.get("MaxCount", 0) > 5 or name == "CreateKeyPair":
            asked |= {"MaxCount": 2} if "MaxCount" in asked else {"KeyType": "ed25519"}
        body = urlencode(serializer.serialize_to_request(asked, model)["body"])
        answer = house.post(parse_qsl(body, keep_blank_values=True), "alice", service)
        assert answer.status < 500, (asked, answer)


def calls() -> list[tuple[str, str, dict[str, Any]]]:
    seen = json.loads((DATA / "ec2-client-calls.json").read_text())
    found = []
    for client, workflows in seen.items():
        for workflow, steps in workflows.items():
            for step in steps:
                service, _, name = step["action"].partition(":")
                if service in SERVICES and name in ACTIONS[service] and step.get("params"):
                    found.append((f"{client}/{workflow}", step["action"], step))
    return found


GUESSES = ("false", "1", "dmFsdWU=", "2026-01-01T00:00:00Z")
ONLY = {("CreateKeyPair", "KeyFormat"): "pem", ("DescribeAddressesAttribute", "Attribute"): "domain-name",
        ("AllocateAddress", "Domain"): "vpc",
        ("RunInstances", "MetadataOptions.HttpProtocolIpv6"): "disabled",
        ("RunInstances", "NetworkInterface.1.DeleteOnTermination"): "true"}  # where few values are taken
# What clients were seen to send of actions that we offer and that we refuse, by name: later tiers honour these.
LATER = {
    "RunInstances": ("LaunchTemplate", "Placement.GroupName", "PrivateIpAddress"),
    "RegisterImage": ("SriovNetSupport", "VirtualizationType"),
}  # fmt: skip


def test_every_captured_request_for_an_offered_action_parses_strictly() -> None:
    wire, misses = Wire(), set()
    for where, action, step in calls():
        service, _, name = action.partition(":")
        operation = wire.operation(service, name)
        assert operation
        zero = step.get("zero_index")
        names = [re.sub(r"\.N(?=\.|$)", ".0" if zero else ".1", param) for param in step["params"]]
        pairs = [(param, ONLY.get((name, param)) or guess(operation, param)) for param in names]
        try:
            given = operation.parse(pairs)
            ACTIONS[service][name].read({key: value for key, value in given.items() if key != "DryRun"})
        except CloudError as refused:
            later = any(member in refused.text for member in LATER.get(name, ()))
            if not (refused.code is Code.MISSING_PARAMETER or (refused.code is Code.UNSUPPORTED and later)):
                misses.add((where, action, refused.code, refused.text))
    assert misses == set()


def guess(operation: Any, param: str) -> str:
    for value in GUESSES:
        try:
            operation.parse([(param, value)])
        except CloudError as refused:
            if refused.code is Code.BAD_VALUE:
                continue
        return value
    return "x"


def test_every_captured_filter_of_an_offered_action_is_known(house: Any) -> None:
    seen = json.loads((DATA / "ec2-client-calls.json").read_text())
    for workflows in seen.values():
        for steps in workflows.values():
            for step in steps:
                service, _, name = step["action"].partition(":")
                if service == "ec2" and name in ACTIONS["ec2"] and not step.get("error"):
                    for one in step.get("filters", ()):
                        answer = house.post([("Action", name), ("Filter.1.Name", one.replace("…", "x")),
                                             ("Filter.1.Value.1", "x")])  # fmt: skip
                        assert answer.status == 200, (name, one, answer)


def test_the_policy_table_and_the_registry_name_the_same_actions() -> None:
    """Each row matches something that is offered, and a user may do everything that is but what administers."""
    offered = {f"{service}:{name}" for service, name in OFFERED} | {PASS_ROLE}  # which RunInstances asks for
    named = {pattern for _, patterns in POLICY for pattern in patterns if pattern.partition(":")[0] in SERVICES}
    for pattern in named:
        assert any(fnmatchcase(action, pattern) for action in offered), pattern
    user = Caller("k", "u", "u", "1" * 12, "p", frozenset({"user"}))
    assert {action for action in offered if not permits(user, action)} == {
        "iam:CreateRole", "iam:DeleteRole", "iam:PutRolePolicy", "iam:DeleteRolePolicy", "iam:ListUsers",
        "iam:UpdateRole", "iam:UpdateRoleDescription", "iam:UpdateAssumeRolePolicy", "iam:TagRole", "iam:UntagRole",
        "iam:CreateInstanceProfile", "iam:DeleteInstanceProfile", "iam:AddRoleToInstanceProfile",
        "iam:RemoveRoleFromInstanceProfile", "iam:TagInstanceProfile", "iam:UntagInstanceProfile"}
    assert [action for action in offered if permits(Caller("k", "u", "u", "1" * 12, "p"), action)] == []


def test_every_offered_action_is_in_a_tier() -> None:
    tiers = json.loads((DATA / "ec2-tiers.json").read_text())
    planned = {action for tier, actions in tiers.items() if tier != "refused" for action in actions}
    assert {f"{service}:{name}" for service, name in OFFERED} - planned == set()


# Whatever real clients send of these is offered.
REACHED = ("T1", "T2", "T4-empty")
NOT_YET: dict[str, str] = {}  # action: why


def test_every_action_of_a_reached_tier_is_offered() -> None:
    tiers = json.loads((DATA / "ec2-tiers.json").read_text())
    wanted = {action for tier in REACHED for action in tiers[tier]}
    offered = {f"{service}:{name}" for service, name in OFFERED}
    assert wanted - offered == set(NOT_YET)


def test_every_captured_call_of_a_reached_tier_is_an_action_that_we_know(house: Any) -> None:
    """Whatever is wrong with its parameters: never InvalidAction, nor that the whole action is not supported."""
    tiers = json.loads((DATA / "ec2-tiers.json").read_text())
    wanted = {action for tier in REACHED for action in tiers[tier]} - NOT_YET.keys()
    seen = json.loads((DATA / "ec2-client-calls.json").read_text())
    captured = {step["action"] for workflows in seen.values() for steps in workflows.values() for step in steps}
    assert len(captured & wanted) > 50
    for action in sorted(captured & wanted):
        service, _, name = action.partition(":")
        answer = house.ask(name, service=service)
        assert answer.code != "InvalidAction", action
        assert "is not supported" not in answer.text(".//Message"), action


def test_every_captured_attribute_is_known(house: Any) -> None:
    """Those that clients read with Describe...Attribute."""
    (instance,), vpc = house.run(), house.ask("DescribeVpcs").text(".//vpcId")
    volume = house.ask("CreateVolume", AvailabilityZone="us-east-2a", Size=1).text(".//volumeId")
    house.settled()
    snapshot = house.ask("CreateSnapshot", VolumeId=volume).text(".//snapshotId")
    subjects = {"DescribeInstanceAttribute": {"InstanceId": instance}, "DescribeVpcAttribute": {"VpcId": vpc},
                "DescribeVolumeAttribute": {"VolumeId": volume},
                "DescribeSnapshotAttribute": {"SnapshotId": snapshot}}  # fmt: skip
    seen = json.loads((DATA / "ec2-client-calls.json").read_text())
    asked = {(step["action"].partition(":")[2], step["attribute"]) for workflows in seen.values()
             for steps in workflows.values() for step in steps if step.get("attribute") and not step.get("error")}
    known = [(name, attribute) for name, attribute in asked if name in subjects]
    assert len(known) >= 17
    for name, attribute in known:
        answer = house.ask(name, Attribute=attribute, **subjects[name])
        assert answer.status == 200, (name, attribute, answer)
