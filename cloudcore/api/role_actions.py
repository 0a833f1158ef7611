"""Roles of the caller's account and their policies (domain/roles.py says which documents are enforced)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from cloudcore.api import tagging
from cloudcore.api.calls import Call, Outcome
from cloudcore.api.identity import PAGED, Listing, Part, more, paged
from cloudcore.api.registry import Action, Ignored, accepted
from cloudcore.auth.keys import new_role_id
from cloudcore.domain.roles import LARGEST, Role, allowed_actions, principals
from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books
from cloudcore.store.roles import policy_unknown

NAME = re.compile(r"[A-Za-z0-9_+=,.@-]{1,64}", re.ASCII)
POLICY_NAME = re.compile(r"[A-Za-z0-9_+=,.@-]{1,128}", re.ASCII)
DESCRIPTION = 1000  # characters, prescribed
SHORTEST, LONGEST = 3600, 43_200  # seconds of a session at most, prescribed
ROLES = 1000  # of an account, prescribed


@dataclass(frozen=True, slots=True)
class CreateRole:
    RoleName: str
    AssumeRolePolicyDocument: str
    Description: str = ""
    MaxSessionDuration: int = SHORTEST
    Tags: tuple[tagging.AskedTag, ...] = ()


@dataclass(frozen=True, slots=True)
class UpdateRole:
    RoleName: str
    Description: str | None = None
    MaxSessionDuration: int | None = None


@dataclass(frozen=True, slots=True)
class UpdateRoleDescription:
    RoleName: str
    Description: str = ""  # sent empty, it takes the description away


@dataclass(frozen=True, slots=True)
class UpdateTrust:
    RoleName: str
    PolicyDocument: str


@dataclass(frozen=True, slots=True)
class TagRole:
    RoleName: str
    Tags: tuple[tagging.AskedTag, ...]


@dataclass(frozen=True, slots=True)
class UntagRole:
    RoleName: str
    TagKeys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Named:
    RoleName: str


@dataclass(frozen=True, slots=True)
class ListOfRole(Part):
    RoleName: str = ""  # which the description requires


@dataclass(frozen=True, slots=True)
class PolicyNamed:
    RoleName: str
    PolicyName: str


@dataclass(frozen=True, slots=True)
class PutRolePolicy:
    RoleName: str
    PolicyName: str
    PolicyDocument: str


async def create_role(call: Call, asked: CreateRole) -> Mapping[str, Any] | None:
    if not NAME.fullmatch(asked.RoleName):
        raise CloudError(Code.BAD_VALUE, "RoleName has 1 to 64 letters, digits or _+=,.@-")
    _check(asked.Description, asked.MaxSessionDuration)
    check_trust(call, asked.AssumeRolePolicyDocument)
    return await call.change(_create, asked, tagging.checked(asked.Tags))


def _check(description: str | None, longest: int | None) -> None:
    if description is not None and len(description) > DESCRIPTION:
        raise CloudError(Code.BAD_VALUE, f"Description has at most {DESCRIPTION} characters")
    if longest is not None and not SHORTEST <= longest <= LONGEST:
        raise CloudError(Code.BAD_VALUE, f"MaxSessionDuration must be from {SHORTEST} to {LONGEST}")


def check_trust(call: Call, document: str) -> None:
    """Raises POLICY_MALFORMED."""
    principals(document, call.project)


def _create(books: Books, call: Call, asked: CreateRole, tags: Mapping[str, str]) -> Outcome:
    if books.roles.count(call.project) >= ROLES:
        raise CloudError(Code.IDENTITY_QUOTA, f"Cannot exceed quota for RolesPerAccount: {ROLES}")
    role = Role(new_role_id(call.cloud.random), call.project, asked.RoleName, asked.Description,
                asked.AssumeRolePolicyDocument, asked.MaxSessionDuration, 0, books.now())  # fmt: skip
    books.roles.insert(role)
    books.identity_tags.put(role.id, tags)
    return Outcome({"Role": shown(role, tags)}, (role.id,))


def shown(role: Role, tags: Mapping[str, str] | None = None) -> dict[str, Any]:
    """`tags` are None in lists, where IAM shows none."""
    return {"Path": "/", "RoleName": role.name, "RoleId": role.id, "Arn": role.arn, "CreateDate": role.created,
            "AssumeRolePolicyDocument": quote(role.trust, safe=""), "Description": role.description or None,
            "MaxSessionDuration": role.longest, "Tags": tagging.shown(tags) if tags else None}  # fmt: skip


async def get_role(call: Call, asked: Named) -> Mapping[str, Any] | None:
    return {"Role": await call.look(_one_shown, call, asked.RoleName)}


def _one_shown(books: Books, call: Call, name: str) -> dict[str, Any]:
    role = _named(books, call, name)
    return shown(role, books.identity_tags.of(role.id))


def _named(books: Books, call: Call, name: str) -> Role:
    return books.roles.named(call.project, name)


async def list_roles(call: Call, asked: Listing) -> Mapping[str, Any] | None:
    if asked.PathPrefix != "/":
        return {"Roles": [], "IsTruncated": False}
    found = await call.look(_listed, call, asked)
    chosen = found[: asked.count]
    return {"Roles": [shown(role) for role in chosen], **more(found, asked.count, [role.name for role in chosen])}


def _listed(books: Books, call: Call, asked: Listing) -> list[Role]:
    return books.roles.page(call.project, asked.Marker, asked.count + 1)


async def update_role(call: Call, asked: UpdateRole) -> Mapping[str, Any] | None:
    _check(asked.Description, asked.MaxSessionDuration)
    given = {"description": asked.Description, "longest": asked.MaxSessionDuration}
    await call.change(_update, asked.RoleName, {name: value for name, value in given.items() if value is not None})
    return {}


async def update_role_description(call: Call, asked: UpdateRoleDescription) -> Mapping[str, Any] | None:
    _check(asked.Description, None)
    return await call.change(_update, asked.RoleName, {"description": asked.Description})


def _update(books: Books, call: Call, name: str, changes: Mapping[str, Any]) -> Outcome:
    role = _named(books, call, name)
    if changes:
        books.roles.update(role, **changes)
    return Outcome({"Role": _one_shown(books, call, name)}, (role.id,))


async def tag_role(call: Call, asked: TagRole) -> Mapping[str, Any] | None:
    return await call.change(_tag, asked.RoleName, tagging.checked(asked.Tags))


def _tag(books: Books, call: Call, name: str, tags: Mapping[str, str]) -> Outcome:
    role = _named(books, call, name)
    books.identity_tags.put(role.id, tags)
    return Outcome(None, (role.id,))


async def untag_role(call: Call, asked: UntagRole) -> Mapping[str, Any] | None:
    return await call.change(_untag, asked)


def _untag(books: Books, call: Call, asked: UntagRole) -> Outcome:
    role = _named(books, call, asked.RoleName)
    books.identity_tags.remove(role.id, asked.TagKeys)
    return Outcome(None, (role.id,))


async def list_role_tags(call: Call, asked: ListOfRole) -> Mapping[str, Any] | None:
    found = await call.look(_one_shown, call, asked.RoleName)
    return paged("Tags", {tag["Key"]: tag for tag in found["Tags"] or []}, asked)


async def delete_role(call: Call, asked: Named) -> Mapping[str, Any] | None:
    return await call.change(_delete, asked)


def _delete(books: Books, call: Call, asked: Named) -> Outcome:
    role = _named(books, call, asked.RoleName)
    books.roles.delete(role)
    return Outcome(None, (role.id,))


async def put_role_policy(call: Call, asked: PutRolePolicy) -> Mapping[str, Any] | None:
    if not POLICY_NAME.fullmatch(asked.PolicyName):
        raise CloudError(Code.BAD_VALUE, "PolicyName has 1 to 128 letters, digits or _+=,.@-")
    allowed_actions(asked.PolicyDocument)
    return await call.change(_put_policy, asked)


def _put_policy(books: Books, call: Call, asked: PutRolePolicy) -> Outcome:
    role = _named(books, call, asked.RoleName)
    others = {**books.roles.policies(role), asked.PolicyName: asked.PolicyDocument}
    if sum(map(len, others.values())) > LARGEST:
        raise CloudError(Code.IDENTITY_QUOTA, f"Maximum policy size of {LARGEST} characters exceeded for the role")
    books.roles.put_policy(role, asked.PolicyName, asked.PolicyDocument)
    return Outcome(None, (role.id,))


async def get_role_policy(call: Call, asked: PolicyNamed) -> Mapping[str, Any] | None:
    documents = await call.look(_policies, call, asked.RoleName)
    if asked.PolicyName not in documents:
        raise policy_unknown(asked.PolicyName)
    return {"RoleName": asked.RoleName, "PolicyName": asked.PolicyName,
            "PolicyDocument": quote(documents[asked.PolicyName], safe="")}  # fmt: skip


def _policies(books: Books, call: Call, name: str) -> dict[str, str]:
    return books.roles.policies(_named(books, call, name))


async def list_role_policies(call: Call, asked: ListOfRole) -> Mapping[str, Any] | None:
    documents = await call.look(_policies, call, asked.RoleName)
    return paged("PolicyNames", {name: name for name in documents}, asked)


async def list_attached_role_policies(call: Call, asked: Named) -> Mapping[str, Any] | None:
    """There are no managed policies, so none is attached."""
    await call.look(_named, call, asked.RoleName)
    return {"AttachedPolicies": [], "IsTruncated": False}


async def delete_role_policy(call: Call, asked: PolicyNamed) -> Mapping[str, Any] | None:
    return await call.change(_delete_policy, asked)


def _delete_policy(books: Books, call: Call, asked: PolicyNamed) -> Outcome:
    role = _named(books, call, asked.RoleName)
    books.roles.delete_policy(role, asked.PolicyName)
    return Outcome(None, (role.id,))


ACTIONS = {
    "CreateRole": Action(create_role, CreateRole, {"Path": accepted("/")}),
    "GetRole": Action(get_role, Named),
    "ListRoles": Action(list_roles, Listing),
    "UpdateRole": Action(update_role, UpdateRole),
    "UpdateRoleDescription": Action(update_role_description, UpdateRoleDescription),
    "TagRole": Action(tag_role, TagRole),
    "UntagRole": Action(untag_role, UntagRole),
    "ListRoleTags": Action(list_role_tags, ListOfRole),
    "DeleteRole": Action(delete_role, Named),
    "PutRolePolicy": Action(put_role_policy, PutRolePolicy),
    "GetRolePolicy": Action(get_role_policy, PolicyNamed),
    "ListRolePolicies": Action(list_role_policies, ListOfRole),
    "ListAttachedRolePolicies": Action(list_attached_role_policies, Named,
                                       {**PAGED, "PathPrefix": Ignored("there is none on any path")}),
    "DeleteRolePolicy": Action(delete_role_policy, PolicyNamed),
}  # fmt: skip
