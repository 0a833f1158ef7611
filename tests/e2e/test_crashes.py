"""SIGKILL the all-in-one at each registered failpoint of RunInstances and of TerminateInstances (and of the stops and
group changes between them); start it again: every accepted request still ends in its terminal state, and nothing is
left over (I1, I2, I6, I9; simulated driver)."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import BotoCoreError, ClientError

from cloudcore.cli.state import holder
from cloudcore.daemon.failpoints import VARIABLE
from cloudcore.daemon.registered import FAILPOINTS
from tests.e2e.clouds import Cloud, environment, until
from tests.ports import free_port

pytestmark = pytest.mark.timeout(300)

# Reached only when a step meets an error of another service; tests/conductor/ makes those.
ELSEWHERE = ("conductor.retry.after",)
AT_REST = ("running", "stopped", "terminated")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """With an image, up; what each case kills it starts again."""
    state = tmp_path_factory.mktemp("crash") / "state"
    made = Cloud(state, environment(3) | {VARIABLE: str(state.parent / "failpoint"),
                                          "CLOUDCORE_API__PORT": str(free_port()),  # the same in every life
                                          "CLOUDCORE_OBJECTSTORE__PORT": str(free_port()),
                                          "CLOUDCORE_COMPUTE__SIMULATED_BOOT_SECONDS": "0.1"})  # fmt: skip
    made.up("simulated")
    try:
        made.run("image", "build-tiny")
        with_role(made)
        yield made
    finally:
        made.remove()


def with_role(cloud: Cloud) -> None:
    """The instance profile `crash`, so that launches make keys."""
    keys = json.loads(cloud.run("env", "--user", "admin", "--json").stdout)
    iam = boto3.client(
        "iam", endpoint_url=cloud.exports["AWS_ENDPOINT_URL_EC2"], region_name=keys["AWS_DEFAULT_REGION"],
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"], aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"])  # fmt: skip
    trust = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    iam.create_role(RoleName="crash", AssumeRolePolicyDocument=document)
    iam.create_instance_profile(InstanceProfileName="crash")
    iam.add_role_to_instance_profile(InstanceProfileName="crash", RoleName="crash")


def armed(cloud: Cloud) -> Path:
    return Path(cloud.environment[VARIABLE])


def gone(cloud: Cloud) -> bool:
    return holder(cloud.state) is None


def rows(cloud: Cloud, query: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(f"file:{cloud.state / 'cloudcore.sqlite'}?mode=ro", uri=True) as connection:
        return connection.execute(query).fetchall()


def states(cloud: Cloud) -> dict[str, str]:
    return dict(rows(cloud, "SELECT id, state FROM instances"))


def leftovers(cloud: Cloud) -> dict[str, list[Any]]:
    """What would be an orphan once every instance is terminated."""
    return {
        "allocations": rows(cloud, "SELECT instance FROM allocations"),
        "addresses": rows(cloud, "SELECT address FROM addresses WHERE instance IS NOT NULL"),
        "capacity": rows(cloud, "SELECT name FROM hosts WHERE used_vcpus <> 0 OR used_memory_mib <> 0"),
        "quota": rows(cloud, "SELECT resource FROM quotas WHERE used <> 0 AND resource IN ('instances', 'vcpus')"),
        "operations": under_way(cloud),
        "elastic addresses": rows(cloud, "SELECT address FROM elastic_addresses WHERE instance IS NOT NULL "
                                         "OR holder IS NOT NULL"),
        "directories": [str(path) for path in (cloud.state / "instances").glob("i-*")],
    }


def under_way(cloud: Cloud) -> list[tuple[Any, ...]]:
    return rows(cloud, "SELECT id, kind FROM operations WHERE state = 'open'")


class Gone(Exception):
    """The crash took the connection with it."""


def call(function: Any, **parameters: Any) -> Any:
    try:
        return function(**parameters)
    except ClientError:
        raise
    except BotoCoreError as problem:
        raise Gone from problem


def wait(cloud: Cloud, holds: Any, what: str) -> None:
    """Until it holds; raises Gone when the process is no more."""
    end = time.monotonic() + 30
    while not holds():
        if gone(cloud):
            raise Gone
        assert time.monotonic() < end, f"neither {what} nor killed: {states(cloud)}"
        time.sleep(0.02)


def work(cloud: Cloud, orders: list[dict[str, Any]], accepted: dict[str, list[str]], port: int) -> None:
    """Everything that passes failpoints. `accepted` keeps what was answered, by client token; raises Gone. `port` is
    of a rule that no earlier case may have left behind."""
    ec2 = cloud.client("ec2")
    group = call(ec2.describe_security_groups, GroupNames=["default"])["SecurityGroups"][0]["GroupId"]
    for order in orders:
        answer = call(ec2.run_instances, **order)
        accepted[order["ClientToken"]] = [one["InstanceId"] for one in answer["Instances"]]
    ids = [one for made in accepted.values() for one in made]
    wait(cloud, lambda: all(states(cloud)[one] in AT_REST for one in ids), "launched")
    rule = {"GroupId": group, "IpProtocol": "tcp", "FromPort": port, "ToPort": port, "CidrIp": "0.0.0.0/0"}
    call(ec2.authorize_security_group_ingress, **rule)
    call(ec2.revoke_security_group_ingress, **rule)
    first = accepted[orders[0]["ClientToken"]][0]
    call(ec2.modify_instance_metadata_options, InstanceId=first, HttpTokens="required")
    address = call(ec2.allocate_address)["AllocationId"]
    associated = call(ec2.associate_address, AllocationId=address, InstanceId=first)["AssociationId"]
    wait(cloud, lambda: not under_way(cloud), "told of its metadata options and its address")
    call(ec2.disassociate_address, AssociationId=associated)
    wait(cloud, lambda: not under_way(cloud), "told that the address is gone")
    call(ec2.stop_instances, InstanceIds=[first])
    wait(cloud, lambda: states(cloud)[first] == "stopped", "stopped")
    call(ec2.terminate_instances, InstanceIds=ids)
    wait(cloud, lambda: all(states(cloud)[one] == "terminated" for one in ids), "terminated")
    time.sleep(11)  # what only a heartbeat passes
    wait(cloud, lambda: False, "killed")


def repeated(cloud: Cloud, order: dict[str, Any]) -> list[str]:
    """What the same request answers now; nothing where all that it launched has ended."""
    try:
        return [one["InstanceId"] for one in cloud.client("ec2").run_instances(**order)["Instances"]]
    except ClientError as problem:
        assert problem.response["Error"]["Code"] == "IdempotentInstanceTerminated", problem
        return []


# Between the `after` of one effect and the `before` of the next there is memory alone: one of the two is enough where a
# case takes seconds. tests/conductor/ kills at both.
KILLED_AT = [point for point in FAILPOINTS if not point.endswith(".before") and point not in ELSEWHERE]


@pytest.mark.parametrize("failpoint", KILLED_AT)
def test_every_accepted_request_survives_a_kill_at(cloud: Cloud, failpoint: str) -> None:
    image = cloud.client("ec2").describe_images(Owners=["self"])["Images"][0]["ImageId"]
    small = {"ImageId": image, "InstanceType": "t3.nano", "MinCount": 2, "MaxCount": 2, "ClientToken": failpoint,
             "IamInstanceProfile": {"Name": "crash"}}  # fmt: skip
    # Beside the small ones there is memory for one: the other is accepted, and refused by the scheduler.
    large = small | {"InstanceType": "m5.2xlarge", "ClientToken": f"{failpoint} large"}
    accepted: dict[str, list[str]] = {}
    armed(cloud).write_text(failpoint)
    with pytest.raises(Gone):
        work(cloud, [small, large], accepted, 1000 + FAILPOINTS.index(failpoint))
    armed(cloud).unlink()
    until(lambda: gone(cloud), "the process is no more", 10)

    cloud.run("up", "--driver", "simulated", "--detach", "--no-first-instance")
    ec2 = cloud.client("ec2")
    for token, ids in accepted.items():
        order = small if token == failpoint else large
        assert repeated(cloud, order) in (ids, []), "the same token has the same answer, before and after the crash"
    until(lambda: all(state in AT_REST for state in states(cloud).values()), "every instance settled", 60)
    alive = [instance for instance, state in states(cloud).items() if state != "terminated"]
    if alive:
        ec2.terminate_instances(InstanceIds=alive)
    until(lambda: set(states(cloud).values()) <= {"terminated"}, "every instance terminated", 60)
    until(lambda: not any(leftovers(cloud).values()), f"no orphan: {leftovers(cloud)}", 30)
    for one in ec2.describe_addresses()["Addresses"]:
        ec2.release_address(AllocationId=one["AllocationId"])
