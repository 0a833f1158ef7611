"""A child process kept alive: started with us, started again with back-off when it ends, ended with us.

Each child leads a session of its own, so that Ctrl-C at our terminal reaches us alone, and asks the kernel for SIGTERM
should we die first. A *detached* child is the other way round: it survives us (guests need their addresses while
cloudcore restarts), writes to a file, and is found again by its pid file. That file holds the process's start time and
argument list beside the pid, since pids are used again: we only ever adopt, and signal, the very process that we
started.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from cloudcore.errors import CloudError
from cloudcore.process.running import ENVIRONMENT, found, status

FIRST, MOST = 1.0, 30.0  # seconds before the first and the later restarts, doubling
HEALTHY = 10.0  # seconds after which a child counts as having started
GRACE = 5.0  # seconds between SIGTERM and SIGKILL
WATCH = 1.0  # seconds between looks at an adopted child, which is not ours to wait for
LINE = 2000  # bytes of a line that go to the log
LOG_MAX = 1_048_576  # bytes of a detached child's file, beyond which a start begins it anew


@dataclass(frozen=True, slots=True)
class Detached:
    """Where a child that survives us is remembered, and what it writes."""

    pid_file: Path
    log_file: Path


@dataclass(frozen=True, slots=True)
class Remembered:
    """`started`: clock ticks since boot, from /proc/PID/stat; with the pid it names one process for ever."""

    pid: int
    started: int
    argv: tuple[str, ...]

    @property
    def alive(self) -> bool:
        return start_time(self.pid) == self.started

    @classmethod
    def read(cls, path: Path) -> Remembered | None:
        try:
            known = json.loads(path.read_text())
            return cls(int(known["pid"]), int(known["started"]), tuple(map(str, known["argv"])))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, path: Path) -> None:
        draft = path.with_suffix(".new")
        draft.write_text(json.dumps({"pid": self.pid, "started": self.started, "argv": self.argv}))
        draft.replace(path)


def start_time(pid: int) -> int | None:
    """None for a process that is gone, or dead and not yet waited for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


