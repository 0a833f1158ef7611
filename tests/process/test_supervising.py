"""Children kept alive, ended, and found again."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.task import deferLater

from cloudcore.errors import CloudError
from cloudcore.process.supervising import Detached, Remembered, Supervised, start_time

COUNTING = 'echo run >> "$0"; echo to the log; exec sleep 60'
STUBBORN = "trap '' TERM; echo run >> \"$0\"; while :; do sleep 0.1; done"


async def until(condition: Callable[[], Any]) -> None:
    while not condition():
        await deferLater(reactor, 0.02)


def runs(path: Path) -> int:
    return path.read_text().count("run") if path.exists() else 0


def gone(pid: int) -> bool:
    return start_time(pid) is None


async def test_a_child_runs_and_ends_with_its_service(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    child = Supervised(reactor, ["sh", "-c", COUNTING, str(counter)])
    child.startService()
    await until(lambda: runs(counter) == 1)
    pid = child.pid
    assert os.getsid(pid) == pid
    await child.stopService()
    assert gone(pid)
    assert child.pid is None


async def test_a_child_that_ends_is_started_again(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    child = Supervised(reactor, ["sh", "-c", COUNTING, str(counter)])
    child.startService()
    await until(lambda: runs(counter) == 1)
    first = child.pid
    os.kill(first, signal.SIGKILL)
    await until(lambda: runs(counter) == 2)
    assert child.pid not in (first, None)
    await child.stopService()


async def test_stopping_between_two_lives_is_the_end(tmp_path: Path) -> None:
    child = Supervised(reactor, ["false"])
    child.startService()
    await until(lambda: child.pid is None)
    await child.stopService()
    assert child.pid is None


async def test_a_program_that_vanished_is_tried_again(tmp_path: Path) -> None:
    program, counter = tmp_path / "program", tmp_path / "counter"
    program.write_text(f"#!/bin/sh\necho run >> {counter}\n")
    program.chmod(0o755)
    child = Supervised(reactor, [str(program)])
    child.startService()
    hidden = program.rename(tmp_path / "hidden")
    await until(lambda: runs(counter) == 1 or child.pid is None)
    await deferLater(reactor, 1.2)
    before = runs(counter)
    hidden.rename(program)
    await until(lambda: runs(counter) > before)
    await child.stopService()


@pytest.mark.deadline(30)
async def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    child = Supervised(reactor, ["sh", "-c", STUBBORN, str(counter)])
    child.startService()
    await until(lambda: runs(counter) == 1)
    pid = child.pid
    await child.stopService()
    assert gone(pid)


async def test_a_signal_reaches_the_child(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    script = "trap 'echo run >> \"$0\"' HUP; echo run >> \"$0\"; while :; do sleep 0.05; done"
    child = Supervised(reactor, ["sh", "-c", script, str(counter)])
    assert not child.signal(signal.SIGHUP)
    child.startService()
    await until(lambda: runs(counter) == 1)
    assert child.signal(signal.SIGHUP)
    await until(lambda: runs(counter) == 2)
    await child.end()


async def test_an_unknown_program_fails_at_the_start() -> None:
    with pytest.raises(CloudError, match="no-such-program"):
        Supervised(reactor, ["no-such-program"]).startService()


def detached(tmp_path: Path, script: str = COUNTING) -> Supervised:
    files = Detached(tmp_path / "child.pid", tmp_path / "child.log")
    return Supervised(reactor, ["sh", "-c", script, str(tmp_path / "counter")], files)


async def test_a_detached_child_survives_us_and_is_found_again(tmp_path: Path) -> None:
    first = detached(tmp_path)
    first.startService()
    await until(lambda: runs(tmp_path / "counter") == 1)
    pid = first.pid
    await first.stopService()
    assert not gone(pid)
    second = detached(tmp_path)
    second.startService()
    assert second.pid == pid
    await second.end()
    assert gone(pid)
    assert not (tmp_path / "child.pid").exists()
    assert (tmp_path / "child.log").read_text() == "to the log\n"
    assert runs(tmp_path / "counter") == 1


@pytest.mark.deadline(30)
async def test_an_adopted_child_that_ends_is_started_again(tmp_path: Path) -> None:
    first = detached(tmp_path)
    first.startService()
    await until(lambda: runs(tmp_path / "counter") == 1)
    await first.stopService()
    second = detached(tmp_path)
    second.startService()
    os.kill(second.pid, signal.SIGKILL)
    await until(lambda: runs(tmp_path / "counter") == 2)
    await second.end()


async def test_a_detached_child_with_other_arguments_is_replaced(tmp_path: Path) -> None:
    first = detached(tmp_path)
    first.startService()
    await until(lambda: runs(tmp_path / "counter") == 1)
    pid = first.pid
    await first.stopService()
    second = detached(tmp_path, COUNTING + " # changed")
    second.startService()
    await until(lambda: runs(tmp_path / "counter") == 2)
    assert gone(pid)
    await second.end()


async def test_a_pid_that_was_used_again_is_neither_adopted_nor_signalled(tmp_path: Path) -> None:
    first = detached(tmp_path)
    Remembered(os.getpid(), 1, first._argv).write(tmp_path / "child.pid")
    await detached(tmp_path).end()  # would have ended this very test
    first.startService()
    assert first.pid != os.getpid()
    await first.end()


async def test_a_damaged_pid_file_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "child.pid").write_text("{]")
    child = detached(tmp_path)
    child.startService()
    await until(lambda: runs(tmp_path / "counter") == 1)
    await child.end()
