"""Temporary keys, and roles that their holders have assumed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def text(name: str, *rest: sa.ForeignKey, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, *rest, nullable=nullable)


def number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False)


def moment(name: str) -> sa.Column[float]:
    return sa.Column(name, sa.Double, nullable=False)


def upgrade() -> None:
    op.create_table(
        "roles", text("id"), text("project"), text("name"), text("description"), text("trust"), number("longest"),
        number("revision"), moment("created"),
        sa.PrimaryKeyConstraint("id", name="pk_roles"),
        sa.UniqueConstraint("project", "name", name="uq_roles_project_name"),
    )  # fmt: skip
    op.create_table(
        "role_policies", text("role_id"), text("name"), text("document"),
        sa.PrimaryKeyConstraint("role_id", "name", name="pk_role_policies"),
        sa.ForeignKeyConstraint(["role_id"], ["roles.id"], name="fk_role_policies_role_id", ondelete="CASCADE"),
    )  # fmt: skip
    op.create_table(
        "temporary_keys", text("id"), text("secret"), text("token_hash"), text("parent"),
        text("role_id", nullable=True), number("role_revision"), text("assumed"), text("boundary"), moment("expires"),
        sa.PrimaryKeyConstraint("id", name="pk_temporary_keys"),
        sa.ForeignKeyConstraint(["parent"], ["access_keys.id"], name="fk_temporary_keys_parent", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["role_id"], ["roles.id"], name="fk_temporary_keys_role_id", ondelete="CASCADE"),
    )  # fmt: skip
    op.create_index("ix_temporary_keys_parent", "temporary_keys", ["parent"])
    op.create_index("ix_temporary_keys_role_id", "temporary_keys", ["role_id"])
