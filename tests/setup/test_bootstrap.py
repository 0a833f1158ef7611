"""The set-up script on a machine that is pretended: its own programs in PATH, its own clone, nothing installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = "/usr/bin/python3"


class Machine:
    """A clone without .venv and a PATH whose dpkg-query knows only what was `installed`."""

    def __init__(self, folder: Path) -> None:
        self.clone, self.bin, self.calls = folder / "clone", folder / "bin", folder / "calls"
        (self.clone / "setup").mkdir(parents=True)
        self.bin.mkdir()
        for name in ("setup/bootstrap.py", "setup.py", "pyproject.toml"):
            shutil.copy(ROOT / name, self.clone / name)
        self.calls.touch()
        self.installed = set[str]()

    def program(self, name: str, script: str) -> None:
        path = self.bin / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> {self.calls}\n{script}\n')
        path.chmod(0o755)

    def run(self, *words: str, root: bool = True) -> subprocess.CompletedProcess[str]:
        known = "".join(f"{name} ii \\n" for name in sorted(self.installed))
        self.program("dpkg-query", f"printf '{known}'")
        environ = {"PATH": str(self.bin) + ":/usr/bin:/bin", "HOME": "/nonexistent"}
        command = [PYTHON, str(self.clone / "setup/bootstrap.py"), *words]
        if not root and os.geteuid() == 0:
            plain = ("import os, runpy, sys; os.geteuid = lambda: 1000; sys.argv = sys.argv[1:]; "
                     "runpy.run_path(sys.argv[0], run_name='__main__')")
            command = [PYTHON, "-c", plain, *command[1:]]
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=False,
                              stdin=subprocess.DEVNULL)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.program("apt-get", 'case "$*" in *--print-uris*) printf "\'http://x/a.deb\' a.deb 1500000 MD5\\n" ;; esac')
    made.program("sudo", "exit 1")
    return made


def test_the_plan_says_what_would_change_and_changes_nothing(machine: Machine) -> None:
    done = machine.run("--plan")
    assert done.returncode == 0
    assert "libvirt-daemon-system qemu-system-x86" in done.stderr
    assert "(1 with what they need, 2 MB to fetch)" in done.stderr
    assert "make .venv/" in done.stderr
    assert "their services stay off" in done.stderr
    assert sorted(path.name for path in machine.clone.iterdir()) == ["pyproject.toml", "setup", "setup.py"]
    assert "install -y --no-install-recommends -o" not in machine.calls.read_text()


def test_only_what_is_missing_is_named(machine: Machine) -> None:
    machine.installed = {"qemu-system-x86", "nftables"}
    said = machine.run("--plan").stderr
    assert "qemu-system-x86" not in said
    assert "dnsmasq-base" in said


def test_simulated_guests_need_next_to_nothing(machine: Machine) -> None:
    said = machine.run("--plan", "--driver", "simulated").stderr
    assert "python3-venv" in said
    assert "qemu" not in said


def test_tests_need_more(machine: Machine) -> None:
    said = machine.run("--plan", "--test").stderr
    assert all(name in said for name in ("rabbitmq-server", "postgresql", "qemu-system-x86"))


def test_without_root_and_sudo_it_says_what_to_type(machine: Machine) -> None:
    done = machine.run(root=False)
    assert done.returncode == 1
    assert "packages are missing and you are not root (sudo asks for a password)" in done.stderr
    assert "sudo -v && make run" in done.stderr
    assert "as root: apt-get install -y --no-install-recommends python3-venv libvirt-daemon-system" in done.stderr
    assert "make run DRIVER=simulated" in done.stderr
    assert "traceback" not in done.stderr.lower()


def test_without_even_venv_the_simulated_driver_says_so(machine: Machine) -> None:
    done = machine.run("--driver", "simulated", root=False)
    assert done.returncode == 1
    assert "even DRIVER=simulated needs python3-venv" in done.stderr


def test_missing_package_lists_are_fetched_once_and_the_install_tried_again(machine: Machine) -> None:
    marker = machine.bin / "updated"
    machine.program("apt-get", f'case "$*" in *update*) touch {marker};; *Status-Fd*) test -e {marker} || '
                               f'{{ echo "E: Unable to locate package"; exit 100; }};; esac')
    machine.program("systemctl", "")
    machine.program("service", "")
    done = machine.run("--driver", "simulated", "--packages-only")
    calls = [line for line in machine.calls.read_text().splitlines() if line.startswith("apt-get -o")]
    assert ["update" in call for call in calls] == [False, True, False], done.stderr
    assert "packages" in done.stderr


def test_a_failed_install_shows_what_apt_said(machine: Machine) -> None:
    machine.program("apt-get", 'echo "E: the disk is full"; exit 100')
    done = machine.run("--driver", "simulated")
    assert done.returncode == 1
    assert "E: the disk is full" in done.stderr


def test_where_there_is_no_dpkg_it_says_what_is_needed(machine: Machine) -> None:
    command = [PYTHON, str(machine.clone / "setup/bootstrap.py"), "--plan"]
    done = subprocess.run(command, env={"PATH": "/nonexistent"}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "this is no Debian" in done.stderr


def test_a_set_up_clone_is_left_alone_and_quickly(machine: Machine) -> None:
    def ask(expression: str) -> str:
        script = f"import sys; sys.path.insert(0, sys.argv[1]); import bootstrap; print({expression}, end='')"
        return subprocess.run([PYTHON, "-B", "-c", script, str(machine.clone / "setup")],
                              capture_output=True, text=True, check=True).stdout

    machine.installed = set(ask("*bootstrap.ALWAYS, *bootstrap.GUESTS").split())
    stamp = machine.clone / ".venv" / ".cloudcore-installed"
    stamp.parent.mkdir()
    stamp.write_text(ask("bootstrap.fingerprint(False)"))
    done = machine.run()
    assert (done.returncode, done.stderr) == (0, "")
