"""One real store, in a process of its own, for all tests of this folder, and plain boto3 to speak to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from tests.objectstore.wire import keys

HERE = Path(__file__).parent
NUMBERS = count(1)


@dataclass
class Running:
    process: subprocess.Popen[bytes]
    http: int
    https: int
    ca: str

    def url(self, scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.http if scheme == 'http' else self.https}"

    def log(self) -> str:
        return (Path(self.ca).parent / "store.log").read_text()

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(10)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)


def start(root: Path) -> Running:
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    with (root / "store.log").open("ab") as log:
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, str(HERE / "serving.py"), str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=log, env=environment)
    assert process.stdout is not None
    line = process.stdout.readline()
    process.stdout.close()
    assert line, (root / "store.log").read_text()
    return Running(process, **json.loads(line))


def client_of(running: Running, name: str = "alice", scheme: str = "http", **config: Any) -> Any:
    access_key, secret = keys(name)
    return boto3.client(
        "s3", endpoint_url=running.url(scheme), region_name="us-east-2", aws_access_key_id=access_key,
        aws_secret_access_key=secret, verify=running.ca,
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, **config))


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """What goes wrong unforeseen is a 500 and a traceback in the log: at the end there may be none."""
    started = start(tmp_path_factory.mktemp("store"))
    yield started
    started.stop()
    assert started.process.returncode == 0
    assert "Traceback" not in started.log()


@pytest.fixture(scope="session")
def as_user(running: Running) -> Callable[..., Any]:
    made: dict[Any, Any] = {}

    def user(name: str = "alice", scheme: str = "http") -> Any:
        if (name, scheme) not in made:
            made[name, scheme] = client_of(running, name, scheme)
        return made[name, scheme]

    return user


@pytest.fixture(params=["http", "https"])
def s3(request: pytest.FixtureRequest, as_user: Callable[..., Any]) -> Any:
    """alice's client; every test that uses it runs over both."""
    return as_user("alice", request.param)


@pytest.fixture
def bucket(as_user: Callable[..., Any]) -> str:
    """A new one of alice's."""
    name = f"bucket-{next(NUMBERS)}"
    as_user().create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "us-east-2"})
    return name
