"""The state directory: private, versioned, locked; and its unhappy paths."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from cloudcore.cli import state
from cloudcore.cli.printing import Refusal
from cloudcore.config.places import endpoints_file, lock_file
from cloudcore.errors import CloudError, Code


def test_a_new_state_is_private_and_made_once(tmp_path: Path) -> None:
    place = tmp_path / "deep" / "state"
    state.prepare(place)
    (place / "keys" / "mine").write_text("x")
    state.prepare(place)
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert all(stat.S_IMODE((place / folder).stat().st_mode) == 0o700 for folder in state.FOLDERS)
    assert (place / "keys" / "mine").read_text() == "x"


def test_an_open_directory_is_closed_to_others(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    state.prepare(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_a_state_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "VERSION").write_text("99\n")
    with pytest.raises(CloudError) as refusal:
        state.prepare(tmp_path)
    assert refusal.value.code is Code.SCHEMA_NEWER
    assert [path.name for path in tmp_path.iterdir()] == ["VERSION"]


def test_a_file_a_foreign_directory_and_nonsense_are_refused(tmp_path: Path) -> None:
    file, foreign, nonsense = tmp_path / "file", tmp_path / "foreign", tmp_path / "nonsense"
    file.write_text("")
    foreign.mkdir()
    nonsense.mkdir()
    (nonsense / "VERSION").write_text("soon")
    places = [file, file / "below", nonsense]
    if os.geteuid() == 0:
        os.chown(foreign, 12345, 12345)
        places.append(foreign)
    for place in places:
        with pytest.raises(CloudError) as refusal:
            state.prepare(place)
        assert refusal.value.code is Code.STATE_DIRECTORY
        assert str(place) in refusal.value.text


NOBODY = 65534


def test_a_directory_that_is_not_writable_is_refused() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as place:  # noqa: S108  # where nobody may pass
        os.chmod(place, 0o500)
        if os.geteuid() != 0:
            with pytest.raises(CloudError, match="not writable"):
                state.prepare(Path(place))
            return
        os.chown(place, NOBODY, NOBODY)  # root may write everywhere: ask as somebody who may not
        child = os.fork()
        if child == 0:
            os.setuid(NOBODY)
            try:
                state.prepare(Path(place))
            except CloudError as refusal:
                os._exit(7 if "not writable" in refusal.text else 1)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_where_no_cloud_was_made_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(Refusal) as refusal:
        state.existing(tmp_path)
    assert "cloudcore up" in refusal.value.hint


HOLD = """
import sys
import tempfile
from pathlib import Path
from cloudcore.cli.state import Lock
Lock(Path(sys.argv[1])).take("simulated")
print("held", flush=True)
sys.stdin.read()
"""


def test_one_process_holds_a_state_and_is_known_by_pid_and_start(tmp_path: Path) -> None:
    state.prepare(tmp_path)
    assert state.holder(tmp_path) is None
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        found = state.holder(tmp_path)
        assert found == state.Holder(other.pid, state.started(other.pid) or 0, "simulated")
        with pytest.raises(Refusal, match=f"running already \\(process {other.pid}\\)"):
            state.Lock(tmp_path).take("simulated")
        endpoints_file(tmp_path).write_text(json.dumps({"ec2": "http://x", "pid": other.pid}))
        assert state.endpoints(tmp_path)["ec2"] == "http://x"
        other.kill()
    assert state.holder(tmp_path) is None  # however it ended
    assert state.endpoints(tmp_path) == {}
    mine = state.Lock(tmp_path)
    mine.take("simulated")
    assert (state.holder(tmp_path) or state.Holder(0, 0)).pid == os.getpid()
    mine.free()
    assert state.holder(tmp_path) is None


def test_endpoints_of_another_process_are_not_believed(tmp_path: Path) -> None:
    state.prepare(tmp_path)
    lock = state.Lock(tmp_path)
    lock.take("simulated")
    endpoints_file(tmp_path).write_text(json.dumps({"ec2": "http://x", "pid": os.getpid() + 1}))
    assert state.endpoints(tmp_path) == {}
    lock.free()


def test_a_reused_process_id_is_nobody(tmp_path: Path) -> None:
    state.prepare(tmp_path)
    lock = state.Lock(tmp_path)
    lock.take("simulated")
    lock_file(tmp_path).write_text(json.dumps({"pid": os.getpid(), "started": 1, "driver": ""}))
    assert state.holder(tmp_path) is None
    lock.free()
