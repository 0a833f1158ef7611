"""An Auth Manager in this process: for tests and simulations. It forgets everything at its end."""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.defer import Deferred, execute
from twisted.internet.interfaces import IReactorTime

from cloudcore.auth import rules
from cloudcore.auth.keys import new_access_key, new_project_id, new_secret, new_temporary_key, new_token, new_user_id
from cloudcore.auth.model import AccessKey, Credential, Derivation, Project, RoleGrant, Secret, TemporaryKey, User
from cloudcore.auth.sessions import token_hash
from cloudcore.domain.callers import Caller
from cloudcore.domain.ids import RandomBytes


class MemoryAuthManager:
    def __init__(self, clock: IReactorTime, random: RandomBytes) -> None:
        self._clock, self._random = clock, random
        self._projects: dict[str, Project] = {}  # by name, as are the users
        self._users: dict[str, User] = {}
        self._keys: dict[str, AccessKey] = {}
        self._grants: set[RoleGrant] = set()
        self._derived: dict[str, tuple[Derivation, TemporaryKey]] = {}

    def credential(self, access_key: str) -> Deferred[Credential | None]:
        return execute(lambda: self._credential(access_key))

    def _credential(self, access_key: str) -> Credential | None:
        if access_key in self._derived:
            wanted, made = self._derived[access_key]
            parent = self._credential(wanted.parent)
            if parent is None:
                return None
            caller = replace(parent.caller, access_key=access_key, boundary=wanted.boundary,
                             role_id=wanted.role_id or "", assumed=wanted.assumed)  # fmt: skip
            return Credential(made.secret, caller, token_hash(made.token.reveal()), made.expires)
        key = self._keys.get(access_key)
        if key is None or not key.enabled:
            return None
        user = next(user for user in self._users.values() if user.id == key.user_id)
        project = next(project for project in self._projects.values() if project.id == key.project_id)
        if not (user.enabled and project.enabled):
            return None
        held = [grant for grant in self._grants if grant.user_id == user.id and grant.project_id in (None, project.id)]
        roles = frozenset(grant.role for grant in held)
        everywhere = frozenset(grant.role for grant in held if grant.project_id is None)
        return Credential(key.secret, Caller(key.id, user.id, user.name, project.id, project.name, roles, everywhere))

    def create_project(self, name: str, project_id: str | None = None) -> Deferred[Project]:
        def work() -> Project:
            made = Project(project_id or new_project_id(self._random), name)
            rules.check_name("project", name)
            rules.check_project_id(made.id)
            if name in self._projects or any(made.id == other.id for other in self._projects.values()):
                raise rules.project_duplicate(name)
            self._projects[name] = made
            return made

        return execute(work)

    def projects(self) -> Deferred[list[Project]]:
        return execute(lambda: sorted(self._projects.values(), key=lambda project: project.name))

    def delete_project(self, name: str) -> Deferred[None]:
        def work() -> None:
            gone = self._project(name)
            if any(key.project_id == gone.id for key in self._keys.values()):
                raise rules.project_in_use(name)
            del self._projects[name]
            self._grants = {grant for grant in self._grants if grant.project_id != gone.id}

        return execute(work)

    def create_user(self, name: str, email: str = "") -> Deferred[User]:
        def work() -> User:
            rules.check_name("user", name)
            rules.check_email(email)
            if name in self._users:
                raise rules.user_duplicate(name)
            made = self._users[name] = User(new_user_id(self._random), name, email)
            return made

        return execute(work)

    def users(self) -> Deferred[list[User]]:
        return execute(lambda: sorted(self._users.values(), key=lambda user: user.name))

    def set_user_enabled(self, name: str, enabled: bool) -> Deferred[None]:
        def work() -> None:
            self._users[name] = replace(self._user(name), enabled=enabled)

        return execute(work)

    def delete_user(self, name: str) -> Deferred[None]:
        def work() -> None:
            gone = self._user(name)
            del self._users[name]
            self._keys = {key.id: key for key in self._keys.values() if key.user_id != gone.id}
            self._orphaned()
            self._grants = {grant for grant in self._grants if grant.user_id != gone.id}

        return execute(work)

    def grant(self, user: str, role: str, project: str | None = None) -> Deferred[None]:
        return execute(lambda: self._grants.add(self._row(user, role, project)))

    def revoke(self, user: str, role: str, project: str | None = None) -> Deferred[None]:
        return execute(lambda: self._grants.discard(self._row(user, role, project)))

    def grants(self, user: str) -> Deferred[list[RoleGrant]]:
        def work() -> list[RoleGrant]:
            found = self._user(user)
            mine = (grant for grant in self._grants if grant.user_id == found.id)
            return sorted(mine, key=lambda grant: (grant.project_id or "", grant.role))

        return execute(work)

    def create_access_key(self, user: str, project: str, access_key: str | None = None,
                          secret: str | None = None) -> Deferred[AccessKey]:
        def work() -> AccessKey:
            rules.check_pair(access_key, secret)
            made = AccessKey(access_key or new_access_key(self._random), Secret(secret or new_secret(self._random)),
                             self._user(user).id, self._project(project).id, created=self._clock.seconds())
            rules.check_key(made.id, made.secret.reveal())
            if made.id in self._keys:
                raise rules.key_duplicate(made.id)
            self._keys[made.id] = made
            return made

        return execute(work)

    def access_keys(self, user: str) -> Deferred[list[AccessKey]]:
        def work() -> list[AccessKey]:
            found = self._user(user)
            mine = (key for key in self._keys.values() if key.user_id == found.id)
            return sorted(mine, key=lambda key: (key.created, key.id))

        return execute(work)

    def delete_access_key(self, access_key: str) -> Deferred[None]:
        def work() -> None:
            if self._keys.pop(access_key, None) is None:
                raise rules.key_unknown(access_key)
            self._orphaned()

        return execute(work)

    def create_temporary_key(self, wanted: Derivation) -> Deferred[TemporaryKey]:
        def work() -> TemporaryKey:
            now = self._clock.seconds()
            if wanted.parent not in self._keys:
                raise rules.key_unknown(wanted.parent)
            self._derived = {id: one for id, one in self._derived.items() if one[1].expires > now}
            if sum(one.parent == wanted.parent for one, _ in self._derived.values()) >= rules.MOST_DERIVED:
                raise rules.too_many_derived(wanted.parent)
            made = TemporaryKey(new_temporary_key(self._random), Secret(new_secret(self._random)),
                                Secret(new_token(self._random)), now + wanted.seconds)  # fmt: skip
            self._derived[made.id] = wanted, made
            return made

        return execute(work)

    def _orphaned(self) -> None:
        """Temporary keys go with their parent, even should there be one of its name again."""
        self._derived = {id: one for id, one in self._derived.items() if one[0].parent in self._keys}

    def _user(self, name: str) -> User:
        if name not in self._users:
            raise rules.user_unknown(name)
        return self._users[name]

    def _project(self, name: str) -> Project:
        if name not in self._projects:
            raise rules.project_unknown(name)
        return self._projects[name]

    def _row(self, user: str, role: str, project: str | None) -> RoleGrant:
        rules.check_role(role)
        return RoleGrant(self._user(user).id, None if project is None else self._project(project).id, role)
