"""What an installed cloudcore needs is in its wheel: the plugins that twistd finds, migrations, the guest's recipe."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DAEMONS = ("api", "conductor", "scheduler", "network", "compute", "metadata", "objectstore")
NEEDED = (
    "twisted/plugins/cloudcore_plugin.py", "cloudcore/py.typed", "cloudcore/store/migrations/env.py",
    "cloudcore/store/migrations/script.py.mako", "cloudcore/store/migrations/versions/0001_first_light.py",
    "cloudcore/virt/private_libvirtd.sh", "cloudcore/virt/reaping_init.py", "cloudcore/tinyguest/build.sh",
    "cloudcore/tinyguest/init", "cloudcore/tinyguest/udhcpc.sh", "cloudcore/tinyguest/hotplug",
    "objectstore/service.py",
)  # fmt: skip
FORBIDDEN = ("tests/", "bench/", "twisted/__init__.py", "twisted/plugins/__init__.py", "setup/")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the files that git has: build/ may keep modules that are gone."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).exists():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
            (source / name).chmod((ROOT / name).stat().st_mode)
    argv = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(target), str(source)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return next(target.glob("cloudcore-*.whl"))


@pytest.mark.timeout(300)
def test_the_wheel_has_what_is_needed_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert not [name for name in NEEDED if name not in names]
    assert not [name for name in names if name.startswith(FORBIDDEN)]


@pytest.mark.timeout(300)
def test_twistd_finds_every_daemon_of_the_installed_wheel(wheel: Path, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path), str(wheel)]
    assert subprocess.run(argv, timeout=120).returncode == 0
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    program = ("from twisted.plugin import getPlugins\nfrom twisted.application.service import IServiceMaker\n"
               "import cloudcore, twisted.plugins.cloudcore_plugin as plugin\n"
               "print(cloudcore.__file__, plugin.__file__)\n"
               "print(*(maker.tapname for maker in getPlugins(IServiceMaker)))")  # fmt: skip
    said = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60,
        env=kept | {"PYTHONPATH": str(tmp_path)},
    ).stdout  # fmt: skip
    files, names = said.splitlines()
    assert all(file.startswith(str(tmp_path)) for file in files.split()), "not the clone's"
    assert not [name for name in DAEMONS if f"cloudcore-{name}" not in names.split()]
    assert (tmp_path / "bin" / "cloudcore").exists()
