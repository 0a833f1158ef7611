"""Registered images: a row makes an object of the object store something to start from."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any

import sqlalchemy as sa

from cloudcore.domain.images import Image, Mapping
from cloudcore.errors import CloudError, Code
from cloudcore.store.pages import Wanted, page
from cloudcore.store.schema import images

COLUMNS = [images.c[field.name] for field in fields(Image)]


class Images:
    def __init__(self, connection: sa.Connection, now: Callable[[], float]) -> None:
        self._connection, self._now = connection, now

    def insert(self, image: Image) -> None:
        """Raises IMAGE_NAME_DUPLICATE."""
        try:
            self._connection.execute(sa.insert(images).values(**to_row(image)))
        except sa.exc.IntegrityError:
            raise name_duplicate(image.name) from None

    def find(self, image: str) -> Image | None:
        """Whoever owns it, and deregistered ones too, for they still run: for the conductor."""
        row = self._connection.execute(sa.select(*COLUMNS).where(images.c.id == image)).one_or_none()
        return from_row(row) if row else None

    def visible(self, project: str, image: str) -> Image:
        """One that this project may start from. Raises IMAGE_UNKNOWN; foreign equals absent."""
        row = self._connection.execute(VISIBLE, {"whose": project, "which": image}).one_or_none()
        if row is None:
            raise CloudError(Code.IMAGE_UNKNOWN, f"The image id '[{image}]' does not exist")
        return from_row(row)

    def page(self, project: str, wanted: Wanted) -> list[Image]:
        """The project's own and the public ones, by (created, id)."""
        rows = self._connection.execute(page(images, COLUMNS, _visible(project), wanted))
        return [from_row(row) for row in rows]

    def deregister(self, project: str, image: str) -> None:
        """Raises IMAGE_UNKNOWN, or NOT_AUTHORISED for somebody else's public image."""
        found = self.visible(project, image)
        if found.project != project:
            raise CloudError(Code.NOT_AUTHORISED, f"The image '{image}' belongs to another account")
        self._connection.execute(sa.update(images).where(images.c.id == image).values(state="deregistered"))

    def set_public(self, project: str, image: str, public: bool) -> None:
        found = self.visible(project, image)
        if found.project != project:
            raise CloudError(Code.NOT_AUTHORISED, f"The image '{image}' belongs to another account")
        self._connection.execute(sa.update(images).where(images.c.id == image).values(public=public))


def to_row(image: Image) -> dict[str, Any]:
    return asdict(image) | {"mappings": json.dumps([asdict(one) for one in image.mappings])}


def from_row(row: sa.Row[Any]) -> Image:
    values = dict(row._mapping)
    return Image(**values | {"mappings": tuple(Mapping(**one) for one in json.loads(values["mappings"]))})


def name_duplicate(name: str) -> CloudError:
    return CloudError(Code.IMAGE_NAME_DUPLICATE, f"The AMI name '{name}' is already in use by one of your images")


def _visible(project: object) -> sa.ColumnElement[bool]:
    return sa.and_(images.c.state == "available", sa.or_(images.c.project == project, images.c.public))


VISIBLE = sa.select(*COLUMNS).where(_visible(sa.bindparam("whose")), images.c.id == sa.bindparam("which"))
