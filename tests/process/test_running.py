"""Real small programs, run to their end or to their deadline."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater

from cloudcore.errors import CloudError, Code
from cloudcore.process.running import Finished, check, run


async def until(condition: Callable[[], Any]) -> None:
    while not condition():
        await deferLater(reactor, 0.02)


async def test_a_program_gives_status_and_both_outputs() -> None:
    finished = await run(reactor, ["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert finished == Finished(3, b"out\n", b"err\n")


async def test_arguments_reach_the_program_as_they_are() -> None:
    hostile = "$(touch /tmp/x); 'a' \"b\" * ü \n"
    assert (await run(reactor, ["printf", "%s", hostile])).stdout == hostile.encode()


async def test_input_larger_than_a_pipe_goes_through() -> None:
    data = os.urandom(500_000)
    assert (await run(reactor, ["cat"], stdin=data)).stdout == data


async def test_a_program_that_does_not_read_its_input_is_no_error() -> None:
    assert (await run(reactor, ["true"], stdin=bytes(500_000))).status == 0


async def test_only_our_small_environment_is_passed_on() -> None:
    os.environ["AWS_SECRET_ACCESS_KEY"] = "must not leak"  # noqa: S105
    try:
        printed = (await run(reactor, ["env"], env={"EXTRA": "1"})).stdout.decode()
    finally:
        del os.environ["AWS_SECRET_ACCESS_KEY"]
    assert {line.partition("=")[0] for line in printed.splitlines()} <= {"PATH", "LC_ALL", "EXTRA", "PWD", "_", "SHLVL"}


async def test_a_program_beyond_its_time_is_killed() -> None:
    before = reactor.seconds()
    with pytest.raises(CloudError, match="^sleep: not finished within 0.2 s$") as caught:
        await run(reactor, ["sleep", "30"], timeout=0.2)
    assert caught.value.code is Code.PROGRAM_FAILED
    assert reactor.seconds() - before < 5


async def test_nobody_waits_for_what_a_killed_program_left_behind() -> None:
    before = reactor.seconds()
    with pytest.raises(CloudError, match="not finished"):
        await run(reactor, ["sh", "-c", "sleep 4 & sleep 4"], timeout=0.2)
    assert reactor.seconds() - before < 3


async def test_output_without_end_ends_the_program() -> None:
    with pytest.raises(CloudError, match="^yes: wrote more than 100000 bytes$"):
        await run(reactor, ["yes"], limit=100_000)


async def test_a_cancelled_run_kills_its_program(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    running = run(reactor, ["sh", "-c", f"echo $$ > {told}; exec sleep 30"])
    await until(lambda: told.exists() and told.read_text())
    process = Path("/proc") / told.read_text().strip()
    running.cancel()
    with pytest.raises(CancelledError):
        await running
    await until(lambda: not process.exists())


async def test_an_unknown_program_is_named() -> None:
    with pytest.raises(CloudError, match="no-such-program: there is no such program"):
        await run(reactor, ["no-such-program", "x"])


async def test_check_names_the_program_and_the_last_line_of_its_error() -> None:
    with pytest.raises(CloudError, match="^sh: second$") as caught:
        await check(reactor, ["sh", "-c", "echo first >&2; echo second >&2; exit 1"])
    assert caught.value.code is Code.PROGRAM_FAILED


@pytest.mark.parametrize(("script", "text"), [("exit 4", "sh: exit status 4"), ("kill -9 $$", "sh: ended by signal 9")])
async def test_check_tells_the_status_of_a_silent_failure(script: str, text: str) -> None:
    with pytest.raises(CloudError, match=f"^{text}$"):
        await check(reactor, ["sh", "-c", script])


async def test_check_lets_success_through() -> None:
    assert (await check(reactor, ["echo", "fine"])).stdout == b"fine\n"
