"""GetPasswordData: what a Windows guest has left for its owner. Ours are not Windows; EC2 answers those with an empty
text; clients ask all the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cloudcore.api import owned
from cloudcore.api.calls import Call
from cloudcore.api.registry import Action
from cloudcore.domain.instances import State
from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books


@dataclass(frozen=True, slots=True)
class GetPasswordData:
    InstanceId: str


async def get_password_data(call: Call, asked: GetPasswordData) -> Mapping[str, Any] | None:
    return await call.look(_password, call, asked.InstanceId)


def _password(books: Books, call: Call, id: str) -> Mapping[str, Any]:
    """The data was last changed when the instance was launched."""
    instance = owned.one(books, call, id)
    if instance.state in (State.SHUTTING_DOWN, State.TERMINATED):
        raise CloudError(Code.INSTANCE_STATE, f"The instance '{id}' is {instance.state.value}: it has no password data")
    return {"InstanceId": id, "Timestamp": instance.created, "PasswordData": ""}


ACTIONS = {"GetPasswordData": Action(get_password_data, GetPasswordData)}
