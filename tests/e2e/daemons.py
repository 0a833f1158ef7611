"""Daemons as twistd processes of their own, each with the configuration of its host."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.clouds import ROOT, Cloud
from tests.ports import free_port

ALL = ("objectstore", "conductor", "scheduler", "network", "metadata", "volume", "compute", "api")


class Daemons:
    """The processes of one state directory, by name."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.logs = cloud.state.with_name(f"{cloud.state.name}-logs")
        self.logs.mkdir()

    def start(self, name: str) -> None:
        argv = [str(Path(sys.executable).with_name("twistd")), "--nodaemon", "--pidfile=",
                "--logger=cloudcore.daemon.json_log.observer", f"cloudcore-{name}",
                "--state", str(self.cloud.state)]  # fmt: skip
        with (self.logs / name).open("ab") as log:
            self.running[name] = subprocess.Popen(argv, env=self.cloud.environment, cwd=ROOT, stdin=subprocess.DEVNULL,
                                                  stdout=log, stderr=log)  # fmt: skip

    def stop(self, name: str, number: int = signal.SIGTERM) -> None:
        process = self.running.pop(name)
        process.send_signal(number)
        process.wait(30)

    def words(self) -> str:
        return "\n".join(f"== {path.name}\n{path.read_text(errors='replace')[-6000:]}" for path in self.logs.iterdir())


def prepared(state: Path, environment: dict[str, str], bus: str, database: str) -> Cloud:
    """With its database, and an account by which hosts reach the object store."""
    own = {
        "CLOUDCORE_API__PORT": str(free_port()), "CLOUDCORE_OBJECTSTORE__PORT": str(free_port()),
        "CLOUDCORE_BUS__URL": bus, "CLOUDCORE_DATABASE__URL": database,
    }  # fmt: skip
    cloud = Cloud(state, environment | own)
    cloud.run("db", "migrate")
    cloud.run("db", "seed")
    keys = json.loads(cloud.run("env", "--user", "image-fetcher", "--json").stdout)
    secret = state / "keys" / "image-fetcher"
    secret.touch(mode=0o600)
    secret.write_text(keys["AWS_SECRET_ACCESS_KEY"])
    cloud.environment |= {"CLOUDCORE_IMAGES__ACCESS_KEY": keys["AWS_ACCESS_KEY_ID"],
                          "CLOUDCORE_IMAGES__SECRET_FILE": str(secret)}  # fmt: skip
    return cloud


def healthy(cloud: Cloud) -> bool:
    try:
        for service in ("EC2", "S3"):
            urllib.request.urlopen(cloud.exports[f"AWS_ENDPOINT_URL_{service}"] + "/healthz", timeout=2)  # noqa: S310
    except OSError:
        return False
    return bool(json.loads(cloud.run("host", "list", "--json").stdout))


@contextmanager
def explained(*daemons: Daemons) -> Iterator[None]:
    """What fails is told with the daemons' own last words."""
    try:
        yield
    except Exception as problem:
        words = "\n".join(one.words() for one in daemons)
        raise AssertionError(f"{problem!r}\n{words}") from problem
