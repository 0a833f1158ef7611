"""Instance profiles of the caller's account: IAM's side of them. EC2's is profile_associations.py."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cloudcore.api import port_changes, role_actions, tagging
from cloudcore.api.calls import Call, Outcome
from cloudcore.api.identity import MOST, Listing, Part, more, paged
from cloudcore.api.registry import Action
from cloudcore.auth.keys import new_profile_id
from cloudcore.domain.instance_profiles import InstanceProfile
from cloudcore.domain.roles import Role
from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books

NAME = re.compile(r"[A-Za-z0-9_+=,.@-]{1,128}", re.ASCII)
PATH = re.compile(r"/([!-.0-~]{1,510}/)*", re.ASCII)
PATH_LENGTH = 512  # prescribed
PROFILES = 1000  # of an account, prescribed


@dataclass(frozen=True, slots=True)
class CreateInstanceProfile:
    InstanceProfileName: str
    Path: str = "/"
    Tags: tuple[tagging.AskedTag, ...] = ()


@dataclass(frozen=True, slots=True)
class Named:
    InstanceProfileName: str


@dataclass(frozen=True, slots=True)
class ListTags(Part):
    InstanceProfileName: str = ""  # which the description requires


@dataclass(frozen=True, slots=True)
class ListForRole:
    RoleName: str
    Marker: str = ""
    MaxItems: int = MOST


@dataclass(frozen=True, slots=True)
class WithRole:
    InstanceProfileName: str
    RoleName: str


@dataclass(frozen=True, slots=True)
class TagInstanceProfile:
    InstanceProfileName: str
    Tags: tuple[tagging.AskedTag, ...]


@dataclass(frozen=True, slots=True)
class UntagInstanceProfile:
    InstanceProfileName: str
    TagKeys: tuple[str, ...]


async def create_instance_profile(call: Call, asked: CreateInstanceProfile) -> Mapping[str, Any] | None:
    if not NAME.fullmatch(asked.InstanceProfileName):
        raise CloudError(Code.BAD_VALUE, "InstanceProfileName has 1 to 128 letters, digits or _+=,.@-")
    if not PATH.fullmatch(asked.Path) or len(asked.Path) > PATH_LENGTH:
        raise CloudError(Code.BAD_VALUE, f"Path begins and ends in / and has at most {PATH_LENGTH} characters")
    return await call.change(_create, asked, tagging.checked(asked.Tags))


def _create(books: Books, call: Call, asked: CreateInstanceProfile, tags: Mapping[str, str]) -> Outcome:
    if books.profiles.count(call.project) >= PROFILES:
        text = f"Cannot exceed quota for InstanceProfilesPerAccount: {PROFILES}"
        raise CloudError(Code.IDENTITY_QUOTA, text)
    profile = InstanceProfile(new_profile_id(call.cloud.random), call.project, asked.InstanceProfileName, asked.Path,
                              books.now())  # fmt: skip
    books.profiles.insert(profile)
    books.identity_tags.put(profile.id, tags)
    return Outcome({"InstanceProfile": _shown(profile, {}, tags)}, (profile.id,))


def _shown(profile: InstanceProfile, roles: Mapping[str, Role], tags: Mapping[str, str] | None) -> dict[str, Any]:
    """`tags` are None in lists, where IAM shows none."""
    held = roles.get(profile.role_id or "")
    return {"Path": profile.path, "InstanceProfileName": profile.name, "InstanceProfileId": profile.id,
            "Arn": profile.arn, "CreateDate": profile.created, "Roles": [role_actions.shown(held)] if held else [],
            "Tags": None if tags is None else tagging.shown(tags)}  # fmt: skip


async def get_instance_profile(call: Call, asked: Named) -> Mapping[str, Any] | None:
    return {"InstanceProfile": await call.look(_one_shown, call, asked.InstanceProfileName)}


def _one_shown(books: Books, call: Call, name: str) -> dict[str, Any]:
    profile = books.profiles.named(call.project, name)
    roles = books.roles.found([profile.role_id] if profile.role_id else [])
    return _shown(profile, roles, books.identity_tags.of(profile.id))


async def list_instance_profiles(call: Call, asked: Listing) -> Mapping[str, Any] | None:
    return await call.look(_listed, call, asked, None)


async def list_instance_profiles_for_role(call: Call, asked: ListForRole) -> Mapping[str, Any] | None:
    whole = Listing(Marker=asked.Marker, MaxItems=asked.MaxItems)
    return await call.look(_listed, call, whole, asked.RoleName)


def _listed(books: Books, call: Call, asked: Listing, role: str | None) -> Mapping[str, Any]:
    """`role` is the name of one that they hold."""
    held = None if role is None else books.roles.named(call.project, role).id
    found = books.profiles.page(call.project, asked.Marker, asked.count + 1, asked.PathPrefix, held)
    page = found[: asked.count]
    roles = books.roles.found({one.role_id for one in page if one.role_id})
    return {"InstanceProfiles": [_shown(one, roles, None) for one in page],
            **more(found, asked.count, [one.name for one in page])}  # fmt: skip


async def delete_instance_profile(call: Call, asked: Named) -> Mapping[str, Any] | None:
    return await call.change(_delete, asked)


def _delete(books: Books, call: Call, asked: Named) -> Outcome:
    profile = books.profiles.named(call.project, asked.InstanceProfileName)
    books.profiles.delete(profile)
    return Outcome(None, (profile.id,), retold(books, call, profile))


async def add_role_to_instance_profile(call: Call, asked: WithRole) -> Mapping[str, Any] | None:
    return await call.change(_add_role, asked)


def _add_role(books: Books, call: Call, asked: WithRole) -> Outcome:
    profile = books.profiles.named(call.project, asked.InstanceProfileName)
    role = books.roles.named(call.project, asked.RoleName)
    books.profiles.add_role(profile, role)
    return Outcome(None, (profile.id, role.id), retold(books, call, profile))


async def remove_role_from_instance_profile(call: Call, asked: WithRole) -> Mapping[str, Any] | None:
    return await call.change(_remove_role, asked)


def _remove_role(books: Books, call: Call, asked: WithRole) -> Outcome:
    """Keys that instances have by it end at once."""
    profile = books.profiles.named(call.project, asked.InstanceProfileName)
    role = books.roles.named(call.project, asked.RoleName)
    books.profiles.remove_role(profile, role)
    books.instance_keys.drop_of_profile(profile.id)
    return Outcome(None, (profile.id, role.id), retold(books, call, profile))


def retold(books: Books, call: Call, profile: InstanceProfile) -> tuple[str, ...]:
    """What instances with this profile may has changed: the operations that tell their hosts."""
    return tuple(port_changes.reshaped(books, call, one) for one in books.profile_associations.holders(profile.id))


# -- trust and tags ---------------------------------------------------------------------------------------------------


async def update_assume_role_policy(call: Call, asked: role_actions.UpdateTrust) -> Mapping[str, Any] | None:
    role_actions.check_trust(call, asked.PolicyDocument)
    return await call.change(_update_trust, asked)


def _update_trust(books: Books, call: Call, asked: role_actions.UpdateTrust) -> Outcome:
    """Whether instances trusted is told to all that have the role."""
    role = books.roles.named(call.project, asked.RoleName)
    books.roles.update(role, trust=asked.PolicyDocument)
    holding = books.profiles.page(call.project, "", PROFILES, role=role.id)
    return Outcome(None, (role.id,), tuple(told for one in holding for told in retold(books, call, one)))


async def tag_instance_profile(call: Call, asked: TagInstanceProfile) -> Mapping[str, Any] | None:
    return await call.change(_tag, asked.InstanceProfileName, tagging.checked(asked.Tags))


def _tag(books: Books, call: Call, name: str, tags: Mapping[str, str]) -> Outcome:
    profile = books.profiles.named(call.project, name)
    books.identity_tags.put(profile.id, tags)
    return Outcome(None, (profile.id,))


async def untag_instance_profile(call: Call, asked: UntagInstanceProfile) -> Mapping[str, Any] | None:
    return await call.change(_untag, asked)


def _untag(books: Books, call: Call, asked: UntagInstanceProfile) -> Outcome:
    profile = books.profiles.named(call.project, asked.InstanceProfileName)
    books.identity_tags.remove(profile.id, asked.TagKeys)
    return Outcome(None, (profile.id,))


async def list_instance_profile_tags(call: Call, asked: ListTags) -> Mapping[str, Any] | None:
    found = await call.look(_one_shown, call, asked.InstanceProfileName)
    return paged("Tags", {tag["Key"]: tag for tag in found["Tags"]}, asked)


ACTIONS = {
    "CreateInstanceProfile": Action(create_instance_profile, CreateInstanceProfile),
    "GetInstanceProfile": Action(get_instance_profile, Named),
    "ListInstanceProfiles": Action(list_instance_profiles, Listing),
    "ListInstanceProfilesForRole": Action(list_instance_profiles_for_role, ListForRole),
    "DeleteInstanceProfile": Action(delete_instance_profile, Named),
    "AddRoleToInstanceProfile": Action(add_role_to_instance_profile, WithRole),
    "RemoveRoleFromInstanceProfile": Action(remove_role_from_instance_profile, WithRole),
    "UpdateAssumeRolePolicy": Action(update_assume_role_policy, role_actions.UpdateTrust),
    "TagInstanceProfile": Action(tag_instance_profile, TagInstanceProfile),
    "UntagInstanceProfile": Action(untag_instance_profile, UntagInstanceProfile),
    "ListInstanceProfileTags": Action(list_instance_profile_tags, ListTags),
}
