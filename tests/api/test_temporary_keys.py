"""GetSessionToken, AssumeRole, roles and own access keys, over the Auth Manager in SQL: what they give, and that no
sequence of calls gives more."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote

import pytest
from twisted.internet.defer import Deferred

from cloudcore.api.site import Api
from cloudcore.auth.model import AuthManager
from cloudcore.auth.seal import Envelope
from cloudcore.auth.sql import SqlAuthManager
from cloudcore.signing.heads import EMPTY_BODY, Head, body_hash
from cloudcore.signing.signer import Signer, presign, sign
from tests.api.conftest import ALICE, BOB, VERSIONS, Answer, House, a_house

FORM = {"host": "cloud:8773", "content-type": "application/x-www-form-urlencoded"}
TRUST = json.dumps({"Version": "2012-10-17", "Statement": {
    "Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": f"arn:aws:iam::{ALICE}:root"}}})
LOOK = json.dumps({"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": ["ec2:Describe*"], "Resource": "*"}]})
ALL = LOOK.replace("ec2:Describe*", "*")
BUILDER = f"arn:aws:iam::{ALICE}:role/builder"


@dataclass(frozen=True)
class Key:
    id: str
    secret: str
    token: str | None = None

    @classmethod
    def read(cls, answer: Answer) -> Key:
        assert answer.status == 200, answer
        return cls(answer.text(".//AccessKeyId"), answer.text(".//SecretAccessKey"), answer.text(".//SessionToken"))


def now(asked: Deferred[Any]) -> Any:
    got: list[Any] = []
    asked.addCallback(got.append)
    return got[0]


@dataclass
class Accounts:
    house: House
    auth: AuthManager

    def key(self, user: str, project: str = "alice") -> Key:
        made = now(self.auth.create_access_key(user, project))
        return Key(made.id, made.secret.reveal())

    def ask(self, key: Key, action: str, service: str = "iam", **parameters: Any) -> Answer:
        pairs = {"Action": action, "Version": VERSIONS[service], **parameters}
        headers = {"x-amz-security-token": key.token} if key.token else {}
        self.house.keys = {"it": (key.id, key.secret)}
        body = "&".join(f"{name}={_quoted(value)}" for name, value in pairs.items()).encode()
        return Answer(self.house.send(body, "it", service, **headers))

    def session(self, key: Key, **parameters: Any) -> Key:
        return Key.read(self.ask(key, "GetSessionToken", "sts", **parameters))

    def assume(self, key: Key, **parameters: Any) -> Answer:
        return self.ask(key, "AssumeRole", "sts", **{"RoleArn": BUILDER, "RoleSessionName": "nightly", **parameters})


def _quoted(value: Any) -> str:
    return "".join(f"%{byte:02X}" for byte in str(value).encode())


@pytest.fixture
def cloud() -> Iterator[Accounts]:
    for house in a_house():
        auth = SqlAuthManager(house.database, Envelope(b"k" * 32, random.Random(3).randbytes))  # noqa: S311
        now(auth.create_project("alice", ALICE))
        now(auth.create_project("bob", BOB))
        for user, role, project in (("ada", "user", "alice"), ("chief", "admin", "alice"), ("ruler", "admin", None),
                                    ("bob", "user", "bob"), ("eve", "auditor", "alice")):  # fmt: skip
            now(auth.create_user(user))
            now(auth.grant(user, role, project))
        house.cloud = replace(house.cloud, auth=auth)
        house.api = Api(house.cloud)
        yield Accounts(house, auth)


@pytest.fixture
def ada(cloud: Accounts) -> Key:
    return cloud.key("ada")


@pytest.fixture
def chief(cloud: Accounts) -> Key:
    return cloud.key("chief")


def a_role(cloud: Accounts, chief: Key, document: str = LOOK, **more: Any) -> str:
    made = cloud.ask(chief, "CreateRole", RoleName="builder", AssumeRolePolicyDocument=TRUST, **more)
    put = cloud.ask(chief, "PutRolePolicy", RoleName="builder", PolicyName="p", PolicyDocument=document)
    assert (made.status, put.status) == (200, 200)
    return made.text(".//RoleId")


def test_a_session_acts_as_its_owner_and_needs_its_own_token(cloud: Accounts, ada: Key) -> None:
    mine, other = cloud.session(ada), cloud.session(ada)
    assert mine.id.startswith("CCIT") and mine.token
    seen = cloud.ask(mine, "GetCallerIdentity", "sts")
    assert seen.text(".//Arn") == f"arn:aws:iam::{ALICE}:user/ada"
    assert cloud.ask(mine, "DescribeInstances", "ec2").status == 200
    for token in (None, "x", other.token, f"{mine.token}x"):
        assert cloud.ask(replace(mine, token=token), "DescribeInstances", "ec2").code == "AuthFailure"
    assert cloud.ask(replace(mine, secret="x" * 40), "DescribeInstances", "ec2").code == "AuthFailure"  # noqa: S106
    assert cloud.ask(replace(ada, token=mine.token), "DescribeInstances", "ec2").code == "AuthFailure"


def test_an_unsigned_token_is_no_token(cloud: Accounts, ada: Key) -> None:
    mine = cloud.session(ada)
    body = b"Action=DescribeInstances&Version=2016-11-15"
    signed = sign(Head("POST", "/", "", FORM), Signer(mine.id, mine.secret, "us-east-2", "ec2"),
                  cloud.house.clock.seconds(), body_hash(body))  # fmt: skip
    late = {**signed, "x-amz-security-token": mine.token or ""}
    assert cloud.house.respond(b"POST", b"/", late, body).status == 401


def test_a_session_expires_at_its_second(cloud: Accounts, ada: Key) -> None:
    mine = cloud.session(ada, DurationSeconds=900)
    cloud.house.clock.advance(899)
    assert cloud.ask(mine, "DescribeInstances", "ec2").status == 200
    cloud.house.clock.advance(1)
    assert cloud.ask(mine, "DescribeInstances", "ec2").code == "RequestExpired"
    for seconds in (899, 129_601, -1):
        assert cloud.ask(ada, "GetSessionToken", "sts", DurationSeconds=seconds).code == "ValidationError"


MINTING = (("GetSessionToken", "sts", {}), ("AssumeRole", "sts", {"RoleArn": BUILDER, "RoleSessionName": "nightly"}),
           ("CreateAccessKey", "iam", {}))  # fmt: skip


def test_s08_nothing_derived_mints_or_changes_identities(cloud: Accounts, chief: Key) -> None:
    a_role(cloud, chief, ALL)
    for key in (cloud.session(chief), Key.read(cloud.assume(chief))):
        for action, service, more in (*MINTING, ("DeleteAccessKey", "iam", {"AccessKeyId": chief.id}),
                                      ("PutRolePolicy", "iam", {"RoleName": "builder", "PolicyName": "p",
                                                                "PolicyDocument": ALL}),
                                      ("DeleteRole", "iam", {"RoleName": "builder"})):  # fmt: skip
            assert cloud.ask(key, action, service, **more).code == "AccessDenied", action
        assert cloud.ask(key, "GetRole", RoleName="builder").status == 200


@pytest.mark.parametrize(("action", "service", "more"), MINTING, ids=[one[0] for one in MINTING])
def test_s09_no_url_and_no_get_is_traded_for_a_credential(cloud: Accounts, chief: Key, action: str, service: str,
                                                          more: dict[str, str]) -> None:  # fmt: skip
    a_role(cloud, chief)
    query = "&".join(f"{name}={_quoted(value)}" for name, value in
                     {"Action": action, "Version": VERSIONS[service], **more}.items())  # fmt: skip
    head, signer = Head("GET", "/", query, {"host": "cloud:8773"}), Signer(chief.id, chief.secret, "us-east-2", service)
    at = cloud.house.clock.seconds()
    url = presign(head, signer, at, 60, EMPTY_BODY)
    assert cloud.house.respond(b"GET", url.encode(), head.headers).status == 403
    posted = presign(replace(head, method="POST"), signer, at, 60, EMPTY_BODY)
    assert cloud.house.respond(b"POST", posted.encode(), head.headers).status == 403
    assert cloud.house.respond(b"GET", f"/?{query}".encode(), sign(head, signer, at)).status == 403
    assert cloud.house.respond(b"POST", f"/?{query}".encode(), sign(replace(head, method="POST"), signer, at)
                               ).status == 200  # fmt: skip


def test_a_presigned_url_of_a_session_carries_its_token(cloud: Accounts, ada: Key) -> None:
    mine = cloud.session(ada)
    asked = "Action=DescribeInstances&Version=2016-11-15"
    signer, at = Signer(mine.id, mine.secret, "us-east-2", "ec2"), cloud.house.clock.seconds()
    for token, status in ((mine.token, 200), ("x", 401)):
        head = Head("GET", "/", f"{asked}&X-Amz-Security-Token={token}", {"host": "cloud:8773"})
        url = presign(head, signer, at, 60, EMPTY_BODY)
        assert cloud.house.respond(b"GET", url.encode(), head.headers).status == status
    unsigned = presign(Head("GET", "/", asked, {"host": "cloud:8773"}), signer, at, 60, EMPTY_BODY)
    late = f"{unsigned}&X-Amz-Security-Token={mine.token}"
    assert cloud.house.respond(b"GET", late.encode(), {"host": "cloud:8773"}).status == 401


def test_s11_what_the_owner_loses_the_session_loses(cloud: Accounts, ada: Key) -> None:
    mine = cloud.session(ada)
    now(cloud.auth.grant("ada", "admin", "alice"))
    assert cloud.ask(mine, "CreateRole", RoleName="x", AssumeRolePolicyDocument=TRUST).code == "AccessDenied"
    for role in ("admin", "user"):
        now(cloud.auth.revoke("ada", role, "alice"))
    assert cloud.ask(mine, "DescribeInstances", "ec2").code == "UnauthorizedOperation"
    now(cloud.auth.grant("ada", "user", "alice"))
    now(cloud.auth.delete_access_key(ada.id))
    assert cloud.ask(mine, "DescribeInstances", "ec2").code == "AuthFailure"


def test_an_assumed_role_may_what_its_policy_and_its_holder_may(cloud: Accounts, ada: Key, chief: Key) -> None:
    role = a_role(cloud, chief)
    answer = cloud.assume(ada)
    mine = Key.read(answer)
    assert answer.text(".//AssumedRoleId") == f"{role}:nightly"
    seen = cloud.ask(mine, "GetCallerIdentity", "sts")
    assert seen.text(".//Arn") == f"arn:aws:sts::{ALICE}:assumed-role/builder/nightly"
    assert (seen.text(".//UserId"), seen.text(".//Account")) == (f"{role}:nightly", ALICE)
    assert cloud.ask(mine, "DescribeInstances", "ec2").status == 200
    refused = cloud.ask(mine, "CreateSecurityGroup", "ec2", GroupName="g", GroupDescription="d")
    assert refused.code == "UnauthorizedOperation"


def test_s44_a_role_that_may_everything_adds_nothing(cloud: Accounts, chief: Key) -> None:
    a_role(cloud, chief, ALL)
    eve = cloud.key("eve")
    assert cloud.assume(eve).code == "AccessDenied"  # an auditor assumes nothing
    ada = cloud.key("ada")
    mine = Key.read(cloud.assume(ada))
    assert cloud.ask(mine, "CreateSecurityGroup", "ec2", GroupName="g", GroupDescription="d").status == 200
    assert cloud.ask(mine, "CreateRole", RoleName="x", AssumeRolePolicyDocument=TRUST).code == "AccessDenied"
    assert cloud.ask(mine, "ListUsers").code == "AccessDenied"


@pytest.mark.parametrize("change", ["PutRolePolicy", "DeleteRolePolicy", "DeleteRole"])
def test_s11_sessions_of_a_changed_role_are_over(cloud: Accounts, ada: Key, chief: Key, change: str) -> None:
    a_role(cloud, chief)
    mine = Key.read(cloud.assume(ada))
    if change == "PutRolePolicy":
        cloud.ask(chief, change, RoleName="builder", PolicyName="p", PolicyDocument=ALL)
    else:
        cloud.ask(chief, "DeleteRolePolicy", RoleName="builder", PolicyName="p")
    if change == "DeleteRole":
        assert cloud.ask(chief, change, RoleName="builder").status == 200
    assert cloud.ask(mine, "DescribeInstances", "ec2").code == "AuthFailure"


def test_who_may_not_assume_learns_nothing(cloud: Accounts, ada: Key, chief: Key) -> None:
    a_role(cloud, chief)
    only = TRUST.replace(":root", ":user/chief")
    cloud.ask(chief, "CreateRole", RoleName="chiefs", AssumeRolePolicyDocument=only)
    cloud.ask(chief, "CreateRole", RoleName="machines", AssumeRolePolicyDocument=TRUST.replace(
        f'"AWS": "arn:aws:iam::{ALICE}:root"', '"Service": "ec2.amazonaws.com"'))  # fmt: skip
    for arn in ("chiefs", "machines", "none"):
        assert cloud.assume(ada, RoleArn=f"arn:aws:iam::{ALICE}:role/{arn}").code == "AccessDenied"
    assert cloud.assume(chief, RoleArn=f"arn:aws:iam::{ALICE}:role/chiefs").status == 200
    assert cloud.assume(cloud.key("bob", "bob")).code == "AccessDenied"
    for more in ({"RoleSessionName": "a b"}, {"DurationSeconds": 3601}, {"DurationSeconds": 899}):
        assert cloud.assume(ada, **more).code == "ValidationError"
    assert cloud.assume(ada, Policy=LOOK).code == "InvalidAction"  # not enforced, so not taken


def test_roles_from_their_creation_to_their_end(cloud: Accounts, ada: Key, chief: Key) -> None:
    role = a_role(cloud, chief, Description="builds", MaxSessionDuration=7200)
    shown = cloud.ask(ada, "GetRole", RoleName="builder")
    assert (shown.text(".//RoleId"), shown.text(".//Arn")) == (role, BUILDER)
    assert (shown.text(".//Description"), shown.text(".//MaxSessionDuration")) == ("builds", "7200")
    assert unquote(shown.text(".//AssumeRolePolicyDocument")) == TRUST
    again = cloud.ask(chief, "CreateRole", RoleName="builder", AssumeRolePolicyDocument=TRUST)
    assert (again.status, again.code) == (409, "EntityAlreadyExists")
    policy = cloud.ask(ada, "GetRolePolicy", RoleName="builder", PolicyName="p")
    assert unquote(policy.text(".//PolicyDocument")) == LOOK
    assert cloud.ask(ada, "ListRolePolicies", RoleName="builder").texts(".//PolicyNames/member") == ["p"]
    assert cloud.ask(ada, "ListAttachedRolePolicies", RoleName="builder").texts(".//AttachedPolicies/member") == []
    assert cloud.ask(ada, "ListRoles").texts(".//RoleName") == ["builder"]
    assert cloud.ask(chief, "DeleteRole", RoleName="builder").code == "DeleteConflict"
    assert cloud.ask(chief, "DeleteRolePolicy", RoleName="builder", PolicyName="p").status == 200
    assert cloud.ask(chief, "DeleteRolePolicy", RoleName="builder", PolicyName="p").code == "NoSuchEntity"
    assert cloud.ask(ada, "GetRolePolicy", RoleName="builder", PolicyName="p").code == "NoSuchEntity"
    assert cloud.ask(chief, "DeleteRole", RoleName="builder").status == 200
    gone = cloud.ask(chief, "GetRole", RoleName="builder")
    assert (gone.status, gone.code) == (404, "NoSuchEntity")


def test_roles_are_the_account_s_and_its_administrators_write_them(cloud: Accounts, ada: Key, chief: Key) -> None:
    a_role(cloud, chief)
    bob = cloud.key("bob", "bob")
    assert cloud.ask(bob, "GetRole", RoleName="builder").code == "NoSuchEntity"
    assert cloud.ask(bob, "ListRoles").texts(".//RoleName") == []
    for action in ("DeleteRole", "CreateRole", "PutRolePolicy", "DeleteRolePolicy"):
        more = {"AssumeRolePolicyDocument": TRUST, "PolicyName": "p", "PolicyDocument": ALL}
        assert cloud.ask(ada, action, RoleName="builder", **more).code == "AccessDenied"
    refused = cloud.ask(chief, "PutRolePolicy", RoleName="builder", PolicyName="p",
                        PolicyDocument=LOOK.replace("Allow", "Deny"))  # fmt: skip
    assert (refused.status, refused.code) == (400, "MalformedPolicyDocument")
    long = LOOK.replace("2012-10-17", "2008-10-17") + " " * 10_100
    assert cloud.ask(chief, "PutRolePolicy", RoleName="builder", PolicyName="q",
                     PolicyDocument=long).status == 409  # fmt: skip


def test_lists_of_roles_and_users_go_on_after_a_name(cloud: Accounts, chief: Key) -> None:
    for name in ("a", "b", "c"):
        cloud.ask(chief, "CreateRole", RoleName=name, AssumeRolePolicyDocument=TRUST)
    first = cloud.ask(chief, "ListRoles", MaxItems=2)
    assert (first.texts(".//RoleName"), first.text(".//IsTruncated")) == (["a", "b"], "true")
    last = cloud.ask(chief, "ListRoles", MaxItems=2, Marker=first.text(".//Marker"))
    assert (last.texts(".//RoleName"), last.text(".//IsTruncated")) == (["c"], "false")
    ruler = cloud.key("ruler")
    page = cloud.ask(ruler, "ListUsers", MaxItems=3)
    assert page.texts(".//UserName") == ["ada", "bob", "chief"]
    assert cloud.ask(ruler, "ListUsers", Marker=page.text(".//Marker")).texts(".//UserName") == ["eve", "ruler"]


def test_users_are_listed_to_who_administers_everywhere(cloud: Accounts, ada: Key, chief: Key) -> None:
    ruler = cloud.key("ruler")
    assert cloud.ask(ruler, "GetUser", UserName="ada").text(".//UserName") == "ada"
    for key in (ada, chief):
        assert cloud.ask(key, "ListUsers").code == "AccessDenied"
        assert cloud.ask(key, "GetUser", UserName="bob").code == "NoSuchEntity"
        assert cloud.ask(key, "GetUser").status == 200


def test_own_access_keys(cloud: Accounts, ada: Key, chief: Key) -> None:
    made = Key.read(cloud.ask(ada, "CreateAccessKey"))
    assert cloud.ask(replace(made, token=None), "GetCallerIdentity", "sts").status == 200
    assert set(cloud.ask(ada, "ListAccessKeys").texts(".//AccessKeyId")) == {ada.id, made.id}
    assert cloud.ask(ada, "CreateAccessKey", UserName="ada").code == "LimitExceeded"
    assert cloud.ask(ada, "DeleteAccessKey", AccessKeyId=chief.id).code == "NoSuchEntity"
    for action in ("CreateAccessKey", "ListAccessKeys", "DeleteAccessKey"):
        assert cloud.ask(chief, action, UserName="ada", AccessKeyId=ada.id).code in ("AccessDenied", "ValidationError")
    assert cloud.ask(ada, "DeleteAccessKey", AccessKeyId=made.id).status == 200
    assert cloud.ask(ada, "ListAccessKeys").texts(".//AccessKeyId") == [ada.id]


def test_s45_the_audit_names_keys_and_never_their_secrets(cloud: Accounts, ada: Key) -> None:
    mine, made = cloud.session(ada), Key.read(cloud.ask(ada, "CreateAccessKey"))
    records = cloud.house.works(lambda books: books.audit.entries(ALICE))
    assert [one.action for one in records] == ["iam:CreateAccessKey", "sts:GetSessionToken"]
    assert mine.id in repr(records) and made.id in repr(records)
    for secret in (mine.secret, mine.token, made.secret):
        assert str(secret) not in repr(records)
