"""The aws command line's own words for all that people list, over a cloud with an instance: each ends with 0, or with
the code that the captured calls name. All in one process of the unchanged client: its start costs more than its work.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cloudcore.api.catalogue import ACTIONS
from tests.e2e.conftest import Simulated

pytestmark = pytest.mark.timeout(300)
CALLS = json.loads((Path(__file__).parents[1] / "data" / "ec2-client-calls.json").read_text())["aws-cli"]
ASKED_BY_NAME = "ec2:DescribeAddressesAttribute"  # it needs an attribute, which the data does not name
SWEEP = [step for step in CALLS["describe-sweep"] if step["action"] != ASKED_BY_NAME]
NAMED = {"ec2:DescribeInstanceCreditSpecifications": "UnsupportedOperation"}  # no type is burstable
DRIVER = """
import contextlib, io, json, sys
from awscli.clidriver import create_clidriver
for line in sys.stdin:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = create_clidriver().main(json.loads(line))
        except SystemExit as ended:
            status = ended.code
    print(json.dumps([status, out.getvalue(), err.getvalue()]), flush=True)
"""


def words(action: str) -> list[str]:
    service, _, name = action.partition(":")
    return [service, "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("-")]


def run(simulated: Simulated, commands: list[list[str]]) -> list[tuple[int, str, str]]:
    exports = simulated.cloud.exports | {"AWS_MAX_ATTEMPTS": "1", "AWS_PAGER": "", "AWS_EC2_METADATA_DISABLED": "true"}
    kept = simulated.cloud.environment
    lines = "\n".join(map(json.dumps, commands))
    done = subprocess.run([sys.executable, "-c", DRIVER], input=lines, env=kept | exports, capture_output=True,
                          text=True, timeout=240)  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers: list[Any] = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(commands)
    return [tuple(answer) for answer in answers]


def test_the_sweep_ends_with_0_or_with_the_named_code(simulated: Simulated) -> None:
    instances = simulated.launch()
    simulated.client("ec2").get_waiter("instance_running").wait(InstanceIds=instances, WaiterConfig={"Delay": 0.5})
    wrong = []
    answers = run(simulated, [words(step["action"]) for step in SWEEP])
    for step, (status, out, err) in zip(SWEEP, answers, strict=True):
        service, _, name = step["action"].partition(":")
        code = step.get("error") or NAMED.get(step["action"])
        if name not in ACTIONS[service]:  # of a later tier: refused in one attempt, and in so many words
            code = "UnsupportedOperation"
        good = status == 0 and json.loads(out) is not None if code is None else status and f"({code})" in err
        if not good:
            wrong.append((step["action"], code, status, out[:200], err[-300:]))
    assert wrong == []
    simulated.terminate(instances)


def test_the_address_attribute_is_asked_by_name(simulated: Simulated) -> None:
    [(status, out, _)] = run(simulated, [["ec2", "describe-addresses-attribute", "--attribute", "domain-name"]])
    assert (status, json.loads(out)["Addresses"]) == (0, [])
