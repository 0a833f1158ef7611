#!/usr/bin/python3
"""Makes a clone able to run: system packages, .venv, the project in it. Standard library only, nothing of ours is
imported: it runs before there is anything to import.

    setup/bootstrap.py [--test] [--driver auto|libvirt|simulated] [--packages-only] [--plan]

Says what it will change before it changes it; asks nothing; done twice it finds nothing to do, in well under a second.
Exit codes: 0 done, 1 failed (with what to type next).
"""

from __future__ import annotations

import argparse
import fcntl
import glob
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
STAMP = VENV / ".cloudcore-installed"
PYTHON = "/usr/bin/python3"
DIST = "/usr/lib/python3/dist-packages"
LINKED = ("libvirt*", "nftables*")  # Debian's own: no wheels exist, and a build drags in 98 MB of headers and compilers

# What real guests need: hypervisor, network, the tiny guest's parts.
GUESTS = (
    "libvirt-daemon-system", "qemu-system-x86", "qemu-utils", "nbdkit", "dnsmasq-base", "dnsmasq-utils", "nftables",
    "iproute2", "procps", "util-linux", "python3-libvirt", "python3-nftables", "busybox-static", "dropbear-bin",
    "syslinux", "syslinux-common", "mtools", "dosfstools", "fdisk", "e2fsprogs", "cpio", "binutils", "openssh-client",
)
ALWAYS = ("python3-venv",)
TESTS = ("rabbitmq-server", "postgresql", "iputils-ping", "git", "openssh-client", "mmdebstrap")
# Debian starts these when they are installed. We run our own, and leave none of theirs running.
SERVICES = {
    "rabbitmq-server": ("rabbitmq-server",), "postgresql": ("postgresql",),
    "libvirt-daemon-system": ("libvirtd.socket", "libvirtd-ro.socket", "libvirtd-admin.socket", "libvirtd",
                              "virtlogd.socket", "virtlockd.socket", "libvirt-guests"),
}
APT = ("apt-get", "-o", "Dpkg::Use-Pty=0", "-o", "Acquire::Retries=3")
# Progress comes on descriptor 3, led to standard output inside, since sudo closes it. Never on 1: apt closes the
# descriptor it reports on for the packages' scripts, and the first `echo` in one of them fails.
THREE = ("sh", "-c", 'exec "$@" 3>&1', "sh")
QUIET = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C", "NEEDRESTART_MODE": "l", "UCF_FORCE_CONFFOLD": "1"}
STATUS = re.compile(r"^(dlstatus|pmstatus):[^:]*:([0-9.]+):")


class Stop(Exception):
    """What went wrong, and what to type next."""

    def __init__(self, error: str, *tries: str) -> None:
        super().__init__(error)
        self.error, self.tries = error, tries


def main() -> int:
    options = arguments()
    began = time.monotonic()
    handle = os.open(ROOT, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)  # a second `make` waits for the first
    try:
        wanted = packages(options)
        missing = [name for name in wanted if name not in installed(wanted)]
        stale = not options.packages_only and (not STAMP.exists() or STAMP.read_text() != fingerprint(options.test))
        if options.plan or missing or stale:
            show_plan(options, missing, stale)
        if options.plan:
            return 0
        if missing:
            install(missing, options)
        if stale:
            make_venv(options)
        if missing or stale:
            say(f"set up in {time.monotonic() - began:.0f} s")
    except Stop as stop:
        say(f"error: {stop.error}")
        for label, line in zip(["try:  "] + ["or:   "] * len(stop.tries), stop.tries, strict=False):
            say(f"{label} {line}")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bootstrap", description="Set up this clone of cloudcore.")
    parser.add_argument("--test", action="store_true", help="also what the tests need")
    parser.add_argument("--driver", default="auto", choices=("auto", "libvirt", "simulated"))
    parser.add_argument("--packages-only", action="store_true", help="no .venv: for building machine images")
    parser.add_argument("--plan", action="store_true", help="only say what would be done")
    return parser.parse_args()


def packages(options: argparse.Namespace) -> list[str]:
    named = [*ALWAYS]
    if options.driver != "simulated":
        named += GUESTS
    if options.test:
        named += TESTS
    return list(dict.fromkeys(named))


def installed(names: list[str]) -> set[str]:
    if shutil.which("dpkg-query") is None:
        raise Stop("this is no Debian: dpkg-query is missing", "Debian 12, or install by hand: " + " ".join(names))
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Abbrev}\n", *names],
                          capture_output=True, text=True, check=False)
    return {line.split()[0] for line in done.stdout.splitlines() if line.split()[1:] == ["ii"]}


