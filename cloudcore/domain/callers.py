"""Who asks: the one value that authentication yields and that every handler and policy rule needs."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated user acting in one project.

    `project_id` is the account: twelve digits, as in an EC2 OwnerId and an ARN. `roles` is the union of the user's
    global roles and the roles in this project; `everywhere` are the global ones alone: what reaches into other projects
    is judged by those (domain/policy.py says what each may do).

    A temporary key's caller has a `boundary`: action patterns beyond which it may nothing, whatever its owner may;
    None is a key of one's own. One that assumed a role has the role's id and `assumed`: ROLE/SESSION.
    """

    access_key: str
    user_id: str
    user_name: str
    project_id: str
    project_name: str
    roles: frozenset[str] = field(default_factory=frozenset)
    everywhere: frozenset[str] = field(default_factory=frozenset)
    boundary: frozenset[str] | None = None
    role_id: str = ""
    assumed: str = ""

    @property
    def arn(self) -> str:
        if self.assumed:
            return f"arn:aws:sts::{self.project_id}:assumed-role/{self.assumed}"
        return f"arn:aws:iam::{self.project_id}:user/{self.user_name}"

    @property
    def unique_id(self) -> str:
        """As GetCallerIdentity shows it: a user's id, or ROLE-ID:SESSION."""
        return f"{self.role_id}:{self.assumed.partition('/')[2]}" if self.assumed else self.user_id
