#!/usr/bin/env python3
"""How fast does the cloud take and place instances? Simulated hypervisor and network, everything else real.

    .venv/bin/python bench/launch.py [--seconds 6] [--concurrency 1 32] [--bulk 500] [--postgresql URL]

Prints, per concurrency: RunInstances accepted per second (each durable before its 200), and pending to running per
second; beside them, in the same run and with the same client, the floor: a bare twisted.web POST and a bare durable
commit. Quote the ratios: absolute figures mean nothing on shared machines. Peak memory is the cloud process's own.
Without --postgresql the cloud keeps its books in SQLite; with it, in an empty database of that server.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode, urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent))
from floors import bare_post, postgresql_commits, sqlite_commits

from cloudcore.signing.heads import Head
from cloudcore.signing.signer import Signer, sign

ROOT = Path(__file__).resolve().parents[1]
CLI = [sys.executable, "-m", "cloudcore.cli.entry"]
SETTINGS = {
    "CLOUDCORE_API__PORT": "0", "CLOUDCORE_OBJECTSTORE__PORT": "0", "CLOUDCORE_METADATA__PORT": "0",
    "CLOUDCORE_QUOTAS__INSTANCES": "1000000", "CLOUDCORE_QUOTAS__VCPUS": "1000000",
    "CLOUDCORE_QUOTAS__VOLUMES": "1000000", "CLOUDCORE_QUOTAS__VOLUME_GIGABYTES": "1000000000",
    "CLOUDCORE_COMPUTE__SIMULATED_VCPUS": "1000000", "CLOUDCORE_COMPUTE__SIMULATED_MEMORY_MIB": "100000000",
    "CLOUDCORE_COMPUTE__SIMULATED_DISK_GIB": "10000000", "CLOUDCORE_COMPUTE__SIMULATED_BOOT_SECONDS": "0",
    "CLOUDCORE_NETWORK__CIDR": "10.90.0.0/16", "CLOUDCORE_THROTTLING__ENABLED": "false",
}  # fmt: skip


class Client:
    """One keep-alive connection that signs as boto3 does."""

    def __init__(self, endpoint: str, signer: Signer) -> None:
        self.host, self.signer = urlsplit(endpoint).netloc, signer
        self._connection = http.client.HTTPConnection(self.host, timeout=60)

    def signed(self, action: str, **parameters: str) -> tuple[bytes, dict[str, str]]:
        """Body and headers; good for some minutes, and as often as one likes."""
        body = urlencode({"Action": action, "Version": "2016-11-15", **parameters}).encode()
        bare = {"host": self.host, "content-type": "application/x-www-form-urlencoded; charset=utf-8"}
        return body, sign(Head("POST", "/", "", bare), self.signer, time.time(), hashlib.sha256(body).hexdigest())

    def call(self, action: str, **parameters: str) -> str:
        body, headers = self.signed(action, **parameters)
        self._connection.request("POST", "/", body, headers)
        answer = self._connection.getresponse()
        text = answer.read().decode()
        if answer.status != 200:
            raise RuntimeError(f"{action}: {answer.status} {text[:400]}")
        return text


def hammer(workers: int, seconds: float, make: Callable[[], Callable[[], None]]) -> float:
    """Calls per second of `workers` threads, each with its own function from `make`, for so long."""
    counts, problems = [0] * workers, []
    end = time.monotonic() + seconds

    def work(number: int) -> None:
        try:
            call = make()
            while time.monotonic() < end:
                call()
                counts[number] += 1
        except Exception as problem:  # noqa: BLE001 - reported below, in the main thread
            problems.append(problem)

    began = time.monotonic()
    threads = [threading.Thread(target=work, args=(number,)) for number in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]
    return sum(counts) / (time.monotonic() - began)


def states(client: Client) -> dict[str, int]:
    """How many instances are in which state."""
    found: dict[str, int] = {}
    token = ""
    while True:
        more = {"NextToken": token} if token else {}
        text = client.call("DescribeInstances", MaxResults="1000", **more)
        for name in re.findall(r"<instanceState><code>\d+</code><name>([a-z-]+)</name>", text):
            found[name] = found.get(name, 0) + 1
        match = re.search(r"<nextToken>([^<]+)</nextToken>", text)
        if not match:
            return found
        token = match[1]


def settle(client: Client, patience: float = 300) -> None:
    """Returns when nothing is pending any more. Asks for one page of pending ones: looking must not cost much."""
    pending = {"Filter.1.Name": "instance-state-name", "Filter.1.Value.1": "pending", "MaxResults": "5"}
    began = time.monotonic()
    while "<instanceId>" in client.call("DescribeInstances", **pending):
        if time.monotonic() - began > patience:
            raise RuntimeError(f"still pending: {states(client)}")
        time.sleep(0.1)


def bare_rate(workers: int, seconds: float) -> float:
    with bare_post() as (port, _):

        def make() -> Callable[[], None]:
            connection = http.client.HTTPConnection("127.0.0.1", port)

            def call() -> None:
                connection.request("POST", "/", b"x" * 200)
                connection.getresponse().read()

            return call

        return hammer(workers, seconds, make)


def measure(client: Callable[[], Client], image: str, workers: int, seconds: float) -> dict[str, float]:
    """RunInstances of one instance each; then how long the backlog took."""
    watcher = client()
    before = sum(states(watcher).values())

    def make() -> Callable[[], None]:
        mine = client()
        one = {"ImageId": image, "InstanceType": "t3.nano", "MinCount": "1", "MaxCount": "1"}
        return lambda: mine.call("RunInstances", **one) and None

    began = time.monotonic()
    accepted = hammer(workers, seconds, make)
    settle(watcher)
    spent = time.monotonic() - began
    made = sum(states(watcher).values()) - before
    return {"accepted_per_s": accepted, "running_per_s": made / spent, "instances": made}


def bulk(client: Client, image: str, count: int) -> dict[str, float]:
    """One RunInstances of many."""
    began = time.monotonic()
    client.call("RunInstances", ImageId=image, InstanceType="t3.nano", MinCount=str(count), MaxCount=str(count))
    accepted = time.monotonic() - began
    settle(client)
    return {"bulk_accept_s": accepted, "bulk_running_per_s": count / (time.monotonic() - began)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--bulk", type=int, default=500)
    parser.add_argument("--postgresql", default="", metavar="URL", help="postgresql://user@host:port/empty-database")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cloudcore-bench-", dir=ROOT) as directory:
        os.environ["BENCH_DIRECTORY"] = directory
        report = run(options, Path(directory) / "state")
    print(json.dumps(report, indent=1))


@contextmanager
def cloud(state: Path, **settings: str) -> Iterator[tuple[Callable[[], Client], str]]:
    """A cloud of its own with simulated guests and the tiny image: what makes clients of it, and the image's id."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CLOUDCORE_", "AWS_"))}
    environment = kept | SETTINGS | settings

    def cli(*arguments: str) -> str:
        return subprocess.run([*CLI, *arguments, "--state", str(state)], env=environment, cwd=ROOT, check=True,
                              capture_output=True, text=True).stdout  # fmt: skip

    cli("up", "--detach", "--driver", "simulated", "--no-first-instance")
    try:
        exports = dict(re.findall(r"^export (\w+)='?([^'\n]*)'?$", cli("env"), re.MULTILINE))
        signer = Signer(exports["AWS_ACCESS_KEY_ID"], exports["AWS_SECRET_ACCESS_KEY"], exports["AWS_DEFAULT_REGION"],
                        "ec2")  # fmt: skip

        def client() -> Client:
            return Client(exports["AWS_ENDPOINT_URL_EC2"], signer)

        images = re.findall(r"<imageId>(ami-\w+)</imageId>", client().call("DescribeImages"))
        if not images:
            cli("image", "build-tiny")
            images = re.findall(r"<imageId>(ami-\w+)</imageId>", client().call("DescribeImages"))
        yield client, images[0]
    finally:
        cli("down", "--instances", "stop")


