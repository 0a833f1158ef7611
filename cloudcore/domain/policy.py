"""Who may do what: rows of (role, actions). The union of the caller's rows decides; what no row names is denied.

Actions carry their service: `ec2:RunInstances`, `s3:GetObject`, `sts:GetCallerIdentity`. A row may end in `*`. A test
compares the names with the registries of the api and the object store.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import lru_cache

from cloudcore.domain.callers import Caller

POLICY: tuple[tuple[str, tuple[str, ...]], ...] = (
    # role        actions
    ("admin", ("*",)),
    ("operator", ("ec2:*", "s3:*", "sts:*", "iam:Get*", "iam:List*", "iam:PassRole", "iam:CreateAccessKey",
                  "iam:DeleteAccessKey")),
    ("user", ("ec2:*", "s3:*", "sts:*", "iam:GetUser", "iam:ListAccountAliases", "iam:ListRoles", "iam:GetRole",
              "iam:GetRolePolicy", "iam:ListRolePolicies", "iam:ListAttachedRolePolicies", "iam:ListRoleTags",
              "iam:GetInstanceProfile", "iam:ListInstanceProfiles", "iam:ListInstanceProfilesForRole",
              "iam:ListInstanceProfileTags", "iam:PassRole", "iam:ListAccessKeys", "iam:CreateAccessKey",
              "iam:DeleteAccessKey")),
    ("auditor", ("ec2:Describe*", "ec2:GetConsole*", "ec2:GetEbs*", "s3:Get*", "s3:List*", "sts:GetCallerIdentity",
                 "iam:GetUser")),
    # the image worker's and the hosts' account: images of every project, and nothing else
    ("fetcher", ("s3:GetObject", "s3:PutObject", "objectstore:AnyProject")),
    # the same account in the cloud's own project: the contents of snapshots come and go
    ("keeper", ("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListBucket",
                "s3:ListBucketMultipartUploads", "s3:CreateBucket", "objectstore:OwnBuckets")),
)  # fmt: skip

ROLES = tuple(role for role, _ in POLICY)


# a role held in one project is none in another
ACROSS_PROJECTS = frozenset({"objectstore:AnyProject", "iam:ListUsers"})
# What answers with a secret that is worth rights: by POST and a signed header only. A temporary key may none of it, nor
# change anything in IAM.
MINTING = frozenset({"sts:GetSessionToken", "sts:AssumeRole", "iam:CreateAccessKey"})
# To give an instance a profile; no action of its own. What the instance then may is bounded by INSTANCE, so that nobody
# who may this gets by it what is not his already; a temporary key, whose bounds are narrower, may not.
PASS_ROLE = "iam:PassRole"  # noqa: S105
INSTANCE = frozenset({"user"})  # the role here of whoever acts with an instance's keys
ALWAYS = "sts:GetCallerIdentity"  # what every boundary holds: to learn who one is


def permits(caller: Caller, action: str) -> bool:
    """A boundary only takes away: what the owner may not do now, the temporary key may not either."""
    if caller.boundary is not None and not (_harmless(action) and within(caller.boundary, action)):
        return False
    return role_permits(caller.everywhere if action in ACROSS_PROJECTS else caller.roles, action)


def _harmless(action: str) -> bool:
    if action.startswith("sts:"):
        return action == ALWAYS
    return not action.startswith("iam:") or action.startswith(("iam:Get", "iam:List"))


@lru_cache(maxsize=4096)
def within(boundary: frozenset[str], action: str) -> bool:
    return action == ALWAYS or any(fnmatchcase(action, pattern) for pattern in boundary)


def patterns_of(roles: frozenset[str]) -> frozenset[str]:
    """The boundary of a key that may what these roles may, and not what they come to mean to others later."""
    return frozenset(pattern for role, patterns in POLICY if role in roles for pattern in patterns)


@lru_cache(maxsize=4096)
def role_permits(roles: frozenset[str], action: str) -> bool:
    return any(
        fnmatchcase(action, pattern) for role, patterns in POLICY if role in roles for pattern in patterns
    )
