"""Who may make volumes of a snapshot: accounts by name, or everybody. Only its owner sees and changes that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloudcore.api import storage_ids
from cloudcore.api.calls import Call, Outcome
from cloudcore.api.registry import Action
from cloudcore.api.sharing import EVERYBODY, MOST_SHARED, Permission, Permissions, wanted
from cloudcore.auth.rules import PROJECT_ID
from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books

PERMISSION = "createVolumePermission"
MOST = 500  # accounts in one request


@dataclass(frozen=True, slots=True)
class SnapshotAttribute:
    SnapshotId: str
    Attribute: str


@dataclass(frozen=True, slots=True)
class ModifySnapshotAttribute:
    """What is added and removed, or one of both by `OperationType`."""

    SnapshotId: str
    Attribute: str | None = None
    CreateVolumePermission: Permissions | None = None
    OperationType: str | None = None
    UserIds: tuple[str, ...] = ()
    GroupNames: tuple[str, ...] = ()


async def describe_snapshot_attribute(call: Call, asked: SnapshotAttribute) -> Mapping[str, Any] | None:
    if asked.Attribute not in (PERMISSION, "productCodes"):
        raise CloudError(Code.BAD_VALUE, f"Invalid value '{asked.Attribute}' for Attribute")
    return await call.look(_describe, call, asked)


def _describe(books: Books, call: Call, asked: SnapshotAttribute) -> Mapping[str, Any]:
    found = storage_ids.snapshot(books, call, asked.SnapshotId)
    if asked.Attribute == "productCodes":
        return {"SnapshotId": found.id, "ProductCodes": []}
    users = [{"UserId": project} for project in books.snapshots.permissions([found.id]).get(found.id, ())]
    groups = [{"Group": EVERYBODY}] if found.public else []
    return {"SnapshotId": found.id, "CreateVolumePermissions": groups + users}


async def modify_snapshot_attribute(call: Call, asked: ModifySnapshotAttribute) -> Mapping[str, Any] | None:
    if asked.Attribute not in (None, PERMISSION):
        raise CloudError(Code.BAD_VALUE, f"Invalid value '{asked.Attribute}' for Attribute; {PERMISSION} can change")
    storage_ids.check_snapshot(asked.SnapshotId)
    add, remove = wanted(asked.CreateVolumePermission, asked.OperationType, asked.UserIds, asked.GroupNames)
    if not add and not remove:
        raise CloudError(Code.MISSING_PARAMETER, "The request must say to whom to give the permission or take it from")
    if len(add) + len(remove) > MOST:
        raise CloudError(Code.BAD_VALUE, f"A request changes at most {MOST} permissions")
    return await call.change(_modify, asked.SnapshotId, _checked(add), _checked(remove))


def _checked(given: Sequence[Permission]) -> tuple[list[str], bool]:
    """(accounts, whether everybody). Raises BAD_VALUE, MISSING_PARAMETER."""
    for one in given:
        if one.Group not in (None, EVERYBODY):
            raise CloudError(Code.BAD_VALUE, f"Invalid value '{(one.Group or '')[:64]}' for group: {EVERYBODY}")
        if one.UserId is not None and not PROJECT_ID.fullmatch(one.UserId):
            text = f"Invalid value '{one.UserId[:64]}' for userId: an account has twelve digits"
            raise CloudError(Code.BAD_VALUE, text)
        if one.UserId is None and one.Group is None:
            raise CloudError(Code.MISSING_PARAMETER, "A permission names a UserId or a Group")
    users = [one.UserId for one in given if one.UserId is not None]
    return users, any(one.Group is not None for one in given)


def _modify(books: Books, call: Call, id: str, add: tuple[list[str], bool], remove: tuple[list[str], bool]) -> Outcome:
    found = storage_ids.snapshot(books, call, id)
    books.snapshots.share(id, add[0], remove[0])
    if len(books.snapshots.permissions([id]).get(id, ())) > MOST_SHARED:
        raise CloudError(Code.BAD_VALUE, f"A snapshot may be shared with at most {MOST_SHARED} accounts")
    public = (found.public or add[1]) and not remove[1]
    if public is not found.public:
        books.snapshots.change(id, public=public)
    return Outcome(None, (id,))


async def reset_snapshot_attribute(call: Call, asked: SnapshotAttribute) -> Mapping[str, Any] | None:
    if asked.Attribute != PERMISSION:
        raise CloudError(Code.BAD_VALUE, f"Invalid value '{asked.Attribute}' for Attribute: {PERMISSION} can be reset")
    return await call.change(_reset, asked.SnapshotId)


def _reset(books: Books, call: Call, id: str) -> Outcome:
    storage_ids.snapshot(books, call, id)
    books.snapshots.share(id, remove=books.snapshots.permissions([id]).get(id, ()))
    books.snapshots.change(id, public=False)
    return Outcome(None, (id,))


ACTIONS = {
    "DescribeSnapshotAttribute": Action(describe_snapshot_attribute, SnapshotAttribute),
    "ModifySnapshotAttribute": Action(modify_snapshot_attribute, ModifySnapshotAttribute),
    "ResetSnapshotAttribute": Action(reset_snapshot_attribute, SnapshotAttribute),
}
