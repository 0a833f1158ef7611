"""Hosts and networks, straight from the database."""

from __future__ import annotations

from typing import Any

from cloudcore.cli.asking import confirm
from cloudcore.cli.database import Open, with_database
from cloudcore.cli.printing import DONE, Console
from cloudcore.domain.placement import Host
from cloudcore.errors import CloudError, Code
from cloudcore.store.addresses import Network

SILENT = 60.0  # seconds; a heartbeat comes every 10
HOSTS = ("name", "ok", "enabled", "virt_type", "guests", "vcpus", "free_vcpus", "memory_mib", "free_memory_mib",
         "disk_gib", "free_disk_gib", "seen_seconds_ago")
NETWORKS = ("name", "cidr", "gateway", "used", "size")


def host_row(host: Host, now: float) -> dict[str, Any]:
    ago = round(max(0.0, now - host.seen), 1)
    return {"name": host.name, "ok": ago < SILENT, "enabled": host.enabled, "virt_type": host.virt_type,
            "guests": host.guests, "vcpus": host.vcpus, "free_vcpus": host.vcpus - host.used_vcpus,
            "memory_mib": host.memory_mib, "free_memory_mib": host.memory_mib - host.used_memory_mib,
            "disk_gib": host.disk_gib, "free_disk_gib": host.disk_gib - host.used_disk_gib, "seen_seconds_ago": ago}


def network_row(network: Network) -> dict[str, Any]:
    return {"name": network.name, "cidr": network.cidr, "gateway": network.gateway, "used": network.used,
            "size": network.size}


def host_list(options: Any, console: Console) -> int:
    async def work(opened: Open) -> list[dict[str, Any]]:
        return await opened.database.look(lambda books: [host_row(host, books.now()) for host in books.hosts.all()])

    console.table(with_database(options, work), HOSTS, options.json)
    return DONE


def host_show(options: Any, console: Console) -> int:
    def find(books: Any) -> dict[str, Any]:
        host = books.hosts.find(options.name)
        if host is None:
            raise CloudError(Code.HOST_UNKNOWN, f"The host '{options.name}' does not exist")
        return host_row(host, books.now())

    async def work(opened: Open) -> dict[str, Any]:
        return await opened.database.look(find)

    console.record(with_database(options, work), options.json)
    return DONE


def host_enable(options: Any, console: Console) -> int:
    return switch(options, console, True)


def host_disable(options: Any, console: Console) -> int:
    return switch(options, console, False)


def switch(options: Any, console: Console, enabled: bool) -> int:
    async def work(opened: Open) -> dict[str, Any]:
        return await opened.database.transact(
            lambda books: host_row(books.hosts.enable(options.name, enabled), books.now()))

    console.record(with_database(options, work), options.json)
    return DONE


def host_delete(options: Any, console: Console) -> int:
    confirm(options, console, f"forget host {options.name}")

    async def work(opened: Open) -> None:
        await opened.database.transact(lambda books: books.hosts.remove(options.name))

    with_database(options, work)
    console.record({"deleted": options.name}, options.json)
    return DONE


def network_list(options: Any, console: Console) -> int:
    console.table(networks(options), NETWORKS, options.json)
    return DONE


def network_show(options: Any, console: Console) -> int:
    found = next((row for row in networks(options) if row["name"] == options.name), None)
    if found is None:
        raise CloudError(Code.NETWORK_UNKNOWN, f"The network '{options.name}' does not exist")
    console.record(found, options.json)
    return DONE


def networks(options: Any) -> list[dict[str, Any]]:
    async def work(opened: Open) -> list[dict[str, Any]]:
        return await opened.database.look(
            lambda books: [network_row(network) for network in books.addresses.networks()])

    return with_database(options, work)


def network_create(options: Any, console: Console) -> int:
    async def work(opened: Open) -> dict[str, Any]:
        return network_row(await opened.database.transact(
            lambda books: books.addresses.create_network(options.name, options.cidr)))

    console.record(with_database(options, work), options.json)
    return DONE


def network_delete(options: Any, console: Console) -> int:
    confirm(options, console, f"delete network {options.name}")

    async def work(opened: Open) -> None:
        await opened.database.transact(lambda books: books.addresses.remove_network(options.name))

    with_database(options, work)
    console.record({"deleted": options.name}, options.json)
    return DONE
