"""CreateAccessKey, ListAccessKeys, DeleteAccessKey: for oneself, in the project that one acts in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cloudcore.api.calls import Call, Outcome
from cloudcore.api.identity import Part, paged
from cloudcore.api.registry import Action
from cloudcore.auth.model import AccessKey
from cloudcore.auth.rules import key_unknown
from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books

MOST = 2  # of one user in one project, prescribed by IAM; operators may give more


@dataclass(frozen=True, slots=True)
class Whose:
    UserName: str | None = None


@dataclass(frozen=True, slots=True)
class ListAccessKeys(Part):
    UserName: str | None = None


@dataclass(frozen=True, slots=True)
class DeleteAccessKey:
    AccessKeyId: str
    UserName: str | None = None


async def create_access_key(call: Call, asked: Whose) -> Mapping[str, Any] | None:
    """The secret is in this answer and never again."""
    if len(await _own(call, asked.UserName)) >= MOST:
        raise CloudError(Code.IDENTITY_QUOTA, f"Cannot exceed quota for AccessKeysPerUser: {MOST}")
    made = await call.cloud.auth.create_access_key(call.caller.user_name, call.caller.project_name)
    await call.change(recorded, made.id)
    return {"AccessKey": {**_shown(call, made), "SecretAccessKey": made.secret.reveal()}}


async def list_access_keys(call: Call, asked: ListAccessKeys) -> Mapping[str, Any] | None:
    keys = await _own(call, asked.UserName)
    return paged("AccessKeyMetadata", {key.id: _shown(call, key) for key in keys}, asked)


async def delete_access_key(call: Call, asked: DeleteAccessKey) -> Mapping[str, Any] | None:
    """Temporary keys that were derived from it end with it."""
    if asked.AccessKeyId not in [key.id for key in await _own(call, asked.UserName)]:
        raise key_unknown(asked.AccessKeyId)
    await call.cloud.auth.delete_access_key(asked.AccessKeyId)
    await call.change(recorded, asked.AccessKeyId)
    return None


def recorded(books: Books, call: Call, id: str) -> Outcome:
    """The audit record of what the Auth Manager has done."""
    return Outcome(None, (id,))


async def _own(call: Call, name: str | None) -> list[AccessKey]:
    if name not in (None, call.caller.user_name):
        raise CloudError(Code.NOT_AUTHORISED, "Access keys are one's own affair: UserName must be the caller's")
    keys = await call.cloud.auth.access_keys(call.caller.user_name)
    return [key for key in keys if key.project_id == call.project]


def _shown(call: Call, key: AccessKey) -> dict[str, Any]:
    return {"UserName": call.caller.user_name, "AccessKeyId": key.id, "CreateDate": key.created,
            "Status": "Active" if key.enabled else "Inactive"}  # fmt: skip


ACTIONS = {
    "CreateAccessKey": Action(create_access_key, Whose),
    "ListAccessKeys": Action(list_access_keys, ListAccessKeys),
    "DeleteAccessKey": Action(delete_access_key, DeleteAccessKey),
}
