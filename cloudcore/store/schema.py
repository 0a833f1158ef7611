"""Every table of the cell database. Migrations (store/migrations/) build exactly this; a test compares the two.

Times are seconds since the epoch by the database's own clock. Text ids, no surrogate keys where a name is one. Unique
constraints are trusted: code inserts and translates the refusal instead of looking first.
"""

from __future__ import annotations

import sqlalchemy as sa

from cloudcore.store.columns import flag, metadata, moment, number, text
from cloudcore.store.profile_tables import identity_tags, instance_keys, instance_profiles, profile_associations
from cloudcore.store.volume_tables import (
    attachments,
    contents,
    import_tasks,
    snapshot_permissions,
    snapshots,
    volume_exports,
    volume_modifications,
    volumes,
)

__all__ = [  # what is declared elsewhere; all other tables are below
    "metadata", "attachments", "contents", "identity_tags", "import_tasks", "instance_keys", "instance_profiles",
    "profile_associations", "snapshot_permissions", "snapshots", "volume_exports",
    "volume_modifications", "volumes",
]  # fmt: skip

# -- who -------------------------------------------------------------------------------------------------------------

projects = sa.Table("projects", metadata, text("id", primary_key=True), text("name", unique=True), flag("enabled"))

users = sa.Table(
    "users", metadata, text("id", primary_key=True), text("name", unique=True), text("email"), flag("enabled")
)