def process_of(state: Path) -> int:
    """The pid of the cloud with this state."""
    return int(json.loads((state / "run" / "endpoints.json").read_text())["pid"])


def run(options: argparse.Namespace, state: Path) -> dict[str, object]:
    database = {"CLOUDCORE_DATABASE__URL": options.postgresql} if options.postgresql else {}
    with cloud(state, **database) as (client, image):
        floor = postgresql_commits(options.postgresql) if options.postgresql else sqlite_commits()
        report: dict[str, object] = {"database": "postgresql" if options.postgresql else "sqlite",
                                     "commits_per_s": round(floor)}  # fmt: skip
        for workers in options.concurrency:
            bare = bare_rate(workers, min(options.seconds, 3))
            found = measure(client, image, workers, options.seconds)
            found |= {"bare_post_per_s": bare, "accepted_to_bare_post": found["accepted_per_s"] / bare,
                      "accepted_to_commit": found["accepted_per_s"] / floor}
            report[f"concurrency {workers}"] = {name: round(value, 3) for name, value in found.items()}
        report["bulk"] = {name: round(value, 2) for name, value in bulk(client(), image, options.bulk).items()}
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process_of(state)}/status").read_text())
        report["peak_memory_mib"] = round(int(peak[1]) / 1024) if peak else None
        return report


if __name__ == "__main__":
    main()
