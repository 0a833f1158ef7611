"""Users, projects, roles and access keys. Secrets are never printed here: `cloudcore env` is the one place."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from cloudcore.auth import rules
from cloudcore.auth.model import AccessKey, AuthManager, Project, User
from cloudcore.cli.asking import confirm
from cloudcore.cli.database import with_database
from cloudcore.cli.printing import DONE, Console

USER = ("name", "id", "email", "enabled", "roles")
PROJECT = ("name", "id", "enabled")
KEY = ("id", "user", "project", "enabled", "created")
Work = Callable[[AuthManager], Awaitable[Any]]


def user_list(options: Any, console: Console) -> int:
    async def work(auth: AuthManager) -> list[dict[str, Any]]:
        names = await project_names(auth)
        return [await user_row(auth, user, names) for user in await auth.users()]

    console.table(on(options, work), USER, options.json)
    return DONE


def user_show(options: Any, console: Console) -> int:
    return show(options, console, lambda auth: shown_user(auth, options.name))


def user_create(options: Any, console: Console) -> int:
    async def work(auth: AuthManager) -> dict[str, Any]:
        await check_before(auth, options)
        await auth.create_user(options.name, options.email)
        await auth.grant(options.name, options.role, options.project)
        await auth.create_access_key(options.name, options.project, options.access_key, options.secret_key)
        return await shown_user(auth, options.name)

    status = show(options, console, work)
    if not options.json:
        console.note(f"secret key: cloudcore env --user {options.name}")
    return status


def user_delete(options: Any, console: Console) -> int:
    async def look(auth: AuthManager) -> list[AccessKey]:
        return await auth.access_keys(options.name)

    async def work(auth: AuthManager) -> dict[str, Any]:
        keys = await look(auth)
        confirm(options, console, f"delete user {options.name} with {len(keys)} access keys")
        await auth.delete_user(options.name)
        return {"deleted": options.name, "keys": [key.id for key in keys]}

    return show(options, console, work)


def user_enable(options: Any, console: Console) -> int:
    return user_switch(options, console, True)


def user_disable(options: Any, console: Console) -> int:
    return user_switch(options, console, False)


def user_switch(options: Any, console: Console, enabled: bool) -> int:
    async def work(auth: AuthManager) -> dict[str, Any]:
        await auth.set_user_enabled(options.name, enabled)
        return await shown_user(auth, options.name)

    return show(options, console, work)


def user_grant(options: Any, console: Console) -> int:
    async def work(auth: AuthManager) -> dict[str, Any]:
        await auth.grant(options.name, options.role, options.project)
        return await shown_user(auth, options.name)

    return show(options, console, work)


def user_revoke(options: Any, console: Console) -> int:
    async def work(auth: AuthManager) -> dict[str, Any]:
        await auth.revoke(options.name, options.role, options.project)
        return await shown_user(auth, options.name)

    return show(options, console, work)


def project_list(options: Any, console: Console) -> int:
    async def work(auth: AuthManager) -> list[dict[str, Any]]:
        return [project_row(project) for project in await auth.projects()]

    console.table(on(options, work), PROJECT, options.json)
    return DONE


def project_show(options: Any, console: Console) -> int:
    async def work(auth: AuthManager) -> dict[str, Any]:
        found = next((project for project in await auth.projects() if options.name in (project.name, project.id)), None)
        if found is None:
            raise rules.project_unknown(options.name)
        return project_row(found)

    return show(options, console, work)


def project_create(options: Any, console: Console) -> int:
    async def work(auth: AuthManager) -> dict[str, Any]:
        return project_row(await auth.create_project(options.name, options.id))

    return show(options, console, work)


def project_delete(options: Any, console: Console) -> int:
    async def work(auth: AuthManager) -> dict[str, Any]:
        confirm(options, console, f"delete project {options.name}")
        await auth.delete_project(options.name)
        return {"deleted": options.name}

    return show(options, console, work)


def key_list(options: Any, console: Console) -> int:
    async def work(auth: AuthManager) -> list[dict[str, Any]]:
        names = await project_names(auth)
        return [key_row(key, options.user, names) for key in await auth.access_keys(options.user)]

    rows = on(options, work)
    if not options.json:
        rows = [{**row, "created": datetime.fromtimestamp(row["created"], UTC).isoformat()} for row in rows]
    console.table(rows, KEY, options.json)
    return DONE


def key_show(options: Any, console: Console) -> int:
    async def work(auth: AuthManager) -> dict[str, Any]:
        names = await project_names(auth)
        for user in await auth.users():
            for key in await auth.access_keys(user.name):
                if key.id == options.name:
                    return key_row(key, user.name, names)
        raise rules.key_unknown(options.name)

    return show(options, console, work)


def key_create(options: Any, console: Console) -> int:
    async def work(auth: AuthManager) -> dict[str, Any]:
        made = await auth.create_access_key(options.user, options.project, options.access_key, options.secret_key)
        return key_row(made, options.user, await project_names(auth))

    status = show(options, console, work)
    if not options.json:
        console.note(f"secret key: cloudcore env --user {options.user}")
    return status


def key_delete(options: Any, console: Console) -> int:
    async def work(auth: AuthManager) -> dict[str, Any]:
        confirm(options, console, f"delete access key {options.name}")
        await auth.delete_access_key(options.name)
        return {"deleted": options.name}

    return show(options, console, work)


def on(options: Any, work: Work) -> Any:
    return with_database(options, lambda opened: work(opened.auth))


def show(options: Any, console: Console, work: Work) -> int:
    console.record(on(options, work), options.json)
    return DONE


async def check_before(auth: AuthManager, options: Any) -> None:
    """So that a refused `user create` leaves no half of a user: each part is checked before the first is made."""
    rules.check_role(options.role)
    rules.check_pair(options.access_key, options.secret_key)
    if options.access_key is not None:
        rules.check_key(options.access_key, options.secret_key)
        if await auth.credential(options.access_key) is not None:
            raise rules.key_duplicate(options.access_key)
    if options.project not in (await project_names(auth)).values():
        raise rules.project_unknown(options.project)


async def shown_user(auth: AuthManager, name: str) -> dict[str, Any]:
    found = next((user for user in await auth.users() if user.name == name), None)
    if found is None:
        raise rules.user_unknown(name)
    names = await project_names(auth)
    keys = await auth.access_keys(name)
    return {**await user_row(auth, found, names), "access_keys": [key.id for key in keys],
            "projects": sorted({names[key.project_id] for key in keys})}


async def user_row(auth: AuthManager, user: User, names: dict[str, str]) -> dict[str, Any]:
    roles = [f"{grant.role}@{names[grant.project_id]}" if grant.project_id else grant.role
             for grant in await auth.grants(user.name)]
    return {"name": user.name, "id": user.id, "email": user.email, "enabled": user.enabled, "roles": roles}


def project_row(project: Project) -> dict[str, Any]:
    return {"name": project.name, "id": project.id, "enabled": project.enabled}


def key_row(key: AccessKey, user: str, names: dict[str, str]) -> dict[str, Any]:
    return {"id": key.id, "user": user, "project": names.get(key.project_id, key.project_id), "enabled": key.enabled,
            "created": int(key.created)}


async def project_names(auth: AuthManager) -> dict[str, str]:
    """Id -> name."""
    return {project.id: project.name for project in await auth.projects()}
