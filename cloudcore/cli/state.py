"""The state directory: made 0700, refused when it is not ours or from a newer version, locked while a cloud runs on it.

The lock is the truth about what runs: the kernel lets go of it when its holder ends, however that ends. The file names
the holder by process id and start time, so that a reused id is never signalled.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudcore.cli.printing import FAILED, Refusal
from cloudcore.config.loading import load
from cloudcore.config.model import Config
from cloudcore.config.places import configuration_file, driver_file, endpoints_file, lock_file
from cloudcore.errors import CloudError, Code

VERSION = 1  # of the directory's layout
FOLDERS = ("run", "log", "keys", "built", "tmp")


@dataclass(frozen=True, slots=True)
class Holder:
    """Who runs on this state. `started` is in clock ticks since the machine's start, as /proc says it."""

    pid: int
    started: int
    driver: str = ""


def prepare(state: Path) -> None:
    """Makes the directory and its folders, or raises STATE_DIRECTORY or SCHEMA_NEWER. Twice equals once."""
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        check(state)
        if state.stat().st_mode & 0o077:
            state.chmod(0o700)
        for folder in FOLDERS:
            (state / folder).mkdir(mode=0o700, exist_ok=True)
        if not (state / "VERSION").exists():
            (state / "VERSION").write_text(f"{VERSION}\n")
    except OSError as fault:
        raise CloudError(Code.STATE_DIRECTORY, f"the state directory {state} cannot be used: "
                                               f"{fault.strerror} ({fault.filename})") from None


def is_there(state: Path) -> bool:
    try:
        state.stat()
    except FileNotFoundError:
        return False
    except OSError as fault:
        text = f"the state directory {state} cannot be used: {fault.strerror}"
        raise CloudError(Code.STATE_DIRECTORY, text) from None
    return True


def check(state: Path) -> None:
    """Refuses what is not ours to use."""
    if not state.is_dir():
        raise CloudError(Code.STATE_DIRECTORY, f"the state directory {state} is not a directory")
    if state.stat().st_uid != os.geteuid():
        hint = "the same with sudo" if state.stat().st_uid == 0 else ""
        raise Refusal(Code.STATE_DIRECTORY, f"the state directory {state} belongs to another user", hint, status=FAILED)
    if not os.access(state, os.R_OK | os.W_OK | os.X_OK):
        raise CloudError(Code.STATE_DIRECTORY, f"the state directory {state} is not writable")
    try:
        version = int((state / "VERSION").read_text())
    except FileNotFoundError:
        return
    except ValueError:
        raise CloudError(Code.STATE_DIRECTORY, f"{state / 'VERSION'} does not hold a version") from None
    if version > VERSION:
        raise CloudError(Code.SCHEMA_NEWER, f"the state directory {state} is of version {version}; this cloudcore "
                                            f"knows version {VERSION}")


def existing(state: Path) -> Path:
    """The state, if a cloud was ever made there, or a daemon of one ran."""
    if not (state / "VERSION").exists() and not driver_file(state).exists():
        raise Refusal(Code.STATE_DIRECTORY, f"there is no cloud in {state}", "cloudcore up    or: --state DIR")
    check(state)
    return state


def configuration(options: Any) -> Config:
    """The configuration that this command line means; raises BadConfiguration."""
    path = Path(options.config) if options.config else configuration_file(options.state)
    if options.config and not path.exists():
        raise Refusal(Code.CONFIGURATION, f"there is no file {path}", "--config FILE")
    return load(path, os.environ)


class Lock:
    """Held by the one process that runs the cloud of this state."""

    def __init__(self, state: Path) -> None:
        self._path = lock_file(state)
        self._handle: int | None = None

    def take(self, driver: str) -> None:
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)  # closed in children: Python's default
        if not tried(handle):
            os.close(handle)
            running = holder(self._path.parent.parent)
            who = f" (process {running.pid})" if running else ""
            raise Refusal(Code.IN_USE, f"this cloud is running already{who}", "cloudcore status    or: cloudcore down")
        pid = os.getpid()
        os.ftruncate(handle, 0)
        os.write(handle, json.dumps({"pid": pid, "started": started(pid), "driver": driver}).encode())
        self._handle = handle

    def free(self) -> None:
        if self._handle is not None:
            os.ftruncate(self._handle, 0)
            os.close(self._handle)
            self._handle = None


def tried(handle: int) -> bool:
    """Whether we have the lock now. Who only looks (`holder`) has it for some microseconds: hence more than one try."""
    for _ in range(10):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.02)
        else:
            return True
    return False


def holder(state: Path) -> Holder | None:
    """Who runs the cloud of this state, or None."""
    try:
        with lock_file(state).open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                found = Holder(**json.loads(file.read() or b"{}"))
                return found if started(found.pid) == found.started else None
            return None
    except (FileNotFoundError, ValueError, TypeError):
        return None


def started(pid: int) -> int | None:
    """When the process began, in clock ticks since the machine's start; None when there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[19])  # the name before may hold blanks and parentheses


def endpoints(state: Path) -> dict[str, Any]:
    """What the running cloud wrote down; empty when nothing runs."""
    running = holder(state)
    try:
        found = json.loads(endpoints_file(state).read_text())
    except (OSError, ValueError):
        return {}
    return found if running and found.get("pid") == running.pid else {}
