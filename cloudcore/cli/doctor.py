"""`doctor`: is this machine fit for cloudcore? One line a check: OK, WARN (works, worse) or FAIL, and the fix.

Checks look and change nothing. Exit code 1 when one of them fails.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cloudcore.blockdev.lvm import ZEROES
from cloudcore.cli import machine, reactor, state
from cloudcore.cli.printing import DONE, FAILED, Console
from cloudcore.config.model import Config
from cloudcore.config.places import LONGEST_STATE, database_file, database_url
from cloudcore.errors import CloudError
from cloudcore.store import migrating
from cloudcore.virt import kvm_selftest

OK, WARN, FAIL = "OK", "WARN", "FAIL"
BRIDGE_FILTER = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
GIB = 1 << 30
LVM_PROGRAMS = ("lvcreate", "lvremove", "lvextend", "lvrename", "lvchange", "lvs", "vgs", "blkdiscard")


@dataclass(frozen=True, slots=True)
class Finding:
    check: str
    result: str
    says: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is examined. `simulated`: nothing of the hypervisor is needed."""

    config: Config
    state: Path
    simulated: bool


Check = Callable[[Subject], Finding]


def run(options: Any, console: Console) -> int:
    read, config = configuration(options)
    driver = machine.recorded(options.state) or config.compute.driver
    findings = [read, *examined(Subject(config, options.state, driver == "simulated"))]
    if options.json:
        console.json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            console.line(f"{finding.result:<5} {finding.check:<14} {finding.says}"
                         + (f"   fix: {finding.fix}" if finding.fix else ""))
    return FAILED if any(finding.result == FAIL for finding in findings) else DONE


def configuration(options: Any) -> tuple[Finding, Config]:
    """With the defaults where it is wrong, so that the rest is examined all the same."""
    try:
        return Finding("configuration", OK, "no mistakes"), state.configuration(options)
    except CloudError as problem:
        return Finding("configuration", FAIL, problem.text), Config()


def examined(subject: Subject) -> Iterator[Finding]:
    for check in ALWAYS if subject.simulated else ALWAYS + GUESTS:
        yield check(subject)


def python(subject: Subject) -> Finding:
    return Finding("python", OK, f"{'.'.join(map(str, sys.version_info[:3]))} ({sys.executable})")


def directory(subject: Subject) -> Finding:
    path = subject.state
    try:
        if path.exists():
            state.check(path)
    except CloudError as problem:
        return Finding("state", FAIL, problem.text, "--state DIR")
    if len(os.fsencode(path)) > LONGEST_STATE:
        return Finding("state", WARN, f"{path} is long: unix sockets below it may not fit", "a shorter --state DIR")
    return Finding("state", OK, str(path) + ("" if path.exists() else " (not made yet)"))


def disk(subject: Subject) -> Finding:
    place = next(parent for parent in (subject.state, *subject.state.parents) if parent.exists())
    free = shutil.disk_usage(place).free
    result = OK if free >= 4 * GIB else WARN if free >= GIB else FAIL
    return Finding("disk", result, f"{free / GIB:.1f} GiB free", "" if result == OK else "--state DIR on a larger disk")


def ports(subject: Subject) -> Finding:
    if state.holder(subject.state):
        return Finding("ports", OK, "in use by this cloud, which runs")
    try:
        machine.check_ports(subject.config)
    except CloudError as problem:
        return Finding("ports", FAIL, problem.text, getattr(problem, "hint", ""))
    return Finding("ports", OK, f"{subject.config.api.port} {subject.config.objectstore.port} free")


def schema(subject: Subject) -> Finding:
    file = database_file(subject.config, subject.state)
    if file is not None and not file.exists():
        return Finding("schema", OK, "no database yet")
    try:
        return Finding("schema", OK, migrating.check(database_url(subject.config, subject.state)))
    except CloudError as problem:
        return Finding("schema", FAIL, problem.text, "cloudcore db migrate")


def root(subject: Subject) -> Finding:
    if os.geteuid() == 0:
        return Finding("root", OK, "yes")
    return Finding("root", FAIL, "real guests need root", "sudo, or --driver simulated")


def programs(subject: Subject) -> Finding:
    missing = machine.missing_programs()
    if missing:
        return Finding("programs", FAIL, f"missing: {', '.join(missing)}", "make setup")
    return Finding("programs", OK, " ".join(machine.PROGRAMS))


def volumes(subject: Subject) -> Finding:
    configured = subject.config.volume
    if configured.driver != "lvm":
        return Finding("volumes", OK, f"files in {subject.state / 'volumes'}")
    path = os.environ.get("PATH", "") + ":" + machine.SYSTEM_PATH
    missing = [program for program in LVM_PROGRAMS if shutil.which(program, path=path) is None]
    if missing:
        return Finding("volumes", FAIL, f"missing: {', '.join(missing)}", "apt install lvm2")
    if not configured.group:
        return Finding("volumes", FAIL, 'driver = "lvm" needs a volume group', "CLOUDCORE_VOLUME__GROUP=NAME")
    place = f"{configured.group}/{configured.pool}" if configured.pool else configured.group
    asked = ["lvs", "--options", "lv_attr"] if configured.pool else ["vgs", "--options", "vg_attr"]
    told = subprocess.run([shutil.which(asked[0], path=path) or "", *asked[1:], "--noheadings", place],  # noqa: S603
                          capture_output=True, text=True, check=False)  # fmt: skip
    if told.returncode != 0:
        return Finding("volumes", FAIL, (told.stderr.strip().splitlines() or [f"there is no {place}"])[-1])
    if configured.pool and told.stdout.strip()[ZEROES : ZEROES + 1] != "z":
        fix = f"lvchange --zero y {place}"
        return Finding("volumes", FAIL, f"the thin pool {place} hands out what others left in its blocks", fix)
    return Finding("volumes", OK, f"logical volumes in {place}")


def modules(subject: Subject) -> Finding:
    missing = machine.missing_modules()
    if missing:
        return Finding("modules", FAIL, f"Python cannot import {', '.join(missing)}", "make setup")
    return Finding("modules", OK, " ".join(machine.MODULES))


def kvm(subject: Subject) -> Finding:
    """Proven by a guest: there are machines with a /dev/kvm under which nothing gets anywhere."""
    if not Path("/dev/kvm").exists():
        return Finding("kvm", WARN, *machine.emulation())
    if machine.missing_programs():
        return Finding("kvm", WARN, "/dev/kvm is there, but QEMU to test it is not", "make setup")
    try:
        with tempfile.TemporaryDirectory() as scratch:
            place = subject.state if subject.state.exists() else Path(scratch)
            found = reactor.run(lambda clock: probed(clock, place))
    except CloudError as problem:
        return Finding("kvm", FAIL, problem.text, "make setup")
    if found != "kvm":
        return Finding("kvm", WARN, *machine.emulation())
    return Finding("kvm", OK, "a test guest booted")


async def probed(clock: Any, place: Path) -> str:
    return await kvm_selftest.virt_type(clock, place)


def bridge_filter(subject: Subject) -> Finding:
    """Our bridge asks for the filter by itself; the switch for all bridges may stand either way."""
    if not BRIDGE_FILTER.exists():
        return Finding("br_netfilter", WARN, "not loaded; `up` loads it", "modprobe br_netfilter")
    return Finding("br_netfilter", OK, "loaded")


ALWAYS: tuple[Check, ...] = (python, directory, disk, ports, schema)
GUESTS: tuple[Check, ...] = (root, programs, volumes, modules, kvm, bridge_filter)
