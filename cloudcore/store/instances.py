"""Instances: rows in, frozen values out. The only place that moves an instance's state, always by compare-and-swap."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import fields
from functools import cache
from typing import Any

import sqlalchemy as sa

from cloudcore.domain.instances import REQUESTS, Event, Instance, State, after
from cloudcore.errors import CloudError, Code
from cloudcore.store.lasting import lasting
from cloudcore.store.schema import instance_groups, instance_mappings, instances

COLUMNS = [instances.c[field.name] for field in fields(Instance)]
FIND = sa.select(*COLUMNS).where(instances.c.id == sa.bindparam("the_id"))
GROUPS_OF = (
    sa.select(instance_groups.c.group_id).where(instance_groups.c.instance == sa.bindparam("the_id"))
    .order_by(instance_groups.c.group_id)
)  # fmt: skip
UNCHANGED = sa.and_(instances.c.id == sa.bindparam("the_id"), instances.c.generation == sa.bindparam("the_generation"),
                    instances.c.state == sa.bindparam("the_state"))  # fmt: skip
INSERT, INSERT_MAPPINGS = sa.insert(instances), sa.insert(instance_mappings)
INSERT_GROUPS = sa.insert(instance_groups)
MOVE = sa.update(instances).where(UNCHANGED)
OF_TYPE = sa.and_(UNCHANGED, instances.c.instance_type == sa.bindparam("the_type"))


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
            self._connection.execute(INSERT, rows)
            self._connection.execute(INSERT_MAPPINGS, mappings)
            if memberships:
                self._connection.execute(INSERT_GROUPS, memberships)
        except sa.exc.IntegrityError:  # a group that has just gone, or a MAC that is taken: another try finds out
            raise LostRace(rows[0]["id"]) from None

    def find(self, instance: str) -> Instance | None:
        """Whoever owns it: for the conductor. The api reads through `of_project`."""
        row = self._connection.execute(FIND, {"the_id": instance}).one_or_none()
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

    def modify(self, instance: Instance, **changes: Any) -> Instance:
        """Sets attributes that are nobody's state. The moment of the last change stays: that is of the state."""
        return self._update(instance, **changes, changed=instance.changed)

    def retype(self, instance: Instance, name: str, vcpus: int, memory_mib: int) -> None:
        """Another type. Raises LostRace also where somebody else has just changed it, and counted the difference."""
        seen = {"the_id": instance.id, "the_generation": instance.generation, "the_state": instance.state.value,
                "the_type": instance.instance_type}  # fmt: skip
        other = sa.update(instances).where(OF_TYPE).values(instance_type=name, vcpus=vcpus, memory_mib=memory_mib)
        if self._connection.execute(other, seen).rowcount != 1:
            raise LostRace(instance.id)

    def reshape_port(self, instance: Instance, **changes: Any) -> Instance:
        """As `modify`, and what the instance's port says changes: the host must hear of it. Returns the row as it is
        after whatever was written to it before."""
        seen = {"the_id": instance.id, "the_generation": instance.generation, "the_state": instance.state.value}
        stored = {f"new_{name}": value for name, value in changes.items()}
        if self._connection.execute(reshape(tuple(stored)), seen | stored).rowcount != 1:
            raise LostRace(instance.id)
        return from_row(self._connection.execute(FIND, {"the_id": instance.id}).one())

    def port_confirmed(self, instance: str, revision: int) -> None:
        older = sa.and_(instances.c.id == instance, instances.c.port_applied < revision)
        self._connection.execute(sa.update(instances).where(older).values(port_applied=revision))

    def join(self, instance: str, groups: Collection[str]) -> None:
        """Member of exactly these groups from now on."""
        mine = instance_groups.c.instance == instance
        rows = [{"instance": instance, "group_id": group} for group in groups]
        try:
            self._connection.execute(sa.delete(instance_groups).where(mine))
            self._connection.execute(sa.insert(instance_groups), rows)
        except sa.exc.IntegrityError:  # a group that has just gone: another try finds out
            raise LostRace(instance) from None

    def vacate(self, instance: Instance) -> Instance:
        """Gives the address back. The host stays on record: people ask where it ran."""
        return self._update(instance, address=None)

    def groups_of(self, instance: str) -> tuple[str, ...]:
        found = self._connection.execute(GROUPS_OF, {"the_id": instance})
        return tuple(found.scalars())

    def _swap(self, before: Instance, state: State, generation: int, code: str | None,
              reason: str | None) -> Instance:  # fmt: skip
        return self._update(before, state=state, generation=generation, reason_code=code, reason=reason)

    def _update(self, before: Instance, **changes: Any) -> Instance:
        values = {"changed": self._now()} | changes
        stored = {f"new_{name}": value.value if isinstance(value, State) else value for name, value in values.items()}
        seen = {"the_id": before.id, "the_generation": before.generation, "the_state": before.state.value}
        if self._connection.execute(move(tuple(stored)), seen | stored).rowcount != 1:
            raise LostRace(before.id)
        return replaced(before, values)


@cache
def move(parameters: tuple[str, ...]) -> sa.Update:
    """Sets the columns that these parameters (`new_state` ...) name."""
    return lasting(MOVE.values({name.removeprefix("new_"): sa.bindparam(name) for name in parameters}))


@cache
def reshape(parameters: tuple[str, ...]) -> sa.Update:
    """As `move`, with one more revision of the port."""
    return lasting(move(parameters).values(port_revision=instances.c.port_revision + 1))


class LostRace(Exception):
    """Somebody else moved the row in between: run the whole transaction again."""


def replaced(before: Instance, values: dict[str, Any]) -> Instance:
    return Instance(**{field.name: values.get(field.name, getattr(before, field.name)) for field in fields(Instance)})
