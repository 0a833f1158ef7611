from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from cloudcore.cli.doctor import LVM_PROGRAMS, Finding, Subject, volumes
from cloudcore.config.model import Config, Volume
from tests.cli.calling import call


def test_a_machine_for_simulated_guests_is_examined_for_what_they_need(tmp_path: Path) -> None:
    done = call("doctor", "--json", state=tmp_path / "var", CLOUDCORE_COMPUTE__DRIVER="simulated")
    assert done.code == 0, done.out
    assert " ".join(row["check"] for row in done.json) == "configuration python state disk ports schema"
    assert {finding["result"] for finding in done.json} <= {"OK", "WARN"}


def test_what_fails_is_named_with_its_fix(tmp_path: Path) -> None:
    state = tmp_path / "var"
    call("db", "migrate", state=state)
    (state / "VERSION").write_text("99")
    done = call("doctor", state=state, CLOUDCORE_COMPUTE__DRIVER="simulated")
    assert done.code == 1
    (line,) = [line for line in done.out.splitlines() if line.startswith("FAIL")]
    assert "version 99" in line
    assert "fix: " in line


def test_real_guests_need_more(tmp_path: Path) -> None:
    done = call("doctor", "--json", state=tmp_path / "var")
    checks = [finding["check"] for finding in done.json]
    assert checks[6:] == ["root", "programs", "volumes", "modules", "kvm", "br_netfilter"]


def test_a_volume_group_that_cannot_be_used_is_named_with_its_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                                                  ) -> None:  # fmt: skip
    programs, group = tmp_path / "bin", tmp_path / "dev" / "guests"
    programs.mkdir()
    group.mkdir(parents=True)
    (group / "pool").write_bytes(b"")

    def examined(group: str = "", pool: str = "") -> Finding:
        return volumes(Subject(Config(volume=Volume(driver="lvm", group=group, pool=pool)), tmp_path, False))

    if shutil.which("lvs") is None:
        assert examined().fix == "apt install lvm2"
    for name in LVM_PROGRAMS:
        (programs / name).symlink_to(Path(__file__).parents[1] / "blockdev" / "fake_lvm.py")
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    assert examined().result == "FAIL"
    for zeroes, result in (("-", "FAIL"), ("z", "OK")):
        (group / "pool#thin").write_text(zeroes)
        assert examined("guests", "pool").result == result
    assert examined("guests", "absent").result == "FAIL"
    assert examined("guests").result == "OK"


def test_accounts_and_network_are_seeded_once(tmp_path: Path) -> None:
    state = tmp_path / "var"
    call("db", "migrate", state=state)
    assert call("db", "seed", "--json", state=state).json == {
        "made": ["main", "cloudcore-system", "admin", "user", "image-fetcher", "10.90.0.0/16"]}
    assert call("db", "seed", "--json", state=state).json == {"made": []}
    assert call("user", "show", "admin", "--json", state=state).json["roles"] == ["admin"]


def test_what_an_operator_took_away_stays_away(tmp_path: Path) -> None:
    state = tmp_path / "var"
    call("db", "migrate", state=state)
    call("db", "seed", state=state)
    call("user", "delete", "admin", "--yes", state=state)
    call("user", "revoke", "user", "user", "--project", "main", state=state)
    assert call("db", "seed", "--json", state=state).json == {"made": []}
    assert [row["name"] for row in call("user", "list", "--json", state=state).json] == ["image-fetcher", "user"]
    assert call("user", "show", "user", "--json", state=state).json["roles"] == []


def test_a_wrong_configuration_is_one_finding_among_others(tmp_path: Path) -> None:
    done = call("doctor", "--json", state=tmp_path, CLOUDCORE_API__PRT="1", CLOUDCORE_COMPUTE__DRIVER="simulated")
    found = {row["check"]: row for row in done.json}
    assert done.code == 1
    assert found["configuration"]["result"] == "FAIL"
    assert "did you mean 'CLOUDCORE_API__PORT'?" in found["configuration"]["says"]
    assert found["python"]["result"] == "OK"
