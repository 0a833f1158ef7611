"""What the first start makes, and later starts find: project `main`, its users, the cloud's own project with the image
fetcher, the network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudcore.auth.model import AuthManager
from cloudcore.auth.rules import CLOUD_PROJECT, IMAGE_FETCHER
from cloudcore.cli.database import Open, with_database
from cloudcore.cli.printing import DONE, Console
from cloudcore.errors import CloudError, Code

PROJECT = "main"
DEFAULT_USER = "user"
NETWORK = "default"


@dataclass(frozen=True, slots=True)
class Account:
    """Its key acts in the project `home`. `grants` are roles, each with the project it holds in (None: everywhere)."""

    user: str
    grants: tuple[tuple[str, str | None], ...]
    home: str = PROJECT


ACCOUNTS = (
    Account("admin", (("admin", None),)),
    Account(DEFAULT_USER, (("user", PROJECT),)),
    Account(IMAGE_FETCHER, (("fetcher", None), ("keeper", CLOUD_PROJECT)), CLOUD_PROJECT),
)
PROJECTS = (PROJECT, CLOUD_PROJECT)
STAGES = (PROJECTS, (CLOUD_PROJECT,))  # an empty file stands for a cloud that has all but the second


async def seed(opened: Open, state: Path) -> list[str]:
    """The names of what it made. Accounts are made once: what an operator deletes or revokes later stays so."""
    whole = state / "seeded"
    stage = int(whole.read_text().strip() or 1) if whole.exists() else 0
    made = await seed_accounts(opened.auth, STAGES[stage]) if stage < len(STAGES) else []
    made += await opened.database.transact(seed_network, opened.config.network.cidr)
    whole.write_text(f"{len(STAGES)}\n")
    return made


async def seed_accounts(auth: AuthManager, projects: tuple[str, ...] = PROJECTS) -> list[str]:
    """These projects and the accounts at home in them, each with one random key there. A seeding that was cut off is
    made whole."""
    ids = {project.name: project.id for project in await auth.projects()}
    made = [name for name in projects if name not in ids]
    for name in made:
        ids[name] = (await auth.create_project(name)).id
    present = {user.name for user in await auth.users()}
    for account in [account for account in ACCOUNTS if account.home in projects]:
        if account.user not in present:
            await auth.create_user(account.user)
            made.append(account.user)
        if not any(key.project_id == ids[account.home] for key in await auth.access_keys(account.user)):
            await auth.create_access_key(account.user, account.home)
        for role, project in account.grants:
            await auth.grant(account.user, role, project)
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
