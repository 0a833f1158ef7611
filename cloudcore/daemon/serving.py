"""What every listening daemon needs: a door that says which port it got, that loses no request when it shuts, and a
word with systemd.

A finished request is not yet a sent one: its bytes wait for the reactor's next turn. So when the door shuts, idle
connections are closed at once, busy ones after their answer, and the end of each is awaited.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import LoopingCall, deferLater

from cloudcore.errors import CloudError, Code

PATIENCE = 10.0  # seconds for requests under way


class Door(Service):
    """One listening port for one HTTP factory. `open()` may be called before startService, to learn the port."""

    def __init__(self, reactor: Any, interface: str, port: int, factory: Any, freebind: bool = False) -> None:
        """`freebind`: the address may not exist yet (a bridge that another service makes)."""
        self._reactor, self._interface, self._wanted, self._factory = reactor, interface, port, factory
        self._freebind = freebind
        self._listening: IListeningPort | None = None
        self._channels: set[Any] = set()

    @property
    def port(self) -> int:
        if self._listening is None:
            raise RuntimeError("the door is not open")
        return int(self._listening.getHost().port)  # type: ignore[attr-defined]  # of an IPv4Address or IPv6Address

    def open(self) -> None:
        """Raises CloudError(PORT_TAKEN)."""
        if self._listening is not None:
            return
        build = self._factory.buildProtocol

        def tracked(address: Any) -> Any:
            channel = build(address)
            self._channels = {known for known in self._channels if connected(known)} if len(
                self._channels) > 512 else self._channels  # fmt: skip
            self._channels.add(channel)
            return channel

        self._factory.buildProtocol = tracked
        try:
            self._listening = self._listen()
        except (CannotListenError, OSError) as problem:
            where = f"{self._interface or '*'}:{self._wanted}"
            raise CloudError(Code.PORT_TAKEN, f"cannot listen on {where}: {problem}") from problem

    def startService(self) -> None:
        self.open()
        super().startService()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return Deferred.fromCoroutine(self._drain())

    def _listen(self) -> IListeningPort:
        if not self._freebind:
            return self._reactor.listenTCP(self._wanted, self._factory, backlog=511, interface=self._interface)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
            listener.bind((self._interface, self._wanted))
            listener.listen(511)
            listener.setblocking(False)
            return self._reactor.adoptStreamPort(listener.fileno(), socket.AF_INET, self._factory)

    async def _drain(self) -> None:
        if self._listening is None:
            return
        await maybeDeferred(self._listening.stopListening)
        end = self._reactor.seconds() + PATIENCE
        while (left := [channel for channel in self._channels if connected(channel)]) and self._reactor.seconds() < end:
            for channel in left:
                http = getattr(channel, "_channel", channel)
                if getattr(http, "requests", None):
                    http.persistent = False
                else:
                    http.transport.loseConnection()
            await deferLater(self._reactor, 0.02, lambda: None)
        for channel in left:
            getattr(channel, "_channel", channel).transport.abortConnection()


IP_FREEBIND = 15  # linux/in.h; the socket module does not name it


def connected(channel: Any) -> bool:
    transport = getattr(getattr(channel, "_channel", channel), "transport", None)  # Site wraps the channel that has it
    return bool(transport is not None and getattr(transport, "connected", False))


def tell_systemd(message: bytes) -> None:
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
        notify.sendto(message, "\0" + address[1:] if address.startswith("@") else address)


class Systemd(Service):
    """Ready when the reactor runs, alive while it turns, stopping. Add it last: then the listeners are up."""

    def __init__(self, reactor: Any) -> None:
        self._reactor, self._pulse = reactor, LoopingCall(tell_systemd, b"WATCHDOG=1")
        self._pulse.clock = reactor

    def startService(self) -> None:
        super().startService()
        self._reactor.callWhenRunning(tell_systemd, b"READY=1\nSTATUS=serving")
        if period := int(os.environ.get("WATCHDOG_USEC", "0")):
            self._pulse.start(period / 2e6)

    def stopService(self) -> None:
        super().stopService()
        tell_systemd(b"STOPPING=1")
        if self._pulse.running:
            self._pulse.stop()


def url(listen: str, port: int) -> str:
    """How a client on this machine reaches it."""
    host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "[::1]"}.get(listen, listen)  # noqa: S104 - compared only
    return f"http://{host}:{port}"
