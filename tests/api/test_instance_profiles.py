"""What an instance may by its role: everything of it against the real Auth Manager, keys made as the conductor makes
them. And what gives it to whom: no sequence of calls gives more than its caller has."""

from __future__ import annotations

import random
from itertools import count
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from botocore.serialize import create_serializer

from cloudcore.api.catalogue import ACTIONS
from cloudcore.api.profile_actions import PATH
from cloudcore.auth.instances import LIFETIME, Keyring
from cloudcore.auth.seal import Envelope
from cloudcore.domain.instance_profiles import InstanceRole
from cloudcore.domain.instances import Event
from cloudcore.store.books import Books
from cloudcore.store.schema import projects
from tests.api.conftest import ALICE, IMAGE, PUBLIC_IMAGE
from tests.api.test_every_request import MODELS, legal
from tests.api.test_temporary_keys import ALL, LOOK, Accounts, Key, ada, chief, cloud, now

__all__ = ["ada", "chief", "cloud"]  # fixtures
TRUST = ('{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "sts:AssumeRole", '
         '"Principal": {"Service": "ec2.amazonaws.com"}}}')  # fmt: skip
RUN = {"ImageId": IMAGE, "MinCount": 1, "MaxCount": 1, "InstanceType": "t3.nano", "IamInstanceProfile.Name": "web"}
NUMBERS = count(2)
KEYRING = Keyring(Envelope(b"k" * 32, random.Random(5).randbytes), random.Random(6).randbytes)  # noqa: S311


@pytest.fixture
def profile(cloud: Accounts, chief: Key) -> str:
    """The ARN of `web`, which holds the role `server`, which may look."""
    answers = [
        cloud.ask(chief, "CreateRole", RoleName="server", AssumeRolePolicyDocument=TRUST),
        cloud.ask(chief, "PutRolePolicy", RoleName="server", PolicyName="p", PolicyDocument=LOOK),
        cloud.ask(chief, "CreateInstanceProfile", InstanceProfileName="web"),
        cloud.ask(chief, "AddRoleToInstanceProfile", InstanceProfileName="web", RoleName="server"),
    ]
    assert [answer.status for answer in answers] == [200] * 4, answers
    return answers[2].text(".//Arn")


def launched(cloud: Accounts, key: Key, **parameters: Any) -> str:
    """A running instance, on a host as the conductor puts it."""
    answer = cloud.ask(key, "RunInstances", "ec2", **RUN | parameters)
    assert answer.status == 200, answer
    instance = answer.text(".//instanceId")
    cloud.house.moved(instance, Event.GUEST_STARTED, "h1", f"10.0.0.{next(NUMBERS)}")
    return instance


def told(cloud: Accounts, instance: str) -> InstanceRole | None:
    """What the conductor makes, and tells the instance's host."""

    def work(books: Books) -> InstanceRole | None:
        found = books.instances.find(instance)
        assert found
        KEYRING.mint(books, found)
        return KEYRING.held(books, found)

    return cloud.house.works(work)


def key_of(cloud: Accounts, instance: str) -> Key:
    held = told(cloud, instance)
    assert held is not None
    return Key(held.access_key, held.secret, held.token)


def refused(cloud: Accounts, key: Key) -> bool:
    return cloud.ask(key, "DescribeInstances", "ec2").code == "AuthFailure"


def test_an_instance_acts_as_its_role(cloud: Accounts, ada: Key, profile: str) -> None:
    instance = launched(cloud, ada)
    mine = key_of(cloud, instance)
    seen = cloud.ask(mine, "GetCallerIdentity", "sts")
    assert seen.text(".//Arn") == f"arn:aws:sts::{ALICE}:assumed-role/server/{instance}"
    role = cloud.ask(ada, "GetRole", RoleName="server").text(".//RoleId")
    assert (seen.text(".//UserId"), seen.text(".//Account")) == (f"{role}:{instance}", ALICE)
    assert cloud.ask(mine, "DescribeInstances", "ec2").text(".//iamInstanceProfile/arn") == profile
    assert cloud.ask(mine, "TerminateInstances", "ec2", **{"InstanceId.1": instance}).code == "UnauthorizedOperation"
    for token in (None, "x"):
        assert refused(cloud, Key(mine.id, mine.secret, token))
    assert refused(cloud, Key(mine.id, "x" * 40, mine.token))


def test_what_the_role_may_is_what_the_instance_may_at_that_moment(cloud: Accounts, ada: Key, chief: Key,
                                                                   profile: str) -> None:  # fmt: skip
    mine = key_of(cloud, launched(cloud, ada))
    assert cloud.ask(mine, "AllocateAddress", "ec2").code == "UnauthorizedOperation"
    cloud.ask(chief, "PutRolePolicy", RoleName="server", PolicyName="q", PolicyDocument=ALL)
    assert cloud.ask(mine, "AllocateAddress", "ec2").status == 200
    cloud.ask(chief, "DeleteRolePolicy", RoleName="server", PolicyName="q")
    assert cloud.ask(mine, "AllocateAddress", "ec2").code == "UnauthorizedOperation"
    cloud.ask(chief, "DeleteRolePolicy", RoleName="server", PolicyName="p")
    assert cloud.ask(mine, "DescribeInstances", "ec2").code == "UnauthorizedOperation"
    assert cloud.ask(mine, "GetCallerIdentity", "sts").status == 200


