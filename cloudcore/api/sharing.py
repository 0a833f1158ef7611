"""Who may use what an account has: other accounts by name, or everybody; of images and snapshots alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cloudcore.errors import CloudError, Code

EVERYBODY = "all"
MOST_SHARED = 1000  # accounts per image, or snapshot


@dataclass(frozen=True, slots=True)
class Permission:
    UserId: str | None = None
    Group: str | None = None


@dataclass(frozen=True, slots=True)
class Permissions:
    Add: tuple[Permission, ...] = ()
    Remove: tuple[Permission, ...] = ()


def wanted(given: Permissions | None, operation: str | None, users: Sequence[str],
           groups: Sequence[str]) -> tuple[list[Permission], list[Permission]]:  # fmt: skip
    """(to add, to remove), in the form of today and in the old one, which says `operation` of all its names. Raises
    BAD_VALUE."""
    asked = given or Permissions()
    add, remove = list(asked.Add), list(asked.Remove)
    named = [*(Permission(UserId=one) for one in users), *(Permission(Group=one) for one in groups)]
    if named or operation is not None:
        if operation not in ("add", "remove"):
            raise CloudError(Code.BAD_VALUE, f"Invalid value '{operation}' for OperationType: add or remove")
        (add if operation == "add" else remove).extend(named)
    return add, remove
