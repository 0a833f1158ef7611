"""libvirt beside the reactor: one daemon thread runs libvirt's event loop, a small pool of its own makes the calls.

All calls block. One on a hung QEMU monitor blocks its thread for ever: the deadline frees the caller, not the thread;
`stuck` counts such threads, and they are daemons so that the process can still end. A connection that died is opened
again by the next call, and by ourselves so that events are heard again.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from enum import Enum
from typing import Any, Protocol, TypeVar

import libvirt
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from cloudcore.errors import CloudError, Code

log = Logger()
T = TypeVar("T")

THREADS = 6
REOPEN = 0.5  # seconds between tries after the connection was lost
GONE = {  # the daemon is away, rather than that it refused
    libvirt.VIR_ERR_SYSTEM_ERROR,
    libvirt.VIR_ERR_RPC,
    libvirt.VIR_ERR_NO_CONNECT,
    libvirt.VIR_ERR_INVALID_CONN,
    libvirt.VIR_ERR_AUTH_UNAVAILABLE,
}


class Daemon(Protocol):
    """Who sees to it that a libvirtd runs."""

    def ensure(self) -> Deferred[str]:
        """The URI to open; starts the daemon where it does not run."""


@functools.cache
def start_event_loop() -> None:
    """Once per process, before the first open(): a connection opened earlier never reports an event."""
    libvirt.virEventRegisterDefaultImpl()
    libvirt.registerErrorHandler(lambda context, error: None, None)  # errors also arrive as exceptions

    def run() -> None:
        while True:
            libvirt.virEventRunDefaultImpl()

    threading.Thread(target=run, name="libvirt-events", daemon=True).start()


def daemon_thread(**arguments: Any) -> threading.Thread:
    return threading.Thread(daemon=True, **arguments)


PAUSES = (libvirt.VIR_DOMAIN_EVENT_SUSPENDED, libvirt.VIR_DOMAIN_EVENT_RESUMED)  # nothing has begun or ended


class Heard(Enum):
    CHANGED = "changed"
    KILLED = "killed"  # it shuts down, and nobody inside wanted that
    REBOOTED = "rebooted"


class Calls:
    """`heard(name, what)` is called in the reactor when something happened to a domain; with ("", CHANGED) after the
    connection had been lost, since events were missed."""

    def __init__(self, reactor: Any, daemon: Daemon, heard: Callable[[str, Heard], None]) -> None:
        self._reactor, self._daemon, self._heard = reactor, daemon, heard
        self._pool = ThreadPool(0, THREADS, "libvirt")
        self._pool.threadFactory = daemon_thread  # type: ignore[assignment]
        self._opening = threading.Lock()
        self._connection: Any = None
        self._reopening: Any = None
        self._closed = False
        self.stuck = 0

    async def call(self, work: Callable[..., T], *arguments: Any, seconds: float = 15.0) -> T:
        """`work(connection, *arguments)` in a thread. Raises CloudError: NO_HYPERVISOR or PROGRAM_FAILED."""
        if self._closed:
            raise CloudError(Code.NO_HYPERVISOR, "the connection to libvirt is closed")
        uri = await self._daemon.ensure()
        start_event_loop()
        if not self._pool.started:
            self._pool.start()
        return await self._deadline(functools.partial(self._work, uri, work, *arguments), seconds)

    async def thread(self, work: Callable[..., T], *arguments: Any, seconds: float = 15.0) -> T:
        """The same without a connection: for files beside the guests."""
        if not self._pool.started:
            self._pool.start()
        return await self._deadline(functools.partial(work, *arguments), seconds)

    async def close(self) -> None:
        self._closed = True
        if self._reopening is not None:
            self._reopening.cancel()
            self._reopening = None
        connection, self._connection = self._connection, None
        if self._pool.started:
            try:
                if connection is not None:
                    await self._deadline(functools.partial(_forget, connection), 5.0)
            except CloudError as problem:
                log.warn("libvirt did not let go: {problem}", problem=problem)
            if not self.stuck:  # stop() joins the threads
                self._pool.stop()

    def _work(self, uri: str, work: Callable[..., T], *arguments: Any) -> T:
        try:
            connection = self._open(uri)
            return work(connection, *arguments)
        except libvirt.libvirtError as problem:
            raise self._explained(problem) from problem

    def _open(self, uri: str) -> Any:
        with self._opening:
            if self._connection is not None and _alive(self._connection):
                return self._connection
            self._connection = None
            connection = libvirt.open(uri)
            connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._on_event, None)
            connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, self._on_reboot, None)
            connection.registerCloseCallback(self._on_close, None)
            connection.setKeepAlive(5, 3)  # a frozen daemon is noticed after 5 s * 3
            self._connection = connection
            return connection

    def _explained(self, problem: libvirt.libvirtError) -> CloudError:
        connection = self._connection
        gone = connection is None or problem.get_error_code() in GONE or not _alive(connection)
        return CloudError(Code.NO_HYPERVISOR if gone else Code.PROGRAM_FAILED, f"libvirt: {problem}")

    async def _deadline(self, work: Callable[[], T], seconds: float) -> T:
        running = [True]

        def tracked() -> T:
            try:
                return work()
            finally:
                if not running[0]:
                    self._reactor.callFromThread(self._freed)

        def expired(value: object, timeout: float) -> T:
            running[0] = False
            self.stuck += 1
            raise CloudError(Code.NO_HYPERVISOR, f"libvirt did not answer within {timeout:g} s")

        called = deferToThreadPool(self._reactor, self._pool, tracked)
        return await called.addTimeout(seconds, self._reactor, expired)

    def _freed(self) -> None:
        self.stuck -= 1

    def _on_event(self, connection: Any, domain: Any, event: int, detail: int, opaque: object) -> None:
        """In libvirt's thread: copy what is needed, never hand the domain object over."""
        if event in PAUSES:
            return
        killed = (event, detail) == (libvirt.VIR_DOMAIN_EVENT_SHUTDOWN, libvirt.VIR_DOMAIN_EVENT_SHUTDOWN_HOST)
        self._reactor.callFromThread(self._tell, domain.name(), Heard.KILLED if killed else Heard.CHANGED)

    def _on_reboot(self, connection: Any, domain: Any, opaque: object) -> None:
        self._reactor.callFromThread(self._tell, domain.name(), Heard.REBOOTED)

    def _on_close(self, connection: Any, reason: int, opaque: object) -> None:
        self._reactor.callFromThread(self._lost)

    def _tell(self, name: str, what: Heard) -> None:
        if not self._closed:
            self._heard(name, what)

    def _lost(self) -> None:
        if not self._closed and self._reopening is None:
            log.warn("the connection to libvirt was lost")
            self._reopening = self._reactor.callLater(REOPEN, self._reopen)

    def _reopen(self) -> None:
        self._reopening = None
        Deferred.fromCoroutine(self._again())

    async def _again(self) -> None:
        try:
            await self.call(lambda connection: None)
        except CancelledError:
            raise
        except CloudError as problem:
            if not self._closed and self._reopening is None:
                log.warn("libvirt is still away: {problem}", problem=problem)
                self._reopening = self._reactor.callLater(2 * REOPEN, self._reopen)
        else:
            self._tell("", Heard.CHANGED)


def _alive(connection: Any) -> bool:
    try:
        return bool(connection.isAlive())
    except libvirt.libvirtError:
        return False


def _forget(connection: Any) -> None:
    try:
        connection.unregisterCloseCallback()
        connection.close()
    except libvirt.libvirtError:
        pass  # it had died already