def test_a_role_that_may_everything_makes_no_administrator(cloud: Accounts, ada: Key, chief: Key, profile: str) -> None:
    """Nor gives it away, nor makes keys that outlive it."""
    cloud.ask(chief, "PutRolePolicy", RoleName="server", PolicyName="p", PolicyDocument=ALL)
    mine = key_of(cloud, launched(cloud, ada))
    for action, parameters in (
        ("CreateRole", {"RoleName": "x", "AssumeRolePolicyDocument": TRUST}), ("ListUsers", {}),
        ("PutRolePolicy", {"RoleName": "server", "PolicyName": "p", "PolicyDocument": ALL}), ("CreateAccessKey", {}),
        ("CreateInstanceProfile", {"InstanceProfileName": "x"}), ("TagRole", {"RoleName": "server"}),
        ("UpdateAssumeRolePolicy", {"RoleName": "server", "PolicyDocument": TRUST})):  # fmt: skip
        assert cloud.ask(mine, action, **parameters).code in ("AccessDenied", "ValidationError"), action
    for action, parameters in (("GetSessionToken", {}), ("AssumeRole", {"RoleArn": f"arn:aws:iam::{ALICE}:role/server",
                                                                        "RoleSessionName": "me"})):  # fmt: skip
        assert cloud.ask(mine, action, "sts", **parameters).code == "AccessDenied"
    assert cloud.ask(mine, "RunInstances", "ec2", **RUN).code == "UnauthorizedOperation"
    assert cloud.ask(mine, "RunInstances", "ec2", **{k: v for k, v in RUN.items() if "Iam" not in k}).status == 200
    assert cloud.ask(mine, "GetUser").code == "ValidationError"
    assert cloud.ask(mine, "GetUser", UserName="ada").code == "NoSuchEntity"
    assert cloud.ask(mine, "ListAccessKeys").code == "NoSuchEntity"
    assert cloud.ask(mine, "GetRole", RoleName="server").status == 200


def test_who_may_pass_a_role(cloud: Accounts, ada: Key, profile: str) -> None:
    """A user; neither an auditor nor a temporary key, whose bounds an instance would not have; no other account."""
    assert cloud.ask(cloud.session(ada), "RunInstances", "ec2", **RUN).code == "UnauthorizedOperation"
    assert cloud.ask(cloud.key("eve"), "RunInstances", "ec2", **RUN).code == "UnauthorizedOperation"
    assert cloud.ask(cloud.key("bob", "bob"), "RunInstances", "ec2",
                     **RUN | {"ImageId": PUBLIC_IMAGE}).code == "InvalidParameterValue"  # fmt: skip
    instance = launched(cloud, ada)
    association = cloud.ask(ada, "DescribeIamInstanceProfileAssociations", "ec2").text(".//associationId")
    for action, parameters in (("AssociateIamInstanceProfile", {"InstanceId": instance}),
                               ("ReplaceIamInstanceProfileAssociation", {"AssociationId": association})):  # fmt: skip
        given = {"IamInstanceProfile.Name": "web", **parameters}
        assert cloud.ask(cloud.session(ada), action, "ec2", **given).code == "UnauthorizedOperation"


def disassociate(cloud: Accounts, ada: Key, chief: Key, instance: str) -> Any:
    association = cloud.ask(ada, "DescribeIamInstanceProfileAssociations", "ec2").text(".//associationId")
    return cloud.ask(ada, "DisassociateIamInstanceProfile", "ec2", AssociationId=association)


def replace(cloud: Accounts, ada: Key, chief: Key, instance: str) -> Any:
    cloud.ask(chief, "CreateInstanceProfile", InstanceProfileName="other")
    association = cloud.ask(ada, "DescribeIamInstanceProfileAssociations", "ec2").text(".//associationId")
    return cloud.ask(ada, "ReplaceIamInstanceProfileAssociation", "ec2", AssociationId=association,
                     **{"IamInstanceProfile.Name": "other"})  # fmt: skip


def remove_role(cloud: Accounts, ada: Key, chief: Key, instance: str) -> Any:
    return cloud.ask(chief, "RemoveRoleFromInstanceProfile", InstanceProfileName="web", RoleName="server")


def distrust(cloud: Accounts, ada: Key, chief: Key, instance: str) -> Any:
    return cloud.ask(chief, "UpdateAssumeRolePolicy", RoleName="server",
                     PolicyDocument=TRUST.replace("ec2.", "lambda."))  # fmt: skip


def terminate(cloud: Accounts, ada: Key, chief: Key, instance: str) -> Any:
    return cloud.ask(ada, "TerminateInstances", "ec2", **{"InstanceId.1": instance})


