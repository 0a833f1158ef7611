"""Ansible with its amazon.aws collection, in an environment of its own below build/, made when it is first asked for.

The collection is on PyPI only inside the package `ansible`, whose hundred other collections take half a gigabyte and a
minute to unpack. So only the engine is installed, and of the package only this collection is unpacked.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from tests.e2e.clouds import ROOT

ENGINE, PACKAGE = "ansible-core==2.19.*", "ansible==12.3.*"
CLIENTS = ("boto3>=1.40", "botocore>=1.40")
WANTED = ("ansible_collections/amazon/aws/",)
HOME = ROOT / "build" / "ansible"


def home() -> Path:
    """Of bin/ansible-playbook and collections/. Raises CalledProcessError with what pip said."""
    stamp, wanted = HOME / "made", "\n".join((ENGINE, PACKAGE, *CLIENTS, sys.version))
    HOME.parent.mkdir(exist_ok=True)
    with (HOME.parent / "ansible.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            shutil.rmtree(HOME, ignore_errors=True)
            make(HOME)
            stamp.write_text(wanted)
    return HOME


def make(place: Path) -> None:
    pip = [str(place / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    run([sys.executable, "-m", "venv", str(place)])
    run([*pip, "install", ENGINE, *CLIENTS])
    with tempfile.TemporaryDirectory(dir=place) as folder:
        run([*pip, "download", "--no-deps", "--only-binary", ":all:", "--dest", folder, PACKAGE])
        with zipfile.ZipFile(next(Path(folder).glob("ansible-*.whl"))) as wheel:
            names = [name for name in wheel.namelist() if name.startswith(WANTED)]
            wheel.extractall(place / "collections", names)


def run(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=240, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, f"{argv}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