def fingerprint(test: bool) -> str:
    """Changes when .venv must be made or filled again. What tests need includes what running needs."""
    digest = hashlib.sha256()
    for part in (ROOT / "setup.py", ROOT / "pyproject.toml", Path(__file__)):
        digest.update(part.read_bytes())
    digest.update("\n".join(linked()).encode())
    digest.update(sys.version.encode())
    before = STAMP.read_text().splitlines() if STAMP.exists() else []
    extras = "test" if test or "test" in before[1:] else "run"
    return f"{digest.hexdigest()}\n{extras}"


def linked() -> list[str]:
    return sorted(path for pattern in LINKED for path in glob.glob(f"{DIST}/{pattern}"))


# -- the plan ------------------------------------------------------------------------------------------------------


def show_plan(options: argparse.Namespace, missing: list[str], stale: bool) -> None:
    say("This changes your machine:")
    if missing:
        count, size = weight(missing)
        more = f" ({count} with what they need, {size})" if count else ""
        say(f"  install with apt{more}:")
        for line in folded(missing):
            say(f"    {line}")
        if any(name in SERVICES for name in missing):
            say("    their services stay off: cloudcore and its tests start their own, privately")
    if stale:
        tests = " and its tests" if options.test else ""
        say(f"  make {VENV.name}/ in this clone: Python packages of cloudcore{tests}")
    if not missing and not stale:
        say("  nothing: all is there")
    say("Undo: rm -r .venv; packages: apt-get purge")


def weight(missing: list[str]) -> tuple[int, str]:
    """How many packages in all, and how much to fetch; zero when apt cannot tell yet."""
    done = subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", "--print-uris", *missing],
                          capture_output=True, text=True, check=False, env={**os.environ, **QUIET})
    sizes = [int(line.split()[2]) for line in done.stdout.splitlines() if line.startswith("'")]
    return len(sizes), f"{sum(sizes) / 1e6:.0f} MB to fetch"


def folded(words: list[str], width: int = 100) -> list[str]:
    lines = [""]
    for word in words:
        if len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + word
    return lines


# -- packages ------------------------------------------------------------------------------------------------------


def install(missing: list[str], options: argparse.Namespace) -> None:
    become = as_root(missing, options)
    command = [*become, *THREE, *APT, "install", "-y", "--no-install-recommends", "-o", "APT::Status-Fd=3", *missing]
    with Bar("packages") as bar:
        said = run_apt(command, bar)
        if said:  # lists that are missing or old are the usual reason
            bar.says("apt-get update")
            fault = run_apt([*become, *APT, "update"], bar)
            if fault:
                raise Stop("apt-get update failed:\n" + fault, "look at /etc/apt/sources.list and the network")
            said = run_apt(command, bar)
        if said:
            raise Stop("apt-get install failed:\n" + said, " ".join(["apt-get install -y", *missing]))
        bar.result = f"{len(missing)} installed"
    quieten(missing, become)


def as_root(missing: list[str], options: argparse.Namespace) -> list[str]:
    """What to put before a command that root must run."""
    if os.geteuid() == 0:
        return ["env", *(f"{name}={value}" for name, value in QUIET.items())]
    by_hand = f"as root: apt-get install -y --no-install-recommends {' '.join(missing)}"
    silent = ["sudo", "-n", "true"]
    if shutil.which("sudo") and subprocess.run(silent, capture_output=True, check=False).returncode == 0:
        return ["sudo", "-n", "env", *(f"{name}={value}" for name, value in QUIET.items())]
    if missing == ["python3-venv"]:
        raise Stop("even DRIVER=simulated needs python3-venv", "(as root) apt-get install -y python3-venv")
    why = "sudo asks for a password" if shutil.which("sudo") else "there is no sudo"
    goal = "test" if options.test else "run"
    tries = [f"sudo -v && make {goal}", by_hand] if shutil.which("sudo") else [by_hand]
    if not options.test:
        tries.append("make run DRIVER=simulated   (API, S3, simulated VMs; only ./var)")
    raise Stop(f"{len(missing)} packages are missing and you are not root ({why})", *tries)


