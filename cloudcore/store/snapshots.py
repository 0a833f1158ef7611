"""Snapshots, and the contents that they, images and volumes begin with. A content is shared: it goes when nothing names
it any more."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from cloudcore.domain.volumes import Content, Snapshot, SnapshotState
from cloudcore.errors import CloudError, Code
from cloudcore.store.instances import LostRace
from cloudcore.store.pages import Wanted, page
from cloudcore.store.schema import contents, images, snapshot_permissions, snapshots, volumes

COLUMNS = [snapshots.c[field.name] for field in fields(Snapshot)]
CONTENT = [contents.c[field.name] for field in fields(Content)]
FIND = sa.select(*COLUMNS).where(snapshots.c.id == sa.bindparam("the_id"))
LOCK = sa.select(snapshots.c.id).where(snapshots.c.id == sa.bindparam("the_id")).with_for_update()
ONE = sa.select(*CONTENT).where(contents.c.id == sa.bindparam("the_id"))
LONGEST_CHAIN = 16  # contents over one another: then a snapshot is whole again


class Snapshots:
    def __init__(self, connection: sa.Connection, now: Callable[[], float]) -> None:
        self._connection, self._now = connection, now

    def insert(self, made: Iterable[Snapshot]) -> None:
        """Raises LostRace where a content has just gone: another try finds out."""
        rows = [asdict(one) | {"state": one.state.value} for one in made]
        try:
            if rows:
                self._connection.execute(sa.insert(snapshots), rows)
        except sa.exc.IntegrityError:
            raise LostRace(rows[0]["id"]) from None

    def find(self, snapshot: str) -> Snapshot | None:
        """Whoever owns it: for the conductor."""
        row = self._connection.execute(FIND, {"the_id": snapshot}).one_or_none()
        return snapshot_of(row) if row else None

    def batch(self, batch: str) -> list[Snapshot]:
        rows = self._connection.execute(sa.select(*COLUMNS).where(snapshots.c.batch == batch).order_by(snapshots.c.id))
        return [snapshot_of(row) for row in rows]

    def owned(self, project: str, snapshot: str) -> Snapshot:
        """Raises SNAPSHOT_UNKNOWN; foreign equals absent, shared or not."""
        found = self.find(snapshot)
        if found is None or found.project != project:
            raise unknown(snapshot)
        return found

    def page(self, project: str, wanted: Wanted) -> list[Snapshot]:
        """The project's own, the public ones and those shared with it, by (created, id)."""
        rows = self._connection.execute(page(snapshots, COLUMNS, _visible(project), wanted))
        return [snapshot_of(row) for row in rows]

    def last_of(self, volume: str) -> Snapshot | None:
        """The volume's last completed one."""
        mine = sa.and_(snapshots.c.volume == volume, snapshots.c.state == SnapshotState.COMPLETED.value)
        newest = sa.select(*COLUMNS).where(mine).order_by(snapshots.c.created.desc(), snapshots.c.id).limit(1)
        row = self._connection.execute(newest).one_or_none()
        return snapshot_of(row) if row else None

    def change(self, snapshot: str, **changes: Any) -> None:
        stored = {name: value.value if isinstance(value, SnapshotState) else value for name, value in changes.items()}
        self._connection.execute(sa.update(snapshots).where(snapshots.c.id == snapshot).values(**stored))

    def pending_of(self, volume: str) -> bool:
        """Whether the volume is still being copied."""
        mine = sa.exists().where(snapshots.c.volume == volume, snapshots.c.state == SnapshotState.PENDING.value)
        return bool(self._connection.execute(sa.select(mine)).scalar_one())

    def end(self, snapshot: Snapshot, **changes: Any) -> None:
        """One that is pending, as it was read, is completed or in error. Raises LostRace where it is not so any more:
        it may have been deleted meanwhile."""
        same = sa.and_(snapshots.c.id == snapshot.id, snapshots.c.state == snapshot.state.value,
                       snapshots.c.project == snapshot.project)  # fmt: skip
        stored = {name: value.value if isinstance(value, SnapshotState) else value for name, value in changes.items()}
        if self._connection.execute(sa.update(snapshots).where(same).values(**stored)).rowcount != 1:
            raise LostRace(snapshot.id)

    def abandon(self, snapshot: Snapshot) -> None:
        """One that is pending belongs to nobody any more: its copy ends, and then it goes. Raises LostRace."""
        self.share(snapshot.id, remove=self.permissions([snapshot.id]).get(snapshot.id, ()))
        self.end(snapshot, project="", public=False)

    def remove(self, snapshot: str) -> None:
        """Raises LostRace where it has just gone: whoever removes it gives back what it counted."""
        if self._connection.execute(sa.delete(snapshots).where(snapshots.c.id == snapshot)).rowcount != 1:
            raise LostRace(snapshot)

    def usable(self, project: str, ids: Collection[str]) -> dict[str, Snapshot]:
        """Those of them that this project may make volumes of."""
        rows = self._connection.execute(USABLE, {"whose": project, "ids": list(ids)}) if ids else ()
        return {one.id: one for one in map(snapshot_of, rows)}

    def images_of(self, project: str, snapshot: str) -> list[str]:
        """The ids of the project's images that are made of it. Those of others keep no snapshot from its owner. Until
        the transaction ends, nobody makes another one of it."""
        self._connection.execute(LOCK, {"the_id": snapshot})
        alive = sa.and_(images.c.project == project, images.c.state.in_(("available", "pending")),
                        images.c.mappings.contains(snapshot))  # fmt: skip
        return list(self._connection.execute(sa.select(images.c.id).where(alive).order_by(images.c.id)).scalars())

    def permissions(self, ids: Collection[str]) -> dict[str, list[str]]:
        """{snapshot: the projects that it is explicitly shared with, in order}"""
        found: dict[str, list[str]] = {}
        if ids:
            mine = snapshot_permissions.c.snapshot.in_(list(ids))
            every = sa.select(snapshot_permissions).where(mine).order_by(snapshot_permissions.c.project)
            for row in self._connection.execute(every):
                found.setdefault(row.snapshot, []).append(row.project)
        return found

    def share(self, snapshot: str, add: Collection[str] = (), remove: Collection[str] = ()) -> None:
        insert = sqlite.insert if self._connection.dialect.name == "sqlite" else postgresql.insert
        for project in add:
            row = insert(snapshot_permissions).values(snapshot=snapshot, project=project)
            self._connection.execute(row.on_conflict_do_nothing())
        if remove:
            gone = sa.and_(snapshot_permissions.c.snapshot == snapshot,
                           snapshot_permissions.c.project.in_(list(remove)))  # fmt: skip
            self._connection.execute(sa.delete(snapshot_permissions).where(gone))


