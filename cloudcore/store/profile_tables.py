"""Tables of instance profiles: part of store/schema.py, which names them all."""

from __future__ import annotations

import sqlalchemy as sa

from cloudcore.store.columns import metadata, moment, text

identity_tags = sa.Table(
    "identity_tags", metadata,
    text("resource", primary_key=True),  # the id of a role or of an instance profile
    text("key", primary_key=True),
    text("value"),
)  # fmt: skip

instance_profiles = sa.Table(
    "instance_profiles", metadata,
    text("id", primary_key=True),
    text("project"),
    text("name"),
    text("path"),  # begins and ends in /
    moment("created"),
    text("role_id", sa.ForeignKey("roles.id"), nullable=True, index=True),
    sa.UniqueConstraint("project", "name"),
)  # fmt: skip

profile_associations = sa.Table(
    "profile_associations", metadata,
    text("id", primary_key=True),
    text("project"),
    text("instance", sa.ForeignKey("instances.id", ondelete="CASCADE"), unique=True),
    text("profile_id", index=True),  # and its ARN stay here should the profile go
    text("profile_arn"),
    moment("created"),
    sa.Index("ix_profile_associations_page", "project", "created", "id"),
)  # fmt: skip

instance_keys = sa.Table(
    "instance_keys", metadata,
    text("id", primary_key=True),
    text("secret"),  # sealed
    text("token"),  # sealed
    text("token_hash"),  # SHA-256 of the session token, hexadecimal
    text("instance", sa.ForeignKey("instances.id", ondelete="CASCADE"), index=True),
    text("profile_id"),
    text("role_id", sa.ForeignKey("roles.id", ondelete="CASCADE"), index=True),
    moment("created"),
    moment("expires"),
)  # fmt: skip
