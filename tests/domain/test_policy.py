"""The policy table: the union of rows decides, and what no row names is denied."""

from __future__ import annotations

from typing import Any

import pytest

from cloudcore.domain.callers import Caller
from cloudcore.domain.policy import POLICY, ROLES, permits, role_permits

ACTIONS = ("ec2:RunInstances", "ec2:DescribeInstances", "ec2:GetConsoleOutput", "s3:GetObject", "s3:PutObject",
           "s3:ListBucket", "sts:GetCallerIdentity", "iam:GetUser", "iam:CreateUser", "objectstore:AnyProject")
MAY = {
    "admin": set(ACTIONS),
    "operator": set(ACTIONS) - {"iam:CreateUser", "objectstore:AnyProject"},
    "user": set(ACTIONS) - {"iam:CreateUser", "objectstore:AnyProject"},
    "auditor": {"ec2:DescribeInstances", "ec2:GetConsoleOutput", "s3:GetObject", "s3:ListBucket",
                "sts:GetCallerIdentity", "iam:GetUser"},
    "fetcher": {"s3:GetObject", "s3:PutObject", "objectstore:AnyProject"},
    "keeper": {"s3:GetObject", "s3:PutObject", "s3:ListBucket"},
}  # fmt: skip


def a_caller(**other: Any) -> Caller:
    return Caller(**{"access_key": "K", "user_id": "AIDA", "user_name": "ada", "project_id": "123456789012",
                     "project_name": "engines", **other})


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_what_its_row_names_and_nothing_else(role: str) -> None:
    assert {action for action in ACTIONS if role_permits(frozenset({role}), action)} == MAY[role]


def test_nobody_may_anything() -> None:
    assert not any(permits(a_caller(), action) for action in ACTIONS)


def test_an_unknown_role_adds_nothing() -> None:
    assert not any(permits(a_caller(roles=frozenset({"emperor", "ADMIN", ""})), action) for action in ACTIONS)


def test_two_roles_may_what_either_may() -> None:
    both = a_caller(roles=frozenset({"auditor", "user"}))
    assert permits(both, "ec2:RunInstances") and permits(both, "ec2:DescribeInstances")


def test_actions_are_compared_exactly() -> None:
    auditor = a_caller(roles=frozenset({"auditor"}))
    for action in ("EC2:DescribeInstances", "ec2:describeInstances", "DescribeInstances", "ec2:", "", "s3:get*"):
        assert not permits(auditor, action)


def test_a_pattern_in_an_action_is_only_text() -> None:
    assert not permits(a_caller(roles=frozenset({"user"})), "iam:*")


def test_each_role_has_one_row_and_each_pattern_a_service() -> None:
    assert len(set(ROLES)) == len(POLICY)
    for role, patterns in POLICY:
        assert patterns, role
        assert all(pattern == "*" or ":" in pattern for pattern in patterns)
        assert all("*" not in pattern[:-1] for pattern in patterns)


def test_an_administrator_of_one_project_stays_in_it() -> None:
    """What reaches into other projects is judged by the roles held everywhere."""
    here = a_caller(roles=frozenset({"admin"}))
    assert permits(here, "s3:GetObject") and not permits(here, "objectstore:AnyProject")
    assert permits(a_caller(roles=frozenset({"admin"}), everywhere=frozenset({"admin"})), "objectstore:AnyProject")
