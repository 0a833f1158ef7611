"""A cloud of its own for end-to-end tests, driven only through its front doors: bin/cloudcore, boto3, the guests.

Everything that could meet another cloud on the machine (ports, bridge, nft tables, address range, state) is its own, so
that these tests run beside a live `make run`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "cloudcore.cli.entry"]


def environment(number: int) -> dict[str, str]:
    """`number` keeps two clouds of one test run apart; the pid keeps two test runs apart."""
    mark = f"{os.getpid() % 10000:04d}{number}"
    second, third = 100 + number, os.getpid() % 256
    own = {
        "CLOUDCORE_API__PORT": "0",
        "CLOUDCORE_OBJECTSTORE__PORT": "0",
        "CLOUDCORE_METADATA__PORT": str(free_port()),
        "CLOUDCORE_NETWORK__BRIDGE": f"cct{mark}",
        "CLOUDCORE_NETWORK__TABLE": f"cloudcore_t{mark}",
        "CLOUDCORE_NETWORK__CIDR": f"10.{second}.{third}.0/24",
        "CLOUDCORE_THROTTLING__ENABLED": "false",  # tests poll as fast as they can
        "CLOUDCORE_NETWORK__ELASTIC_CIDR": f"10.{second + 50}.{third}.0/24",
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CLOUDCORE_", "AWS_"))}
    return kept | own


@dataclass
class Cloud:
    state: Path
    environment: dict[str, str]
    exports: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments: str, check: bool = True, timeout: float = 180,
            **extra: str) -> subprocess.CompletedProcess[str]:  # fmt: skip
        argv = [*COMMAND, *arguments, "--state", str(self.state)]
        done = subprocess.run(argv, env=self.environment | extra, cwd=ROOT, capture_output=True, text=True,
                              timeout=timeout, stdin=subprocess.DEVNULL)  # fmt: skip
        words = f"{argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert not check or done.returncode == 0, f"{words}\n{self.log()}"
        return done

    def up(self, driver: str, *more: str, **extra: str) -> None:
        """One that does not come up leaves nothing behind, whatever its fixture does then."""
        try:
            self.run("up", "--driver", driver, "--detach", "--no-first-instance", *more, **extra)
            self.learn()
        except BaseException:
            self.remove()
            raise

    def learn(self) -> None:
        lines = self.run("env").stdout
        self.exports = dict(re.findall(r"^export (\w+)='?([^'\n]*)'?$", lines, re.MULTILINE))

    def down(self, instances: str = "stop") -> None:
        self.run("down", "--instances", instances)

    def client(self, service: str, **options: Any) -> Any:
        """Plain boto3, told nothing but what `cloudcore env` exports."""
        config = Config(retries={"max_attempts": 0}, connect_timeout=5, read_timeout=60)
        session = boto3.session.Session(
            aws_access_key_id=self.exports["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.exports["AWS_SECRET_ACCESS_KEY"],
            region_name=self.exports["AWS_DEFAULT_REGION"],
        )
        endpoint = self.exports[f"AWS_ENDPOINT_URL_{service.upper()}"]
        return session.client(service, endpoint_url=endpoint, config=config, **options)

    def log(self) -> str:
        log = self.state / "log" / "cloudcore.jsonl"
        return log.read_text(errors="replace")[-4000:] if log.exists() else ""

    def kill(self) -> None:
        """SIGKILL, as a power cut of the control plane."""
        endpoints = json.loads((self.state / "run" / "endpoints.json").read_text())
        os.kill(endpoints["pid"], signal.SIGKILL)

    def remove(self) -> None:
        self.run("down", "--purge", "--confirm", socket.gethostname(), check=False)
        shutil.rmtree(self.state, ignore_errors=True)


def until(true: Callable[[], Any], what: str, seconds: float = 60, every: float = 0.2) -> Any:
    """What `true` returned once it was true."""
    end = time.monotonic() + seconds
    while not (answer := true()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(every)
    return answer


def instances_of(ec2: Any, **filters: Any) -> Iterator[dict[str, Any]]:
    for page in ec2.get_paginator("describe_instances").paginate(**filters):
        for reservation in page["Reservations"]:
            yield from reservation["Instances"]
