"""The tiny guest as one bootable disk of 28 MiB (raw, and qcow2 beside it), built from Debian's own packages by
cloudcore/tinyguest/build.sh.

It boots in seconds under emulation, does DHCP, asks the metadata service, runs user data, serves ssh, http and echo,
and tells all of it on its serial console as `TINY <uptime> <key> ...` lines. It wants 80 MiB of memory or more.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from cloudcore.errors import CloudError, Code
from cloudcore.process.running import run

PACKAGES = (  # of Debian; apt-get itself fetches the kernel, which is not installed
    "busybox-static", "dropbear-bin", "syslinux", "syslinux-common", "mtools", "dosfstools", "fdisk", "e2fsprogs",
    "cpio", "binutils",
)  # fmt: skip
NEEDED = (
    "/bin/busybox", "/usr/sbin/dropbear", "/usr/bin/dropbearkey", "/usr/bin/syslinux", "/usr/lib/syslinux/mbr/mbr.bin",
    "/usr/bin/mcopy", "/usr/sbin/mkfs.fat", "/usr/sbin/sfdisk", "/usr/sbin/mke2fs", "/usr/bin/cpio", "/usr/bin/strip",
    "/usr/bin/apt-get", "/usr/bin/qemu-img",
)  # fmt: skip
RECIPE = Path(__file__).parent.parent / "tinyguest"
FILES = ("build.sh", "init", "udhcpc.sh", "hotplug")
PATIENCE = 300.0  # seconds: 2 s to build, and 27 MB from Debian's mirror


def build(reactor: Any, directory: str | Path) -> Deferred[Path]:
    """The path of `tiny.raw` in `directory`, with `tiny.qcow2` beside it; built only when it is not there or
    its recipe has changed.

    CloudError(PROGRAM_FAILED) with the names of what is missing, or with what the build said."""
    return Deferred.fromCoroutine(_build(reactor, Path(directory)))


async def _build(reactor: Any, directory: Path) -> Path:
    image, stamp = directory / "tiny.raw", directory / "tiny.recipe"
    recipe = _recipe()
    if image.exists() and stamp.exists() and stamp.read_text() == recipe:
        return image
    missing = [name for name in NEEDED if not os.access(name, os.R_OK)]
    if missing:
        raise CloudError(Code.PROGRAM_FAILED, f"to build the tiny guest these are missing: {', '.join(missing)}")
    directory.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  # before anything else runs
    for leftover in directory.glob("build.*"):  # noqa: ASYNC240  # of a build that was killed
        shutil.rmtree(leftover)
    done = await run(reactor, ["/bin/bash", str(RECIPE / "build.sh"), str(directory)], timeout=PATIENCE)
    if done.status != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-5:]
        raise CloudError(Code.PROGRAM_FAILED, f"the tiny guest could not be built: {' / '.join(said)}")
    stamp.write_text(recipe)
    return image


def _recipe() -> str:
    return hashlib.sha256(b"\0".join((RECIPE / name).read_bytes() for name in FILES)).hexdigest()
