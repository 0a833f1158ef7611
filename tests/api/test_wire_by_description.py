"""The wire against botocore itself: what its serializer writes we read, what we write its parser reads, for every
operation of the three services."""

from __future__ import annotations

import dataclasses
import random
import typing
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode
from xml.etree import ElementTree

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.parsers import create_parser
from botocore.serialize import create_serializer

from cloudcore.api.catalogue import ACTIONS
from cloudcore.api.default_network import DHCP_OPTIONS, INTERNET_GATEWAY, NETWORK_ACL, ROUTE_TABLE
from cloudcore.api.describing import Kind
from cloudcore.api.group_actions import GROUP, RULE
from cloudcore.api.image_views import IMAGE
from cloudcore.api.instance_describes import INSTANCE, STATUS
from cloudcore.api.instance_types import OFFERINGS, TYPE
from cloudcore.api.interfaces import INTERFACE
from cloudcore.api.key_actions import KEY_PAIR
from cloudcore.api.places import REGION, SUBNET, VPC, ZONE
from cloudcore.api.profile_associations import ASSOCIATION
from cloudcore.api.tagging import TAG
from cloudcore.api.wire import SERVICES, Wire
from cloudcore.errors import CloudError, Code

MODELS = {service: ServiceModel(Loader().load_service_model(service, "service-2"), service) for service in SERVICES}
PROTOCOLS = {"ec2": "ec2", "sts": "query", "iam": "query"}
OPERATIONS = [(service, name) for service in SERVICES for name in MODELS[service].operation_names]


@pytest.fixture(scope="module")
def wire() -> Wire:
    return Wire()


NESTED = ("structure", "list", "map")
LETTERS = "aZ09 &<>\"'+%=/\u00e9\u20ac\U0001f600"


