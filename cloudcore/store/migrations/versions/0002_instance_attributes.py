"""What clients may change on an instance after its launch, and how far its port has followed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

NEW = (
    sa.Column("stop_protected", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("monitored", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("metadata_tokens", sa.Text, nullable=False, server_default="optional"),
    sa.Column("metadata_endpoint", sa.Text, nullable=False, server_default="enabled"),
    sa.Column("metadata_hops", sa.BigInteger, nullable=False, server_default="1"),
    sa.Column("metadata_tags", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("port_revision", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("port_applied", sa.BigInteger, nullable=False, server_default="0"),
)


def upgrade() -> None:
    for column in NEW:
        op.add_column("instances", column)
