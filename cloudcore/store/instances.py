"""Instances: rows in, frozen values out. The only place that moves an instance's state, always by compare-and-swap."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any

import sqlalchemy as sa

from cloudcore.domain.instances import REQUESTS, Event, Instance, State, after
from cloudcore.errors import CloudError, Code
from cloudcore.store.schema import instance_groups, instance_mappings, instances

COLUMNS = [instances.c[field.name] for field in fields(Instance)]


def from_row(row: sa.Row[Any]) -> Instance:
    values = dict(row._mapping)
    values["state"] = State(values["state"])
    return Instance(**values)


class Instances:
    def __init__(self, connection: sa.Connection, now: Callable[[], float]) -> None:
        self._connection, self._now = connection, now

    def insert(self, made: Iterable[Instance], groups: tuple[str, ...]) -> None:
        rows = [
            {field.name: getattr(one, field.name) for field in fields(Instance)} | {"state": one.state.value}
            for one in made
        ]
        mappings = [{"instance": row["id"], "cell": row["cell"]} for row in rows]
        memberships = [{"instance": row["id"], "group_id": group} for row in rows for group in groups]
        try:
            self._connection.execute(sa.insert(instances), rows)
            self._connection.execute(sa.insert(instance_mappings), mappings)
            if memberships:
                self._connection.execute(sa.insert(instance_groups), memberships)
        except sa.exc.IntegrityError:  # a group that has just gone, or a MAC that is taken: another try finds out
            raise LostRace(rows[0]["id"]) from None

    def find(self, instance: str) -> Instance | None:
        """Whoever owns it: for the conductor. The api reads through `of_project`."""
        row = self._connection.execute(sa.select(*COLUMNS).where(instances.c.id == instance)).one_or_none()
        return from_row(row) if row else None

    def of_project(self, project: str, wanted: Iterable[str]) -> dict[str, Instance]:
        """Those of the wanted ids that belong to this project: foreign equals absent."""
        where = sa.and_(instances.c.project == project, instances.c.id.in_(list(wanted)))
        return {one.id: one for one in map(from_row, self._connection.execute(sa.select(*COLUMNS).where(where)))}

    def request(self, project: str, instance: str, event: Event) -> tuple[Instance, Instance]:
        """Moves by a request; (before, after). Equal values mean nothing changed: no new generation, no operation."""
        before = self.of_project(project, [instance]).get(instance)
        if before is None:
            raise CloudError(Code.INSTANCE_UNKNOWN, f"The instance ID '{instance}' does not exist")
        target = after(before.state, event)
        if target is None or event not in REQUESTS:
            text = f"The instance '{instance}' is {before.state.value}; it cannot {event.value} from there"
            raise CloudError(Code.INSTANCE_STATE, text)
        if target is before.state:
            return before, before
        code = "Client.UserInitiatedShutdown" if event in (Event.STOP, Event.TERMINATE) else None
        reason = f"{code}: User initiated shutdown" if code else None
        return before, self._swap(before, target, before.generation + 1, code, reason)

    def observe(self, instance: Instance, event: Event, code: str | None = None, reason: str | None = None) -> Instance:
        """Moves by a fact; the same value back when the table has no such pair (a stale fact is dropped).

        A fact that changes what is wanted makes a new generation: after a failed launch absence (or rest) is wanted,
        and after a guest that ended by itself, rest.
        """
        target = after(instance.state, event)
        if target is None or target is instance.state:
            return instance
        surprise = event is Event.GUEST_STOPPED and instance.state is not State.STOPPING
        generation = instance.generation + (1 if surprise or event is Event.LAUNCH_FAILED else 0)
        kept = code is None and target in (State.TERMINATED, State.STOPPED) and instance.reason_code
        if kept:
            code, reason = instance.reason_code, instance.reason
        return self._swap(instance, target, generation, code, reason)

    def terminate(self, instance: Instance, code: str, reason: str) -> Instance:
        """Absence is wanted, though nobody asked for it by a request: a guest that ends itself may wish so."""
        target = after(instance.state, Event.TERMINATE)
        if target is None or target is instance.state:
            return instance
        return self._swap(instance, target, instance.generation + 1, code, reason)

    def on_host(self, host: str) -> list[Instance]:
        """All that should have a trace on this host."""
        there = sa.and_(instances.c.host == host, instances.c.state != State.TERMINATED.value)
        return [from_row(row) for row in self._connection.execute(sa.select(*COLUMNS).where(there))]

    def place(self, instance: Instance, host: str, address: str) -> Instance:
        return self._update(instance, host=host, address=address)

    def protect(self, instance: Instance, protected: bool) -> Instance:
        """Whether a request may terminate it."""
        return self._update(instance, protected=protected)

    def on_shutdown(self, instance: Instance, behaviour: str) -> Instance:
        """What a shutdown from within means: stop or terminate."""
        return self._update(instance, shutdown_behaviour=behaviour)

    def vacate(self, instance: Instance) -> Instance:
        """Gives the address back. The host stays on record: people ask where it ran."""
        return self._update(instance, address=None)

    def groups_of(self, instance: str) -> tuple[str, ...]:
        found = self._connection.execute(
            sa.select(instance_groups.c.group_id).where(instance_groups.c.instance == instance).order_by("group_id")
        )
        return tuple(found.scalars())

    def _swap(self, before: Instance, state: State, generation: int, code: str | None,
              reason: str | None) -> Instance:  # fmt: skip
        return self._update(before, state=state, generation=generation, reason_code=code, reason=reason)

    def _update(self, before: Instance, **changes: Any) -> Instance:
        values = changes | {"changed": self._now()}
        stored = {name: value.value if isinstance(value, State) else value for name, value in values.items()}
        mine = sa.and_(instances.c.id == before.id, instances.c.generation == before.generation,
                       instances.c.state == before.state.value)  # fmt: skip
        if self._connection.execute(sa.update(instances).where(mine).values(**stored)).rowcount != 1:
            raise LostRace(before.id)
        return replaced(before, values)


class LostRace(Exception):
    """Somebody else moved the row in between: run the whole transaction again."""


def replaced(before: Instance, values: dict[str, Any]) -> Instance:
    return Instance(**{field.name: values.get(field.name, getattr(before, field.name)) for field in fields(Instance)})
