"""The volume hosts' end of volumes in guests elsewhere: for each a qemu-nbd with TLS, open to one pre-shared key.

What it serves is what a guest sees, whatever format the volume has here. QEMU's own locks keep it apart from guests and
copies of this host.
"""

from __future__ import annotations

import hashlib
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.protocol import Factory  # noqa: I001
from twisted.internet.protocol import Protocol as Connection

from cloudcore.blockdev import listening
from cloudcore.blockdev.attending import Attended, Task
from cloudcore.blockdev.driver import Opened
from cloudcore.process.running import found

InThread = Callable[[Callable[[], Any]], Deferred[Any]]

CLIENTS = 8  # connections at once: one that comes back may be there before we hear that the old one has gone
CONNECT = 1.0  # seconds
GREETING = b"NBDMAGIC"


@dataclass(frozen=True, slots=True)
class Export:
    """`identity` and `key` (hexadecimal) are the pre-shared key of the one who may come."""

    volume: str
    address: str
    port: int
    identity: str
    key: str


class Servers(Protocol):
    def serve(self, export: Export, opened: Opened) -> Deferred[None]:
        """As this says, whatever was served before; fires once it answers. CloudErrors: UNAVAILABLE (not yet)."""

    def end(self, volume: str) -> Deferred[None]:
        """Connections end too. Not served: nothing is done."""

    def port_is_free(self, address: str, port: int) -> bool: ...

    async def end_all(self) -> None: ...

    async def leave(self) -> None:
        """We end; what is served stays so."""


class NbdServers:
    """`directory` holds one directory for each volume that is served."""

    def __init__(self, reactor: Any, directory: Path, in_thread: InThread) -> None:
        self._reactor, self._programs = reactor, Attended(reactor, directory, in_thread)

    def serve(self, export: Export, opened: Opened) -> Deferred[None]:
        return Deferred.fromCoroutine(self._serve(export, opened))

    async def _serve(self, export: Export, opened: Opened) -> None:
        home = self._programs.home(export.volume)
        keys = f"{export.identity}:{export.key}\n"
        # QEMU wants the name keys.psk; that another key is another program is said by the id of the credentials
        name = f"tls-{hashlib.sha256(keys.encode()).hexdigest()[:16]}"
        credentials = f"tls-creds-psk,id={name},dir={doubled(home)},endpoint=server"
        argv = (
            sys.executable, "-I", "-S", listening.__file__, export.address, str(export.port),
            found("qemu-nbd"), "--object", credentials, "--tls-creds", name, "--export-name", export.volume,
            "--format", opened.format, "--discard=unmap", "--persistent", "--shared", str(CLIENTS), "--", opened.path,
        )  # fmt: skip
        await self._programs.run(export.volume, Task(argv, keys), lambda: self._answers(export))

    def end(self, volume: str) -> Deferred[None]:
        return self._programs.end(volume)

    async def end_all(self) -> None:
        await self._programs.end_all()

    async def leave(self) -> None:
        """We end; guests elsewhere go on."""
        await self._programs.leave()

    def port_is_free(self, address: str, port: int) -> bool:
        try:
            socket.create_server((address, port), family=family(address)).close()
        except OSError:
            return False
        return True

    def _answers(self, export: Export) -> Deferred[bool]:
        return Deferred.fromCoroutine(self._connects(export))

    async def _connects(self, export: Export) -> bool:
        """qemu-nbd listens before it has opened its volume, and greets only afterwards."""
        endpoint = HostnameEndpoint(self._reactor, export.address, export.port, timeout=CONNECT)
        try:
            greeted: Any = await endpoint.connect(Factory.forProtocol(Greeted))
            heard: Deferred[bool] = greeted.heard
            return await heard.addTimeout(CONNECT, self._reactor, lambda value, seconds: greeted.over())
        except CancelledError:
            raise
        except Exception:  # noqa: BLE001 - whatever keeps it from answering
            return False


class Greeted(Connection):
    """`heard` fires with whether the other side is an NBD server."""

    def __init__(self) -> None:
        self.heard: Deferred[bool] = Deferred()
        self._data = b""

    def dataReceived(self, data: bytes) -> None:
        self._data += data
        if len(self._data) >= len(GREETING):
            self.over()

    def connectionLost(self, reason: Any = None) -> None:
        self.over()

    def over(self) -> bool:
        good = self._data.startswith(GREETING)
        if not self.heard.called:
            self.heard.callback(good)
        if self.transport is not None:
            self.transport.loseConnection()
        return good


class SimulatedServers:
    """Nothing is served, and every port is free."""

    def __init__(self) -> None:
        self.served: dict[str, Export] = {}

    def serve(self, export: Export, opened: Opened) -> Deferred[None]:
        self.served[export.volume] = export
        return succeed(None)

    def end(self, volume: str) -> Deferred[None]:
        self.served.pop(volume, None)
        return succeed(None)

    async def end_all(self) -> None:
        self.served.clear()

    async def leave(self) -> None:
        """As NbdServers."""

    def port_is_free(self, address: str, port: int) -> bool:
        return True


def family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def doubled(path: Path) -> str:
    """A comma within a value of QEMU's options is written twice."""
    return str(path).replace(",", ",,")
