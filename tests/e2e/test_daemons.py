"""The main job with every daemon as a twistd process of its own, over a real RabbitMQ and a real PostgreSQL."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.e2e import main_job, remains
from tests.e2e.clouds import Cloud, environment, until
from tests.e2e.daemons import ALL, Daemons, explained, healthy, prepared

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def daemons(rabbitmq: Any, postgresql: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemons]:
    state = tmp_path_factory.mktemp("daemons") / "state"
    cloud = prepared(state, environment(2), rabbitmq.url, postgresql.url())
    made = Daemons(cloud)
    try:
        for name in ALL:
            made.start(name)
        cloud.learn()
        with explained(made):
            until(lambda: healthy(cloud), "api and object store answer, the host is known", 60)
        yield made
    finally:
        for name in list(made.running):
            made.stop(name)
        cloud.remove()


def left(cloud: Cloud, instance: str) -> list[str]:
    with psycopg.connect(cloud.environment["CLOUDCORE_DATABASE__URL"]) as books:
        rows = books.execute("SELECT instance FROM allocations UNION SELECT instance FROM addresses "
                             "WHERE instance IS NOT NULL").fetchall()  # fmt: skip
    found = remains.of([instance], cloud.state, cloud.environment["CLOUDCORE_NETWORK__TABLE"])
    return found + [f"row of {one}" for one, in rows if one == instance]


def test_the_main_job_over_rabbitmq_and_postgresql(daemons: Daemons, tmp_path: Path) -> None:
    cloud = daemons.cloud
    cloud.run("image", "build-tiny", "--output", str(tmp_path))
    with explained(daemons):
        instance = main_job.first_light(cloud, next(tmp_path.rglob("tiny.raw")), tmp_path)
        until(lambda: not left(cloud, instance), f"nothing left: {left(cloud, instance)}", 20)


def test_each_daemon_may_die_and_come_back_amid_a_launch(daemons: Daemons) -> None:
    """A launch for each: killed right after the 200, started again, and the guest runs."""
    cloud = daemons.cloud
    ec2 = cloud.client("ec2")
    image = ec2.describe_images(Owners=["self"])["Images"][0]["ImageId"]
    made = []
    with explained(daemons):
        for name in ("conductor", "scheduler", "network", "compute", "objectstore", "metadata"):
            one = ec2.run_instances(ImageId=image, InstanceType="t3.nano", MinCount=1, MaxCount=1)["Instances"][0]
            made.append(one["InstanceId"])
            daemons.stop(name, signal.SIGKILL)
            daemons.start(name)
        main_job.wait_running(ec2, made)
        for instance in made:
            assert f"instance-id {instance} " in main_job.wait_for_words(ec2, instance, " login")
        ec2.terminate_instances(InstanceIds=made)
        ec2.get_waiter("instance_terminated").wait(InstanceIds=made, WaiterConfig={"Delay": 1, "MaxAttempts": 120})
        for instance in made:
            until(lambda instance=instance: not left(cloud, instance), f"nothing left: {left(cloud, instance)}", 20)


def test_every_daemon_ends_in_order_when_told(daemons: Daemons) -> None:
    for name in ALL:
        process = daemons.running[name]
        daemons.stop(name)
        assert process.returncode in (0, -signal.SIGTERM), f"{name}: {process.returncode}\n{daemons.words()}"
    assert not [name for name in ALL if '"level": "critical"' in (daemons.logs / name).read_text()]
