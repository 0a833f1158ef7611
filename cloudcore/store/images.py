"""Registered images: a row makes an object of the object store something to start from."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import asdict, fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from cloudcore.domain.images import Image, Mapping
from cloudcore.errors import CloudError, Code
from cloudcore.store.instances import LostRace
from cloudcore.store.pages import Wanted, page
from cloudcore.store.schema import image_permissions, images, snapshots

COLUMNS = [images.c[field.name] for field in fields(Image)]
FIND = sa.select(*COLUMNS).where(images.c.id == sa.bindparam("which"))
KEPT = (
    sa.select(snapshots.c.id).where(snapshots.c.id.in_(sa.bindparam("ids", expanding=True)))
    .order_by(snapshots.c.id).with_for_update(read=True, key_share=True)
)  # fmt: skip


class Images:
    def __init__(self, connection: sa.Connection, now: Callable[[], float]) -> None:
        self._connection, self._now = connection, now

    def insert(self, image: Image) -> None:
        """Raises IMAGE_NAME_DUPLICATE, and LostRace where one of its snapshots has just gone: none goes until the
        transaction ends."""
        named = sorted({one.snapshot for one in image.mappings if one.snapshot})
        if named and len(self._connection.execute(KEPT, {"ids": named}).all()) < len(named):
            raise LostRace(image.id)
        try:
            self._connection.execute(sa.insert(images).values(**to_row(image)))
        except sa.exc.IntegrityError:
            raise name_duplicate(image.name) from None

    def find(self, image: str) -> Image | None:
        """Whoever owns it, and deregistered ones too, for they still run: for the conductor."""
        row = self._connection.execute(FIND, {"which": image}).one_or_none()
        return from_row(row) if row else None

    def visible(self, project: str, image: str) -> Image:
        """One that this project may start from. Raises IMAGE_UNKNOWN; foreign equals absent. Raises IMAGE_UNAVAILABLE
        while its own is being made, or when that has failed."""
        row = self._connection.execute(VISIBLE, {"whose": project, "which": image}).one_or_none()
        if row is None:
            raise CloudError(Code.IMAGE_UNKNOWN, f"The image id '[{image}]' does not exist")
        found = from_row(row)
        if found.state != "available":
            raise CloudError(Code.IMAGE_UNAVAILABLE, f"The image '{image}' is {found.state}")
        return found

    def owned(self, project: str, image: str) -> Image:
        """One that this project may change. Raises IMAGE_UNKNOWN, or NOT_AUTHORISED for somebody else's."""
        row = self._connection.execute(VISIBLE, {"whose": project, "which": image}).one_or_none()
        if row is None:
            raise CloudError(Code.IMAGE_UNKNOWN, f"The image id '[{image}]' does not exist")
        if row.project != project:
            raise CloudError(Code.NOT_AUTHORISED, f"The image '{image}' belongs to another account")
        return from_row(row)

    def page(self, project: str, wanted: Wanted) -> list[Image]:
        """The project's own, the public ones and those shared with it, by (created, id)."""
        rows = self._connection.execute(page(images, COLUMNS, _visible(project), wanted))
        return [from_row(row) for row in rows]

    def of_batch(self, snapshots: Collection[str]) -> list[Image]:
        """Pending ones that are made of one of these snapshots."""
        named = sa.or_(*(images.c.mappings.contains(snapshot) for snapshot in snapshots))
        chosen = sa.select(*COLUMNS).where(images.c.state == "pending", named)
        return [from_row(row) for row in self._connection.execute(chosen)] if snapshots else []

    def change(self, image: str, **changes: Any) -> None:
        self._connection.execute(sa.update(images).where(images.c.id == image).values(**changes))

    def end(self, image: str, **changes: Any) -> None:
        """One that is pending is available or has failed. Raises IMAGE_NAME_DUPLICATE, and LostRace where it has been
        deregistered meanwhile: that stays."""
        pending = sa.and_(images.c.id == image, images.c.state == "pending")
        try:
            done = self._connection.execute(sa.update(images).where(pending).values(**changes)).rowcount
        except sa.exc.IntegrityError:
            raise name_duplicate(image) from None
        if done != 1:
            raise LostRace(image)

    def deregister(self, project: str, image: str) -> Image:
        """Raises IMAGE_UNKNOWN, or NOT_AUTHORISED for somebody else's public image."""
        found = self.owned(project, image)
        self.change(image, state="deregistered")
        return found

    def set_public(self, project: str, image: str, public: bool) -> None:
        self.owned(project, image)
        self.change(image, public=public)

    # -- launch permissions --

    def permissions(self, ids: Collection[str]) -> dict[str, list[str]]:
        """{image: the projects that it is explicitly shared with}"""
        found: dict[str, list[str]] = {}
        if ids:
            mine = image_permissions.c.image.in_(list(ids))
            for row in self._connection.execute(sa.select(image_permissions).where(mine)):
                found.setdefault(row.image, []).append(row.project)
        return found

    def share(self, image: str, add: Collection[str] = (), remove: Collection[str] = ()) -> None:
        insert = sqlite.insert if self._connection.dialect.name == "sqlite" else postgresql.insert
        for project in add:
            row = insert(image_permissions).values(image=image, project=project)
            self._connection.execute(row.on_conflict_do_nothing())
        gone = sa.and_(image_permissions.c.image == image, image_permissions.c.project.in_(list(remove)))
        if remove:
            self._connection.execute(sa.delete(image_permissions).where(gone))


def to_row(image: Image) -> dict[str, Any]:
    return asdict(image) | {"mappings": json.dumps([asdict(one) for one in image.mappings])}


def from_row(row: sa.Row[Any]) -> Image:
    values = dict(row._mapping)
    return Image(**values | {"mappings": tuple(Mapping(**one) for one in json.loads(values["mappings"]))})


def name_duplicate(name: str) -> CloudError:
    return CloudError(Code.IMAGE_NAME_DUPLICATE, f"The AMI name '{name}' is already in use by one of your images")


def _visible(project: Any) -> sa.ColumnElement[bool]:
    shared = sa.exists().where(image_permissions.c.image == images.c.id, image_permissions.c.project == project)
    others = sa.and_(images.c.state == "available", sa.or_(images.c.public, shared))
    return sa.or_(sa.and_(images.c.project == project, images.c.state != "deregistered"), others)


VISIBLE = sa.select(*COLUMNS).where(_visible(sa.bindparam("whose")), images.c.id == sa.bindparam("which"))
