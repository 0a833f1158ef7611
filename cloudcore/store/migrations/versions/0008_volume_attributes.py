"""Whether a volume's input and output begin again by themselves."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("volumes", sa.Column("auto_enable_io", sa.Boolean, nullable=False, server_default=sa.false()))
