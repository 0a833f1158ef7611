"""A real Debian guest with stock cloud-init, made of this machine's own apt sources by debian/build.sh.

Kept in build/, and built anew when the recipe changes or a month has passed: `python -m tests.e2e.debian_guest`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import time
from pathlib import Path

RECIPE = Path(__file__).parent / "debian"
KEPT = Path(__file__).resolve().parents[2] / "build" / "debian-guest"
PATIENCE = 1200  # seconds: one minute of work, and 110 MB from Debian's mirror
MONTH = 30 * 86400  # security updates are Debian's, and so are the names of old packages that are gone by then


def image() -> Path:
    """The path of debian.qcow2. What the build said, when it fails."""
    KEPT.mkdir(parents=True, exist_ok=True)
    place = KEPT / recipe()[:16]
    file = place / "debian.qcow2"
    with (KEPT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs of the tests build it once
        if not file.exists() or file.stat().st_mtime < time.time() - MONTH:
            for old in KEPT.glob("*/"):  # of other recipes, and of builds that were killed
                shutil.rmtree(old)
            place.mkdir()
            build(place)
    return file


def build(place: Path) -> None:
    lists = place / "sources.list"
    lists.write_text(sources())
    done = subprocess.run([str(RECIPE / "build.sh"), str(place), suite(), str(lists)], capture_output=True, text=True,
                          timeout=PATIENCE, stdin=subprocess.DEVNULL)  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    (place / "said").write_text(done.stdout)


def recipe() -> str:
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in sorted(RECIPE.iterdir()))).hexdigest()


def sources() -> str:
    """Debian's own among the sources that apt is set up with here, as one-line entries."""
    ask = ["apt-get", "indextargets", "--format", "deb $(REPO_URI) $(RELEASE) $(COMPONENT)",
           "Created-By: Packages", "Origin: Debian"]  # fmt: skip
    found = subprocess.run(ask, capture_output=True, text=True, check=True).stdout
    if not found:  # no lists were fetched yet, and the origin is in them
        subprocess.run(["apt-get", "-q", "update"], capture_output=True, check=True, timeout=PATIENCE)
        found = subprocess.run(ask, capture_output=True, text=True, check=True).stdout
    assert found, "apt has no source of Debian's own packages"
    return "".join(f"{line}\n" for line in dict.fromkeys(found.splitlines()))


def suite() -> str:
    lines = Path("/etc/os-release").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)["VERSION_CODENAME"]


if __name__ == "__main__":
    os.umask(0o022)
    print(image())
