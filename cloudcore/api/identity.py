"""STS and IAM, as far as clients ask them who they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cloudcore.api.calls import Call
from cloudcore.api.registry import Action, Ignored, Nothing
from cloudcore.errors import CloudError, Code


@dataclass(frozen=True, slots=True)
class GetUser:
    UserName: str | None = None


async def get_caller_identity(call: Call, asked: Nothing) -> Mapping[str, Any] | None:
    return {"UserId": call.caller.user_id, "Account": call.project, "Arn": call.caller.arn}


async def get_user(call: Call, asked: GetUser) -> Mapping[str, Any] | None:
    """The caller only. The user's first key tells since when there is such a user: no other record does."""
    caller = call.caller
    if asked.UserName not in (None, caller.user_name):
        raise CloudError(Code.USER_UNKNOWN, f"The user with name {asked.UserName} cannot be found.")
    keys = await call.cloud.auth.access_keys(caller.user_name)
    created = min((key.created for key in keys), default=0.0)
    return {"User": {"Path": "/", "UserName": caller.user_name, "UserId": caller.user_id, "Arn": caller.arn,
                     "CreateDate": created}}  # fmt: skip


async def list_account_aliases(call: Call, asked: Nothing) -> Mapping[str, Any] | None:
    """An account has its number and no other name here."""
    return {"AccountAliases": [], "IsTruncated": False}


async def list_roles(call: Call, asked: Nothing) -> Mapping[str, Any] | None:
    """Roles that one could assume: there are none."""
    return {"Roles": [], "IsTruncated": False}


PAGED = {"MaxItems": Ignored("there is never more than one page"), "Marker": Ignored("the same")}

STS = {"GetCallerIdentity": Action(get_caller_identity, Nothing)}
IAM = {
    "GetUser": Action(get_user, GetUser),
    "ListAccountAliases": Action(list_account_aliases, Nothing, PAGED),
    "ListRoles": Action(list_roles, Nothing, {**PAGED, "PathPrefix": Ignored("there are no roles on any path")}),
}