@pytest.mark.parametrize("change", [disassociate, replace, remove_role, distrust, terminate])
def test_what_takes_the_role_away_ends_its_keys_at_once(cloud: Accounts, ada: Key, chief: Key, profile: str,
                                                        change: Any) -> None:  # fmt: skip
    instance, other = launched(cloud, ada), launched(cloud, ada, **{"IamInstanceProfile.Name": ""})
    mine = key_of(cloud, instance)
    assert not refused(cloud, mine)
    cloud.house.beyond.hints.clear()
    assert change(cloud, ada, chief, instance).status == 200
    assert refused(cloud, mine)
    assert len(cloud.house.beyond.hints) == 1  # its host hears of it, and nobody else
    assert told(cloud, other) is None
    held = told(cloud, instance) if change is not terminate else None
    assert held is None or not held.secret


def test_a_project_that_is_disabled_ends_the_keys_of_its_instances(cloud: Accounts, ada: Key, profile: str) -> None:
    mine = key_of(cloud, launched(cloud, ada))
    cloud.house.works(lambda books: books._connection.execute(projects.update().values(enabled=False)))
    assert refused(cloud, mine)


def test_a_key_expires_at_its_second(cloud: Accounts, ada: Key, profile: str) -> None:
    mine = key_of(cloud, launched(cloud, ada))
    cloud.house.clock.advance(LIFETIME - 1)
    assert cloud.ask(mine, "DescribeInstances", "ec2").status == 200
    cloud.house.clock.advance(1)
    assert cloud.ask(mine, "DescribeInstances", "ec2").code == "RequestExpired"


def test_the_user_who_launched_may_go_and_the_instance_goes_on(cloud: Accounts, ada: Key, profile: str) -> None:
    mine = key_of(cloud, launched(cloud, ada))
    now(cloud.auth.delete_user("ada"))
    assert refused(cloud, ada) and not refused(cloud, mine)


def test_a_role_that_comes_later_comes_to_all_that_have_the_profile(cloud: Accounts, ada: Key, chief: Key,
                                                                    profile: str) -> None:  # fmt: skip
    remove_role(cloud, ada, chief, "")
    instances = [launched(cloud, ada) for _ in range(3)]
    ended = launched(cloud, ada)
    terminate(cloud, ada, chief, ended)
    assert [told(cloud, one) for one in instances] == [None] * 3
    cloud.house.beyond.hints.clear()
    cloud.ask(chief, "AddRoleToInstanceProfile", InstanceProfileName="web", RoleName="server")
    assert len(cloud.house.beyond.hints) == 3
    assert len({key_of(cloud, one).id for one in instances}) == 3


def test_an_instance_audits_by_its_own_name(cloud: Accounts, ada: Key, chief: Key, profile: str) -> None:
    cloud.ask(chief, "PutRolePolicy", RoleName="server", PolicyName="p", PolicyDocument=ALL)
    instance = launched(cloud, ada)
    mine = key_of(cloud, instance)
    cloud.ask(mine, "AllocateAddress", "ec2")
    row = cloud.house.works(lambda books: books._connection.exec_driver_sql(
        "SELECT user_name, access_key, action FROM audit ORDER BY id DESC LIMIT 1").one())  # fmt: skip
    assert tuple(row) == (f"server/{instance}", mine.id, "ec2:AllocateAddress")


def test_a_token_used_again_shows_the_profile_again(cloud: Accounts, ada: Key, profile: str) -> None:
    first, second = (cloud.ask(ada, "RunInstances", "ec2", ClientToken="t", **RUN) for _ in range(2))
    assert first.text(".//instanceId") == second.text(".//instanceId")
    assert first.text(".//iamInstanceProfile/arn") == second.text(".//iamInstanceProfile/arn") == profile


@pytest.mark.parametrize("name", list(ACTIONS["iam"]))
def test_an_administrators_random_request_never_breaks_us(cloud: Accounts, chief: Key, profile: str, name: str) -> None:
    model, chance = MODELS["iam"].operation_model(name), random.Random(name)  # noqa: S311
    serializer = create_serializer("query", include_validation=False)
    names = {"RoleName": "server", "InstanceProfileName": "web", "PolicyName": "p", "PolicyDocument": LOOK,
             "AssumeRolePolicyDocument": TRUST}  # fmt: skip
    for round in range(20):
        asked = legal(model.input_shape, chance) if model.input_shape else {}
        asked |= {member: names[member] for member in asked if member in names and round % 2}
        pairs = dict(parse_qsl(urlencode(serializer.serialize_to_request(asked, model)["body"])))
        pairs = {key: value for key, value in pairs.items() if key not in ("Action", "Version")}
        assert cloud.ask(chief, name, **pairs).status < 500, asked


@pytest.mark.parametrize(("path", "good"), [("/", True), ("/a/", True), ("/a/b-c/", True), ("a/", False), ("/a", False),
                                            ("//", False), ("", False), ("/a b/", False), ("/é/", False)])  # fmt: skip
def test_a_path_begins_and_ends_in_a_slash(path: str, good: bool) -> None:
    assert bool(PATH.fullmatch(path)) is good
