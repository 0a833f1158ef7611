"""Whether a volume is detached without waiting for its guest."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("attachments", sa.Column("forced", sa.Boolean, nullable=False, server_default=sa.false()))
