"""Policy documents: what is understood is obeyed, everything else is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cloudcore.domain.policy import patterns_of, within
from cloudcore.domain.roles import LARGEST, allowed_actions, principals
from cloudcore.errors import CloudError, Code

ACCOUNT = "111111111111"
ALLOW = {"Effect": "Allow", "Action": "ec2:Describe*", "Resource": "*"}
TRUST = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": ACCOUNT}}


def policy(*statements: Any, **more: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements), **more})


def refused(read: Any, *given: str) -> None:
    with pytest.raises(CloudError) as refusal:
        read(*given)
    assert refusal.value.code is Code.POLICY_MALFORMED


def test_a_policy_is_the_union_of_its_statements() -> None:
    two = policy(ALLOW, {**ALLOW, "Sid": "s3", "Action": ["s3:GetObject", "s3:List*"], "Resource": ["*"]})
    assert allowed_actions(two) == {"ec2:Describe*", "s3:GetObject", "s3:List*"}
    assert allowed_actions(json.dumps({"Statement": {**ALLOW, "Action": "*"}})) == {"*"}


@pytest.mark.parametrize("statement", [
    {**ALLOW, "Effect": "Deny"}, {**ALLOW, "Condition": {}}, {**ALLOW, "Resource": "arn:aws:s3:::b/*"},
    {**ALLOW, "Action": "ec2:*Instances"}, {**ALLOW, "Action": "ec2:[A-Z]*"}, {**ALLOW, "Action": "ec2:Run?"},
    {**ALLOW, "Action": "kms:Decrypt"}, {**ALLOW, "Action": "objectstore:AnyProject"}, {**ALLOW, "Action": 1},
    {**ALLOW, "Action": [["ec2:*"]]}, {**ALLOW, "Principal": "*"}, {"Effect": "Allow", "NotAction": "ec2:*",
                                                                    "Resource": "*"}, "Allow", None,
    {**ALLOW, "Action": "ec2:Run\n"}, {**ALLOW, "Action": "ec2:* s3:*"}])  # fmt: skip
def test_what_is_not_enforced_is_refused(statement: Any) -> None:
    refused(allowed_actions, policy(ALLOW, statement))


@pytest.mark.parametrize("document", [
    "", "x", "[]", "{}", "[" * 9000, policy(), policy(ALLOW, More=1), policy(ALLOW, Version="2020-01-01"),
    policy(ALLOW) + " " * LARGEST, '{"Statement": [], "Statement": []}',
    '{"Statement": [{"Effect": "Deny", "Effect": "Allow", "Action": "*", "Resource": "*"}]}'])  # fmt: skip
def test_what_is_no_document_is_refused(document: str) -> None:
    refused(allowed_actions, document)


def test_a_trust_names_principals_of_the_account() -> None:
    user = f"arn:aws:iam::{ACCOUNT}:user/ada"
    assert principals(policy(TRUST), ACCOUNT) == {f"arn:aws:iam::{ACCOUNT}:root"}
    assert principals(policy({**TRUST, "Principal": {"AWS": [user]}}), ACCOUNT) == {user}
    assert principals(policy({**TRUST, "Principal": {"Service": "ec2.amazonaws.com"}}), ACCOUNT) == frozenset()


@pytest.mark.parametrize("principal", ["*", {}, {"AWS": "*"}, {"AWS": "222222222222"}, {"Federated": "x"},
                                       {"AWS": "arn:aws:iam::222222222222:root"}, {"Service": "evil"},
                                       {"AWS": f"arn:aws:iam::{ACCOUNT}:role/x"}])  # fmt: skip
def test_other_principals_are_refused(principal: Any) -> None:
    refused(lambda text: principals(text, ACCOUNT), policy({**TRUST, "Principal": principal}))


def test_a_trust_is_of_assuming_only() -> None:
    refused(lambda text: principals(text, ACCOUNT), policy({**TRUST, "Action": "sts:*"}))
    refused(lambda text: principals(text, ACCOUNT), policy({**TRUST, "Condition": {}}))


def test_a_boundary_of_roles_is_what_they_may() -> None:
    auditor = patterns_of(frozenset({"auditor"}))
    assert within(auditor, "ec2:DescribeInstances") and not within(auditor, "ec2:RunInstances")
    assert not within(frozenset(), "ec2:DescribeInstances") and within(frozenset(), "sts:GetCallerIdentity")
