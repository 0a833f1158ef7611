"""The guests' end of volumes that lie on other hosts: for each a local nbdkit, whose unix socket a guest opens.

Its retry filter waits for a server that is away and connects again; QEMU below libvirt 9 would answer with I/O errors
for good. TLS with the pre-shared key of the attachment is its part too, so that the key never comes near the guest.
"""

from __future__ import annotations

import hashlib
import os
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed

from cloudcore.blockdev.attending import Attended, Task
from cloudcore.errors import CloudError, Code

InThread = Callable[[Callable[[], Any]], Deferred[Any]]

RETRIES = 86400  # a second apart: the guest waits for a day, as for any storage that is away
SOCKET = "nbd"
HERE = "/proc/self/cwd"


class Remote(Protocol):
    """Where a volume is served: rpc.compute.RemoteDisk. `key` is hexadecimal."""

    @property
    def address(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def export(self) -> str: ...
    @property
    def identity(self) -> str: ...
    @property
    def key(self) -> str: ...


class RemoteVolumes:
    """`user` is who QEMU runs as: nbdkit runs so too, and only its sockets are open to it. It finds them by its working
    directory alone, for it may not pass through a private state directory, and a socket's address is short."""

    def __init__(self, reactor: Any, directory: Path, in_thread: InThread, user: str = "") -> None:
        account = pwd.getpwnam(user) if user and user != "root" and os.geteuid() == 0 else None
        owner = (account.pw_uid, account.pw_gid) if account else None
        self._before = ("setpriv", f"--reuid={owner[0]}", f"--regid={owner[1]}", "--clear-groups") if owner else ()
        self._programs, self._in_thread = Attended(reactor, directory, in_thread, owner), in_thread

    def open(self, volume: str, remote: Remote) -> Deferred[str]:
        """The path of its socket. Open already: nothing is done, unless `remote` is another. The server need not answer
        yet."""
        return Deferred.fromCoroutine(self._open(volume, remote))

    def close(self, volume: str) -> Deferred[None]:
        """Whoever has it open sees errors from now on. Not open: nothing is done."""
        return self._programs.end(volume)

    def present(self) -> Deferred[frozenset[str]]:
        """The volumes that are open."""
        return self._programs.present()

    async def close_all(self) -> None:
        await self._programs.end_all()

    async def leave(self) -> None:
        """We end; what is open stays so."""
        await self._programs.leave()

    async def _open(self, volume: str, remote: Remote) -> str:
        check(remote)
        home = self._programs.home(volume)
        socket = home / SOCKET
        keys = f"{remote.identity}:{remote.key}\n"
        key_name = f"key-{hashlib.sha256(keys.encode()).hexdigest()[:16]}"  # another key is another program
        argv = (
            "env", f"--chdir={home}", *self._before,
            "nbdkit", "-f", "-U", f"{HERE}/{SOCKET}", "--filter=retry", "nbd", f"hostname={remote.address}",
            f"port={remote.port}", f"export={remote.export}", "tls=require", f"tls-psk={HERE}/{key_name}",
            f"tls-username={remote.identity}", f"retries={RETRIES}", "retry-delay=1", "retry-exponential=no",
        )  # fmt: skip
        await self._programs.run(volume, Task(argv, keys, key_name, SOCKET), lambda: self._in_thread(socket.is_socket))
        return str(socket)


class SimulatedRemotes:
    """Beside simulated guests: nothing is connected."""

    def __init__(self) -> None:
        self.opened: dict[str, Remote] = {}

    def open(self, volume: str, remote: Remote) -> Deferred[str]:
        self.opened[volume] = remote
        return succeed(f"/nowhere/{volume}/{SOCKET}")

    def close(self, volume: str) -> Deferred[None]:
        self.opened.pop(volume, None)
        return succeed(None)

    def present(self) -> Deferred[frozenset[str]]:
        return succeed(frozenset(self.opened))

    async def close_all(self) -> None:
        self.opened.clear()

    async def leave(self) -> None:
        """Nothing is running."""


def check(remote: Remote) -> None:
    """All of it becomes arguments or lines of a key file."""
    words = (remote.address, remote.export, remote.identity, remote.key)
    plain = all(word and all(letter.isalnum() or letter in "-._:" for letter in word) for word in words)
    if not plain or ":" in remote.identity or not word_is_hex(remote.key) or not 0 < remote.port < 65536:
        raise CloudError(Code.BAD_VALUE, f"{remote.address[:80]!r} serves no volume {remote.export[:80]!r}")


def word_is_hex(word: str) -> bool:
    return len(word) >= 32 and not set(word) - set("0123456789abcdef")