class Supervised(Service):
    """`argv[0]` is a path or a name in PATH. `startService` raises CloudError(PROGRAM_FAILED) where it does not exist.

    `stopService` ends the child, or leaves a detached one running; `end` ends either. `before` is called ahead of each
    start of the program.
    """

    log = Logger()

    def __init__(
        self, reactor: Any, argv: Sequence[str], detach: Detached | None = None,
        before: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self._reactor, self._argv, self._detach, self._before = reactor, tuple(argv), detach, before
        self._child: _Child | None = None
        self._adopted: Remembered | None = None
        self._watch = LoopingCall(self._look)
        self._watch.clock = reactor
        self._again: IDelayedCall | None = None
        self._delay, self._since = FIRST, 0.0

    @property
    def pid(self) -> int | None:
        """Of the child that runs just now."""
        if self._child:
            return self._child.pid
        return self._adopted.pid if self._adopted and self._adopted.alive else None

    def startService(self) -> None:
        found(self._argv[0])
        super().startService()
        self._delay = FIRST
        known = Remembered.read(self._detach.pid_file) if self._detach else None
        if known and known.alive and known.argv == self._argv:
            self._adopt(known)
        elif known and known.alive:  # its arguments have changed
            Deferred.fromCoroutine(self._replace(known))
        else:
            self._spawn()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        if self._detach:
            self._forget()
            return succeed(None)
        return self.end()

    def signal(self, which: signal.Signals) -> bool:
        """Whether there was a child to signal: SIGHUP makes many daemons read their files again."""
        pid = self.pid
        if pid is None:
            return False
        try:
            os.kill(pid, which)
        except ProcessLookupError:
            return False
        return True

    def end(self) -> Deferred[None]:
        """Stops supervising and ends the child: SIGTERM, after GRACE seconds SIGKILL. Fires once it is gone."""
        if self.running:
            super().stopService()
        child, adopted = self._child, self._adopted
        if not child and not adopted and self._detach:
            adopted = Remembered.read(self._detach.pid_file)
        self._forget()
        return Deferred.fromCoroutine(self._end(child, adopted))

    async def _end(self, child: _Child | None, adopted: Remembered | None) -> None:
        if child:
            await child.terminate(self._reactor)
        if adopted:
            await _terminate(self._reactor, adopted)
        if self._detach:
            self._detach.pid_file.unlink(missing_ok=True)

    def _forget(self) -> None:
        if self._again and self._again.active():
            self._again.cancel()
        if self._watch.running:
            self._watch.stop()
        self._child = self._adopted = None

    async def _replace(self, known: Remembered) -> None:
        await _terminate(self._reactor, known)
        if self.running:
            self._spawn()

    def _adopt(self, known: Remembered) -> None:
        self.log.info("{program} still runs as {pid}", program=self._argv[0], pid=known.pid)
        self._adopted, self._since = known, self._reactor.seconds()
        self._watch.start(WATCH, now=False)

    def _look(self) -> None:
        if self._adopted and not self._adopted.alive:
            self._watch.stop()
            self._adopted = None
            self._ended("it is gone")

    def _spawn(self) -> None:
        self._before()
        self._since = self._reactor.seconds()
        child = self._child = _Child(self)
        # setsid and setpriv (util-linux) replace themselves by the program, so its pid is the one we get
        before = ("setsid",) if self._detach else ("setsid", "setpriv", "--pdeathsig", "TERM")
        command = [*before, found(self._argv[0]), *self._argv[1:]]
        options: dict[str, Any] = {"env": ENVIRONMENT}
        opened = []
        if self._detach:
            mode = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            if self._detach.log_file.exists() and self._detach.log_file.stat().st_size > LOG_MAX:
                mode |= os.O_TRUNC
            opened = [os.open(os.devnull, os.O_RDONLY), os.open(self._detach.log_file, mode, 0o600)]
            options["childFDs"] = {0: opened[0], 1: opened[1], 2: opened[1]}
        try:
            child.pid = self._reactor.spawnProcess(child, found("setsid"), command, **options).pid
        finally:
            for descriptor in opened:
                os.close(descriptor)
        if self._detach:
            Remembered(child.pid, start_time(child.pid) or 0, self._argv).write(self._detach.pid_file)

    def heard(self, line: bytes) -> None:
        self.log.info("{program}: {line}", program=self._argv[0], line=line[:LINE].decode("utf-8", "replace"))

    def child_ended(self, child: _Child, how: str) -> None:
        if self._child is child:
            self._child = None
            self._ended(how)

    def _ended(self, how: str) -> None:
        if not self.running:
            return
        if self._reactor.seconds() - self._since >= HEALTHY:
            self._delay = FIRST
        self.log.warn("{program} ended ({how}); again in {delay:g} s",
                      program=self._argv[0], how=how, delay=self._delay)  # fmt: skip
        self._again = self._reactor.callLater(self._delay, self._spawn_again)
        self._delay = min(self._delay * 2, MOST)

    def _spawn_again(self) -> None:
        """What could be started once may be missing for a while, during an upgrade for one."""
        try:
            self._spawn()
        except (CloudError, OSError) as problem:
            self._child = None
            self._ended(str(problem))


class _Child(ProcessProtocol):
    transport: Any
    pid = 0

    def __init__(self, owner: Supervised) -> None:
        self._owner, self._rest, self._waiting = owner, b"", list[Deferred[None]]()
        self._over = False

    def childDataReceived(self, descriptor: int, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._owner.heard(line)
        self._rest = self._rest[:LINE]

    def processExited(self, reason: Failure) -> None:
        """Lets go of its outputs, which what it started may keep open; so that `processEnded` follows at once."""
        for descriptor in (0, 1, 2):
            self.transport.closeChildFD(descriptor)
        if self._rest:
            self._owner.heard(self._rest)

    def processEnded(self, reason: Failure) -> None:
        self._over = True
        code = status(reason.value)
        self._owner.child_ended(self, f"signal {-code}" if code < 0 else f"status {code}")
        for waiter in self._waiting:
            waiter.callback(None)

    def terminate(self, reactor: Any) -> Deferred[None]:
        if self._over:
            return succeed(None)
        gone: Deferred[None] = Deferred()
        self._waiting.append(gone)
        self._send("TERM")
        kill = reactor.callLater(GRACE, self._send, "KILL")
        return gone.addBoth(lambda result: kill.cancel() if kill.active() else None)

    def _send(self, name: str) -> None:
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess(name)


async def _terminate(reactor: Any, known: Remembered) -> None:
    """For a process that is not our child: look again until it is gone."""
    step, waited = 0.05, 0.0
    while known.alive:
        if not waited or waited >= GRACE:
            with suppress(ProcessLookupError):
                os.kill(known.pid, signal.SIGKILL if waited else signal.SIGTERM)
        pause: Deferred[None] = Deferred()
        reactor.callLater(step, pause.callback, None)
        await pause
        waited += step
