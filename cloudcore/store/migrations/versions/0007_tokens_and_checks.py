"""The client token that an instance was launched with, and whether its port is held to its own address."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

NEW = (
    sa.Column("client_token", sa.Text, nullable=False, server_default=""),
    sa.Column("source_dest_check", sa.Boolean, nullable=False, server_default=sa.true()),
)


def upgrade() -> None:
    for column in NEW:
        op.add_column("instances", column)
