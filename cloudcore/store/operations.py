"""Operations and their leased steps. The steps table is the outbox: a message is only a hint, the sweeper needs none.

A lease is taken by database time; every later write names owner and lease epoch, and 0 rows means stop (R4). Steps of
one subject never run beside each other: what is leased, even for an operation that was superseded meanwhile, holds back
every other step of that subject until the lease is given back or expires.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import sqlalchemy as sa

from cloudcore.domain.operations import GIVES_UP, JOINED, LEASE, STEPS
from cloudcore.store.schema import instances, operations, steps, volumes

FOREVER = 1e12  # seconds; infinity has no portable form in a database
DUE = sa.text("steps.state = 'due'")  # literal, so that the partial index serves
TAKING = 0x7374657073  # "steps": the key of the advisory lock under which PostgreSQL's conductors take turns


@dataclass(frozen=True, slots=True)
class Step:
    """One leased step. `attempt` counts from 1; `deadline` is the operation's, in database time."""

    operation: str
    n: int
    kind: str
    subject: str
    attempt: int
    lease_epoch: int
    deadline: float
    operation_kind: str
    generation: int
    project: str
    request_id: str = ""
    owner: str = ""


class Superseded(Exception):
    """The step is no longer ours: its lease was lost, a fact settled it, or a newer operation took its place."""


COLUMNS = (
    steps.c.operation, steps.c.n, steps.c.kind, steps.c.subject, steps.c.attempt, steps.c.lease_epoch,
    steps.c.deadline, operations.c.kind.label("operation_kind"), operations.c.generation, operations.c.project,
    operations.c.request_id,
)  # fmt: skip

# Statements of every step are built once: building one anew costs six times as much as executing it.
THE_OPERATION, THE_N = sa.bindparam("the_operation", type_=sa.Text), sa.bindparam("the_n", type_=sa.BigInteger)
HELD = sa.and_(steps.c.lease_epoch == sa.bindparam("the_epoch"), steps.c.lease_owner == sa.bindparam("the_owner"))
MINE = sa.and_(steps.c.operation == THE_OPERATION, steps.c.n == THE_N, HELD)
END = sa.update(steps).where(MINE, DUE).values(state="done", lease_expires=0.0)
AGAIN = sa.update(steps).where(MINE, DUE).values(due=sa.bindparam("new_due"), lease_expires=0.0)
RELEASE = sa.update(steps).where(MINE).values(lease_expires=0.0)
INSERT_STEP, INSERT_OPERATION = sa.insert(steps), sa.insert(operations)
CLOSE = (
    sa.update(operations).where(operations.c.id == THE_OPERATION, operations.c.state == "open")
    .values(state=sa.bindparam("new_state"), result=sa.bindparam("new_result"), finished=sa.bindparam("new_finished"))
)  # fmt: skip
WAITING = (
    sa.select(*COLUMNS).join_from(steps, operations, operations.c.id == steps.c.operation)
    .where(DUE, steps.c.subject == sa.bindparam("the_subject"),
           operations.c.generation == sa.bindparam("the_generation"),
           steps.c.kind.in_(sa.bindparam("the_kinds", expanding=True)))
)  # fmt: skip
OTHER = steps.alias("other")
TAKEABLE = (
    sa.select(*COLUMNS).join_from(steps, operations, operations.c.id == steps.c.operation)
    .where(DUE, steps.c.due <= sa.bindparam("the_moment"),
           ~sa.exists().where(OTHER.c.subject == steps.c.subject, OTHER.c.lease_expires > sa.bindparam("the_moment")))
    .order_by(steps.c.due, steps.c.operation).limit(sa.bindparam("most"))
)  # fmt: skip
TAKE = (
    sa.update(steps).where(DUE, steps.c.operation.in_(sa.bindparam("the_operations", expanding=True)))
    .values(lease_owner=sa.bindparam("new_owner"), lease_epoch=steps.c.lease_epoch + 1, attempt=steps.c.attempt + 1,
            lease_expires=sa.bindparam("new_expires"))
)  # fmt: skip
LATER = sa.select(sa.func.min(steps.c.due)).where(DUE, steps.c.due > sa.bindparam("the_moment"))
NEW_DUE = sa.bindparam("new_due", type_=sa.Double)
JOIN = (
    sa.update(steps)
    .where(DUE, steps.c.subject == sa.bindparam("the_subject"), steps.c.kind == sa.bindparam("the_kind"),
           steps.c.lease_expires <= sa.bindparam("the_moment"))
    .values(due=sa.case((steps.c.due < NEW_DUE, steps.c.due), else_=NEW_DUE)).returning(steps.c.operation)
)  # fmt: skip
RAISE = (
    sa.update(operations).where(operations.c.id == THE_OPERATION, operations.c.generation < sa.bindparam("newer"))
    .values(generation=sa.bindparam("newer"))
)  # fmt: skip
SETTLE = sa.update(steps).where(steps.c.operation == THE_OPERATION, steps.c.n == THE_N, DUE).values(state="done")


