"""What the first start makes, and later starts find: project `main`, its users, the image fetcher, the network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudcore.auth.model import AuthManager
from cloudcore.auth.rules import IMAGE_FETCHER
from cloudcore.cli.database import Open, with_database
from cloudcore.cli.printing import DONE, Console
from cloudcore.errors import CloudError, Code

PROJECT = "main"
DEFAULT_USER = "user"
NETWORK = "default"


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


async def seed(opened: Open, state: Path) -> list[str]:
    """The names of what it made. Accounts are made once: what an operator deletes or revokes later stays so."""
    whole = state / "seeded"
    made = [] if whole.exists() else await seed_accounts(opened.auth)
    made += await opened.database.transact(seed_network, opened.config.network.cidr)
    whole.touch()
    return made


async def seed_accounts(auth: AuthManager) -> list[str]:
    """Each user gets one random key in project `main`. A seeding that was cut off is made whole."""
    made: list[str] = []
    if PROJECT not in {project.name for project in await auth.projects()}:
        await auth.create_project(PROJECT)
        made.append(PROJECT)
    present = {user.name for user in await auth.users()}
    for account in ACCOUNTS:
        if account.user not in present:
            await auth.create_user(account.user)
            made.append(account.user)
        if not await auth.access_keys(account.user):
            await auth.create_access_key(account.user, PROJECT)
        await auth.grant(account.user, account.role, account.project)
    return made


def seed_network(books: Any, cidr: str) -> list[str]:
    """The row that addresses are claimed from. It follows the configuration, unless it is in use."""
    networks = books.addresses.networks()
    if cidr in {network.cidr for network in networks}:
        return []
    if any(network.used for network in networks):
        raise CloudError(Code.CONFIGURATION, f"[network] cidr = {cidr}, but guests have addresses of "
                                             f"{networks[0].cidr}: terminate them first, or set it back")
    for network in networks:
        books.addresses.remove_network(network.name)
    books.addresses.create_network(NETWORK, cidr)
    return [cidr]


def run(options: Any, console: Console) -> int:
    """`db seed`: for clouds whose daemons run on their own, where no `up` does it."""
    console.record({"made": with_database(options, lambda opened: seed(opened, options.state))}, options.json)
    return DONE
