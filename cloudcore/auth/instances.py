"""The keys that an instance uses its role with: made, and opened again for those who tell its host.

Six hours as EC2's, and replaced when half of that is left, so that hosts do without the control plane for three.
"""

from __future__ import annotations

import os

from cloudcore.auth.keys import new_secret, new_temporary_key, new_token
from cloudcore.auth.seal import Sealer
from cloudcore.auth.sessions import token_hash
from cloudcore.domain.ids import RandomBytes
from cloudcore.domain.instance_profiles import (
    NO_PROFILE,
    UNTRUSTED,
    InstanceProfile,
    InstanceRole,
    iso,
    trusts_instances,
)
from cloudcore.domain.instances import Instance, State
from cloudcore.domain.roles import Role
from cloudcore.store.books import Books
from cloudcore.store.instance_keys import InstanceKey

LIFETIME = 6 * 3600.0  # seconds
RENEWED = LIFETIME / 2  # seconds before its end that a key gets a successor
IN_USE = frozenset({State.PENDING, State.STARTING, State.RUNNING})


class Keyring:
    """`sealer` is of the master key under which the Auth Manager verifies."""

    def __init__(self, sealer: Sealer, random: RandomBytes = os.urandom) -> None:
        self._sealer, self._random = sealer, random

    def mint(self, books: Books, instance: Instance) -> bool:
        """Makes a key unless the instance should have none, or has one that lasts. Says whether it did."""
        role = trusting(books, _profile(books, instance))
        if role is None or instance.profile is None or instance.state not in IN_USE:
            return False
        newest = books.instance_keys.newest(instance.id, instance.profile, role.id)
        if newest is not None and newest.expires > books.now() + RENEWED:
            return False
        id, secret, token = new_temporary_key(self._random), new_secret(self._random), new_token(self._random)
        books.instance_keys.add(InstanceKey(
            id, self._sealer.seal(id, secret), self._sealer.seal(_of_token(id), token), token_hash(token),
            instance.id, instance.profile, role.id, books.now(), books.now() + LIFETIME))  # fmt: skip
        return True

    def held(self, books: Books, instance: Instance) -> InstanceRole | None:
        """What the instance's host is told. None without a profile, with one that holds no role, and before the first
        key is made."""
        if instance.profile is None:
            return None
        profile = _profile(books, instance)
        if profile is None:
            return _gone(books, instance)
        role = books.roles.found([profile.role_id]).get(profile.role_id) if profile.role_id else None
        if role is None:
            return None
        if not trusts_instances(role.trust, role.project):
            return InstanceRole(profile.id, profile.arn, iso(profile.created), UNTRUSTED, role.name)
        key = books.instance_keys.newest(instance.id, profile.id, role.id)
        return self._opened(key, profile, role) if key else None

    def _opened(self, key: InstanceKey, profile: InstanceProfile, role: Role) -> InstanceRole:
        return InstanceRole(
            profile.id, profile.arn, iso(key.created), role=role.name, access_key=key.id,
            secret=self._sealer.unseal(key.id, key.secret), token=self._sealer.unseal(_of_token(key.id), key.token),
            expires=iso(key.expires))  # fmt: skip


def trusting(books: Books, profile: InstanceProfile | None) -> Role | None:
    """The role of this profile, if it may be had by instances."""
    if profile is None or profile.role_id is None:
        return None
    role = books.roles.found([profile.role_id]).get(profile.role_id)
    return role if role is not None and trusts_instances(role.trust, role.project) else None


def _profile(books: Books, instance: Instance) -> InstanceProfile | None:
    return books.profiles.find(instance.profile) if instance.profile else None


def _gone(books: Books, instance: Instance) -> InstanceRole | None:
    known = books.profile_associations.of_instances([instance.id]).get(instance.id)
    if known is None:
        return None
    return InstanceRole(known.profile_id, known.profile_arn, iso(known.created), NO_PROFILE)


def _of_token(id: str) -> str:
    """What a sealed token is bound to: it opens in no other place, not even as its own key's secret."""
    return f"{id}/token"