class Operations:
    def __init__(self, connection: sa.Connection, now: Callable[[], float]) -> None:
        self._connection, self._now = connection, now

    def begin(self, kind: str, subject: str, generation: int, project: str, request_id: str) -> str:
        """The operation row and its first step, due at once. Returns the operation's id, for the hint.

        Older operations of the same instance are superseded here and now (delete always wins).
        """
        if kind in JOINED:
            return self._join_or_begin(kind, subject, generation, project, request_id, 0.0)
        if kind != "launch":  # nothing is older than a launch
            self._supersede_older(subject, generation)
        operation = self._insert_operation(kind, subject, generation, project, request_id)
        deadline = min(self._now() + GIVES_UP[kind], FOREVER)
        self._insert_step(Step(operation, 0, STEPS[kind][0], subject, 0, 0, deadline, kind, generation, project))
        return operation

    def regroup(self, group: str, revision: int, project: str, request_id: str, delay: float) -> str:
        """Due in `delay` seconds. It joins one that still waits for the same group, which then is due no later: what is
        spread is read when it runs, so that many changes cost one message per host."""
        return self._join_or_begin("regroup", group, revision, project, request_id, delay)

    def take(self, owner: str, limit: int) -> list[Step]:
        """Leases up to `limit` due steps, longest due first, at most one per subject."""
        now = self._now()
        if self._connection.dialect.name == "postgresql":
            self._connection.execute(sa.select(sa.func.pg_advisory_xact_lock(TAKING)))
        found: dict[str, Step] = {}
        for row in self._connection.execute(TAKEABLE, {"the_moment": now, "most": 2 * limit}):
            if row.subject not in found and len(found) < limit:
                step = Step(*row, owner=owner)
                found[row.subject] = replace(step, attempt=step.attempt + 1, lease_epoch=step.lease_epoch + 1)
        if found:
            self._connection.execute(TAKE, {"the_operations": [step.operation for step in found.values()],
                                            "new_owner": owner, "new_expires": now + LEASE})  # fmt: skip
        return list(found.values())

    def pause(self) -> float | None:
        """Seconds until something else falls due; None when nothing will by itself."""
        due: float | None = self._connection.execute(LATER, {"the_moment": self._now()}).scalar_one()
        return None if due is None else due - self._now()

    def renew(self, owner: str, held: Iterable[str]) -> None:
        """Prolongs the owner's leases of these operations."""
        mine = sa.and_(steps.c.operation.in_(list(held)), steps.c.lease_owner == owner, steps.c.lease_expires > 0)
        self._connection.execute(sa.update(steps).where(mine).values(lease_expires=self._now() + LEASE))

    def reclaim(self, owner: str) -> None:
        """At the start of a conductor: what it held in an earlier life is free at once."""
        mine = sa.and_(steps.c.lease_owner == owner, steps.c.lease_expires > 0)
        self._connection.execute(sa.update(steps).where(mine).values(lease_expires=0.0))

    # -- the end of a leased step; each raises Superseded when the lease is lost --

    def finish(self, step: Step) -> Step | None:
        """The operation's next step, leased to the same owner; None when the operation is done."""
        self._end(step)
        return self._proceed(step, leased=True)

    def again(self, step: Step, delay: float) -> None:
        """Due again in so many seconds."""
        self._write(AGAIN, step, new_due=self._now() + delay)

    def fail(self, step: Step, result: str) -> None:
        self._end(step)
        self._close(step.operation, "failed", result)

    def supersede(self, step: Step) -> None:
        self._end(step)
        self._close(step.operation, "superseded")

    def release(self, step: Step) -> None:
        """Gives the lease back, whatever became of the step; never raises."""
        self._connection.execute(RELEASE, mine(step))

    # -- what facts do, without a lease --

    def settle(self, subject: str, generation: int, kinds: Iterable[str]) -> bool:
        """A fact makes the waiting step of one of these kinds done, and the next one due. False: nothing waits so."""
        asked = {"the_subject": subject, "the_generation": generation, "the_kinds": list(kinds)}
        row = self._connection.execute(WAITING, asked).first()
        if row is None:
            return False
        step = Step(*row)
        if self._connection.execute(SETTLE, {"the_operation": step.operation, "the_n": step.n}).rowcount == 1:
            self._proceed(step, leased=False)
        return True

    def abandon(self, subject: str, generation: int, result: str) -> None:
        """A fact makes what is under way for this generation fail."""
        mine = sa.and_(operations.c.subject == subject, operations.c.generation == generation,
                       operations.c.state == "open")  # fmt: skip
        for operation in self._connection.execute(sa.select(operations.c.id).where(mine)).scalars().all():
            self._connection.execute(sa.update(steps).where(DUE, steps.c.operation == operation).values(state="done"))
            self._close(operation, "failed", result)

    def hurry(self, host: str) -> None:
        """What waits for this host is due now."""
        there = sa.select(instances.c.id).where(instances.c.host == host, instances.c.state != "terminated")
        lying = sa.select(volumes.c.id).where(volumes.c.host == host)
        waiting = sa.and_(DUE, steps.c.due > self._now(), steps.c.subject.in_(there.union_all(lying)))
        self._connection.execute(sa.update(steps).where(waiting).values(due=self._now()))

    def prune(self, age: float) -> int:
        """Forgets operations that ended so many seconds ago; how many."""
        old = sa.and_(operations.c.state != "open", operations.c.finished < self._now() - age)
        return self._connection.execute(sa.delete(operations).where(old)).rowcount


    def _join_or_begin(self, kind: str, subject: str, revision: int, project: str, request_id: str,
                       delay: float) -> str:  # fmt: skip
        waiting = self._joined(kind, subject, revision, self._now() + delay)
        if waiting is not None:
            return waiting
        operation = self._insert_operation(kind, subject, revision, project, request_id)
        step = Step(operation, 0, STEPS[kind][0], subject, 0, 0, FOREVER, kind, revision, project)
        self._insert_step(step, delay)
        return operation

    def _joined(self, kind: str, subject: str, revision: int, due: float) -> str | None:
        """By a write to the step's row, so that it is settled with `take` which of the two came first."""
        asked = {"the_subject": subject, "the_kind": STEPS[kind][0], "the_moment": self._now(), "new_due": due}
        operation: str | None = self._connection.execute(JOIN, asked).scalars().first()
        if operation is not None:
            self._connection.execute(RAISE, {"the_operation": operation, "newer": revision})
        return operation

    def _supersede_older(self, subject: str, generation: int) -> None:
        older = sa.and_(operations.c.subject == subject, operations.c.state == "open",
                        operations.c.generation < generation, operations.c.kind.not_in(JOINED))  # fmt: skip
        closed = sa.update(operations).where(older).values(state="superseded", finished=self._now())
        ended = list(self._connection.execute(closed.returning(operations.c.id)).scalars())
        if ended:
            self._connection.execute(sa.update(steps).where(DUE, steps.c.operation.in_(ended)).values(state="done"))

    def _insert_operation(self, kind: str, subject: str, generation: int, project: str, request_id: str) -> str:
        operation = "op-" + secrets.token_hex(10)
        self._connection.execute(INSERT_OPERATION, {
            "id": operation, "kind": kind, "subject": subject, "generation": generation, "project": project,
            "request_id": request_id, "state": "open", "created": self._now(), "cell": "cell1"})  # fmt: skip
        return operation

    def _insert_step(self, step: Step, delay: float = 0.0) -> None:
        """Leased to `step.owner`; to nobody when that is empty."""
        now = self._now()
        self._connection.execute(INSERT_STEP, {
            "operation": step.operation, "n": step.n, "kind": step.kind, "subject": step.subject, "state": "due",
            "due": now + delay, "deadline": step.deadline, "attempt": step.attempt,
            "lease_owner": step.owner or None, "lease_epoch": step.lease_epoch,
            "lease_expires": now + LEASE if step.owner else 0.0})  # fmt: skip

    def _proceed(self, step: Step, leased: bool) -> Step | None:
        kinds, n = STEPS[step.operation_kind], step.n + 1
        if n == len(kinds):
            self._close(step.operation, "done", forgotten=step.operation_kind in JOINED)
            return None
        count, owner = (1, step.owner) if leased else (0, "")
        following = replace(step, n=n, kind=kinds[n], attempt=count, lease_epoch=count, owner=owner)
        self._insert_step(following)
        return following if leased else None

    def _close(self, operation: str, state: str, result: str | None = None, forgotten: bool = False) -> None:
        if forgotten:  # worth no history, and there are very many
            self._connection.execute(sa.delete(operations).where(operations.c.id == operation))
        else:
            values = {"new_state": state, "new_result": result, "new_finished": self._now()}
            self._connection.execute(CLOSE, {"the_operation": operation} | values)

    def _end(self, step: Step) -> None:
        self._write(END, step)

    def _write(self, statement: sa.Update, step: Step, **values: object) -> None:
        if self._connection.execute(statement, mine(step) | values).rowcount != 1:
            raise Superseded(f"{step.kind} of {step.subject}")


def mine(step: Step) -> dict[str, object]:
    return {"the_operation": step.operation, "the_n": step.n, "the_epoch": step.lease_epoch, "the_owner": step.owner}