grants = sa.Table(
    "grants", metadata,
    text("user_id", sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    text("project_id", primary_key=True),  # '' means everywhere: NULL cannot be part of a key
    text("role", primary_key=True),
)  # fmt: skip

access_keys = sa.Table(
    "access_keys", metadata,
    text("id", primary_key=True),
    text("secret"),
    text("user_id", sa.ForeignKey("users.id", ondelete="CASCADE"), index=True),
    text("project_id", sa.ForeignKey("projects.id")),
    flag("enabled"),
    moment("created"),
)  # fmt: skip

roles = sa.Table(
    "roles", metadata,
    text("id", primary_key=True),
    text("project"),
    text("name"),
    text("description"),
    text("trust"),  # JSON, as given
    number("longest"),  # seconds that a session may last
    number("revision"),  # grows with each change of policies; sessions of an older one are over
    moment("created"),
    sa.UniqueConstraint("project", "name"),
)  # fmt: skip

role_policies = sa.Table(
    "role_policies", metadata,
    text("role_id", sa.ForeignKey("roles.id", ondelete="CASCADE"), primary_key=True),
    text("name", primary_key=True),
    text("document"),  # JSON, as given
)  # fmt: skip

temporary_keys = sa.Table(
    "temporary_keys", metadata,
    text("id", primary_key=True),
    text("secret"),
    text("token_hash"),  # SHA-256 of the session token, hexadecimal
    text("parent", sa.ForeignKey("access_keys.id", ondelete="CASCADE"), index=True),
    text("role_id", sa.ForeignKey("roles.id", ondelete="CASCADE"), nullable=True, index=True),
    number("role_revision"),
    text("assumed"),  # ROLE/SESSION, or nothing
    text("boundary"),  # action patterns with blanks between
    moment("expires"),
)  # fmt: skip

# -- what the api keeps ----------------------------------------------------------------------------------------------

cells = sa.Table("cells", metadata, text("name", primary_key=True))
instance_mappings = sa.Table("instance_mappings", metadata, text("instance", primary_key=True), text("cell"))
host_mappings = sa.Table("host_mappings", metadata, text("host", primary_key=True), text("cell"))

key_pairs = sa.Table(
    "key_pairs", metadata,
    text("id", primary_key=True),
    text("project"),
    text("name"),
    text("type"),  # rsa | ed25519
    text("fingerprint"),
    text("public_key"),  # OpenSSH, one line
    moment("created"),
    sa.UniqueConstraint("project", "name"),
)  # fmt: skip

images = sa.Table(
    "images", metadata,
    text("id", primary_key=True),
    text("project"),
    text("name"),
    text("description"),
    text("location"),  # as registered
    text("source"),  # bucket/key that hosts fetch
    text("sha256"),
    number("size"),
    text("format"),
    number("virtual_size"),
    text("architecture"),
    text("root_device"),
    flag("public"),
    text("state"),  # pending | available | failed | deregistered
    moment("created"),
    text("content", nullable=True),  # contents.id of the root disk; NULL while it is pending
    text("mappings", server_default="[]"),  # JSON: what domain/images.py calls Mapping, the root disk's first
    moment("deprecated", nullable=True),  # from when on it is
    text("source_instance", nullable=True),  # of CreateImage
    text("source_image", nullable=True),  # of CopyImage
    text("reason", nullable=True),
    flag("ena", server_default=sa.true()),
    flag("sriov", server_default=sa.false()),
)  # fmt: skip
sa.Index("uq_images_name", images.c.project, images.c.name, unique=True,
         sqlite_where=images.c.state == "available", postgresql_where=images.c.state == "available")  # fmt: skip

image_permissions = sa.Table(
    "image_permissions", metadata,
    text("image", sa.ForeignKey("images.id", ondelete="CASCADE"), primary_key=True),
    text("project", primary_key=True, index=True),
)  # fmt: skip

security_groups = sa.Table(
    "security_groups", metadata,
    text("id", primary_key=True),
    text("project"),
    text("name"),
    text("description"),
    number("revision"),  # grows with each change of rules or members
    moment("created"),
    sa.UniqueConstraint("project", "name"),
)  # fmt: skip

security_group_rules = sa.Table(
    "security_group_rules", metadata,
    text("id", primary_key=True),
    text("group_id", sa.ForeignKey("security_groups.id", ondelete="CASCADE")),
    flag("egress"),
    text("protocol"),
    number("from_port"),
    number("to_port"),
    text("cidr"),  # '' when source_group is set: NULLs would escape the unique constraint
    text("source_group", index=True),
    text("description"),
    moment("created"),
    sa.UniqueConstraint("group_id", "egress", "protocol", "from_port", "to_port", "cidr", "source_group"),
)  # fmt: skip

tags = sa.Table(
    "tags", metadata,
    text("resource", primary_key=True),
    text("key", primary_key=True),
    text("value"),
    text("kind"),  # instance, image, security-group, key-pair ...
    text("project", index=True),
)  # fmt: skip

quotas = sa.Table(
    "quotas", metadata,
    text("project", primary_key=True),
    text("resource", primary_key=True),  # instances | vcpus | security-groups | …
    number("limit"),
    number("used"),
    sa.CheckConstraint("used >= 0", name="not_negative"),
)  # fmt: skip

requests = sa.Table(
    "requests", metadata,
    text("project", primary_key=True),
    text("action", primary_key=True),
    text("token", primary_key=True),
    text("parameter_hash"),
    text("answer"),  # JSON: ids, from which the answer is rendered anew
    moment("created"),
)  # fmt: skip

audit = sa.Table(
    "audit", metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    moment("at", index=True),
    text("request_id"),
    text("project", index=True),
    text("user_name"),
    text("access_key"),
    text("action"),
    text("resources"),  # JSON list of ids
    text("parameters"),  # JSON, redacted
)  # fmt: skip

# -- instances and their progress ------------------------------------------------------------------------------------

instances = sa.Table(
    "instances", metadata,
    text("id", primary_key=True),
    text("project"),
    text("reservation", index=True),
    number("launch_index"),
    text("cell"),
    text("image"),
    text("instance_type"),
    number("vcpus"),
    number("memory_mib"),
    number("disk_gib"),
    text("zone", nullable=True),
    text("key_name", nullable=True),
    text("key_id", nullable=True),
    text("state"),
    number("generation"),
    moment("created"),
    moment("changed"),
    text("mac", unique=True),
    text("host", nullable=True, index=True),
    text("address", nullable=True, unique=True),
    text("reason_code", nullable=True),
    text("reason", nullable=True),
    text("shutdown_behaviour"),
    flag("protected"),
    sa.Column("user_data", sa.LargeBinary, nullable=True),
    text("requester"),
    flag("stop_protected", server_default=sa.false()),
    flag("monitored", server_default=sa.false()),
    text("metadata_tokens", server_default="optional"),
    text("metadata_endpoint", server_default="enabled"),
    number("metadata_hops", server_default="1"),
    flag("metadata_tags", server_default=sa.false()),
    number("port_revision", server_default="0"),
    number("port_applied", server_default="0"),
    text("profile", nullable=True),  # the id of its instance profile
    number("disk_revision", server_default="0"),  # grows with each change of which volumes it has
    text("client_token", server_default=""),
    flag("source_dest_check", server_default=sa.true()),
    sa.Index("ix_instances_page", "project", "created", "id"),
    sa.Index("ix_instances_state", "state"),
)  # fmt: skip

instance_groups = sa.Table(
    "instance_groups", metadata,
    text("instance", sa.ForeignKey("instances.id", ondelete="CASCADE"), primary_key=True),
    text("group_id", sa.ForeignKey("security_groups.id"), primary_key=True, index=True),
)  # fmt: skip

operations = sa.Table(
    "operations", metadata,
    text("id", primary_key=True),
    text("kind"),  # domain/operations.py
    text("subject", index=True),  # instance id, or group id
    number("generation"),  # of the subject when it was wanted; superseded by a newer one
    text("project"),
    text("request_id"),
    text("state"),  # open | done | failed | superseded
    text("result", nullable=True),
    moment("created"),
    moment("finished", nullable=True),
    text("cell"),
)  # fmt: skip

steps = sa.Table(
    "steps", metadata,
    text("operation", sa.ForeignKey("operations.id", ondelete="CASCADE"), primary_key=True),
    number("n", primary_key=True),
    text("kind"),
    text("subject"),
    text("state"),  # due | done
    number("attempt"),
    moment("due"),
    text("lease_owner", nullable=True),
    number("lease_epoch"),
    moment("lease_expires"),
    moment("deadline"),  # after this the operation gives up
    sa.Index("ix_steps_due", "due", sqlite_where=sa.text("state = 'due'"), postgresql_where=sa.text("state = 'due'")),
    sa.Index("ix_steps_subject", "subject"),
)  # fmt: skip

# -- hosts and what they give ----------------------------------------------------------------------------------------

hosts = sa.Table(
    "hosts", metadata,
    text("name", primary_key=True),
    text("cell"),
    text("zone"),
    number("epoch"),
    number("generation"),  # compare-and-swap of every claim and release
    number("vcpus"),
    number("memory_mib"),
    number("disk_gib"),
    number("used_vcpus"),
    number("used_memory_mib"),
    number("used_disk_gib"),
    number("guests"),
    text("virt_type"),
    flag("enabled"),
    moment("seen"),
    number("revision", index=True),  # grows with every change of any host: readers ask for what is newer
    sa.CheckConstraint("used_vcpus >= 0 AND used_memory_mib >= 0 AND used_disk_gib >= 0", name="not_negative"),
    sa.CheckConstraint("used_vcpus <= vcpus AND used_memory_mib <= memory_mib AND used_disk_gib <= disk_gib"
                       " OR NOT enabled", name="within_capacity"),
)  # fmt: skip

allocations = sa.Table(
    "allocations", metadata,
    text("instance", primary_key=True),
    text("host", sa.ForeignKey("hosts.name"), index=True),
    number("vcpus"),
    number("memory_mib"),
    number("disk_gib"),
)  # fmt: skip

networks = sa.Table(
    "networks", metadata,
    text("name", primary_key=True),
    text("cidr", unique=True),
    text("gateway"),
    number("next"),  # the address never given before, as a number
    number("last"),
)  # fmt: skip

addresses = sa.Table(
    "addresses", metadata,
    text("address", primary_key=True),
    text("network", sa.ForeignKey("networks.name")),
    text("instance", nullable=True, unique=True),
    moment("rests_until"),  # a freed address is not given again before this
    sa.Index("ix_addresses_free", "network", "rests_until"),
)  # fmt: skip

# -- elastic addresses -----------------------------------------------------------------------------------------------

elastic_pools = sa.Table(
    "elastic_pools", metadata,
    text("cidr", primary_key=True),
    number("next"),  # the address never given before, as a number
    number("last"),
)  # fmt: skip

elastic_addresses = sa.Table(
    "elastic_addresses", metadata,
    text("address", primary_key=True),
    text("pool", sa.ForeignKey("elastic_pools.cidr")),
    text("id", nullable=True, unique=True),  # NULL while it is nobody's
    text("project", nullable=True),
    moment("created"),
    moment("rests_until"),  # a released address is not given again before this, nor while a host holds it
    number("revision"),  # grows with each change of where it leads to, and never begins anew
    text("association", nullable=True, unique=True),
    text("instance", nullable=True, unique=True),
    text("holder", nullable=True, index=True),  # the one host that may lead it to a guest
    sa.Index("ix_elastic_addresses_page", "project", "created", "id"),
    sa.Index("ix_elastic_addresses_free", "pool", "rests_until"),
)  # fmt: skip
