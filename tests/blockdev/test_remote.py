"""A volume of another host over loopback: served with TLS by qemu-nbd, read through a retrying nbdkit."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater

from cloudcore.blockdev.remote import RemoteVolumes
from cloudcore.blockdev.serving import Export, NbdServers
from cloudcore.errors import CloudError, Code
from cloudcore.process.running import run
from cloudcore.process.supervising import Remembered
from cloudcore.rpc.compute import RemoteDisk
from tests.blockdev.rigs import FileRig, in_thread
from tests.contracts.test_block_driver import write
from tests.ports import free_port

VOLUME = "vol-0123456789abcdef0"
MIB, GIB = 2**20, 2**30


class Pair:
    """One host that serves a volume, and another one whose guest has it."""

    def __init__(self, home: Path) -> None:
        self.home, self.driver = home, FileRig(home).driver()
        self.servers = NbdServers(reactor, home / "exports", in_thread)
        self.remotes = RemoteVolumes(reactor, home / "r", in_thread)
        self.export = Export(VOLUME, "127.0.0.1", free_port(), VOLUME, os.urandom(32).hex())

    @property
    def remote(self) -> RemoteDisk:
        return RemoteDisk("127.0.0.1", self.export.port, VOLUME, self.export.identity, self.export.key)

    async def serve(self) -> None:
        await self.driver.make(VOLUME, GIB, ())
        opened = await self.driver.opened(VOLUME)
        assert opened is not None
        write(opened.path, opened.format, {0: b"\x5a" * MIB})
        await self.servers.serve(self.export, opened)

    async def again(self) -> None:
        opened = await self.driver.opened(VOLUME)
        assert opened is not None
        await self.servers.serve(self.export, opened)

    def pid(self, kind: str) -> int:
        known = Remembered.read(self.home / kind / VOLUME / "pid")
        assert known is not None
        return known.pid


@pytest_twisted.async_yield_fixture
async def pair(tmp_path: Path) -> Any:
    made = Pair(tmp_path)
    yield made
    await made.remotes.close_all()
    await made.servers.end_all()


async def io(path: str, *commands: str, timeout: float = 30.0) -> tuple[int, str]:
    """qemu-io as the guest would."""
    words = [word for command in commands for word in ("-c", command)]
    done = await run(reactor, ["qemu-io", "-f", "raw", *words, f"nbd+unix:///?socket={path}"], timeout=timeout)
    return done.status, (done.stdout + done.stderr).decode()


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.deadline(60)
async def test_a_volume_is_read_and_written_over_an_outage(pair: Pair) -> None:
    await pair.serve()
    path = await pair.remotes.open(VOLUME, pair.remote)
    status, said = await io(path, "read -P 0x5a 0 1M", "write -P 0x6b 1M 64k", "flush")
    assert status == 0, said
    guest = subprocess.Popen(["qemu-io", "-f", "raw", f"nbd+unix:///?socket={path}"], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # fmt: skip
    assert guest.stdin and guest.stdout
    guest.stdin.write("read -P 0x5a 0 64k\n")
    guest.stdin.flush()
    await in_thread(lambda: [guest.stdout.readline() for _ in range(2)])  # it is connected
    dead = pair.pid("exports")
    await pair.servers.leave()  # nobody restarts it
    os.kill(dead, signal.SIGKILL)
    asked = in_thread(lambda: guest.communicate("read -P 0x6b 1M 64k\nread -P 0x5a 0 1M\nquit\n", timeout=30))
    await deferLater(reactor, 3, lambda: None)
    assert guest.poll() is None  # it waits
    await pair.again()
    said, _ = await asked
    assert guest.returncode == 0 and "failed" not in said.lower() and said.count("read 1048576/1048576") == 1, said
    assert pair.pid("exports") != dead


async def test_asking_again_changes_nothing_and_another_key_does(pair: Pair) -> None:
    await pair.serve()
    first = await pair.remotes.open(VOLUME, pair.remote)
    pids = pair.pid("exports"), pair.pid("r")
    await pair.again()
    assert await pair.remotes.open(VOLUME, pair.remote) == first
    assert (pair.pid("exports"), pair.pid("r")) == pids
    pair.export = replace(pair.export, key=os.urandom(32).hex())
    await pair.again()
    status, said = await io(first, "read 0 64k", timeout=20)  # the old key opens nothing any more
    assert status != 0, said
    assert await pair.remotes.open(VOLUME, pair.remote) == first
    assert (await io(first, "read -P 0x5a 0 64k"))[0] == 0
    assert pids[0] != pair.pid("exports") and pids[1] != pair.pid("r")


async def test_a_local_end_that_dies_comes_back(pair: Pair) -> None:
    """Its socket was left behind."""
    await pair.serve()
    path = await pair.remotes.open(VOLUME, pair.remote)
    dead = pair.pid("r")
    os.kill(dead, signal.SIGKILL)
    for _ in range(50):
        await deferLater(reactor, 0.1, lambda: None)
        if pair.pid("r") != dead and (await io(path, "read -P 0x5a 0 64k"))[0] == 0:
            return
    pytest.fail("it did not come back")


async def test_small_answers_come_at_once(pair: Pair) -> None:
    """Nothing is held back until what went before is acknowledged, some 40 ms later."""
    await pair.serve()
    path = await pair.remotes.open(VOLUME, pair.remote)
    asked, began = [f"alloc {number}M 64k" for number in range(1, 61)], time.monotonic()
    status, said = await io(path, *asked)
    assert status == 0, said
    assert time.monotonic() - began < 1.5


async def test_both_ends_outlive_those_who_began_them(pair: Pair) -> None:
    await pair.serve()
    path = await pair.remotes.open(VOLUME, pair.remote)
    pids = pair.pid("exports"), pair.pid("r")
    await pair.servers.leave()
    await pair.remotes.leave()
    pair.servers = NbdServers(reactor, pair.home / "exports", in_thread)
    pair.remotes = RemoteVolumes(reactor, pair.home / "r", in_thread)
    await pair.again()
    assert await pair.remotes.open(VOLUME, pair.remote) == path
    assert (pair.pid("exports"), pair.pid("r")) == pids
    assert (await io(path, "read -P 0x5a 0 64k"))[0] == 0


async def test_what_is_closed_leaves_nothing(pair: Pair) -> None:
    await pair.serve()
    await pair.remotes.open(VOLUME, pair.remote)
    pids = pair.pid("exports"), pair.pid("r")
    fresh = RemoteVolumes(reactor, pair.home / "r", in_thread)  # after a restart of ours
    await pair.remotes.leave()
    for _ in range(2):
        await fresh.close(VOLUME)
        await pair.servers.end(VOLUME)
    assert all(gone(pid) for pid in pids)
    assert not (pair.home / "r" / VOLUME).exists() and not (pair.home / "exports" / VOLUME).exists()


async def test_keys_are_in_files_that_nobody_else_reads(pair: Pair) -> None:
    await pair.serve()
    await pair.remotes.open(VOLUME, pair.remote)
    for kind in ("exports", "r"):
        home = pair.home / kind / VOLUME
        assert home.stat().st_mode & 0o777 == 0o700
        keys = [path for path in home.iterdir() if path.is_file() and pair.export.key in path.read_text()]
        assert len(keys) == 1 and keys[0].stat().st_mode & 0o777 == 0o600
        assert pair.export.key.encode() not in Path(f"/proc/{pair.pid(kind)}/cmdline").read_bytes()


async def test_who_has_no_key_is_not_served(pair: Pair) -> None:
    await pair.serve()
    done = await run(reactor, ["qemu-img", "info", "-f", "raw", f"nbd://127.0.0.1:{pair.export.port}/{VOLUME}"])
    assert done.status != 0 and b"TLS" in done.stderr
    wrong = replace(pair.remote, key=os.urandom(32).hex())
    path = await pair.remotes.open(VOLUME, wrong)
    assert (await io(path, "read 0 64k"))[0] != 0


async def test_a_volume_that_a_guest_has_is_not_served(pair: Pair) -> None:
    await pair.driver.make(VOLUME, GIB, ())
    with FileRig(pair.home).held(pair.driver, VOLUME):
        with pytest.raises(CloudError, match="Is another process") as problem:
            await pair.again()
        assert problem.value.code is Code.UNAVAILABLE


@pytest.mark.parametrize("change", [
    {"address": "a b"}, {"address": ""}, {"port": 0}, {"port": 70000}, {"export": "x y"}, {"export": "-x,y"},
    {"identity": "a:b"}, {"identity": "a\nb"}, {"key": "zz" * 32}, {"key": "ab"},
])  # fmt: skip
async def test_what_would_be_another_argument_is_refused(pair: Pair, change: dict[str, Any]) -> None:
    with pytest.raises(CloudError) as problem:
        await pair.remotes.open(VOLUME, replace(pair.remote, **change))
    assert problem.value.code is Code.BAD_VALUE
