"""STS and IAM, as far as clients ask them who they and others are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from cloudcore.api.calls import Call
from cloudcore.api.registry import Action, Ignored, Nothing
from cloudcore.auth.model import User
from cloudcore.domain.policy import permits
from cloudcore.errors import CloudError, Code

T = TypeVar("T")
MOST = 100  # of one page


@dataclass(frozen=True, slots=True)
class GetUser:
    UserName: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """In order of name; a Marker is the name after which to go on, so that it survives whatever comes and goes."""

    Marker: str = ""
    MaxItems: int = MOST

    @property
    def count(self) -> int:
        return min(self.MaxItems, MOST)


@dataclass(frozen=True, slots=True)
class Listing(Part):
    PathPrefix: str = "/"


def paged(name: str, items: Mapping[str, T], asked: Part) -> dict[str, Any]:
    """The part of an answer that lists these, given by what they are ordered by."""
    rest = sorted(one for one in items if one > asked.Marker)
    chosen = rest[: asked.count]
    return {name: [items[one] for one in chosen], **more(rest, asked.count, chosen)}


async def get_caller_identity(call: Call, asked: Nothing) -> Mapping[str, Any] | None:
    return {"UserId": call.caller.unique_id, "Account": call.project, "Arn": call.caller.arn}


async def get_user(call: Call, asked: GetUser) -> Mapping[str, Any] | None:
    """Others are shown to those who may list them; to the rest they are not there."""
    caller = call.caller
    if asked.UserName is None and caller.user_id == caller.role_id:  # an instance's keys are no user's
        raise CloudError(Code.BAD_VALUE, "Must specify userName when calling with non-User credentials")
    if asked.UserName in (None, caller.user_name):
        return {"User": await _shown(call, User(caller.user_id, caller.user_name))}
    users = await call.cloud.auth.users() if permits(caller, "iam:ListUsers") else []
    found = [user for user in users if user.name == asked.UserName]
    if not found:
        raise CloudError(Code.USER_UNKNOWN, f"The user with name {asked.UserName} cannot be found.")
    return {"User": await _shown(call, found[0])}


async def _shown(call: Call, user: User) -> dict[str, Any]:
    """The user's first key tells since when there is such a user: no other record does."""
    keys = await call.cloud.auth.access_keys(user.name)
    return {"Path": "/", "UserName": user.name, "UserId": user.id,
            "Arn": f"arn:aws:iam::{call.project}:user/{user.name}",
            "CreateDate": min((key.created for key in keys), default=0.0)}  # fmt: skip


async def list_users(call: Call, asked: Listing) -> Mapping[str, Any] | None:
    """Users are the whole cloud's and not an account's: only who is admin or operator everywhere may list them."""
    every = await call.cloud.auth.users() if asked.PathPrefix == "/" else []
    rest = [user for user in every if user.name > asked.Marker]
    page = rest[: asked.count]
    shown = [await _shown(call, user) for user in page]
    return {"Users": shown, **more(rest, asked.count, [user.name for user in page])}


def more(rest: Sequence[Any], count: int, names: Sequence[str]) -> dict[str, Any]:
    """Whether the list goes on after these names, and where."""
    return {"IsTruncated": True, "Marker": names[-1]} if len(rest) > count else {"IsTruncated": False}


async def list_account_aliases(call: Call, asked: Nothing) -> Mapping[str, Any] | None:
    """An account has its number and no other name here."""
    return {"AccountAliases": [], "IsTruncated": False}


PAGED = {"MaxItems": Ignored("there is never more than one page"), "Marker": Ignored("the same")}

STS = {"GetCallerIdentity": Action(get_caller_identity, Nothing)}
IAM = {
    "GetUser": Action(get_user, GetUser),
    "ListUsers": Action(list_users, Listing),
    "ListAccountAliases": Action(list_account_aliases, Nothing, PAGED),
}
