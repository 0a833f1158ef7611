from __future__ import annotations

import shlex
from pathlib import Path

from cloudcore.cli.card import Card

URLS = {"ec2": "http://127.0.0.1:8773", "s3": "http://127.0.0.1:3333"}


def a_card(**other: object) -> Card:
    values = {"urls": URLS, "region": "us-east-2", "access_key": "CCIATEST", "command": "bin/cloudcore",
              "state": Path("/s"), "log": Path("/s/log"), "private_key": Path("/s/keys/default.pem")}
    return Card(**{**values, **other})  # type: ignore[arg-type]


def test_the_card_has_endpoints_key_and_lines_to_copy() -> None:
    text = a_card(address="10.90.0.2").text(3.14)
    assert "3.1 s, log: /s/log" in text
    assert all(url in text for url in URLS.values())
    assert "CCIATEST" in text
    assert 'eval "$(bin/cloudcore env --state /s)"' in text
    assert "ssh -i /s/keys/default.pem root@10.90.0.2" in text
    assert "-L 8773:127.0.0.1:8773 -L 3333:127.0.0.1:3333" in text


def test_without_an_instance_there_is_nobody_to_call() -> None:
    assert "ssh -i" not in a_card().text(1)


def test_the_default_state_needs_no_option() -> None:
    assert 'eval "$(bin/cloudcore env)"' in a_card(state=Path("var").absolute()).text(1)


def test_how_to_get_clients_stands_before_the_lines_that_need_them() -> None:
    lines = [line.strip() for line in a_card(clients="get-them").text(1).splitlines()]
    assert lines.index("get-them") < lines.index("aws ec2 describe-instances")


def test_lines_to_copy_are_shell() -> None:
    for line in a_card(address="10.90.0.2").text(1).splitlines():
        if line.startswith("               "):
            assert shlex.split(line)


def test_lines_to_copy_survive_blanks_in_paths() -> None:
    text = a_card(state=Path("/srv/my cloud"), private_key=Path("/srv/my cloud/keys/default.pem"),
                  address="10.90.0.2").text(1.0)  # fmt: skip
    assert "env --state '/srv/my cloud'" in text
    assert "ssh -i '/srv/my cloud/keys/default.pem' root@10.90.0.2" in text
