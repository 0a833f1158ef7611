"""The tables of volumes, snapshots and their contents: a part of the schema, which names them all."""

from __future__ import annotations

import sqlalchemy as sa

from cloudcore.store.columns import flag, metadata, moment, number, text

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
    flag("auto_enable_io", server_default=sa.false()),
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
    flag("forced", server_default=sa.false()),
    moment("released", nullable=True),
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