class Contents:
    def __init__(self, connection: sa.Connection, now: Callable[[], float]) -> None:
        self._connection, self._now = connection, now

    def put(self, content: Content) -> None:
        """One that is there already stays as it is: equal bytes are one content."""
        insert = sqlite.insert if self._connection.dialect.name == "sqlite" else postgresql.insert
        row = insert(contents).values(**asdict(content), created=self._now())
        self._connection.execute(row.on_conflict_do_nothing())

    def chain(self, content: str | None) -> list[Content]:
        """From the top down; empty for None."""
        found: list[Content] = []
        while content is not None:
            row = self._connection.execute(ONE, {"the_id": content}).one()
            found.append(Content(**row._mapping))
            content = found[-1].below
        return found

    def known(self, content: str) -> bool:
        return self._connection.execute(ONE, {"the_id": content}).one_or_none() is not None

    def stored_at(self, source: str) -> bool:
        """Whether this object is the bytes of any."""
        return bool(self._connection.execute(sa.select(sa.exists().where(contents.c.source == source))).scalar_one())

    def unused(self, content: str) -> bool:
        """Whether no snapshot, image, volume or other content needs it."""
        users = (
            sa.exists().where(snapshots.c.content == content),
            sa.exists().where(images.c.content == content, images.c.state != "deregistered"),
            sa.exists().where(volumes.c.content == content),
            sa.exists().where(contents.c.below == content),
        )
        return not self._connection.execute(sa.select(sa.or_(*users))).scalar_one()

    def remove(self, content: str) -> None:
        self._connection.execute(sa.delete(contents).where(contents.c.id == content))


def unknown(snapshot: str) -> CloudError:
    return CloudError(Code.SNAPSHOT_UNKNOWN, f"The snapshot '{snapshot}' does not exist.")


def snapshot_of(row: sa.Row[Any]) -> Snapshot:
    values = dict(row._mapping)
    return Snapshot(**values | {"state": SnapshotState(values["state"])})


def _visible(project: Any) -> sa.ColumnElement[bool]:
    shared = sa.exists().where(snapshot_permissions.c.snapshot == snapshots.c.id,
                               snapshot_permissions.c.project == project)  # fmt: skip
    return sa.or_(snapshots.c.project == project, snapshots.c.public, shared)


USABLE = sa.select(*COLUMNS).where(
    snapshots.c.id.in_(sa.bindparam("ids", expanding=True)), _visible(sa.bindparam("whose")))  # fmt: skip
