"""Elastic addresses: pools, and what was ever given of them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    metadata.create_all(op.get_bind())


metadata = sa.MetaData(naming_convention={
    "pk": "pk_%(table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
})  # fmt: skip


def text(name: str, *rest: Any, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, *rest, nullable=options.pop("nullable", False), **options)


def number(name: str, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger, nullable=options.pop("nullable", False), **options)


def moment(name: str, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, sa.Double, nullable=options.pop("nullable", False), **options)


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
