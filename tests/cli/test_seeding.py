"""The first accounts, on an Auth Manager in memory."""

from __future__ import annotations

import os

from twisted.internet.task import Clock

from cloudcore.auth.memory import MemoryAuthManager
from cloudcore.cli.seeding import ACCOUNTS, STAGES, seed_accounts


async def roles_and_keys(auth: MemoryAuthManager) -> dict[str, tuple[list[str], int]]:
    return {user.name: ([grant.role for grant in await auth.grants(user.name)], len(await auth.access_keys(user.name)))
            for user in await auth.users()}


async def test_every_account_gets_one_key_and_its_role() -> None:
    auth = MemoryAuthManager(Clock(), os.urandom)
    assert await seed_accounts(auth) == ["main", "cloudcore-system", "admin", "user", "image-fetcher"]
    whole = {"admin": (["admin"], 1), "user": (["user"], 1), "image-fetcher": (["fetcher", "keeper"], 1)}
    assert await roles_and_keys(auth) == whole
    assert await seed_accounts(auth) == []
    assert await roles_and_keys(auth) == whole


async def test_a_seeding_that_was_cut_off_anywhere_is_made_whole() -> None:
    reference = MemoryAuthManager(Clock(), os.urandom)
    await seed_accounts(reference)
    for account in ACCOUNTS:
        for parts in range(3):
            auth = MemoryAuthManager(Clock(), os.urandom)
            await auth.create_project("main")
            await auth.create_user(account.user)
            if parts >= 1:
                if account.home != "main":
                    await auth.create_project(account.home)
                await auth.create_access_key(account.user, account.home)
            if parts >= 2:
                await auth.grant(account.user, *account.grants[0])
            await seed_accounts(auth)
            assert await roles_and_keys(auth) == await roles_and_keys(reference)


async def test_a_cloud_that_was_seeded_before_gets_what_is_new_alone() -> None:
    auth = MemoryAuthManager(Clock(), os.urandom)
    await auth.create_project("main")  # its user was deleted by the operator
    for name, role in (("admin", "admin"), ("image-fetcher", "fetcher")):
        await auth.create_user(name)
        await auth.create_access_key(name, "main")
        await auth.grant(name, role)
    assert await seed_accounts(auth, STAGES[1]) == ["cloudcore-system"]
    assert await roles_and_keys(auth) == {"admin": (["admin"], 1), "image-fetcher": (["fetcher", "keeper"], 2)}
