"""An Auth Manager around another that remembers credentials for some seconds.

Only good answers are remembered, never a denial: a key that was just made works at once. A change made through this
object forgets everything; one made elsewhere is noticed within `seconds`, which is at most 5 (S11). Questions about one
key that come while its answer is on the way share that answer, unless something changed in between: an answer from
before a change is neither kept nor given to who asked after it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from cloudcore.auth.model import AccessKey, AuthManager, Credential, Derivation, Project, RoleGrant, TemporaryKey, User

T = TypeVar("T")
LONGEST = 5.0  # seconds, prescribed
MOST = 10_000  # credentials, about 10 MB


class CachedAuthManager:
    def __init__(self, inner: AuthManager, clock: IReactorTime, seconds: float = LONGEST, most: int = MOST) -> None:
        self._inner, self._clock, self._seconds, self._most = inner, clock, min(seconds, LONGEST), most
        self._kept: OrderedDict[str, tuple[float, Credential]] = OrderedDict()  # by age: until when, what
        self._asked: dict[tuple[str, int], list[Deferred[Credential | None]]] = {}  # by key and change
        self._changes = 0

    def credential(self, access_key: str) -> Deferred[Credential | None]:
        until, credential = self._kept.get(access_key, (0.0, None))
        answer: Deferred[Credential | None] = Deferred()
        if credential is not None and self._clock.seconds() < until:
            answer.callback(credential)
            return answer
        question = access_key, self._changes
        if question in self._asked:
            self._asked[question].append(answer)
            return answer
        self._asked[question] = [answer]
        self._inner.credential(access_key).addBoth(self._answer, question)
        return answer

    def _answer(self, found: Credential | Failure | None, question: tuple[str, int]) -> None:
        access_key, asked_at = question
        waiting = self._asked.pop(question)
        if isinstance(found, Credential) and asked_at == self._changes:
            self._keep(access_key, found)
        for answer in waiting:
            if not answer.called:  # who was cancelled has its answer already
                answer.callback(found)

    def _keep(self, access_key: str, credential: Credential) -> None:
        self._kept.pop(access_key, None)
        self._kept[access_key] = (self._clock.seconds() + self._seconds, credential)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def _forget(self) -> None:
        self._changes += 1
        self._kept.clear()

    def _changing(self, change: Deferred[T]) -> Deferred[T]:
        """Forgets before, for answers of the old world, and after, for answers read just before the change."""
        self._forget()

        def after(result: T) -> T:
            self._forget()
            return result

        return change.addBoth(after)

    def create_project(self, name: str, project_id: str | None = None) -> Deferred[Project]:
        return self._changing(self._inner.create_project(name, project_id))

    def projects(self) -> Deferred[list[Project]]:
        return self._inner.projects()

    def delete_project(self, name: str) -> Deferred[None]:
        return self._changing(self._inner.delete_project(name))

    def create_user(self, name: str, email: str = "") -> Deferred[User]:
        return self._changing(self._inner.create_user(name, email))

    def users(self) -> Deferred[list[User]]:
        return self._inner.users()

    def set_user_enabled(self, name: str, enabled: bool) -> Deferred[None]:
        return self._changing(self._inner.set_user_enabled(name, enabled))

    def delete_user(self, name: str) -> Deferred[None]:
        return self._changing(self._inner.delete_user(name))

    def grant(self, user: str, role: str, project: str | None = None) -> Deferred[None]:
        return self._changing(self._inner.grant(user, role, project))

    def revoke(self, user: str, role: str, project: str | None = None) -> Deferred[None]:
        return self._changing(self._inner.revoke(user, role, project))

    def grants(self, user: str) -> Deferred[list[RoleGrant]]:
        return self._inner.grants(user)

    def create_access_key(self, user: str, project: str, access_key: str | None = None,
                          secret: str | None = None) -> Deferred[AccessKey]:
        return self._changing(self._inner.create_access_key(user, project, access_key, secret))

    def access_keys(self, user: str) -> Deferred[list[AccessKey]]:
        return self._inner.access_keys(user)

    def delete_access_key(self, access_key: str) -> Deferred[None]:
        return self._changing(self._inner.delete_access_key(access_key))

    def create_temporary_key(self, wanted: Derivation) -> Deferred[TemporaryKey]:
        """Changes what nobody else may: nothing is forgotten."""
        return self._inner.create_temporary_key(wanted)
