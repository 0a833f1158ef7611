"""Instance profiles, what instances they are associated with, the keys of these instances, and tags of identities."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def text(name: str, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=nullable)


def moment(name: str) -> sa.Column[float]:
    return sa.Column(name, sa.Double, nullable=False)


def upgrade() -> None:
    op.create_table(
        "identity_tags", text("resource"), text("key"), text("value"),
        sa.PrimaryKeyConstraint("resource", "key", name="pk_identity_tags"),
    )  # fmt: skip
    op.create_table(
        "instance_profiles", text("id"), text("project"), text("name"), text("path"), moment("created"),
        text("role_id", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_instance_profiles"),
        sa.UniqueConstraint("project", "name", name="uq_instance_profiles_project_name"),
        sa.ForeignKeyConstraint(["role_id"], ["roles.id"], name="fk_instance_profiles_role_id"),
    )  # fmt: skip
    op.create_index("ix_instance_profiles_role_id", "instance_profiles", ["role_id"])
    op.create_table(
        "profile_associations", text("id"), text("project"), text("instance"), text("profile_id"),
        text("profile_arn"), moment("created"),
        sa.PrimaryKeyConstraint("id", name="pk_profile_associations"),
        sa.UniqueConstraint("instance", name="uq_profile_associations_instance"),
        sa.ForeignKeyConstraint(["instance"], ["instances.id"], name="fk_profile_associations_instance",
                                ondelete="CASCADE"),
    )  # fmt: skip
    op.create_index("ix_profile_associations_profile_id", "profile_associations", ["profile_id"])
    op.create_index("ix_profile_associations_page", "profile_associations", ["project", "created", "id"])
    op.create_table(
        "instance_keys", text("id"), text("secret"), text("token"), text("token_hash"), text("instance"),
        text("profile_id"), text("role_id"), moment("created"), moment("expires"),
        sa.PrimaryKeyConstraint("id", name="pk_instance_keys"),
        sa.ForeignKeyConstraint(["instance"], ["instances.id"], name="fk_instance_keys_instance", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["role_id"], ["roles.id"], name="fk_instance_keys_role_id", ondelete="CASCADE"),
    )  # fmt: skip
    op.create_index("ix_instance_keys_instance", "instance_keys", ["instance"])
    op.create_index("ix_instance_keys_role_id", "instance_keys", ["role_id"])
    op.add_column("instances", sa.Column("profile", sa.Text, nullable=True))
