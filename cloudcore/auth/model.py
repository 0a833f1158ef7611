"""The Auth Manager's values and Protocol. Users belong to projects through roles; an access key acts in one project.

A role is held globally (project None) or in one project; the union decides (domain/policy.py). Backends: sql, memory;
`cached` is an Auth Manager around another. Nothing here assumes SQL: a directory can serve it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred

from cloudcore.domain.callers import Caller


class Secret:
    """A string that neither repr nor str nor a log line reveals; `reveal()` is the only door."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


@dataclass(frozen=True, slots=True)
class Project:
    id: str  # twelve digits: the account
    name: str
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class User:
    id: str  # as IAM writes it: AIDA and 17 upper-case letters and digits
    name: str
    email: str = ""
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class AccessKey:
    id: str  # 4 to 128 of [A-Za-z0-9_]
    secret: Secret
    user_id: str
    project_id: str
    enabled: bool = True
    created: float = 0.0  # seconds since the epoch


@dataclass(frozen=True, slots=True)
class RoleGrant:
    user_id: str
    project_id: str | None  # None: everywhere
    role: str


@dataclass(frozen=True, slots=True)
class Credential:
    """What a verifier needs: the secret to recompute the signature with, and who it then is. A temporary key's has the
    SHA-256 of its session token (hexadecimal) and its end: sessions.py judges both once the signature is right."""

    secret: Secret
    caller: Caller
    token_hash: str | None = None
    expires: float | None = None  # seconds since the epoch


@dataclass(frozen=True, slots=True)
class Derivation:
    """What a temporary key is derived from. It never changes afterwards, and dies with its parent, an access key. One
    for an assumed role names it, and the role's revision: the key dies with that too."""

    parent: str
    seconds: int
    boundary: frozenset[str]  # action patterns: at most these of what the owner may at the moment of use
    role_id: str | None = None
    role_revision: int = 0
    assumed: str = ""  # ROLE/SESSION


@dataclass(frozen=True, slots=True)
class TemporaryKey:
    id: str  # CCIT and 16 of A-Z2-7
    secret: Secret
    token: Secret  # X-Amz-Security-Token of every request
    expires: float  # seconds since the epoch


class AuthManager(Protocol):
    """Errors are CloudErrors: USER_UNKNOWN, USER_DUPLICATE, PROJECT_UNKNOWN, PROJECT_DUPLICATE, ACCESS_KEY_UNKNOWN,
    ACCESS_KEY_DUPLICATE, IDENTITY_QUOTA, ROLE_UNKNOWN. Names are unique; every method takes names where a person would
    type one."""

    def credential(self, access_key: str) -> Deferred[Credential | None]:
        """None when the key is unknown or disabled, or its user or project is: all look alike (fails closed). A
        temporary key's roles are its owner's now, and its caller has the boundary. Keys of instances (none of the
        memory backend has one) belong to no user: theirs are domain/policy.py's INSTANCE."""

    def create_project(self, name: str, project_id: str | None = None) -> Deferred[Project]: ...

    def projects(self) -> Deferred[list[Project]]: ...

    def delete_project(self, name: str) -> Deferred[None]: ...

    def create_user(self, name: str, email: str = "") -> Deferred[User]: ...

    def users(self) -> Deferred[list[User]]: ...

    def set_user_enabled(self, name: str, enabled: bool) -> Deferred[None]: ...

    def delete_user(self, name: str) -> Deferred[None]:
        """The user's keys and grants go with it."""

    def grant(self, user: str, role: str, project: str | None = None) -> Deferred[None]: ...

    def revoke(self, user: str, role: str, project: str | None = None) -> Deferred[None]: ...

    def grants(self, user: str) -> Deferred[list[RoleGrant]]: ...

    def create_access_key(self, user: str, project: str, access_key: str | None = None,
                          secret: str | None = None) -> Deferred[AccessKey]:
        """With neither given both are random: 20 characters beginning CCIA, and 40."""

    def access_keys(self, user: str) -> Deferred[list[AccessKey]]: ...

    def delete_access_key(self, access_key: str) -> Deferred[None]: ...

    def create_temporary_key(self, wanted: Derivation) -> Deferred[TemporaryKey]:
        """A temporary key is no parent: ACCESS_KEY_UNKNOWN. Its secret and token are told this once. At most 500 of one
        parent are alive. The memory backend knows no roles and keeps what it is told of them."""
