"""Since when a volume is being detached."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("attachments", sa.Column("released", sa.Double, nullable=True))
