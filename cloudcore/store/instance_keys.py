"""The keys of instances that have a role: temporary ones, each of one instance, profile and role.

A key lives as long as all three belong together: what takes one from the other ends it by that alone. Secret and token
are sealed here (auth/seal.py); the hash of the token is for whoever verifies.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass, field, fields

import sqlalchemy as sa

from cloudcore.domain.instances import State
from cloudcore.store.schema import (
    instance_keys,
    instance_profiles,
    instances,
    profile_associations,
    projects,
    role_policies,
    roles,
)

ENDING = (State.SHUTTING_DOWN.value, State.TERMINATED.value)
Key = instance_keys.c


@dataclass(frozen=True, slots=True)
class InstanceKey:
    id: str  # CCIT and 16 of A-Z2-7
    secret: str = field(repr=False)  # sealed, as the token is
    token: str = field(repr=False)
    token_hash: str
    instance: str
    profile_id: str
    role_id: str
    created: float  # seconds since the epoch
    expires: float


@dataclass(frozen=True, slots=True)
class LivingKey:
    """A key and who acts with it. `policies` are the role's documents now, `trust` is its trust policy now."""

    key: InstanceKey
    project: str
    project_name: str
    role_name: str
    trust: str
    policies: tuple[str, ...]


COLUMNS = [Key[one.name] for one in fields(InstanceKey)]
TOGETHER = (
    instance_keys.join(instances, sa.and_(instances.c.id == Key.instance, instances.c.profile == Key.profile_id))
    .join(instance_profiles, sa.and_(instance_profiles.c.id == Key.profile_id,
                                     instance_profiles.c.role_id == Key.role_id))
    .join(roles, roles.c.id == Key.role_id)
    .join(projects, projects.c.id == instances.c.project)
)  # fmt: skip
LIVING = (
    sa.select(*COLUMNS, projects.c.id.label("project"), projects.c.name.label("project_name"),
              roles.c.name.label("role_name"), roles.c.trust)
    .select_from(TOGETHER)
    .where(Key.id == sa.bindparam("the_id"), instances.c.state.not_in(ENDING), projects.c.enabled)
)  # fmt: skip
HELD = instances.join(profile_associations, profile_associations.c.instance == instances.c.id).join(
    instance_profiles, instance_profiles.c.id == profile_associations.c.profile_id)  # fmt: skip
RUNNING = sa.and_(instances.c.state == State.RUNNING.value, instances.c.host.is_not(None))


class InstanceKeys:
    def __init__(self, connection: sa.Connection, now: Callable[[], float]) -> None:
        self._connection, self._now = connection, now

    def add(self, key: InstanceKey) -> None:
        """The instance's port says more from now on. Keys of the instance that have expired go; others stay until they
        do: its guest may hold them still."""
        gone = sa.and_(Key.instance == key.instance, Key.expires <= self._now())
        self._connection.execute(sa.delete(instance_keys).where(gone))
        self._connection.execute(sa.insert(instance_keys).values(**asdict(key)))
        port = sa.update(instances).where(instances.c.id == key.instance)
        self._connection.execute(port.values(port_revision=instances.c.port_revision + 1))

    def newest(self, instance: str, profile: str, role: str) -> InstanceKey | None:
        """Of these three ids."""
        mine = sa.and_(Key.instance == instance, Key.profile_id == profile, Key.role_id == role)
        chosen = sa.select(*COLUMNS).where(mine).order_by(Key.expires.desc(), Key.id).limit(1)
        row = self._connection.execute(chosen).first()
        return InstanceKey(**row._mapping) if row else None

    def living(self, id: str) -> LivingKey | None:
        """None once instance, profile and role belong together no more, or the instance is about to end, or its
        project is disabled. That it expires is not looked at."""
        row = self._connection.execute(LIVING, {"the_id": id}).one_or_none()
        if row is None:
            return None
        found = dict(row._mapping)
        key = InstanceKey(**{one.name: found[one.name] for one in fields(InstanceKey)})
        mine = sa.select(role_policies.c.document).where(role_policies.c.role_id == key.role_id)
        documents = tuple(self._connection.execute(mine).scalars())
        return LivingKey(key, row.project, row.project_name, row.role_name, row.trust, documents)

    def drop(self, instance: str) -> None:
        self._connection.execute(sa.delete(instance_keys).where(Key.instance == instance))

    def drop_of_profile(self, profile: str) -> None:
        self._connection.execute(sa.delete(instance_keys).where(Key.profile_id == profile))

    def roles_in_use(self) -> Iterator[tuple[str, str, str]]:
        """(id, project, trust policy) of each role that a running instance has."""
        chosen = sa.select(roles.c.id, roles.c.project, roles.c.trust).distinct().select_from(
            HELD.join(roles, roles.c.id == instance_profiles.c.role_id)).where(RUNNING)  # fmt: skip
        for row in self._connection.execute(chosen):
            yield row.id, row.project, row.trust

    def waning(self, role_ids: Collection[str], left: float, most: int) -> list[tuple[str, int, str]]:
        """(instance, generation, project) of running instances with one of these roles whose newest key expires within
        `left` seconds, or that have none."""
        lasting = sa.exists().where(
            Key.instance == instances.c.id, Key.profile_id == instance_profiles.c.id,
            Key.role_id == instance_profiles.c.role_id, Key.expires > self._now() + left)  # fmt: skip
        chosen = sa.select(instances.c.id, instances.c.generation, instances.c.project).select_from(HELD).where(
            RUNNING, instance_profiles.c.role_id.in_(list(role_ids)), ~lasting)  # fmt: skip
        found = self._connection.execute(chosen.order_by(instances.c.id).limit(most)) if role_ids else ()
        return [(row.id, row.generation, row.project) for row in found]
