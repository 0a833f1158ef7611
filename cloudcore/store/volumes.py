"""Volumes and the instances that have them. Rows move by compare-and-swap on state and generation, as instances do."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import sqlalchemy as sa

from cloudcore.domain.volumes import (
    Attachment,
    AttachmentState,
    Content,
    Modification,
    Volume,
    VolumeEvent,
    VolumeState,
    after,
)
from cloudcore.errors import CloudError, Code
from cloudcore.store.instances import LostRace
from cloudcore.store.pages import Wanted, page
from cloudcore.store.prepared import Prepared
from cloudcore.store.schema import attachments, contents, instances, volume_exports, volume_modifications, volumes

NAMES = [field.name for field in fields(Volume)]
STATE = NAMES.index("state")
COLUMNS = [volumes.c[name] for name in NAMES]
HELD_NAMES = [field.name for field in fields(Attachment)]
HELD_STATE = HELD_NAMES.index("state")
HELD = [attachments.c[name] for name in HELD_NAMES]
IDS: sa.BindParameter[Any] = sa.bindparam("ids", expanding=True)
FIND = sa.select(*COLUMNS).where(volumes.c.id == sa.bindparam("the_id"))
OF_VOLUMES = Prepared(sa.select(*HELD).where(attachments.c.volume.in_(IDS)))
OF_INSTANCES = Prepared(
    sa.select(*HELD).where(attachments.c.instance.in_(IDS))
    .order_by(attachments.c.root.desc(), attachments.c.since, attachments.c.device)
)  # fmt: skip
EVERY = (
    sa.select(*COLUMNS).where(volumes.c.project == sa.bindparam("the_project"))
    .order_by(volumes.c.created, volumes.c.id).limit(sa.bindparam("most"))
)  # fmt: skip
PLAIN, BY_IDS = Prepared(EVERY), Prepared(EVERY.where(volumes.c.id.in_(IDS)))
INSTANCE = "instance"  # of attachments: what clients look for most
BY_INSTANCES = Prepared(EVERY.where(volumes.c.id.in_(
    sa.select(attachments.c.volume).where(attachments.c.instance.in_(IDS)))))  # fmt: skip
MINE: sa.BindParameter[Any] = sa.bindparam("the_instance")
BEING_MADE = sa.exists().where(volumes.c.id == attachments.c.volume, volumes.c.state == "creating")
LAUNCHED = (
    sa.update(attachments).where(attachments.c.instance == MINE, attachments.c.state == "attaching", BEING_MADE)
    .values(state="attached")
)  # fmt: skip
OF_ITS_LAUNCH = sa.and_(
    volumes.c.state == "creating",
    volumes.c.id.in_(sa.select(attachments.c.volume).where(attachments.c.instance == MINE)))  # fmt: skip
MADE = sa.update(volumes).where(OF_ITS_LAUNCH).values(state="in-use", host=sa.bindparam("the_host"))
LODGED = (
    sa.update(volumes).where(OF_ITS_LAUNCH, volumes.c.host.is_(None))
    .values(host=sa.bindparam("the_host"), zone=sa.bindparam("the_zone"))
)  # fmt: skip
TOP = [contents.c[field.name].label(f"top_{field.name}") for field in fields(Content)]
HAS = (
    sa.select(*(column.label(f"held_{column.name}") for column in HELD), *COLUMNS, *TOP,
              volume_exports.c.instance.label("served"))
    .join_from(attachments, volumes, volumes.c.id == attachments.c.volume)
    .outerjoin(contents, contents.c.id == volumes.c.content)
    .outerjoin(volume_exports, volume_exports.c.volume == volumes.c.id).where(attachments.c.instance == MINE)
    .order_by(attachments.c.root.desc(), attachments.c.since, attachments.c.device)
)  # fmt: skip
INSERT_VOLUMES, INSERT_ATTACHMENTS = sa.insert(volumes), sa.insert(attachments)


@dataclass(frozen=True, slots=True)
class ShownVolume:
    volume: Volume
    attachments: tuple[Attachment, ...]


@dataclass(frozen=True, slots=True)
class Held:
    """A volume of an instance, with what it was made from. `served` is the guest of another host that its own host
    serves it to; empty: none."""

    attachment: Attachment
    volume: Volume
    content: Content | None
    served: str = ""


class Volumes:
    def __init__(self, connection: sa.Connection, now: Callable[[], float]) -> None:
        self._connection, self._now = connection, now

    def insert(self, made: Iterable[Volume]) -> None:
        """Raises LostRace where the content has just gone: another try finds out."""
        rows = [values_of(one) for one in made]
        try:
            self._connection.execute(INSERT_VOLUMES, rows)
        except sa.exc.IntegrityError:
            raise LostRace(rows[0]["id"]) from None

    def find(self, volume: str) -> Volume | None:
        """Whoever owns it: for the conductor."""
        row = self._connection.execute(FIND, {"the_id": volume}).one_or_none()
        return volume_of(row) if row else None

    def of_project(self, project: str, ids: Iterable[str]) -> dict[str, Volume]:
        """Foreign equals absent."""
        where = sa.and_(volumes.c.project == project, volumes.c.id.in_(list(ids)))
        return {one.id: one for one in map(volume_of, self._connection.execute(sa.select(*COLUMNS).where(where)))}

    def owned(self, project: str, volume: str) -> Volume:
        """Raises VOLUME_UNKNOWN."""
        found = self.of_project(project, [volume]).get(volume)
        if found is None:
            raise CloudError(Code.VOLUME_UNKNOWN, f"The volume '{volume}' does not exist.")
        return found

    def page(self, project: str, wanted: Wanted) -> list[ShownVolume]:
        """By (created, id). `equal` may name the column `instance` of attachments as well."""
        found = self._found(project, wanted)
        attached = self._held([one.id for one in found])
        return [ShownVolume(one, tuple(attached.get(one.id, ()))) for one in found]

    def _found(self, project: str, wanted: Wanted) -> list[Volume]:
        values: dict[str, Any] = {"the_project": project, "most": wanted.limit}
        among = wanted.equal.get(INSTANCE)
        if not (wanted.tagged or wanted.after or wanted.equal.keys() - {INSTANCE} or (among and wanted.ids)):
            statement, ids = (BY_IDS, wanted.ids) if among is None else (BY_INSTANCES, among)
            prepared = PLAIN.rows(self._connection, values) if ids is None else statement.rows(
                self._connection, values, list(ids))  # fmt: skip
            return [volume_from(row) for row in prepared]
        visible = volumes.c.project == project
        if among is not None:
            held = sa.select(attachments.c.volume).where(attachments.c.instance.in_(list(among)))
            visible = sa.and_(visible, volumes.c.id.in_(held))
        rest = replace(wanted, equal={name: chosen for name, chosen in wanted.equal.items() if name != INSTANCE})
        return [volume_of(row) for row in self._connection.execute(page(volumes, COLUMNS, visible, rest))]

    def on_host(self, host: str) -> list[Volume]:
        there = sa.select(*COLUMNS).where(volumes.c.host == host)
        return [volume_of(row) for row in self._connection.execute(there)]

    def move(self, volume: Volume, event: VolumeEvent, **changes: Any) -> Volume:
        """By the table; a request makes a new generation. Raises VOLUME_STATE, LostRace."""
        target = after(volume.state, event)
        if target is None:
            text = f"The volume '{volume.id}' is {volume.state.value}; it cannot be moved by {event.value} from there"
            raise CloudError(Code.VOLUME_STATE, text)
        if event is VolumeEvent.DELETE and target is not volume.state:
            changes.setdefault("generation", volume.generation + 1)
        return self.change(volume, state=target, **changes)

    def change(self, volume: Volume, **changes: Any) -> Volume:
        """Raises LostRace."""
        stored = {name: value.value if isinstance(value, VolumeState) else value for name, value in changes.items()}
        same = sa.and_(volumes.c.id == volume.id, volumes.c.generation == volume.generation,
                       volumes.c.state == volume.state.value)  # fmt: skip
        if self._connection.execute(sa.update(volumes).where(same).values(**stored)).rowcount != 1:
            raise LostRace(volume.id)
        return replace(volume, **changes)

    def remove(self, volume: str) -> None:
        self._connection.execute(sa.delete(volumes).where(volumes.c.id == volume))

    # -- modifications --

    def modified(self, wanted: Modification) -> None:
        """Puts the last modification of its volume."""
        row = asdict(wanted)
        mine = sa.update(volume_modifications).where(volume_modifications.c.volume == wanted.volume)
        if not self._connection.execute(mine.values(**row)).rowcount:
            self._connection.execute(sa.insert(volume_modifications).values(**row))

    def modification(self, volume: str) -> Modification | None:
        chosen = [volume_modifications.c[field.name] for field in fields(Modification)]
        mine = sa.select(*chosen).where(volume_modifications.c.volume == volume)
        row = self._connection.execute(mine).one_or_none()
        return Modification(**row._mapping) if row else None

    def modifications(self, project: str, ids: Collection[str] | None = None) -> list[Modification]:
        """By volume id; all of the project where no ids are given."""
        chosen = [volume_modifications.c[field.name] for field in fields(Modification)]
        where = [volumes.c.id == volume_modifications.c.volume, volumes.c.project == project]
        if ids is not None:
            where.append(volumes.c.id.in_(list(ids)))
        rows = self._connection.execute(sa.select(*chosen).where(*where).order_by(volumes.c.id))
        return [Modification(**row._mapping) for row in rows]

    def _held(self, ids: Collection[str]) -> dict[str, list[Attachment]]:
        found: dict[str, list[Attachment]] = {}
        for row in OF_VOLUMES.rows(self._connection, {}, list(ids)):
            one = attachment_from(row)
            found.setdefault(one.volume, []).append(one)
        return found


class Attachments:
    def __init__(self, connection: sa.Connection, now: Callable[[], float]) -> None:
        self._connection, self._now = connection, now

    def insert(self, made: Iterable[Attachment]) -> None:
        """Raises BLOCK_DEVICE where the device or the volume is taken."""
        rows = [values_of(one) for one in made]
        try:
            self._connection.execute(INSERT_ATTACHMENTS, rows)
        except sa.exc.IntegrityError:
            names = ", ".join(row["device"] for row in rows)
            raise CloudError(Code.BLOCK_DEVICE, f"Invalid value '{names}' for unixDevice. Attachment point {names} is "
                                                "already in use") from None  # fmt: skip

    def of_volume(self, volume: str) -> Attachment | None:
        rows = OF_VOLUMES.rows(self._connection, {}, [volume])
        return attachment_from(rows[0]) if rows else None

    def of_instance(self, instance: str) -> list[Attachment]:
        """The root's first."""
        return self.of_instances([instance]).get(instance, [])

    def of_instances(self, ids: Collection[str]) -> dict[str, list[Attachment]]:
        found: dict[str, list[Attachment]] = {}
        for row in OF_INSTANCES.rows(self._connection, {}, list(ids)):
            one = attachment_from(row)
            found.setdefault(one.instance, []).append(one)
        return found

    def held(self, instance: str) -> list[Held]:
        """With the rows of the volumes, the root's first."""
        found: sa.Result[Any] = self._connection.execute(HAS, {"the_instance": instance})
        return [held_of(row) for row in found]

    def move(self, attachment: Attachment, state: AttachmentState, forced: bool = False) -> Attachment:
        """Raises LostRace."""
        same = sa.and_(*self._same(attachment), attachments.c.state == attachment.state.value)
        leaving = state is AttachmentState.DETACHING
        released = (attachment.released or self._now()) if leaving else None
        moved = sa.update(attachments).where(same).values(state=state.value, forced=forced, released=released)
        if self._connection.execute(moved).rowcount != 1:
            raise LostRace(attachment.volume)
        return replace(attachment, state=state, forced=forced, released=released)

    def keep(self, attachment: Attachment, delete_on_termination: bool) -> None:
        changed = sa.update(attachments).where(*self._same(attachment))
        self._connection.execute(changed.values(delete_on_termination=delete_on_termination))

    def remove(self, attachment: Attachment) -> None:
        self._connection.execute(sa.delete(attachments).where(*self._same(attachment)))

    def launched(self, instance: str, host: str) -> None:
        """The guest runs with everything that its launch made."""
        self._connection.execute(LAUNCHED, {"the_instance": instance})
        self._connection.execute(MADE, {"the_instance": instance, "the_host": host})

    def lodged(self, instance: str, host: str, zone: str) -> None:
        """What its launch makes will lie on this host."""
        self._connection.execute(LODGED, {"the_instance": instance, "the_host": host, "the_zone": zone})

    def bump(self, instance: str) -> int:
        """Another list of volumes is wanted of the instance's host: its new revision."""
        mine = sa.update(instances).where(instances.c.id == instance)
        raised = mine.values(disk_revision=instances.c.disk_revision + 1).returning(instances.c.disk_revision)
        return int(self._connection.execute(raised).scalar_one())

    # -- volumes that are served to a guest of another host --

    def export(self, volume: str, instance: str) -> int:
        """From now on to this instance alone, to nobody when it is empty; the revision that says so."""
        mine = volume_exports.c.volume == volume
        row = self._connection.execute(sa.select(volume_exports).where(mine)).one_or_none()
        if row is None:
            first = {"volume": volume, "instance": instance, "revision": 1}
            self._connection.execute(sa.insert(volume_exports).values(**first))
            return 1
        if row.instance == instance:
            return int(row.revision)
        raised = sa.update(volume_exports).where(mine, volume_exports.c.revision == row.revision)
        if self._connection.execute(raised.values(instance=instance, revision=row.revision + 1)).rowcount != 1:
            raise LostRace(volume)
        return int(row.revision) + 1

    def was_served(self, volume: str) -> bool:
        """Whether it ever was to a guest of another host: it may be still."""
        query = sa.select(volume_exports.c.revision).where(volume_exports.c.volume == volume)
        return self._connection.execute(query).one_or_none() is not None

    def _same(self, attachment: Attachment) -> tuple[sa.ColumnElement[bool], ...]:
        return attachments.c.volume == attachment.volume, attachments.c.instance == attachment.instance


