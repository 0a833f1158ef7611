"""Instances by id, as every action that names some wants them: well-formed, known, the account's own."""

from __future__ import annotations

from collections.abc import Sequence

from cloudcore.api.calls import Call
from cloudcore.domain.ids import well_formed
from cloudcore.domain.instances import Instance, State
from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books


def checked(ids: Sequence[str]) -> tuple[str, ...]:
    """Each once, in the order given. Raises INSTANCE_MALFORMED."""
    for id in ids:
        if not well_formed("instance", id):
            raise CloudError(Code.INSTANCE_MALFORMED, f"Invalid id: \"{id}\" (expecting \"i-...\")")
    return tuple(dict.fromkeys(ids))


def every(books: Books, call: Call, ids: Sequence[str]) -> dict[str, Instance]:
    """Raises INSTANCE_UNKNOWN when one is not there."""
    own = books.instances.of_project(call.project, ids)
    unknown = [id for id in ids if id not in own]
    if unknown:
        plural = len(unknown) > 1
        text = f"The instance ID{'s' if plural else ''} '{', '.join(unknown)}' do{'' if plural else 'es'} not exist"
        raise CloudError(Code.INSTANCE_UNKNOWN, text)
    return own


def one(books: Books, call: Call, id: str) -> Instance:
    """Raises INSTANCE_MALFORMED, INSTANCE_UNKNOWN."""
    return every(books, call, checked([id]))[id]


def alive(books: Books, call: Call, id: str) -> Instance:
    """One that may be changed. Raises INSTANCE_STATE as well."""
    found = one(books, call, id)
    if found.state in (State.SHUTTING_DOWN, State.TERMINATED):
        raise CloudError(Code.INSTANCE_STATE, f"The instance '{id}' is {found.state.value}; it cannot be modified")
    return found