class Values:
    """Random legal values of a shape. Nothing is empty: an empty value is absence on the wire."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)  # noqa: S311

    def of(self, shape: Any, depth: int = 0) -> Any:
        one = self._random
        match shape.type_name:
            case "structure":
                names = [name for name in shape.members if name in shape.required_members or one.random() < 0.5]
                flat = [name for name, ref in shape.members.items() if ref.type_name not in NESTED]
                if depth > 4:
                    names = [name for name in names if name in flat or name in shape.required_members]
                names = names or flat[:1] or list(shape.members)[:1]
                made = {name: self.of(shape.members[name], depth + 1) for name in names}
                return {name: value for name, value in made.items() if value not in ({}, [])}
            case "list":
                made_list = [self.of(shape.member, depth + 1) for _ in range(one.randint(1, 3))]
                return [value for value in made_list if value not in ({}, [])]
            case "map":
                return {self.of(shape.key): self.of(shape.value, depth + 1)}
            case "integer" | "long":
                return one.randint(shape.metadata.get("min", -5), shape.metadata.get("max", 5000))
            case "float" | "double":
                return one.randint(0, 1000) / 8
            case "boolean":
                return one.random() < 0.5
            case "timestamp":
                return datetime.fromtimestamp(one.randint(0, 2_000_000_000), UTC)
            case "blob":
                return one.randbytes(one.randint(1, 9))
        least = max(1, shape.metadata.get("min", 1))
        return "".join(one.choices(LETTERS, k=least + one.randint(0, 5))).strip() or "x"


def seconds(value: Any) -> Any:
    """Times as the api has them."""
    if isinstance(value, dict):
        return {name: seconds(item) for name, item in value.items()}
    if isinstance(value, list):
        return [seconds(item) for item in value]
    return value.timestamp() if isinstance(value, datetime) else value


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("service", SERVICES)
def test_what_botocore_writes_we_read(wire: Wire, service: str, seed: int) -> None:
    serializer = create_serializer(PROTOCOLS[service], include_validation=False)
    for name in MODELS[service].operation_names:
        model = MODELS[service].operation_model(name)
        if model.input_shape is None:
            continue
        asked = Values(f"{name} {seed}").of(model.input_shape)
        body = serializer.serialize_to_request(asked, model)["body"]
        sent = parse_qsl(urlencode(body), keep_blank_values=True)
        pairs = [pair for pair in sent if pair[0] not in ("Action", "Version")]
        operation = wire.operation(service, name)
        assert operation
        assert operation.parse(pairs) == seconds(asked), name


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("service", SERVICES)
def test_what_we_write_botocore_reads(wire: Wire, service: str, seed: int) -> None:
    parser = create_parser(PROTOCOLS[service])
    for name in MODELS[service].operation_names:
        model = MODELS[service].operation_model(name)
        answer = Values(f"{name} {seed}").of(model.output_shape) if model.output_shape else None
        operation = wire.operation(service, name)
        assert operation
        document = operation.render(seconds(answer), "the-id", "2016-11-15")
        if "PolicyDocument" in str(answer) or b"olicyDocument>" in document:
            continue  # botocore's IAM client decodes these once more, in a handler
        read = parser.parse({"body": document, "headers": {}, "status_code": 200}, model.output_shape)
        assert read.pop("ResponseMetadata")["RequestId"] == "the-id"
        expected = dict(answer or {})
        if model.output_shape is not None and service == "ec2" and "Return" in model.output_shape.members:
            expected.setdefault("Return", True)
        assert read == expected, (name, document)


def test_w1_the_namespace_echoes_the_version_and_ends_in_a_slash(wire: Wire) -> None:
    document = wire.operation("ec2", "DescribeInstances").render({"Reservations": []}, "r", "2014-10-01")  # type: ignore[union-attr]
    assert ElementTree.fromstring(document).tag == "{http://ec2.amazonaws.com/doc/2014-10-01/}DescribeInstancesResponse"  # noqa: S314


def test_w2_an_operation_without_output_answers_return_true(wire: Wire) -> None:
    for name in ("RebootInstances", "CreateTags"):
        document = wire.operation("ec2", name).render(None, "r", "2016-11-15")  # type: ignore[union-attr]
        assert b"</requestId><return>true</return></" in document


def test_w3_the_request_id_comes_first(wire: Wire) -> None:
    document = wire.operation("ec2", "DescribeTags").render({"Tags": []}, "r", "2016-11-15")  # type: ignore[union-attr]
    assert b'/"><requestId>r</requestId><tagSet></tagSet>' in document


def parse(wire: Wire, name: str, *pairs: tuple[str, str]) -> dict[str, Any]:
    return wire.operation("ec2", name).parse(pairs)  # type: ignore[union-attr]


def test_w5_lists_are_sorted_as_integers_with_gaps_zero_and_bare_scalars(wire: Wire) -> None:
    many = [(f"InstanceId.{n}", f"i-{n}") for n in (10, 2, 0)]
    assert parse(wire, "DescribeInstances", *many) == {"InstanceIds": ["i-0", "i-2", "i-10"]}
    assert parse(wire, "DescribeKeyPairs", ("KeyName", "x")) == {"KeyNames": ["x"]}


def test_w6_an_empty_string_is_absence(wire: Wire) -> None:
    given = [("ImageId", "ami-1"), ("MinCount", "1"), ("MaxCount", "1"), ("Placement.AvailabilityZone", "")]
    assert parse(wire, "RunInstances", *given) == {"ImageId": "ami-1", "MinCount": 1, "MaxCount": 1}
    with pytest.raises(CloudError) as caught:
        parse(wire, "CreateSecurityGroup", ("GroupName", "a"), ("GroupDescription", ""))
    assert (caught.value.code, "GroupDescription" in caught.value.text) == (Code.MISSING_PARAMETER, True)


@pytest.mark.parametrize(("text", "value"), [("true", True), ("True", True), ("1", True), ("false", False),
                                             ("False", False), ("0", False)])  # fmt: skip
def test_w7_booleans(wire: Wire, text: str, value: bool) -> None:
    assert parse(wire, "DescribeInstances", ("DryRun", text)) == {"DryRun": value}


def test_w8_blobs_are_base64_once_and_user_data_stays_text(wire: Wire) -> None:
    asked = parse(wire, "ImportKeyPair", ("KeyName", "a"), ("PublicKeyMaterial", "c3No"))
    assert asked["PublicKeyMaterial"] == b"ssh"
    assert parse(wire, "RunInstances", ("MinCount", "1"), ("MaxCount", "1"), ("UserData", "c3No"))["UserData"] == "c3No"


def test_w15_an_unknown_parameter_is_named_in_full(wire: Wire) -> None:
    with pytest.raises(CloudError) as caught:
        parse(wire, "DescribeInstances", ("Filter.1.Nome", "x"))
    assert (caught.value.code, caught.value.text) == (
        Code.UNKNOWN_PARAMETER, "The parameter Filter.1.Nome is not recognized")  # fmt: skip


# -- every name that our code uses is in the description ---------------------------------------------------------------


def member(shape: Any, path: str) -> Any:
    for name in path.split("."):
        while shape.type_name == "list":
            shape = shape.member
        shape = shape.members[name]
    return shape


KINDS: list[tuple[str, str, Kind[Any]]] = [
    ("DescribeInstances", "Reservations", INSTANCE),
    ("DescribeInstanceStatus", "InstanceStatuses", STATUS),
    ("DescribeIamInstanceProfileAssociations", "IamInstanceProfileAssociations", ASSOCIATION),
    ("DescribeImages", "Images", IMAGE),
    ("DescribeKeyPairs", "KeyPairs", KEY_PAIR),
    ("DescribeSecurityGroups", "SecurityGroups", GROUP),
    ("DescribeSecurityGroupRules", "SecurityGroupRules", RULE),
    ("DescribeTags", "Tags", TAG),
    ("DescribeRegions", "Regions", REGION),
    ("DescribeAvailabilityZones", "AvailabilityZones", ZONE),
    ("DescribeVpcs", "Vpcs", VPC),
    ("DescribeSubnets", "Subnets", SUBNET),
    ("DescribeNetworkInterfaces", "NetworkInterfaces", INTERFACE),
    ("DescribeRouteTables", "RouteTables", ROUTE_TABLE),
    ("DescribeInternetGateways", "InternetGateways", INTERNET_GATEWAY),
    ("DescribeNetworkAcls", "NetworkAcls", NETWORK_ACL),
    ("DescribeDhcpOptions", "DhcpOptions", DHCP_OPTIONS),
    ("DescribeInstanceTypes", "InstanceTypes", TYPE),
    ("DescribeInstanceTypeOfferings", "InstanceTypeOfferings", OFFERINGS["region"]),
]


@pytest.mark.parametrize(("action", "result", "kind"), KINDS, ids=[one[0] for one in KINDS])
def test_every_filter_compares_a_member_of_the_answer(action: str, result: str, kind: Kind[Any]) -> None:
    item = member(MODELS["ec2"].operation_model(action).output_shape, result)
    for name, path in kind.filters.items():
        if not path.startswith(("Tags.", "ProfileName")):  # beside the answer
            assert member(item, path).type_name not in ("structure",), (name, path)
    assert set(kind.columns) <= set(kind.filters)
    assert set(kind.aliases.values()) <= set(kind.filters)


def members_of(shape: type, path: str = "") -> list[str]:
    found = []
    hints = typing.get_type_hints(shape)
    for one in dataclasses.fields(shape):
        found.append(path + one.name)
        hint = hints[one.name]
        for inner in (hint, *typing.get_args(hint)):
            if isinstance(inner, type) and dataclasses.is_dataclass(inner):
                found += members_of(inner, f"{path}{one.name}.")
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_every_member_that_an_action_names_is_in_the_description(service: str) -> None:
    shared = {"SecurityGroupRuleIds", "TagSpecifications", "SourceSecurityGroupName", "SkipOsShutdown", "Hibernate",
              "Force", "IpProtocol", "FromPort", "ToPort", "CidrIp", "SourceSecurityGroupOwnerId", "GroupName"}
    for name, action in ACTIONS[service].items():
        shape = MODELS[service].operation_model(name).input_shape
        for path in [*members_of(action.parameters), *action.fates]:
            if path.split(".")[0] in shared and path.split(".")[0] not in shape.members:
                continue  # several actions share one dataclass, and the description refuses what is not theirs
            assert member(shape, path) is not None, (name, path)
