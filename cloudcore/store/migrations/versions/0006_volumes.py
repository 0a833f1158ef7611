"""Volumes, snapshots and their contents; images that are made of snapshots."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

IMAGES = (
    sa.Column("content", sa.Text, nullable=True),
    sa.Column("mappings", sa.Text, nullable=False, server_default="[]"),
    sa.Column("deprecated", sa.Double, nullable=True),
    sa.Column("source_instance", sa.Text, nullable=True),
    sa.Column("source_image", sa.Text, nullable=True),
    sa.Column("reason", sa.Text, nullable=True),
)
INSTANCES = (sa.Column("disk_revision", sa.BigInteger, nullable=False, server_default="0"),)


def upgrade() -> None:
    for column in IMAGES:
        op.add_column("images", column)
    for column in INSTANCES:
        op.add_column("instances", column)
    metadata.create_all(op.get_bind(), tables=NEW)


metadata = sa.MetaData(naming_convention={
    "pk": "pk_%(table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
})  # fmt: skip


def text(name: str, *rest: Any, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, *rest, nullable=options.pop("nullable", False), **options)


def number(name: str, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger, nullable=options.pop("nullable", False), **options)


def moment(name: str, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, sa.Double, nullable=options.pop("nullable", False), **options)


def flag(name: str, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, sa.Boolean, nullable=options.pop("nullable", False), **options)


instances = sa.Table("instances", metadata, text("id", primary_key=True))  # what is referred to, and there already
images = sa.Table("images", metadata, text("id", primary_key=True))

image_permissions = sa.Table(
    "image_permissions", metadata,
    text("image", sa.ForeignKey("images.id", ondelete="CASCADE"), primary_key=True),
    text("project", primary_key=True, index=True),
)  # fmt: skip

contents = sa.Table(
    "contents", metadata,
    text("id", primary_key=True),  # SHA-256 of the object, hexadecimal
    text("source"),  # bucket/key
    number("size"),
    text("format"),  # raw | qcow2
    number("virtual_size"),
    text("below", sa.ForeignKey("contents.id"), nullable=True, index=True),
    moment("created"),
)  # fmt: skip

volumes = sa.Table(
    "volumes", metadata,
    text("id", primary_key=True),
    text("project"),
    text("zone"),
    number("size_gib"),
    text("type"),
    text("state"),  # domain/volumes.py
    moment("created"),
    text("snapshot", nullable=True),
    text("content", sa.ForeignKey("contents.id"), nullable=True, index=True),
    text("host", nullable=True, index=True),
    number("iops", nullable=True),
    number("throughput", nullable=True),
    number("generation"),
    text("reason", nullable=True),
    sa.Index("ix_volumes_page", "project", "created", "id"),
)  # fmt: skip

attachments = sa.Table(
    "attachments", metadata,
    text("volume", sa.ForeignKey("volumes.id"), primary_key=True),
    text("instance", sa.ForeignKey("instances.id", ondelete="CASCADE")),
    text("device"),
    text("state"),
    moment("since"),
    flag("delete_on_termination"),
    flag("root"),
    sa.UniqueConstraint("instance", "device"),
)  # fmt: skip

volume_modifications = sa.Table(
    "volume_modifications", metadata,
    text("volume", sa.ForeignKey("volumes.id", ondelete="CASCADE"), primary_key=True),
    text("state"),
    moment("started"),
    moment("ended", nullable=True),
    number("original_size"),
    text("original_type"),
    number("original_iops", nullable=True),
    number("original_throughput", nullable=True),
    number("target_size"),
    text("target_type"),
    number("target_iops", nullable=True),
    number("target_throughput", nullable=True),
    text("reason", nullable=True),
)  # fmt: skip

volume_exports = sa.Table(  # volumes that are served to a guest of another host
    "volume_exports", metadata,
    text("volume", sa.ForeignKey("volumes.id", ondelete="CASCADE"), primary_key=True),
    text("instance"),  # empty: to nobody any more
    number("revision"),
)  # fmt: skip

snapshots = sa.Table(
    "snapshots", metadata,
    text("id", primary_key=True),
    text("project"),
    text("volume", index=True),
    number("size_gib"),
    text("state"),  # domain/volumes.py
    moment("created"),
    text("batch", index=True),
    text("description"),
    number("progress"),
    text("content", sa.ForeignKey("contents.id"), nullable=True, index=True),
    text("reason", nullable=True),
    flag("public"),
    text("host", nullable=True),
    text("instance", nullable=True),
    flag("reboot"),
    sa.Index("ix_snapshots_page", "project", "created", "id"),
)  # fmt: skip

snapshot_permissions = sa.Table(
    "snapshot_permissions", metadata,
    text("snapshot", sa.ForeignKey("snapshots.id", ondelete="CASCADE"), primary_key=True),
    text("project", primary_key=True, index=True),
)  # fmt: skip

import_tasks = sa.Table(
    "import_tasks", metadata,
    text("id", primary_key=True),
    text("project"),
    text("kind"),  # image | snapshot
    text("state"),  # active | completed | deleted
    moment("created"),
    number("progress"),
    text("message"),
    text("description"),
    text("location"),  # bucket/key
    text("wanted"),  # JSON: what the image or snapshot is to be
    text("image", nullable=True),
    text("snapshot", nullable=True),
    sa.Index("ix_import_tasks_page", "project", "created", "id"),
)  # fmt: skip

NEW = [table for name, table in metadata.tables.items() if name not in ("instances", "images")]
