"""The Auth Manager in SQL: tables projects, users, grants, access_keys and temporary_keys of store/schema.py.

`credential` is asked for every request that no cache answers, so it is one statement by primary key: key, user, project
and roles are read together, which is also what makes a revocation whole (S11). The secret is unsealed after the
transaction, in the reactor: 10 microseconds.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from twisted.internet.defer import Deferred

from cloudcore.auth import rules
from cloudcore.auth.keys import new_access_key, new_project_id, new_secret, new_temporary_key, new_token, new_user_id
from cloudcore.auth.model import AccessKey, Credential, Derivation, Project, RoleGrant, Secret, TemporaryKey, User
from cloudcore.auth.seal import Sealer
from cloudcore.auth.sessions import token_hash
from cloudcore.domain.callers import Caller
from cloudcore.domain.ids import RandomBytes
from cloudcore.domain.instance_profiles import trusts_instances
from cloudcore.domain.policy import INSTANCE
from cloudcore.domain.roles import allowed_actions
from cloudcore.errors import CloudError
from cloudcore.store.books import Books
from cloudcore.store.database import Store
from cloudcore.store.instance_keys import LivingKey
from cloudcore.store.schema import access_keys, grants, projects, roles, temporary_keys, users

INSERT_IGNORE: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
T = TypeVar("T")
SealedCredential = tuple[str, Caller]


class SqlAuthManager:
    def __init__(self, database: Store, sealer: Sealer, random: RandomBytes = os.urandom) -> None:
        self._database, self._sealer, self._random = database, sealer, random

    def credential(self, access_key: str) -> Deferred[Credential | None]:
        return Deferred.fromCoroutine(self._credential(access_key))

    async def _credential(self, access_key: str) -> Credential | None:
        if access_key.startswith(rules.TEMPORARY):
            derived = await self._database.look(derived_credential, access_key)
            return derived and replace(derived, secret=self._unsealed(access_key, derived.secret))
        found = await self._database.look(lambda books: books.over(Accounts).credential(access_key))
        if found is None:
            return None
        sealed, caller = found
        return Credential(self._unsealed(access_key, Secret(sealed)), caller)

    def create_project(self, name: str, project_id: str | None = None) -> Deferred[Project]:
        made = Project(project_id or new_project_id(self._random), name)
        return self._transact(lambda accounts: accounts.add_project(made))

    def projects(self) -> Deferred[list[Project]]:
        return self._database.look(lambda books: books.over(Accounts).projects())

    def delete_project(self, name: str) -> Deferred[None]:
        return self._transact(lambda accounts: accounts.remove_project(name))

    def create_user(self, name: str, email: str = "") -> Deferred[User]:
        made = User(new_user_id(self._random), name, email)
        return self._transact(lambda accounts: accounts.add_user(made))

    def users(self) -> Deferred[list[User]]:
        return self._database.look(lambda books: books.over(Accounts).users())

    def set_user_enabled(self, name: str, enabled: bool) -> Deferred[None]:
        return self._transact(lambda accounts: accounts.set_user_enabled(name, enabled))

    def delete_user(self, name: str) -> Deferred[None]:
        return self._transact(lambda accounts: accounts.remove_user(name))

    def grant(self, user: str, role: str, project: str | None = None) -> Deferred[None]:
        return self._transact(lambda accounts: accounts.grant(accounts.grant_row(user, role, project)))

    def revoke(self, user: str, role: str, project: str | None = None) -> Deferred[None]:
        return self._transact(lambda accounts: accounts.revoke(accounts.grant_row(user, role, project)))

    def grants(self, user: str) -> Deferred[list[RoleGrant]]:
        return self._database.look(lambda books: books.over(Accounts).grants(user))

    def create_access_key(self, user: str, project: str, access_key: str | None = None,
                          secret: str | None = None) -> Deferred[AccessKey]:
        return Deferred.fromCoroutine(self._create_access_key(user, project, access_key, secret))

    async def _create_access_key(self, user: str, project: str, access_key: str | None,
                                 secret: str | None) -> AccessKey:
        rules.check_pair(access_key, secret)
        key, plain = access_key or new_access_key(self._random), secret or new_secret(self._random)
        rules.check_key(key, plain)
        sealed = self._sealer.seal(key, plain)
        return self._opened(await self._transact(lambda accounts: accounts.add_key(user, project, key, sealed)))

    def access_keys(self, user: str) -> Deferred[list[AccessKey]]:
        found = self._database.look(lambda books: books.over(Accounts).keys(user))
        return found.addCallback(lambda keys: [self._opened(key) for key in keys])

    def delete_access_key(self, access_key: str) -> Deferred[None]:
        return self._transact(lambda accounts: accounts.remove_key(access_key))

    def create_temporary_key(self, wanted: Derivation) -> Deferred[TemporaryKey]:
        id, plain, token = new_temporary_key(self._random), new_secret(self._random), new_token(self._random)
        row = {"id": id, "secret": self._sealer.seal(id, plain), "token_hash": token_hash(token)}
        kept = self._database.transact(lambda books: books.over(TemporaryKeys).add(wanted, row))
        return kept.addCallback(lambda expires: TemporaryKey(id, Secret(plain), Secret(token), expires))

    def _transact(self, work: Callable[[Accounts], T]) -> Deferred[T]:
        return self._database.transact(lambda books: work(books.over(Accounts)))

    def _opened(self, key: AccessKey) -> AccessKey:
        return replace(key, secret=self._unsealed(key.id, key.secret))

    def _unsealed(self, access_key: str, sealed: Secret) -> Secret:
        return Secret(self._sealer.unseal(access_key, sealed.reveal()))


class Accounts:
    """The four tables over one connection. Secrets in and out are sealed."""

    def __init__(self, connection: sa.Connection, now: Callable[[], float]) -> None:
        self._connection, self._now = connection, now

    def credential(self, access_key: str) -> SealedCredential | None:
        """None unless key, user and project are all enabled."""
        here = sa.or_(grants.c.project_id == rules.EVERYWHERE, grants.c.project_id == access_keys.c.project_id)
        found = self._connection.execute(
            sa.select(access_keys.c.secret, users.c.id, users.c.name, projects.c.id, projects.c.name, grants.c.role,
                      grants.c.project_id)
            .select_from(
                access_keys.join(users, users.c.id == access_keys.c.user_id)
                .join(projects, projects.c.id == access_keys.c.project_id)
                .outerjoin(grants, sa.and_(grants.c.user_id == access_keys.c.user_id, here)))
            .where(access_keys.c.id == access_key, access_keys.c.enabled, users.c.enabled, projects.c.enabled)
        ).all()
        if not found:
            return None
        secret, user_id, user_name, project_id, project_name, *_ = found[0]
        roles = frozenset(role for *_, role, _ in found if role is not None)
        everywhere = frozenset(role for *_, role, where in found if where == rules.EVERYWHERE)
        return secret, Caller(access_key, user_id, user_name, project_id, project_name, roles, everywhere)

    def add_project(self, project: Project) -> Project:
        rules.check_name("project", project.name)
        rules.check_project_id(project.id)
        row = {"id": project.id, "name": project.name, "enabled": True}
        self._insert(projects, row, rules.project_duplicate(project.name))
        return project

    def projects(self) -> list[Project]:
        return [Project(*row) for row in self._connection.execute(sa.select(projects).order_by(projects.c.name))]

    def _project_id(self, name: str) -> str:
        found = self._connection.scalar(sa.select(projects.c.id).where(projects.c.name == name))
        if found is None:
            raise rules.project_unknown(name)
        return found

    def remove_project(self, name: str) -> None:
        gone = self._project_id(name)
        self._connection.execute(sa.delete(grants).where(grants.c.project_id == gone))
        try:
            self._connection.execute(sa.delete(projects).where(projects.c.id == gone))
        except sa.exc.IntegrityError:
            raise rules.project_in_use(name) from None

    def add_user(self, user: User) -> User:
        rules.check_name("user", user.name)
        rules.check_email(user.email)
        row = {"id": user.id, "name": user.name, "email": user.email, "enabled": True}
        self._insert(users, row, rules.user_duplicate(user.name))
        return user

    def users(self) -> list[User]:
        return [User(*row) for row in self._connection.execute(sa.select(users).order_by(users.c.name))]

    def _user_id(self, name: str) -> str:
        found = self._connection.scalar(sa.select(users.c.id).where(users.c.name == name))
        if found is None:
            raise rules.user_unknown(name)
        return found

    def set_user_enabled(self, name: str, enabled: bool) -> None:
        self._connection.execute(sa.update(users).where(users.c.id == self._user_id(name)).values(enabled=enabled))

    def remove_user(self, name: str) -> None:
        self._connection.execute(sa.delete(users).where(users.c.id == self._user_id(name)))  # keys and grants cascade

    def grant_row(self, user: str, role: str, project: str | None) -> dict[str, str]:
        rules.check_role(role)
        where = rules.EVERYWHERE if project is None else self._project_id(project)
        return {"user_id": self._user_id(user), "project_id": where, "role": role}

    def grant(self, row: dict[str, str]) -> None:
        self._connection.execute(INSERT_IGNORE[self._connection.dialect.name](grants).values(row)
                                 .on_conflict_do_nothing())

    def revoke(self, row: dict[str, str]) -> None:
        self._connection.execute(sa.delete(grants).where(*(grants.c[name] == value for name, value in row.items())))

    def grants(self, user: str) -> list[RoleGrant]:
        mine = sa.select(grants.c.user_id, grants.c.project_id, grants.c.role).where(
            grants.c.user_id == self._user_id(user)).order_by(grants.c.project_id, grants.c.role)
        return [RoleGrant(user_id, project_id or None, role) for user_id, project_id, role
                in self._connection.execute(mine)]

    def add_key(self, user: str, project: str, access_key: str, sealed: str) -> AccessKey:
        owner, where = self._user_id(user), self._project_id(project)
        made = AccessKey(access_key, Secret(sealed), owner, where, created=self._now())
        row = {"id": made.id, "secret": sealed, "user_id": made.user_id, "project_id": made.project_id,
               "enabled": True, "created": made.created}
        self._insert(access_keys, row, rules.key_duplicate(access_key))
        return made

    def keys(self, user: str) -> list[AccessKey]:
        mine = sa.select(access_keys).where(access_keys.c.user_id == self._user_id(user)).order_by(
            access_keys.c.created, access_keys.c.id)
        return [AccessKey(row.id, Secret(row.secret), row.user_id, row.project_id, row.enabled, row.created)
                for row in self._connection.execute(mine)]

    def remove_key(self, access_key: str) -> None:
        if not self._connection.execute(sa.delete(access_keys).where(access_keys.c.id == access_key)).rowcount:
            raise rules.key_unknown(access_key)

    def _insert(self, table: sa.Table, row: dict[str, object], refusal: CloudError) -> None:
        """The unique constraints decide; the refusal says what they mean."""
        try:
            self._connection.execute(sa.insert(table).values(row))
        except sa.exc.IntegrityError:
            raise refusal from None


def derived_credential(books: Books, access_key: str) -> Credential | None:
    """Of a temporary key: a user's, or an instance's. The secret is sealed."""
    found = books.over(TemporaryKeys).credential(access_key)
    if found is None and (living := books.instance_keys.living(access_key)) is not None:
        return of_instance(living)
    return found


def of_instance(living: LivingKey) -> Credential | None:
    """It acts as the role does at this moment, in the place of no user. None when the role does not trust instances
    any more."""
    if not trusts_instances(living.trust, living.project):
        return None
    key, session = living.key, f"{living.role_name}/{living.key.instance}"  # no user's name: those have no slash
    boundary = frozenset[str]().union(*map(allowed_actions, living.policies))
    caller = Caller(key.id, key.role_id, session, living.project, living.project_name, INSTANCE, frozenset(), boundary,
                    key.role_id, session)  # fmt: skip
    return Credential(Secret(key.secret), caller, key.token_hash, key.expires)


class TemporaryKeys:
    """The table of temporary keys over one connection. Secrets in and out are sealed."""

    def __init__(self, connection: sa.Connection, now: Callable[[], float]) -> None:
        self._connection, self._now = connection, now

    def credential(self, access_key: str) -> Credential | None:
        """None unless the parent key lives, its user and project are enabled, and the assumed role is as it was."""
        as_it_was = sa.or_(temporary_keys.c.role_id.is_(None), temporary_keys.c.role_revision == roles.c.revision)
        row = self._connection.execute(
            sa.select(temporary_keys)
            .select_from(temporary_keys.outerjoin(roles, roles.c.id == temporary_keys.c.role_id))
            .where(temporary_keys.c.id == access_key, as_it_was)
        ).one_or_none()
        owner = Accounts(self._connection, self._now).credential(row.parent) if row else None
        if row is None or owner is None:
            return None
        caller = replace(owner[1], access_key=access_key, boundary=frozenset(row.boundary.split()),
                         role_id=row.role_id or "", assumed=row.assumed)  # fmt: skip
        return Credential(Secret(row.secret), caller, row.token_hash, row.expires)

    def add(self, wanted: Derivation, row: dict[str, str]) -> float:
        """When it expires. Expired ones of the same parent go: nobody else counts them."""
        now = self._now()
        mine = temporary_keys.c.parent == wanted.parent
        self._connection.execute(sa.delete(temporary_keys).where(mine, temporary_keys.c.expires <= now))
        alive = self._connection.scalar(sa.select(sa.func.count()).select_from(temporary_keys).where(mine)) or 0
        if alive >= rules.MOST_DERIVED:
            raise rules.too_many_derived(wanted.parent)
        if self._connection.scalar(sa.select(access_keys.c.id).where(access_keys.c.id == wanted.parent)) is None:
            raise rules.key_unknown(wanted.parent)
        values = {**row, "parent": wanted.parent, "role_id": wanted.role_id, "role_revision": wanted.role_revision,
                  "assumed": wanted.assumed, "boundary": " ".join(sorted(wanted.boundary)),
                  "expires": now + wanted.seconds}  # fmt: skip
        try:
            self._connection.execute(sa.insert(temporary_keys).values(values))
        except sa.exc.IntegrityError:
            raise rules.role_gone(wanted.assumed.partition("/")[0]) from None
        return now + wanted.seconds
