"""What images were registered with is shown again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("images", sa.Column("ena", sa.Boolean, nullable=False, server_default=sa.true()))
    op.add_column("images", sa.Column("sriov", sa.Boolean, nullable=False, server_default=sa.false()))