def run_apt(command: list[str], bar: Bar) -> str:
    """The last lines of what it said when it failed, else an empty text."""
    last: list[str] = []
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace") as process:
        assert process.stdout is not None  # noqa: S101  # piped, two lines above
        for line in process.stdout:
            status = STATUS.match(line)
            if status:  # fetching is the first half of the bar, installing the second
                bar.at(float(status[2]) / 2 + (50 if status[1] == "pmstatus" else 0), 100)
            elif line.strip():
                last = [*last[-7:], line.rstrip()]
    return "\n".join(last) if process.returncode else ""


def quieten(packages: list[str], become: list[str]) -> None:
    """Stops and disables what the packages just installed have started; what ran before is not ours to stop."""
    units = [unit for name in packages for unit in SERVICES.get(name, ())]
    if not units:
        return
    if Path("/run/systemd/system").is_dir():
        commands = [["systemctl", "disable", "--now", unit] for unit in units]  # one unknown unit would stop them all
    else:
        commands = [["service", unit, "stop"] for unit in units if Path("/etc/init.d", unit).exists()]
    for command in commands:
        subprocess.run([*become, *command], stdin=subprocess.DEVNULL, capture_output=True, check=False)


# -- .venv ---------------------------------------------------------------------------------------------------------


def make_venv(options: argparse.Namespace) -> None:
    wanted = fingerprint(options.test)
    test = wanted.endswith("test")
    with Bar("python deps") as bar:
        bar.says("")
        if not (VENV / "bin" / "python").exists() or not working():
            shutil.rmtree(VENV, ignore_errors=True)
            must([PYTHON, "-m", "venv", str(VENV)], "make .venv", "(as root) apt-get install -y python3-venv")
        where = must([str(VENV / "bin/python"), "-c", "import site; print(site.getsitepackages()[0])"], "find .venv")
        for path in linked():
            link = Path(where.strip(), Path(path).name)
            if link.is_symlink() or not link.exists():
                link.unlink(missing_ok=True)
                link.symlink_to(path)
        fill_venv(f"{ROOT}[test]" if test else str(ROOT), bar)
        must([str(VENV / "bin/python"), "-c",
              "from twisted.plugin import IPlugin, getPlugins; list(getPlugins(IPlugin))"], "write the plugin cache")
        STAMP.write_text(wanted)
        bar.result = "installed"


def fill_venv(what: str, bar: Bar) -> None:
    """pip says which package it is at; how many there will be it does not know either."""
    command = [str(VENV / "bin/pip"), "install", "--progress-bar", "off", "--disable-pip-version-check", "--editable",
               what]
    last: list[str] = []
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace", cwd=ROOT) as process:
        for line in process.stdout or ():
            word, _, rest = line.strip().partition(" ")
            if word in ("Collecting", "Downloading", "Building", "Installing"):
                bar.says(f"{word.lower()} {rest}"[:60])
            if line.strip():
                last = [*last[-7:], line.rstrip()]
    if process.returncode:
        raise Stop("could not install Python packages:\n  " + "\n  ".join(last),
                   "the network, or PIP_INDEX_URL / PIP_FIND_LINKS, then the same again")


def working() -> bool:
    """A .venv that was copied, or whose Python was upgraded away, is made anew."""
    return subprocess.run([str(VENV / "bin/python"), "-m", "pip", "--version"], capture_output=True,
                          check=False).returncode == 0


def must(command: list[str], what: str, *tries: str) -> str:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-8:]
        raise Stop(f"could not {what}:\n  " + "\n  ".join(last), *tries)
    return done.stdout


# -- the screen ----------------------------------------------------------------------------------------------------


class Bar:
    """A bar on a terminal, one line a step otherwise."""

    WIDTH = 24

    def __init__(self, name: str) -> None:
        self._name, self._began, self._terminal, self.result = name, time.monotonic(), sys.stderr.isatty(), ""

    def __enter__(self) -> Bar:
        return self

    def at(self, done: float, whole: float) -> None:
        filled = int(self.WIDTH * done / whole)
        self.says("━" * filled + " " * (self.WIDTH - filled) + f"  {done:3.0f} %")

    def says(self, text: str) -> None:
        if self._terminal:
            sys.stderr.write(f"\r\x1b[2K  {self._name:<14} {text or '…'}")
            sys.stderr.flush()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            sys.stderr.write("\r\x1b[2K" if self._terminal else "")
            sys.stderr.write(f"  {self._name:<14} {self.result:<44} {time.monotonic() - self._began:.0f} s\n")
        elif self._terminal:
            sys.stderr.write("\n")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
