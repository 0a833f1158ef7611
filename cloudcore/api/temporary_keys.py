"""GetSessionToken and AssumeRole: temporary keys. They may at most what their owner may at the moment of use."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cloudcore.api.access_keys import recorded
from cloudcore.api.calls import Call
from cloudcore.api.registry import Action
from cloudcore.auth.model import Derivation, TemporaryKey
from cloudcore.domain.policy import patterns_of
from cloudcore.domain.roles import Role, allowed_actions, principals
from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books

SHORTEST, LONGEST = 900, 129_600  # seconds, prescribed
ROLE_ARN = re.compile(r"arn:aws:iam::([0-9]{12}):role/([A-Za-z0-9_+=,.@-]{1,64})", re.ASCII)
SESSION = re.compile(r"[A-Za-z0-9_+=,.@-]{2,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class GetSessionToken:
    DurationSeconds: int = 43_200


@dataclass(frozen=True, slots=True)
class AssumeRole:
    RoleArn: str
    RoleSessionName: str
    DurationSeconds: int = 3600


async def get_session_token(call: Call, asked: GetSessionToken) -> Mapping[str, Any] | None:
    boundary = patterns_of(call.caller.roles)
    wanted = Derivation(call.caller.access_key, _within(asked.DurationSeconds, LONGEST), boundary)
    return {"Credentials": await _made(call, wanted)}


async def assume_role(call: Call, asked: AssumeRole) -> Mapping[str, Any] | None:
    """A role that is not there, in another account, or trusts somebody else: all look alike."""
    if not SESSION.fullmatch(asked.RoleSessionName):
        raise CloudError(Code.BAD_VALUE, "RoleSessionName has 2 to 64 letters, digits or _+=,.@-")
    role, boundary = await call.look(_role, call, asked.RoleArn)
    assumed = f"{role.name}/{asked.RoleSessionName}"
    wanted = Derivation(call.caller.access_key, _within(asked.DurationSeconds, role.longest), boundary, role.id,
                        role.revision, assumed)  # fmt: skip
    user = {"AssumedRoleId": f"{role.id}:{asked.RoleSessionName}",
            "Arn": f"arn:aws:sts::{call.project}:assumed-role/{assumed}"}  # fmt: skip
    return {"Credentials": await _made(call, wanted), "AssumedRoleUser": user}


def _role(books: Books, call: Call, arn: str) -> tuple[Role, frozenset[str]]:
    refused = CloudError(Code.NOT_AUTHORISED, f"You are not authorized to perform: sts:AssumeRole on {arn[:128]}")
    match = ROLE_ARN.fullmatch(arn)
    if match is None or match[1] != call.project:
        raise refused
    try:
        role = books.roles.named(call.project, match[2])
    except CloudError:
        raise refused from None
    if not principals(role.trust, role.project) & {call.caller.arn, f"arn:aws:iam::{call.project}:root"}:
        raise refused
    return role, frozenset().union(*map(allowed_actions, books.roles.policies(role).values()))


def _within(seconds: int, longest: int) -> int:
    if not SHORTEST <= seconds <= longest:
        raise CloudError(Code.BAD_VALUE, f"DurationSeconds must be from {SHORTEST} to {longest}")
    return seconds


async def _made(call: Call, wanted: Derivation) -> dict[str, Any]:
    made: TemporaryKey = await call.cloud.auth.create_temporary_key(wanted)
    await call.change(recorded, made.id)
    return {"AccessKeyId": made.id, "SecretAccessKey": made.secret.reveal(), "SessionToken": made.token.reveal(),
            "Expiration": made.expires}  # fmt: skip


ACTIONS = {
    "GetSessionToken": Action(get_session_token, GetSessionToken),
    "AssumeRole": Action(assume_role, AssumeRole),
}
