"""`up`, `status` and `down` as processes, on a cloud that is only its doors (pretend.py)."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudcore.cli.state import holder
from tests.cli.calling import PRETEND, ROOT, call, pretend

UP = ("up", "--driver", "simulated", "--detach", "--no-first-instance")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "var"
    yield place
    if running := holder(place):
        os.kill(running.pid, signal.SIGKILL)


def test_detached_it_returns_once_all_endpoints_answer_and_shows_the_card(state: Path) -> None:
    done = pretend(*UP, state=state)
    assert done.code == 0, done.err
    assert "cloudcore is running." in done.out
    assert f"everything under {state}" in done.err
    urls = re.findall(r"http://127\.0\.0\.1:(\d+)\b", done.out)
    for port in urls:
        socket.create_connection(("127.0.0.1", int(port)), 1).close()
    exported = dict(re.findall(r"^export (\w+)=(.*)$", pretend("env", state=state).out, re.MULTILINE))
    assert exported["AWS_ENDPOINT_URL_EC2"] == f"http://127.0.0.1:{urls[0]}"
    assert exported["AWS_ACCESS_KEY_ID"] in done.out
    assert exported["AWS_SECRET_ACCESS_KEY"] not in done.out + done.err
    key = state / "keys" / "default.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert key.read_text().startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    assert pretend("down", state=state).code == 0


def test_the_first_start_makes_accounts_and_network_and_a_second_changes_nothing(state: Path) -> None:
    first = pretend(*UP, state=state)
    assert f"down --purge --state {state}" in first.err  # what undoes it, also beside ./var
    before = call("user", "list", state=state).out, call("key", "list", state=state).out
    assert {line.split("\t")[0] for line in before[0].splitlines()} == {"admin", "user", "image-fetcher"}
    assert call("network", "list", "--json", state=state).json[0]["cidr"] == "10.90.0.0/16"
    private = (state / "keys" / "default.pem").read_bytes()
    assert pretend("down", state=state).code == 0
    again = pretend(*UP, state=state)
    assert again.code == 0
    assert "This makes" not in again.err
    assert f"state found in {state}: no instances, no images" in again.err
    assert (call("user", "list", state=state).out, call("key", "list", state=state).out) == before
    assert (state / "keys" / "default.pem").read_bytes() == private


def test_a_network_without_guests_follows_the_configuration(state: Path) -> None:
    pretend(*UP, state=state)
    pretend("down", state=state)
    assert pretend(*UP, state=state, CLOUDCORE_NETWORK__CIDR="10.44.0.0/24").code == 0
    assert [row["cidr"] for row in call("network", "list", "--json", state=state).json] == ["10.44.0.0/24"]


def test_two_clouds_never_share_a_state(state: Path) -> None:
    pretend(*UP, state=state)
    second = pretend(*UP, state=state)
    assert second.code == 3
    assert f"running already (process {holder(state).pid})" in second.err  # type: ignore[union-attr]


def test_status_tells_down_degraded_and_keeps_its_keys(state: Path) -> None:
    down = pretend("status", "--json", state=state)
    assert (down.code, down.json["status"]) == (2, "down")
    pretend(*UP, state=state)
    found = pretend("status", "--json", state=state)
    assert (found.code, found.json["status"]) == (1, "degraded")  # pretended: no host ever reports
    keys = "status state version driver pid uptime problems endpoints hosts networks"
    assert set(found.json) == set(keys.split())
    assert found.json["endpoints"]["ec2"]["ok"] is True
    assert found.json["pid"] == holder(state).pid  # type: ignore[union-attr]
    os.kill(found.json["pid"], signal.SIGKILL)
    time.sleep(0.2)
    assert pretend("status", state=state).code == 2


def test_down_stops_guests_only_when_told(state: Path) -> None:
    pretend(*UP, state=state)
    assert pretend("down", state=state).code == 0
    assert not (state / "guests-stopped").exists()
    assert "was not running" in pretend("down", state=state).err
    done = pretend("down", "--instances", "stop", state=state)
    assert "3 powered off" in done.err
    assert (state / "guests-stopped").exists()


def test_a_start_that_fails_says_why_in_its_own_words_and_leaves_nothing_running(state: Path) -> None:
    done = pretend(*UP, state=state, PRETEND="broken")
    assert done.code == 1
    assert "error: the pretended hypervisor is broken" in done.err
    assert holder(state) is None
    assert pretend(*UP, state=state).code == 0  # and the next start is whole


def test_a_cloud_that_never_listens_is_given_up_and_ended(state: Path) -> None:
    done = pretend(*UP, "--timeout", "4", state=state, PRETEND="deaf")
    assert done.code == 4
    assert "not ready after 4 s" in done.err
    assert holder(state) is None


def test_a_taken_port_is_an_error_before_anything_is_made(state: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = pretend(*UP, state=state, CLOUDCORE_API__PORT=str(port))
    assert done.code == 1
    assert f"port {port} is used by" in done.err
    assert f"CLOUDCORE_API__PORT={port + 1}" in done.err
    assert not state.exists()


def test_a_newer_state_and_a_wrong_configuration_are_refused_before_anything_runs(state: Path) -> None:
    wrong = pretend(*UP, state=state, CLOUDCORE_API__PRT="1")
    assert "unknown variable; did you mean 'CLOUDCORE_API__PORT'?" in wrong.err
    assert not state.exists()
    state.mkdir(mode=0o700)
    (state / "VERSION").write_text("99")
    done = pretend(*UP, state=state)
    assert done.code == 1
    assert "is of version 99" in done.err


def test_in_the_foreground_it_runs_until_interrupted_and_ends_well(state: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "CLOUDCORE_API__PORT": "0", "CLOUDCORE_OBJECTSTORE__PORT": "0"}
    up = ("up", "--driver", "simulated", "--no-first-instance", "--state", str(state))
    command = [sys.executable, str(PRETEND), *up]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        seen = ""
        while "Ctrl-C stops cloudcore" not in seen:
            line = process.stdout.readline()
            assert line, process.communicate()
            seen += line
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert "Stopped (" in err
    assert holder(state) is None


def test_a_second_interrupt_ends_it_at_once_and_says_so(state: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PRETEND": "stubborn",
               "CLOUDCORE_API__PORT": "0", "CLOUDCORE_OBJECTSTORE__PORT": "0"}
    up = ("up", "--driver", "simulated", "--no-first-instance", "--state", str(state))
    command = [sys.executable, str(PRETEND), *up]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        while "Ctrl-C stops cloudcore" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        while "Stopping cloudcore" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Stopped at once; the next start recovers." in err
    assert holder(state) is None


def test_interrupted_while_it_starts_it_ends_at_once(state: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PRETEND": "slow",
               "CLOUDCORE_API__PORT": "0", "CLOUDCORE_OBJECTSTORE__PORT": "0"}
    command = [sys.executable, str(PRETEND), "up", "--driver", "simulated", "--state", str(state)]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        end = time.monotonic() + 20
        while not (state / "seeded").exists() and time.monotonic() < end:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        try:
            _, err = process.communicate(timeout=10)
        finally:
            process.kill()
    assert process.returncode == 0, err
    assert holder(state) is None


def test_a_detached_start_that_is_killed_takes_its_child_along(state: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PRETEND": "deaf",
               "CLOUDCORE_API__PORT": "0", "CLOUDCORE_OBJECTSTORE__PORT": "0"}
    with subprocess.Popen([sys.executable, str(PRETEND), *UP, "--state", str(state)], env=environ,
                          stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + 20
        while holder(state) is None and time.monotonic() < end:
            time.sleep(0.05)
        process.terminate()
        assert process.wait(25) == 128 + signal.SIGTERM
    assert holder(state) is None


def test_purging_lists_asks_and_removes_everything(state: Path) -> None:
    pretend(*UP, state=state)
    refused = pretend("down", "--purge", state=state)
    assert refused.code == 2
    assert str(state) in refused.err
    assert state.exists()
    wrong = pretend("down", "--purge", "--confirm", "another-machine", state=state)
    assert wrong.code == 3
    done = pretend("down", "--purge", "--confirm", socket.gethostname(), state=state)
    assert done.code == 0
    assert "cleaned ccbr0" in done.out
    assert not state.exists()


def test_purging_removes_what_a_daemon_made_by_itself(state: Path) -> None:
    """Of a host that runs daemons alone: no command ever ran on its state directory."""
    state.mkdir(exist_ok=True)
    (state / "driver").write_text("simulated\n")
    done = pretend("down", "--purge", "--yes", state=state)
    assert done.code == 0
    assert "cleaned ccbr0" in done.out
    assert not state.exists()


def test_purging_never_touches_a_directory_that_is_no_cloud(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    done = pretend("down", "--purge", "--yes", state=tmp_path)
    assert done.code == 3
    assert (tmp_path / "precious").exists()


def test_logs_are_readable_and_narrowed(state: Path) -> None:
    pretend(*UP, state=state)
    pretend("down", state=state)
    log = state / "log" / "cloudcore.jsonl"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    first = {"ts": "2026-01-01T12:34:56.789+00:00", "level": "info", "ns": "api", "msg": "taken", "request_id": "r-1"}
    with log.open("a") as out:
        out.write(json.dumps(first) + "\n" + json.dumps(first | {"request_id": "r-2"}) + "\n")
    narrowed = call("logs", "--request", "r-1", state=state).out
    assert narrowed == f"12:34:56.789 info  {'api':<28} taken  request_id=r-1\n"
    last = call("logs", "--json", "-n", "2", state=state).out.splitlines()
    assert [json.loads(line)["request_id"] for line in last] == ["r-1", "r-2"]
