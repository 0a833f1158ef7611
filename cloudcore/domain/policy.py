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
    ("operator", ("ec2:*", "s3:*", "sts:*", "iam:Get*", "iam:List*")),
    ("user", ("ec2:*", "s3:*", "sts:*", "iam:GetUser", "iam:ListAccountAliases", "iam:ListRoles")),
    ("auditor", ("ec2:Describe*", "ec2:GetConsoleOutput", "s3:Get*", "s3:List*", "sts:GetCallerIdentity",
                 "iam:GetUser")),
    # the image worker's and the hosts' account: images of every project, and nothing else
    ("fetcher", ("s3:GetObject", "s3:PutObject", "objectstore:AnyProject")),
)  # fmt: skip

ROLES = tuple(role for role, _ in POLICY)


ACROSS_PROJECTS = frozenset({"objectstore:AnyProject"})  # a role held in one project is none in another


def permits(caller: Caller, action: str) -> bool:
    return role_permits(caller.everywhere if action in ACROSS_PROJECTS else caller.roles, action)


@lru_cache(maxsize=4096)
def role_permits(roles: frozenset[str], action: str) -> bool:
    return any(
        fnmatchcase(action, pattern) for role, patterns in POLICY if role in roles for pattern in patterns
    )
