"""The accounts that the first start makes, and that later starts find: project `main`, its users, the image fetcher."""

from __future__ import annotations

from dataclasses import dataclass

from cloudcore.auth.model import AuthManager
from cloudcore.auth.rules import IMAGE_FETCHER

PROJECT = "main"
DEFAULT_USER = "user"


@dataclass(frozen=True, slots=True)
class Account:
    user: str
    role: str
    project: str | None  # where the role holds; None: everywhere


ACCOUNTS = (
    Account("admin", "admin", None),
    Account(DEFAULT_USER, "user", PROJECT),
    Account(IMAGE_FETCHER, "fetcher", None),
)


async def seed(auth: AuthManager) -> list[str]:
    """Makes what is missing; the names of what it made. Each user gets one random key in project `main`.

    A user that exists is left exactly as it is, unless a start was cut off before its key was made.
    """
    made = []
    if PROJECT not in {project.name for project in await auth.projects()}:
        await auth.create_project(PROJECT)
        made.append(PROJECT)
    present = {user.name for user in await auth.users()}
    for account in ACCOUNTS:
        if account.user not in present:
            await auth.create_user(account.user)
            made.append(account.user)
        elif await auth.grants(account.user) or await auth.access_keys(account.user):
            continue
        await auth.create_access_key(account.user, PROJECT)
        await auth.grant(account.user, account.role, account.project)  # last: a grant says that the account is whole
    return made
