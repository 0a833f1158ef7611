"""MonitorInstances and UnmonitorInstances: what was asked is kept and shown. Measurements have one resolution here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from cloudcore.api import owned
from cloudcore.api.calls import Call, Outcome
from cloudcore.api.registry import Action
from cloudcore.domain.instances import Instance
from cloudcore.store.books import Books


@dataclass(frozen=True, slots=True)
class Monitored:
    InstanceIds: tuple[str, ...]


def view(instance: Instance) -> dict[str, str]:
    return {"State": "enabled" if instance.monitored else "disabled"}


async def set_monitoring(call: Call, asked: Monitored, wanted: bool) -> Mapping[str, Any] | None:
    return await call.change(_set, owned.checked(asked.InstanceIds), wanted)


def _set(books: Books, call: Call, ids: Sequence[str], wanted: bool) -> Outcome:
    owned.every(books, call, ids)
    changed = [books.instances.modify(owned.alive(books, call, id), monitored=wanted) for id in ids]
    views = [{"InstanceId": one.id, "Monitoring": view(one)} for one in changed]
    return Outcome({"InstanceMonitorings": views}, tuple(ids))


ACTIONS = {
    "MonitorInstances": Action(partial(set_monitoring, wanted=True), Monitored),
    "UnmonitorInstances": Action(partial(set_monitoring, wanted=False), Monitored),
}
