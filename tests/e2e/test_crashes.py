"""SIGKILL the all-in-one at each registered failpoint of RunInstances and of TerminateInstances; start it again: every
accepted request still ends in its terminal state, and nothing is left over (I1, I6, I9; simulated driver)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from cloudcore.daemon.registered import FAILPOINTS
from tests.e2e.clouds import Cloud, environment, until

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A cloud with an image, down; each case starts it with another failpoint."""
    cloud = Cloud(tmp_path_factory.mktemp("crash") / "state", environment(3))
    cloud.up("simulated")
    cloud.run("image", "build-tiny")
    cloud.down()
    yield cloud
    cloud.remove()


def gone(cloud: Cloud) -> bool:
    pid = json.loads((cloud.state / "run" / "endpoints.json").read_text())["pid"]
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return status == "Z"


def rows(cloud: Cloud, query: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(f"file:{cloud.state / 'cloudcore.sqlite'}?mode=ro", uri=True) as connection:
        return connection.execute(query).fetchall()


def settled(cloud: Cloud) -> list[tuple[Any, ...]] | None:
    found = rows(cloud, "SELECT id, state FROM instances")
    return found if all(state in ("running", "stopped", "terminated") for _, state in found) else None


def leftovers(cloud: Cloud) -> dict[str, list[Any]]:
    """What would be an orphan once every instance is terminated."""
    return {
        "allocations": rows(cloud, "SELECT instance FROM allocations"),
        "addresses": rows(cloud, "SELECT address FROM addresses WHERE instance IS NOT NULL"),
        "capacity": rows(cloud, "SELECT name FROM hosts WHERE used_vcpus <> 0 OR used_memory_mib <> 0"),
        "quota": rows(cloud, "SELECT resource FROM quotas WHERE used <> 0 AND resource IN ('instances', 'vcpus')"),
        "operations": rows(cloud, "SELECT id, kind FROM operations WHERE state = 'open'"),
        "overlays": [str(path) for path in (cloud.state / "guests").glob("i-*")],
    }


def call(function: Any, **parameters: Any) -> Any:
    """The answer, or None where the crash took the connection with it."""
    try:
        return function(**parameters)
    except (BotoCoreError, ClientError):
        return None


@pytest.mark.parametrize("failpoint", FAILPOINTS)
def test_every_accepted_request_survives_a_kill_at(prepared: Cloud, failpoint: str) -> None:
    cloud = prepared
    cloud.up("simulated", CLOUDCORE_FAILPOINT=failpoint)
    ec2 = cloud.client("ec2")
    image = ec2.describe_images(Owners=["self"])["Images"][0]["ImageId"]
    order = {"ImageId": image, "InstanceType": "t3.nano", "MinCount": 2, "MaxCount": 2, "ClientToken": failpoint}
    answer = call(ec2.run_instances, **order)
    accepted = [one["InstanceId"] for one in answer["Instances"]] if answer else []
    if accepted and not gone(cloud):
        until(lambda: gone(cloud) or settled(cloud), "running, or killed", 30)
    if accepted and not gone(cloud):
        call(ec2.terminate_instances, InstanceIds=accepted)
        until(lambda: gone(cloud) or (settled(cloud) and not any(leftovers(cloud).values())), "gone, or killed", 30)
    assert gone(cloud), f"{failpoint} was never reached: the list of failpoints lies"

    cloud.up("simulated")
    ec2 = cloud.client("ec2")
    again = [one["InstanceId"] for one in ec2.run_instances(**order)["Instances"]]
    assert not accepted or again == accepted, "the same token has the same answer, before and after the crash"
    assert all(instance in again for instance, in rows(cloud, f"SELECT id FROM instances WHERE id IN ('{again[0]}')"))
    until(lambda: settled(cloud), "every instance settled", 60)
    alive = [instance for instance, state in rows(cloud, "SELECT id, state FROM instances") if state != "terminated"]
    if alive:
        ec2.terminate_instances(InstanceIds=alive)
    until(lambda: all(state == "terminated" for _, state in rows(cloud, "SELECT id, state FROM instances")),
          "every instance terminated", 60)  # fmt: skip
    until(lambda: not any(leftovers(cloud).values()), f"no orphan: {leftovers(cloud)}", 30)
    cloud.down()
