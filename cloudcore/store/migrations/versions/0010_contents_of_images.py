"""What images were registered with becomes contents, so that the root disks of instances are volumes made of them."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"

STARTABLE = "state = 'available' AND content IS NULL AND sha256 <> ''"
# Equal bytes are one content, wherever they lie.
CONTENTS = f"""
    INSERT INTO contents (id, source, size, format, virtual_size, below, created)
    SELECT sha256, MIN(source), MIN(size), MIN(format), MIN(virtual_size), NULL, MIN(created) FROM images
    WHERE {STARTABLE} AND sha256 NOT IN (SELECT id FROM contents) GROUP BY sha256
"""  # noqa: S608


def upgrade() -> None:
    op.execute(CONTENTS)
    op.execute(f"UPDATE images SET content = sha256 WHERE {STARTABLE}")  # noqa: S608
