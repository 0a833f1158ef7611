"""`status`: 0 healthy, 1 degraded, 2 down. The JSON keeps its keys:

    {"status": "healthy|degraded|down", "state": DIR, "version": "0.1", "driver": "libvirt", "pid": 1, "uptime": 1.5,
     "problems": [TEXT], "endpoints": {NAME: {"url": URL, "ok": true, "problem": ""}},
     "hosts": [{"name", "ok", "enabled", "virt_type", "guests", "vcpus", "free_vcpus", "memory_mib", "free_memory_mib",
                "disk_gib", "free_disk_gib", "seen_seconds_ago"}],
     "networks": [{"name", "cidr", "used", "size"}]}
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cloudcore.cli import machine, state
from cloudcore.cli.client import healthy
from cloudcore.cli.database import Open, with_database
from cloudcore.cli.places import host_row, network_row
from cloudcore.cli.printing import Console
from cloudcore.config.places import database_file
from cloudcore.errors import CloudError

HEALTHY, DEGRADED, DOWN = 0, 1, 2
WORDS = {HEALTHY: "healthy", DEGRADED: "degraded", DOWN: "down"}


def run(options: Any, console: Console) -> int:
    found, code = look(options)
    if options.json:
        console.json(found)
        return code
    more = f", process {found['pid']}, up {found['uptime']:.0f} s, driver {found['driver']}" if found["pid"] else ""
    console.line(f"cloudcore is {found['status']}: {options.state}{more}")
    for name, one in found["endpoints"].items():
        console.line(f"  {name:<10} {one['url']:<32} {'ok' if one['ok'] else one['problem']}")
    for host in found["hosts"]:
        console.line(host_line(host, running=code != DOWN))
    for network in found["networks"]:
        console.line(f"  network    {network['cidr']:<32} {network['used']} of {network['size']} addresses used")
    for problem in found["problems"]:
        console.note("  problem    " + problem.replace("\n", "\n             "))
    return code


def host_line(host: Mapping[str, Any], running: bool) -> str:
    """Of a cloud that is down there is only what its host said last."""
    well = "ok" if host["ok"] else f"silent for {host['seen_seconds_ago']:.0f} s"
    well = well if running else f"as of {host['seen_seconds_ago']:.0f} s ago"
    guests = "1 guest" if host["guests"] == 1 else f"{host['guests']} guests"
    return (f"  host       {host['name']:<32} {well if host['enabled'] else 'disabled'}, {guests}, "
            f"{host['free_vcpus']} of {host['vcpus']} vCPUs and "
            f"{host['free_memory_mib']} of {host['memory_mib']} MiB free")


def look(options: Any) -> tuple[dict[str, Any], int]:
    """What there is to say, and the exit code."""
    running = state.holder(options.state)
    endpoints, problems = {}, []
    for name, url in sorted(state.endpoints(options.state).items()):
        if str(url).startswith("http"):
            well, problem = healthy(url)
            endpoints[name] = {"url": url, "ok": well, "problem": problem}
            problems += [] if well else [f"{name} ({url}) does not answer: {problem}"]
    if running and not endpoints:
        problems.append("it runs, but does not listen yet")
    hosts, networks, complaint = kept(options)
    problems += complaint
    if running:
        problems += [f"host {host['name']} has been silent for {host['seen_seconds_ago']:.0f} s" for host in hosts
                     if not host["ok"]]
        problems += [] if hosts or complaint else ["no host has reported yet"]
    code = DOWN if running is None else DEGRADED if problems else HEALTHY
    return {
        "status": WORDS[code], "state": str(options.state), "version": our_version(),
        "driver": machine.recorded(options.state), "pid": running.pid if running else None,
        "uptime": uptime(running.started) if running else None, "problems": problems, "endpoints": endpoints,
        "hosts": hosts, "networks": networks,
    }, code


def kept(options: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[str]]:
    """Hosts and networks as the database has them, and what keeps us from reading it."""
    async def work(opened: Open) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        return await opened.database.look(lambda books: (
            [host_row(host, books.now()) for host in books.hosts.all()],
            [network_row(network) for network in books.addresses.networks()]))

    try:
        if not made(options):
            return [], [], []
        return *with_database(options, work), []
    except CloudError as problem:
        return [], [], [problem.text]


def made(options: Any) -> bool:
    file = database_file(state.configuration(options), options.state)
    return file is None or file.exists()


def uptime(started: int) -> float:
    """Seconds, from clock ticks since the machine's start."""
    now = float(Path("/proc/uptime").read_text().split()[0])
    return round(max(0.0, now - started / os.sysconf("SC_CLK_TCK")), 1)


def our_version() -> str:
    try:
        return version("cloudcore")
    except PackageNotFoundError:
        return "0.1"
