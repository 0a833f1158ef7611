"""Roles that callers assume, and the policy documents of IAM as far as they are enforced.

What would be kept and not obeyed is refused instead. A role's policy has statements of Effect Allow, actions and
Resource "*", and nothing else: no Deny, no Condition, no NotAction, no single resources. A trust policy allows
sts:AssumeRole to principals of the account or to services. What a session may do is what the policies allow and its
holder may do too: a role never adds a right. Of the services only ec2.amazonaws.com assumes any: for instances, through
their profiles (domain/instance_profiles.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cloudcore.errors import CloudError, Code

LARGEST = 10_240  # characters of a document, as IAM's for a role
VERSIONS = ("2012-10-17", "2008-10-17")
ACTION = re.compile(r"\*|(ec2|s3|sts|iam):([A-Za-z]{1,64}\*?|\*)", re.ASCII)
ARN = re.compile(r"arn:aws:iam::([0-9]{12}):(root|user/[A-Za-z0-9_.@+=,-]{1,64})", re.ASCII)
SERVICE = re.compile(r"[a-z0-9-]{1,64}\.amazonaws\.com", re.ASCII)


@dataclass(frozen=True, slots=True)
class Role:
    id: str  # AROA and 17 upper-case letters and digits
    project: str
    name: str
    description: str
    trust: str  # JSON, as given
    longest: int  # seconds that a session may last
    revision: int
    created: float  # seconds since the epoch

    @property
    def arn(self) -> str:
        return f"arn:aws:iam::{self.project}:role/{self.name}"


def allowed_actions(document: str) -> frozenset[str]:
    """The action patterns of a role's policy. Raises POLICY_MALFORMED."""
    found: set[str] = set()
    for statement in _statements(document, {"Effect", "Action", "Resource"}):
        if _texts(statement["Resource"]) != ["*"]:
            raise _malformed("Resource must be '*'")
        actions = _texts(statement["Action"])
        for action in actions:
            if not ACTION.fullmatch(action):
                raise _malformed(f"the action '{action[:128]}' is none of ec2, s3, sts or iam, or has a * inside")
        found.update(actions)
    return frozenset(found)


def principals(document: str, project: str) -> frozenset[str]:
    """ARNs of users, or of the account's root for all of them, that may assume the role. Raises POLICY_MALFORMED."""
    return _trusted(document, project)[0]


def services(document: str, project: str) -> frozenset[str]:
    """Services that may assume the role: ec2.amazonaws.com. Raises POLICY_MALFORMED."""
    return _trusted(document, project)[1]


def _trusted(document: str, project: str) -> tuple[frozenset[str], frozenset[str]]:
    found: set[str] = set()
    served: set[str] = set()
    for statement in _statements(document, {"Effect", "Action", "Principal"}):
        named = statement["Principal"]
        if _texts(statement["Action"]) != ["sts:AssumeRole"]:
            raise _malformed("Action must be sts:AssumeRole")
        if not isinstance(named, dict) or not named or named.keys() - {"AWS", "Service"}:
            raise _malformed("Principal must name AWS or Service")
        if not all(map(SERVICE.fullmatch, _texts(named.get("Service", [])))):
            raise _malformed("a Service is named like ec2.amazonaws.com")
        served.update(_texts(named.get("Service", [])))
        for name in _texts(named.get("AWS", [])):
            arn = f"arn:aws:iam::{name}:root" if re.fullmatch("[0-9]{12}", name) else name
            match = ARN.fullmatch(arn)
            if match is None or match[1] != project:
                raise _malformed(f"the principal '{name[:128]}' is no user and not the root of account {project}")
            found.add(arn)
    return frozenset(found), frozenset(served)


def _statements(document: str, members: set[str]) -> Iterator[dict[str, Any]]:
    if len(document) > LARGEST:
        raise _malformed(f"it has more than {LARGEST} characters")
    try:
        policy = json.loads(document, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise _malformed("it is no JSON, or names a member twice") from None
    if not isinstance(policy, dict) or policy.keys() - {"Version", "Id", "Statement"}:
        raise _malformed("it must have Version and Statement and no more")
    if policy.get("Version", VERSIONS[0]) not in VERSIONS:
        raise _malformed("its Version must be 2012-10-17")
    given = policy.get("Statement")
    statements = [given] if isinstance(given, dict) else given
    if not isinstance(statements, list) or not statements:
        raise _malformed("it has no Statement")
    for one in statements:
        if not isinstance(one, dict) or one.keys() - {"Sid"} != members:
            raise _malformed(f"a statement must have {', '.join(sorted(members))}, may have Sid, and nothing more")
        if one["Effect"] != "Allow":
            raise _malformed("Effect must be Allow")
        yield one


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _texts(value: Any) -> list[str]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
        raise _malformed("a string or a list of strings is expected")
    return values


def _malformed(reason: str) -> CloudError:
    return CloudError(Code.POLICY_MALFORMED, f"The policy document cannot be enforced here: {reason}")
