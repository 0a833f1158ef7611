"""Which instance has which instance profile: EC2's side of them. An association is durable with the answer; keys for
the role are made by the conductor, which tells the host (operation `replug`). What ends an association ends its keys.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloudcore.api import owned, port_changes
from cloudcore.api.calls import Call, Outcome
from cloudcore.api.describing import Asked, Filter, Kind, Row, describe
from cloudcore.api.registry import Action
from cloudcore.domain.instance_profiles import InstanceProfile, ProfileAssociation
from cloudcore.domain.instances import Instance, State
from cloudcore.domain.policy import PASS_ROLE, permits
from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books
from cloudcore.store.pages import Wanted

ARN = re.compile(r"arn:aws:iam::([0-9]{12}):instance-profile(/(?:[!-.0-~]+/)*)([A-Za-z0-9_+=,.@-]{1,128})", re.ASCII)
ENDING = (State.SHUTTING_DOWN, State.TERMINATED)


@dataclass(frozen=True, slots=True)
class ProfileNamed:
    Arn: str | None = None
    Name: str | None = None


@dataclass(frozen=True, slots=True)
class AssociateIamInstanceProfile:
    IamInstanceProfile: ProfileNamed
    InstanceId: str


@dataclass(frozen=True, slots=True)
class DisassociateIamInstanceProfile:
    AssociationId: str


@dataclass(frozen=True, slots=True)
class ReplaceIamInstanceProfileAssociation:
    IamInstanceProfile: ProfileNamed
    AssociationId: str


@dataclass(frozen=True, slots=True)
class DescribeIamInstanceProfileAssociations:
    AssociationIds: tuple[str, ...] = ()
    Filters: tuple[Filter, ...] = ()
    MaxResults: int | None = None
    NextToken: str | None = None


# -- what a launch needs ----------------------------------------------------------------------------------------------


def check_pass(call: Call, wanted: ProfileNamed | None) -> None:
    """Whoever gives an instance a profile gives it what the role may. Raises NOT_AUTHORISED, MISSING_PARAMETER,
    BAD_COMBINATION."""
    if wanted is None:
        return
    if wanted.Name is not None and wanted.Arn is not None:
        text = "The parameter 'iamInstanceProfile.name' may not be used in combination with 'iamInstanceProfile.arn'"
        raise CloudError(Code.BAD_COMBINATION, text)
    named = wanted.Name or wanted.Arn
    if not named:
        text = "The request must contain the parameter IamInstanceProfile.Name or IamInstanceProfile.Arn"
        raise CloudError(Code.MISSING_PARAMETER, text)
    if not permits(call.caller, PASS_ROLE):
        text = f"You are not authorized to perform: {PASS_ROLE} with the instance profile {named[:256]}"
        raise CloudError(Code.NOT_AUTHORISED, text)


def named(books: Books, call: Call, wanted: ProfileNamed | None) -> InstanceProfile | None:
    """Raises PROFILE_UNKNOWN: its text is what clients wait by, for a profile that was made a moment ago."""
    if wanted is None:
        return None
    match = ARN.fullmatch(wanted.Arn or "")
    mine = match is not None and match[1] == call.project
    name = match[3] if match is not None and mine else wanted.Name or ""
    try:
        found = books.profiles.named(call.project, name)
    except CloudError:
        found = None
    if found is None or (wanted.Arn is not None and found.arn != wanted.Arn):
        given, how = (wanted.Arn, "arn") if wanted.Arn is not None else (wanted.Name, "name")
        text = f"Value ({given}) for parameter iamInstanceProfile.{how} is invalid. Invalid IAM Instance Profile {how}"
        raise CloudError(Code.PROFILE_UNKNOWN, text)
    return found


def begun(books: Books, call: Call, profile: InstanceProfile | None,
          instances: Collection[str]) -> dict[str, ProfileAssociation]:  # fmt: skip
    """Of instances whose rows name the profile already; by instance. Raises PROFILE_ASSOCIATED."""
    if profile is None:
        return {}
    made = books.profile_associations.begin(profile, [(_new_id(call), id) for id in instances])
    return {one.instance: one for one in made}


def _new_id(call: Call) -> str:
    return f"iip-assoc-{call.cloud.random(9).hex()[:17]}"


# -- afterwards -------------------------------------------------------------------------------------------------------


async def associate(call: Call, asked: AssociateIamInstanceProfile) -> Mapping[str, Any] | None:
    check_pass(call, asked.IamInstanceProfile)
    return await call.change(_associate, asked)


def _associate(books: Books, call: Call, asked: AssociateIamInstanceProfile) -> Outcome:
    instance = owned.alive(books, call, asked.InstanceId)
    profile = named(books, call, asked.IamInstanceProfile)
    return _associated(books, call, instance, profile)


def _associated(books: Books, call: Call, instance: Instance, profile: InstanceProfile | None) -> Outcome:
    association = begun(books, call, profile, [instance.id])[instance.id]
    operation = port_changes.reshaped(books, call, instance, profile=association.profile_id)
    return Outcome(_answer(association, "associating"), (association.id, instance.id), (operation,))


async def disassociate(call: Call, asked: DisassociateIamInstanceProfile) -> Mapping[str, Any] | None:
    return await call.change(_disassociate, asked)


def _disassociate(books: Books, call: Call, asked: DisassociateIamInstanceProfile) -> Outcome:
    association, instance = _known(books, call, asked.AssociationId)
    _end(books, association)
    told = () if instance.state in ENDING else (port_changes.reshaped(books, call, instance, profile=None),)
    return Outcome(_answer(association, "disassociating"), (association.id, instance.id), told)


async def replace(call: Call, asked: ReplaceIamInstanceProfileAssociation) -> Mapping[str, Any] | None:
    check_pass(call, asked.IamInstanceProfile)
    return await call.change(_replace, asked)


def _replace(books: Books, call: Call, asked: ReplaceIamInstanceProfileAssociation) -> Outcome:
    association, instance = _known(books, call, asked.AssociationId)
    profile = named(books, call, asked.IamInstanceProfile)
    if instance.state in ENDING:
        text = f"The instance '{instance.id}' is {instance.state.value}; it cannot be modified"
        raise CloudError(Code.INSTANCE_STATE, text)
    _end(books, association)
    return _associated(books, call, instance, profile)


def _end(books: Books, association: ProfileAssociation) -> None:
    books.profile_associations.end(association.instance)
    books.instance_keys.drop(association.instance)


def _known(books: Books, call: Call, id: str) -> tuple[ProfileAssociation, Instance]:
    found = books.profile_associations.find(call.project, id)
    instance = books.instances.find(found.instance) if found else None
    if found is None or instance is None:
        raise CloudError(Code.ASSOCIATION_UNKNOWN, f"The association ID '{id}' does not exist")
    return found, instance


def _answer(association: ProfileAssociation, state: str) -> dict[str, Any]:
    return {"IamInstanceProfileAssociation": _shown(association, state)}


def _shown(one: ProfileAssociation, state: str) -> dict[str, Any]:
    return {"AssociationId": one.id, "InstanceId": one.instance, "State": state, "Timestamp": one.created,
            "IamInstanceProfile": profile_view(one)}  # fmt: skip


def profile_view(one: ProfileAssociation) -> dict[str, str]:
    return {"Arn": one.profile_arn, "Id": one.profile_id}


# -- describing -------------------------------------------------------------------------------------------------------

Held = tuple[ProfileAssociation, Instance]


def _rows(books: Books, call: Call, wanted: Wanted) -> Sequence[Row[Held]]:
    found = books.profile_associations.page(call.project, wanted)
    return [Row(one.created, one.id, (one, instance)) for one, instance in found]


def _view(call: Call, held: Held, tags: list[dict[str, str]]) -> dict[str, Any]:
    """`associating` until the host has confirmed what it was told last."""
    association, instance = held
    return _shown(association, "associated" if instance.port_applied >= instance.port_revision else "associating")


ASSOCIATION: Kind[Held] = Kind(
    fetch=_rows,
    view=_view,
    noun="association ID",
    unknown=Code.ASSOCIATION_UNKNOWN,
    filters={"instance-id": "InstanceId", "state": "State"},
    columns={"instance-id": "instance"},
)


async def describe_associations(call: Call, asked: DescribeIamInstanceProfileAssociations) -> Mapping[str, Any] | None:
    wanted = Asked(asked.AssociationIds, asked.Filters, asked.MaxResults, asked.NextToken)
    found = await call.look(describe, call, ASSOCIATION, wanted)
    return {"IamInstanceProfileAssociations": found.items, "NextToken": found.token}


ACTIONS = {
    "AssociateIamInstanceProfile": Action(associate, AssociateIamInstanceProfile),
    "DisassociateIamInstanceProfile": Action(disassociate, DisassociateIamInstanceProfile),
    "ReplaceIamInstanceProfileAssociation": Action(replace, ReplaceIamInstanceProfileAssociation),
    "DescribeIamInstanceProfileAssociations": Action(describe_associations, DescribeIamInstanceProfileAssociations),
}
