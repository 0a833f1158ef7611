"""Instance profiles: the vessels in which instances carry a role, and what an instance's metadata says of its own.

An instance whose profile holds a role gets keys of its own, made by the conductor and pushed to its host. They may
what the role's policies say at the moment of use, and never more than an ordinary user of the project.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cloudcore.domain.roles import services

SERVICE = "ec2.amazonaws.com"  # whom a role has to trust for instances to have it
SUCCESS = "Success"
UNTRUSTED = "AssumeRoleUnauthorizedAccess"  # the role does not trust instances
NO_PROFILE = "InstanceProfileNotFound"  # it was deleted while the instance had it


@dataclass(frozen=True, slots=True)
class InstanceProfile:
    id: str  # AIPA and 17 upper-case letters and digits
    project: str
    name: str
    path: str  # begins and ends in /
    created: float  # seconds since the epoch
    role_id: str | None = None  # it holds at most one

    @property
    def arn(self) -> str:
        return f"arn:aws:iam::{self.project}:instance-profile{self.path}{self.name}"


@dataclass(frozen=True, slots=True)
class ProfileAssociation:
    """An instance has at most one. Id and ARN of the profile stay here, should the profile be deleted."""

    id: str  # iip-assoc- and 17 hexadecimal digits
    project: str
    instance: str
    profile_id: str
    profile_arn: str
    created: float


@dataclass(frozen=True, slots=True)
class InstanceRole:
    """What the host of an instance is told of its profile and role. `code` is SUCCESS, or why there are no keys. Times
    are ISO 8601 in UTC."""

    profile_id: str
    profile_arn: str
    updated: str
    code: str = SUCCESS
    role: str = ""  # its name
    access_key: str = ""
    secret: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    expires: str = ""


def trusts_instances(trust: str, project: str) -> bool:
    """Whether instances may have the role with this trust policy."""
    return SERVICE in services(trust, project)


def iso(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def iam_tree(held: InstanceRole) -> dict[str, Any]:
    """The directory `iam` of the metadata. Source: EC2's user guide, "Retrieve security credentials from instance
    metadata", and IAM's, "Troubleshoot IAM and Amazon EC2"."""
    info = {"Code": held.code if held.code == NO_PROFILE else SUCCESS, "LastUpdated": held.updated,
            "InstanceProfileArn": held.profile_arn, "InstanceProfileId": held.profile_id}  # fmt: skip
    tree: dict[str, Any] = {"info": json.dumps(info, indent=2)}
    if held.role:
        tree["security-credentials"] = {held.role: json.dumps(_credentials(held), indent=2)}
    return tree


def _credentials(held: InstanceRole) -> dict[str, str]:
    if held.code != SUCCESS:
        text = f"EC2 cannot assume the role {held.role}: its trust policy does not name the service {SERVICE}"
        return {"Code": held.code, "Message": text, "LastUpdated": held.updated}
    return {"Code": SUCCESS, "LastUpdated": held.updated, "Type": "AWS-HMAC", "AccessKeyId": held.access_key,
            "SecretAccessKey": held.secret, "Token": held.token, "Expiration": held.expires}  # fmt: skip
