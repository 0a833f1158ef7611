"""The repositories over one connection, for the length of one transaction. Nothing else ever sees the connection.

A transaction is a plain function `work(books, request)`; `database.transact(work, request)` runs it off the reactor and
commits when it returns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

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


class Books:
    def __init__(self, connection: sa.Connection, now: Callable[[sa.Connection], float] = database_time) -> None:
        self._connection, self._clock = connection, now
        self._now: float | None = None
        self.instances = Instances(connection, self.now)
        self.operations = Operations(connection, self.now)
        self.hosts = Hosts(connection, self.now)
        self.addresses = Addresses(connection, self.now)
        self.elastic = ElasticAddresses(connection, self.now)
        self.images = Images(connection, self.now)
        self.volumes = Volumes(connection, self.now)
        self.attachments = Attachments(connection, self.now)
        self.snapshots = Snapshots(connection, self.now)
        self.contents = Contents(connection, self.now)
        self.imports = ImportTasks(connection, self.now)
        self.key_pairs = KeyPairs(connection, self.now)
        self.groups = SecurityGroups(connection, self.now)
        self.memberships = Memberships(connection, self.now)
        self.tags = Tags(connection, self.now)
        self.quotas = Quotas(connection, self.now)
        self.requests = Requests(connection, self.now)
        self.roles = Roles(connection, self.now)
        self.identity_tags = IdentityTags(connection, self.now)
        self.profiles = InstanceProfiles(connection, self.now)
        self.profile_associations = ProfileAssociations(connection, self.now)
        self.instance_keys = InstanceKeys(connection, self.now)
        self.audit = Audit(connection, self.now)

    def now(self) -> float:
        """One moment for the whole transaction."""
        if self._now is None:
            self._now = self._clock(self._connection)
        return self._now

    def over(self, repository: Callable[[sa.Connection, Callable[[], float]], Repository]) -> Repository:
        """A repository that lives above the store (auth/sql.py has one), in this same transaction."""
        return repository(self._connection, self.now)
