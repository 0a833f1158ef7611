"""Is KVM worth using here? One boot sector under emulation and under KVM, compared.

Some machines offer a /dev/kvm that works and is many times slower than emulation, so neither the device node nor a
started guest proves anything. The sector writes 'K' to the serial port and leaves QEMU by isa-debug-exit with exit
status 3. A false alarm costs the user a tenfold slowdown, so emulation is timed first and the limit grows with it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from cloudcore.errors import CloudError, Code
from cloudcore.process.running import run

DEVICE = Path("/dev/kvm")
LEAST_LIMIT = 1.5  # seconds; emulation takes 0.11-0.17, a sick KVM took 3.4-5.1
RATIO = 8
EMULATION_LIMIT = 30.0
STATUS = 3  # (1 << 1) | 1, what the sector writes to the debug port

CODE = bytes.fromhex(
    "ba f8 03"  # mov dx, 0x3f8      first serial port
    "b0 4b ee"  # mov al, 'K'; out dx, al
    "ba 01 05"  # mov dx, 0x501      isa-debug-exit
    "b0 01 ee"  # mov al, 1; out dx, al
    "f4 eb fd"  # hlt; jmp hlt
)
SECTOR = CODE.ljust(510, b"\0") + b"\x55\xaa"


def virt_type(reactor: Any, state: str | Path) -> Deferred[str]:
    """kvm or qemu. The answer is kept in `state` for this boot of the machine."""
    return Deferred.fromCoroutine(_virt_type(reactor, Path(state)))


async def _virt_type(reactor: Any, state: Path) -> str:
    kept = state / "kvm-selftest.json"
    known = _known(kept)
    if known is None:
        known = await _measure(reactor, state)
        kept.write_text(json.dumps({"boot": _boot(), "virt_type": known}))
    return known


def _known(kept: Path) -> str | None:
    try:
        answer = json.loads(kept.read_text())
    except (FileNotFoundError, ValueError):
        return None
    right = isinstance(answer, dict) and answer.get("boot") == _boot() and answer.get("virt_type") in ("kvm", "qemu")
    return answer["virt_type"] if right else None


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


async def _measure(reactor: Any, state: Path) -> str:
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return "qemu"
    sector = state / "kvm-selftest.img"
    sector.write_bytes(SECTOR)
    try:
        emulated = await seconds(reactor, "tcg", sector, EMULATION_LIMIT)
        if emulated is None:
            raise CloudError(Code.NO_HYPERVISOR, "QEMU cannot run a boot sector, not even by emulation")
        accelerated = await seconds(reactor, "kvm", sector, max(LEAST_LIMIT, RATIO * emulated))
    finally:
        sector.unlink(missing_ok=True)
    return "qemu" if accelerated is None else "kvm"


async def seconds(reactor: Any, accelerator: str, sector: Path, limit: float) -> float | None:
    """How long the sector took under `accelerator`; None when it failed or passed the limit."""
    command = [
        "qemu-system-x86_64", "-accel", accelerator, "-m", "16", "-nodefaults", "-display", "none",
        "-serial", "stdio", "-drive", f"file={sector},format=raw,if=ide,readonly=off",
        "-device", "isa-debug-exit,iobase=0x501,iosize=1",
    ]  # fmt: skip
    began = reactor.seconds()
    try:
        done = await run(reactor, command, timeout=limit)
    except CloudError:
        return None
    return reactor.seconds() - began if done.status == STATUS and b"K" in done.stdout else None
