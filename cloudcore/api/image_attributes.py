"""Attributes of an image: its description, and who may start from it; from when on it is deprecated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloudcore.api.calls import Call, Outcome
from cloudcore.api.descriptions import check_description
from cloudcore.api.image_names import check_id
from cloudcore.api.image_views import SIMPLE, mapping_view
from cloudcore.api.registry import Action, accepted
from cloudcore.api.sharing import EVERYBODY, MOST_SHARED, Permission, Permissions, wanted
from cloudcore.auth.rules import PROJECT_ID
from cloudcore.domain.images import Image
from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books

FARTHEST = 10 * 366 * 86400.0  # seconds from now that a deprecation may lie ahead: EC2's ten years for own images


@dataclass(frozen=True, slots=True)
class Text:
    Value: str = ""


@dataclass(frozen=True, slots=True)
class DescribeImageAttribute:
    ImageId: str
    Attribute: str


@dataclass(frozen=True, slots=True)
class ModifyImageAttribute:
    ImageId: str
    Attribute: str | None = None
    Description: Text | None = None
    LaunchPermission: Permissions | None = None
    OperationType: str | None = None
    UserGroups: tuple[str, ...] = ()
    UserIds: tuple[str, ...] = ()
    Value: str | None = None


@dataclass(frozen=True, slots=True)
class ResetImageAttribute:
    ImageId: str
    Attribute: str


@dataclass(frozen=True, slots=True)
class EnableImageDeprecation:
    ImageId: str
    DeprecateAt: float


@dataclass(frozen=True, slots=True)
class DisableImageDeprecation:
    ImageId: str


# -- described ---------------------------------------------------------------------------------------------------------


async def describe_image_attribute(call: Call, asked: DescribeImageAttribute) -> Mapping[str, Any] | None:
    if asked.Attribute not in ATTRIBUTES:
        raise CloudError(Code.BAD_VALUE, f"Invalid value '{asked.Attribute}' for Attribute")
    return await call.look(_describe, call, check_id(asked.ImageId), asked.Attribute)


def _describe(books: Books, call: Call, id: str, attribute: str) -> Mapping[str, Any]:
    image = books.images.owned(call.project, id)
    return {"ImageId": id, **ATTRIBUTES[attribute](books, image)}


def _permissions(books: Books, image: Image) -> Mapping[str, Any]:
    shared = books.images.permissions([image.id]).get(image.id, ())
    return {"LaunchPermissions": [{"Group": EVERYBODY}] * image.public + [{"UserId": one} for one in sorted(shared)]}


ATTRIBUTES: Mapping[str, Callable[[Books, Image], Mapping[str, Any]]] = {
    "description": lambda books, image: {"Description": {"Value": image.description}},
    "kernel": lambda books, image: {"KernelId": {}},
    "ramdisk": lambda books, image: {"RamdiskId": {}},
    "launchPermission": _permissions,
    "productCodes": lambda books, image: {"ProductCodes": []},
    "blockDeviceMapping": lambda books, image: {
        "BlockDeviceMappings": [mapping_view(one) for one in image.mappings]},
    "sriovNetSupport": lambda books, image: {"SriovNetSupport": {"Value": SIMPLE} if image.sriov else {}},
    "bootMode": lambda books, image: {"BootMode": {"Value": "legacy-bios"}},
}  # fmt: skip


# -- changed -----------------------------------------------------------------------------------------------------------


async def modify_image_attribute(call: Call, asked: ModifyImageAttribute) -> Mapping[str, Any] | None:
    """One attribute at a time, in the old form (Attribute and Value, or OperationType) or the new."""
    add, remove = _changes(asked)
    description = _description(asked)
    if description is None and not add and not remove:
        text = "The request must contain Description or LaunchPermission, or Attribute with what it is to be"
        raise CloudError(Code.MISSING_PARAMETER, text)
    if description is not None and (add or remove):
        raise CloudError(Code.BAD_COMBINATION, "One attribute may be modified at a time")
    return await call.change(_modify, check_id(asked.ImageId), description, add, remove)


def _description(asked: ModifyImageAttribute) -> str | None:
    given = asked.Description.Value if asked.Description else None
    if asked.Attribute == "description":
        given = asked.Value if asked.Value is not None else given or ""
    elif asked.Attribute not in (None, "launchPermission"):
        raise CloudError(Code.BAD_VALUE, f"The attribute '{asked.Attribute}' of an image cannot be modified")
    check_description(given)
    return given


def _changes(asked: ModifyImageAttribute) -> tuple[set[str], set[str]]:
    """(accounts to add, to remove), `all` for everybody."""
    add, remove = map(_named, wanted(asked.LaunchPermission, asked.OperationType, asked.UserIds, asked.UserGroups))
    if add & remove:
        raise CloudError(Code.BAD_COMBINATION, f"'{min(add & remove)}' is to be added and removed at once")
    return add, remove


def _named(permissions: Sequence[Permission]) -> set[str]:
    named = set()
    for one in permissions:
        if one.Group not in (None, EVERYBODY) or (one.UserId is not None and not PROJECT_ID.fullmatch(one.UserId)):
            text = f"Invalid value '{one.Group or one.UserId}': an account id of twelve digits, or the group all"
            raise CloudError(Code.BAD_VALUE, text)
        if (one.Group is None) == (one.UserId is None):
            raise CloudError(Code.BAD_COMBINATION, "A permission names either a UserId or a Group")
        named.add(one.Group or one.UserId or "")
    return named


def _modify(books: Books, call: Call, id: str, description: str | None, add: set[str], remove: set[str]) -> Outcome:
    image = books.images.owned(call.project, id)
    if description is not None:
        books.images.change(image.id, description=description)
    if EVERYBODY in add | remove:
        books.images.change(image.id, public=EVERYBODY in add)
    books.images.share(image.id, add - {EVERYBODY}, remove - {EVERYBODY})
    if len(books.images.permissions([id]).get(id, ())) > MOST_SHARED:
        raise CloudError(Code.BAD_VALUE, f"An image may be shared with at most {MOST_SHARED} accounts")
    return Outcome(None, (id,))


async def reset_image_attribute(call: Call, asked: ResetImageAttribute) -> Mapping[str, Any] | None:
    if asked.Attribute != "launchPermission":
        raise CloudError(Code.BAD_VALUE, f"Invalid value '{asked.Attribute}' for Attribute: launchPermission")
    return await call.change(_reset, check_id(asked.ImageId))


def _reset(books: Books, call: Call, id: str) -> Outcome:
    image = books.images.owned(call.project, id)
    books.images.change(image.id, public=False)
    books.images.share(image.id, remove=books.images.permissions([id]).get(id, ()))
    return Outcome(None, (id,))


# -- deprecated --------------------------------------------------------------------------------------------------------


async def enable_image_deprecation(call: Call, asked: EnableImageDeprecation) -> Mapping[str, Any] | None:
    at, now = asked.DeprecateAt, call.cloud.clock.seconds()
    if not now - 60 <= at <= now + FARTHEST:
        raise CloudError(Code.BAD_VALUE, "DeprecateAt must lie between now and ten years from now")
    return await call.change(_deprecate, check_id(asked.ImageId), at - at % 60)  # EC2 rounds to the minute


async def disable_image_deprecation(call: Call, asked: DisableImageDeprecation) -> Mapping[str, Any] | None:
    return await call.change(_deprecate, check_id(asked.ImageId), None)


def _deprecate(books: Books, call: Call, id: str, at: float | None) -> Outcome:
    books.images.owned(call.project, id)
    books.images.change(id, deprecated=at)
    return Outcome({"Return": True}, (id,))


ACTIONS = {
    "DescribeImageAttribute": Action(describe_image_attribute, DescribeImageAttribute),
    "ModifyImageAttribute": Action(modify_image_attribute, ModifyImageAttribute, {"ProductCodes": accepted([])}),
    "ResetImageAttribute": Action(reset_image_attribute, ResetImageAttribute),
    "EnableImageDeprecation": Action(enable_image_deprecation, EnableImageDeprecation),
    "DisableImageDeprecation": Action(disable_image_deprecation, DisableImageDeprecation),
}
