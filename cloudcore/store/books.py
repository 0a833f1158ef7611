"""The repositories over one connection, for the length of one transaction. Nothing else ever sees the connection.

A transaction is a plain function `work(books, request)`; `database.transact(work, request)` runs it off the reactor and
commits when it returns.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Generic, TypeVar

import sqlalchemy as sa

from cloudcore.store.addresses import Addresses
from cloudcore.store.audit import Audit
from cloudcore.store.elastic_addresses import ElasticAddresses
from cloudcore.store.hosts import Hosts
from cloudcore.store.identity_tags import IdentityTags
from cloudcore.store.images import Images
from cloudcore.store.import_tasks import ImportTasks
from cloudcore.store.instance_keys import InstanceKeys
from cloudcore.store.instance_profiles import InstanceProfiles, ProfileAssociations
from cloudcore.store.instances import Instances
from cloudcore.store.key_pairs import KeyPairs
from cloudcore.store.lasting import lasting_in
from cloudcore.store.memberships import Memberships
from cloudcore.store.operations import Operations
from cloudcore.store.prepared import fetched
from cloudcore.store.quotas import Quotas
from cloudcore.store.requests import Requests
from cloudcore.store.roles import Roles
from cloudcore.store.security_groups import SecurityGroups
from cloudcore.store.snapshots import Contents, Snapshots
from cloudcore.store.tags import Tags
from cloudcore.store.volumes import Attachments, Volumes

Repository = TypeVar("Repository")


def database_time(connection: sa.Connection) -> float:
    """Seconds since the epoch by the database's clock: leases must not depend on clocks of different hosts (I17)."""
    if connection.dialect.name == "sqlite":
        return float(fetched(connection, "SELECT (julianday('now') - 2440587.5) * 86400.0", ())[0][0])
    return float(connection.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp())").scalar_one())


class Kept(Generic[Repository]):
    """A repository of `Books`, made when it is first asked for: most transactions need few of them."""

    def __init__(self, repository: Callable[[sa.Connection, Callable[[], float]], Repository]) -> None:
        self._repository = repository

    def __set_name__(self, owner: type[Books], name: str) -> None:
        self._name = name

    def __get__(self, books: Books, owner: type[Books]) -> Repository:
        made = books.__dict__[self._name] = books.over(self._repository)
        return made


class Books:
    instances = Kept(Instances)
    operations = Kept(Operations)
    hosts = Kept(Hosts)
    addresses = Kept(Addresses)
    elastic = Kept(ElasticAddresses)
    images = Kept(Images)
    volumes = Kept(Volumes)
    attachments = Kept(Attachments)
    snapshots = Kept(Snapshots)
    contents = Kept(Contents)
    imports = Kept(ImportTasks)
    key_pairs = Kept(KeyPairs)
    groups = Kept(SecurityGroups)
    memberships = Kept(Memberships)
    tags = Kept(Tags)
    quotas = Kept(Quotas)
    requests = Kept(Requests)
    roles = Kept(Roles)
    identity_tags = Kept(IdentityTags)
    profiles = Kept(InstanceProfiles)
    profile_associations = Kept(ProfileAssociations)
    instance_keys = Kept(InstanceKeys)
    audit = Kept(Audit)

    def __init__(self, connection: sa.Connection, now: Callable[[sa.Connection], float] = database_time) -> None:
        self._connection, self._clock = connection, now
        self._now: float | None = None

    def now(self) -> float:
        """One moment for the whole transaction."""
        if self._now is None:
            self._now = self._clock(self._connection)
        return self._now

    def over(self, repository: Callable[[sa.Connection, Callable[[], float]], Repository]) -> Repository:
        """A repository that lives above the store (auth/sql.py has one), in this same transaction."""
        return repository(self._connection, self.now)


lasting_in(module for name, module in list(sys.modules.items()) if name.startswith(f"{__package__}."))
