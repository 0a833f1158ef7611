"""Running one program to its end: argument list, bounded output, a deadline, and nothing of our environment but PATH.

No shell ever sees an argument. Standard output and error are kept up to a limit, so that a program gone mad costs it
and not us; what exceeds the limit ends the program. A cancelled or timed-out run is killed, and nobody waits for what
it left behind.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from cloudcore.errors import CloudError, Code

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {"PATH": PATH, "LC_ALL": "C.UTF-8"}  # messages in the language that we parse
TIMEOUT = 60.0  # seconds
LIMIT = 1_048_576  # bytes of standard output, and as many of standard error


@dataclass(frozen=True, slots=True)
class Finished:
    """`status`: the exit status, or minus the signal that ended it."""

    status: int
    stdout: bytes
    stderr: bytes


def run(
    reactor: Any, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = TIMEOUT, limit: int = LIMIT,
    env: Mapping[str, str] | None = None,
) -> Deferred[Finished]:  # fmt: skip
    """`argv[0]` is a path or a name in PATH; `env` adds to ENVIRONMENT. Whatever the status, it fires with Finished.

    Raises CloudError(PROGRAM_FAILED) where there is no status: the program cannot be started, took longer than
    `timeout` seconds, or wrote more than `limit` bytes.
    """
    protocol = _Running(argv[0], stdin, limit)
    try:
        reactor.spawnProcess(protocol, found(argv[0]), list(argv), env=ENVIRONMENT | dict(env or {}))
    except CloudError:
        return fail(Failure())
    expiry = reactor.callLater(timeout, protocol.stop, f"not finished within {timeout:g} s")

    def settle(result: Any) -> Any:
        if expiry.active():
            expiry.cancel()
        return result

    return protocol.done.addBoth(settle)


def found(program: str) -> str:
    """Its path. Raises CloudError: the child could only say so by a Python traceback."""
    path = shutil.which(program, path=PATH)
    if path is None:
        raise CloudError(Code.PROGRAM_FAILED, f"{program}: there is no such program")
    return path


def check(reactor: Any, argv: Sequence[str], **options: Any) -> Deferred[Finished]:
    """Like `run`, and any status but 0 raises CloudError(PROGRAM_FAILED) naming program and last line of its stderr."""
    return run(reactor, argv, **options).addCallback(_checked, argv[0])


def _checked(finished: Finished, program: str) -> Finished:
    if finished.status:
        raise CloudError(Code.PROGRAM_FAILED, f"{program}: {why(finished)}")
    return finished


def why(finished: Finished) -> str:
    """The last line of stderr, or the status in words."""
    lines = finished.stderr.decode("utf-8", "replace").strip().splitlines()
    if lines:
        return lines[-1].strip()[:500]
    if finished.status < 0:
        return f"ended by signal {-finished.status}"
    return f"exit status {finished.status}"


class _Running(ProcessProtocol):
    """`done` fires when the program and all its outputs have ended."""

    transport: Any

    def __init__(self, program: str, stdin: bytes, limit: int) -> None:
        self.done: Deferred[Finished] = Deferred(lambda done: self.stop("cancelled"))
        self._program, self._stdin, self._limit = program, stdin, limit
        self._output: dict[int, list[bytes]] = {1: [], 2: []}
        self._sizes = {1: 0, 2: 0}
        self._stopped: str | None = None

    def connectionMade(self) -> None:
        if self._stdin:
            self.transport.write(self._stdin)
        self.transport.closeStdin()

    def childDataReceived(self, descriptor: int, data: bytes) -> None:
        room = self._limit - self._sizes[descriptor]
        self._sizes[descriptor] += len(data)
        if room > 0:
            self._output[descriptor].append(data[:room])
        if len(data) > room:
            self.stop(f"wrote more than {self._limit} bytes")

    def stop(self, reason: str) -> None:
        """Ends the program, and does not wait for those that inherited its outputs."""
        if self._stopped is None:
            self._stopped = reason
            try:
                self.transport.signalProcess("KILL")
            except ProcessExitedAlready:
                self.transport.loseConnection()

    def processExited(self, reason: Failure) -> None:
        if self._stopped is not None:
            self.transport.loseConnection()

    def processEnded(self, reason: Failure) -> None:
        if self.done.called:
            return
        if self._stopped is not None:
            self.done.errback(CloudError(Code.PROGRAM_FAILED, f"{self._program}: {self._stopped}"))
            return
        self.done.callback(Finished(status(reason.value), b"".join(self._output[1]), b"".join(self._output[2])))


def status(ended: Any) -> int:
    """Of ProcessDone or ProcessTerminated."""
    if ended.signal is not None:
        return -int(ended.signal)
    return int(ended.exitCode or 0)
