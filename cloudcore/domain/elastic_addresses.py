"""An elastic address as a value: given to a project, and leading to an instance or to none."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ElasticAddress:
    """`id` and `project` are empty while it is nobody's. `revision` grows with each change of where it leads to, and
    never begins anew, whoever has the address next: hosts ignore an older one. `holder` is the one host that may lead
    it to a guest; None: no host does."""

    address: str
    id: str
    project: str
    created: float  # seconds since the epoch
    revision: int
    association: str | None = None
    instance: str | None = None
    holder: str | None = None