def values_of(one: Volume | Attachment) -> dict[str, Any]:
    """A row. dataclasses.asdict copies deeply, and takes ten times as long: a launch would feel it."""
    return {name: getattr(one, name) for name in type(one).__slots__} | {"state": one.state.value}


def volume_from(row: Sequence[Any]) -> Volume:
    """Of values in the order of COLUMNS."""
    values = list(row)
    values[STATE] = VolumeState(values[STATE])
    return Volume(*values)


def attachment_from(row: Sequence[Any]) -> Attachment:
    """Of values in the order of HELD."""
    values = list(row)
    values[HELD_STATE] = AttachmentState(values[HELD_STATE])
    return Attachment(*values)


def volume_of(row: sa.Row[Any]) -> Volume:
    values = dict(row._mapping)
    return Volume(**values | {"state": VolumeState(values["state"])})


def held_of(row: sa.Row[Any]) -> Held:
    values = dict(row._mapping)
    attached = {field.name: values.pop(f"held_{field.name}") for field in fields(Attachment)}
    top = {field.name: values.pop(f"top_{field.name}") for field in fields(Content)}
    served = values.pop("served") or ""
    return Held(
        Attachment(**attached | {"state": AttachmentState(attached["state"])}),
        Volume(**values | {"state": VolumeState(values["state"])}),
        Content(**top) if top["id"] is not None else None,
        served,
    )
