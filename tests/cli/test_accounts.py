"""Users, projects, keys and `env`, by the command line on a state of their own; no cloud runs."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.cli.calling import Done, call


@pytest.fixture
def state(tmp_path: Path) -> Path:
    place = tmp_path / "var"
    assert call("db", "migrate", state=place).code == 0
    assert call("project", "create", "main", "--id", "111122223333", state=place).code == 0
    return place


def made(state: Path, name: str, *more: str) -> Done:
    done = call("user", "create", name, "--json", *more, state=state)
    assert done.code == 0, done.err
    return done


def test_a_user_is_made_with_project_role_address_and_given_key(state: Path) -> None:
    call("project", "create", "lab", state=state)
    done = made(state, "alice", "--project", "lab", "--role", "auditor", "--email", "a@b.c",
                "--access-key", "AKIAALICE", "--secret-key", "alices-own-secret")
    assert done.json["access_keys"] == ["AKIAALICE"]
    assert done.json["roles"] == ["auditor@lab"]
    assert "alices-own-secret" not in done.out + done.err
    shown = call("user", "show", "alice", "--json", state=state).json
    assert (shown["email"], shown["enabled"], shown["projects"]) == ("a@b.c", True, ["lab"])
    assert [user["name"] for user in call("user", "list", "--json", state=state).json] == ["alice"]


def test_env_is_what_a_shell_evaluates(state: Path) -> None:
    made(state, "alice", "--access-key", "AKIAALICE", "--secret-key", "it's$HOME;`x`\\")
    done = call("env", "--user", "alice", state=state, CLOUDCORE_API__PORT="8773", CLOUDCORE_OBJECTSTORE__PORT="3333")
    assert done.code == 0, done.err
    script = f'{done.out}\nprintf "%s\\n" "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY" "$AWS_ENDPOINT_URL"'
    evaluated = subprocess.run(["/bin/sh", "-c", script], env={"AWS_ENDPOINT_URL": "http://elsewhere"},
                               capture_output=True, text=True, check=True).stdout.splitlines()
    assert evaluated == ["AKIAALICE", "it's$HOME;`x`\\", ""]
    names = re.findall(r"^export (\w+)=", done.out, re.MULTILINE)
    assert names == ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "AWS_REGION",
                     "AWS_ENDPOINT_URL_EC2", "AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL_IAM", "AWS_ENDPOINT_URL_S3"]
    assert "AWS_ENDPOINT_URL_EC2=http://127.0.0.1:8773" in done.out


def test_env_refuses_to_guess_a_free_port(state: Path) -> None:
    made(state, "alice")
    done = call("env", "--user", "alice", state=state)
    assert (done.code, done.out) == (3, "")
    assert "only known while it runs" in done.err


def test_a_refused_user_leaves_nothing_behind(state: Path) -> None:
    for more in (("--role", "emperor"), ("--project", "moon"), ("--access-key", "AKIAHALF"),
                 ("--access-key", "no", "--secret-key", "long-enough"), ("--email", "nowhere")):
        assert call("user", "create", "bob", *more, state=state).code == 3
    made(state, "alice", "--access-key", "AKIAALICE", "--secret-key", "alices-own-secret")
    done = call("user", "create", "bob", "--access-key", "AKIAALICE", "--secret-key", "bobs-own-secret", state=state)
    assert done.code == 3
    assert "AKIAALICE" in done.err
    assert [user["name"] for user in call("user", "list", "--json", state=state).json] == ["alice"]


def test_keys_come_and_go_and_env_takes_the_newest(state: Path) -> None:
    made(state, "alice", "--access-key", "AKIAOLD1", "--secret-key", "the-old-secret")
    ports = {"CLOUDCORE_API__PORT": "1", "CLOUDCORE_OBJECTSTORE__PORT": "2"}
    assert call("key", "create", "--user", "alice", "--access-key", "AKIANEW1", "--secret-key", "the-new-secret",
                state=state).code == 0
    rows = call("key", "list", "--user", "alice", "--json", state=state)
    assert [row["id"] for row in rows.json] == ["AKIAOLD1", "AKIANEW1"]
    assert "secret" not in rows.out
    assert "the-new-secret" in call("env", "--user", "alice", state=state, **ports).out
    old = call("env", "--user", "alice", "--access-key", "AKIAOLD1", "--json", state=state, **ports)
    assert old.json["AWS_SECRET_ACCESS_KEY"] == "the-old-secret"
    assert call("key", "show", "AKIANEW1", "--json", state=state).json["user"] == "alice"
    assert call("key", "delete", "AKIANEW1", "--yes", state=state).code == 0
    assert call("key", "show", "AKIANEW1", state=state).code == 3


def test_roles_and_locks_change(state: Path) -> None:
    made(state, "alice")
    assert call("user", "grant", "alice", "operator", "--json", state=state).json["roles"] == ["operator", "user@main"]
    assert call("user", "revoke", "alice", "operator", "--json", state=state).json["roles"] == ["user@main"]
    assert call("user", "disable", "alice", "--json", state=state).json["enabled"] is False
    assert call("user", "enable", "alice", "--json", state=state).json["enabled"] is True


def test_deleting_wants_to_be_told(state: Path) -> None:
    made(state, "alice")
    done = call("user", "delete", "alice", state=state)
    assert done.code == 2
    assert "--yes" in done.err
    assert call("project", "delete", "main", "--yes", state=state).code == 3  # alice's key acts there
    assert call("user", "delete", "alice", "--yes", state=state).code == 0
    assert call("project", "delete", "main", "--yes", state=state).code == 0
    assert call("project", "list", "--json", state=state).json == []


def test_what_is_unknown_is_named_with_a_way_to_find_it(state: Path) -> None:
    for words, hint in ((("user", "show", "bob"), "cloudcore user list"), (("project", "show", "moon"), "project list"),
                        (("host", "show", "mars"), "host list"), (("network", "show", "sea"), "network list")):
        done = call(*words, state=state)
        assert done.code == 3
        assert words[2] in done.err
        assert hint in done.err


def test_no_cloud_here_is_said_so(tmp_path: Path) -> None:
    done = call("user", "list", state=tmp_path / "nowhere")
    assert done.code == 3
    assert done.err.startswith("error: there is no cloud in")
    assert not (tmp_path / "nowhere").exists()


def test_secrets_are_sealed_on_disk(state: Path) -> None:
    made(state, "alice", "--access-key", "AKIAALICE", "--secret-key", "canary-of-alice")
    for file in state.rglob("*"):
        if file.is_file():
            assert b"canary-of-alice" not in file.read_bytes(), file
            assert file.stat().st_mode & 0o077 == 0 or file.name == "VERSION", file


def test_networks_are_made_and_removed(state: Path) -> None:
    made_one = call("network", "create", "lab", "--cidr", "10.77.0.0/24", "--json", state=state)
    assert made_one.json == {"name": "lab", "cidr": "10.77.0.0/24", "gateway": "10.77.0.1", "used": 0, "size": 253}
    assert call("network", "create", "more", "--cidr", "10.77.0.0/16", state=state).code == 3
    assert call("network", "list", state=state).out == "lab\t10.77.0.0/24\t10.77.0.1\t0\t253\n"
    assert call("network", "delete", "lab", "--yes", state=state).code == 0


def test_configuration_is_checked_and_shown_without_secrets(state: Path) -> None:
    (state / "cloudcore.toml").write_text('[bus]\nurl = "amqp://u:canary@h/"\n[api]\nprt = 1\n')
    done = call("config", "check", state=state)
    assert done.code == 1
    assert "line 4  [api] prt = 1   unknown key; did you mean 'port'?" in done.err
    (state / "cloudcore.toml").write_text('[bus]\nurl = "amqp://u:canary@h/"\n')
    shown = call("config", "show", "--json", state=state)
    assert shown.json["bus"]["url"] == "…"
    assert "canary" not in shown.out
    assert call("config", "check", "--config", "/no/such.toml", state=state).code != 0
