"""Runs the tables of tests/wire: conversations in requests and answers, readable without Python.

A step is `ask` (a query string; {name} is what an earlier step kept), and what the answer must be: `code` (an error;
the status follows from codes.py unless `status` says otherwise), `has` (path = text), `count` (path = number), `lacks`
(paths). `keep` names texts for later steps. `who` asks, alice if nobody is named. `event` moves an instance as the
conductor would: "guest-started {i}".
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from cloudcore.api import codes
from cloudcore.domain.instances import Event

TABLES = Path(__file__).parents[1] / "wire"


def cases() -> Iterator[Any]:
    for table in sorted(TABLES.glob("*.toml")):
        for case in tomllib.loads(table.read_text())["case"]:
            yield pytest.param(case, id=f"{table.stem}: {case['title']}")


@pytest.mark.parametrize("case", list(cases()))
def test_conversation(house: Any, case: dict[str, Any]) -> None:
    kept: dict[str, str] = {}
    for step in case["step"]:
        if "event" in step:
            event, id = step["event"].format(**kept).split()
            house.moved(id, Event(event), host="h1", address="10.0.0.9" if event == "guest-started" else None)
            continue
        pairs = parse_qsl(step["ask"].format(**kept), keep_blank_values=True, errors="surrogateescape")
        service = step.get("service", "ec2")
        version = {"ec2": "2016-11-15", "sts": "2011-06-15", "iam": "2010-05-08"}[service]
        answer = house.post([*pairs, ("Version", version)], step.get("who", "alice"), service)
        expected = codes.STATUS.get(step["code"], 400) if "code" in step else 200
        assert (answer.code, answer.status) == (step.get("code"), step.get("status", expected)), (step, answer)
        for path, value in step.get("has", {}).items():
            assert value.format(**kept) in answer.texts(f".//{path}"), (step, answer)
        for path, number in step.get("count", {}).items():
            assert len(answer.texts(f".//{path}")) == number, (step, answer)
        for path in step.get("lacks", []):
            assert not answer.texts(f".//{path}"), (step, answer)
        for name, path in step.get("keep", {}).items():
            kept[name] = answer.text(f".//{path}")
            assert kept[name], (step, answer)


def test_every_ec2_code_that_we_emit_is_in_a_table() -> None:
    """But those that need a broken world, a clock or a bad signature, which have tests of their own."""
    elsewhere = {"AuthFailure", "RequestExpired", "InternalError", "Unavailable", "RequestLimitExceeded",
                 "InvalidRequest", "InsufficientInstanceCapacity", "InvalidAMIID.Unavailable",
                 "InsufficientFreeAddressesInSubnet",
                 "Unsupported", "InvalidManifest", "TagLimitExceeded",
                 "RulesPerSecurityGroupLimitExceeded", "SecurityGroupLimitExceeded"}  # fmt: skip
    seen = {step.get("code") for case in cases() for step in case.values[0]["step"]}
    assert set(codes.EC2.values()) - elsewhere - seen == set()
