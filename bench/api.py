#!/usr/bin/env python3
"""How fast does the api answer? Beside it, with the same client: moto's server and a bare twisted.web resource.

    .venv/bin/python bench/api.py [--rows 20000] [--seconds 3] [--workers 4] [--moto [PYTHON]]

Signed DescribeInstances of 1, 100 and 1,000 instances; RunInstances; and DescribeInstances of one id among `--rows`
instances against one among ten, in two clouds that are asked in turn. Instances are rows put into the database through
the store, all but those that RunInstances makes. Requests are signed beforehand, so that the client weighs little and
the same for everybody. Quote the ratios: absolute figures mean nothing on shared machines. `cpu_ms` is what the server
process alone spent on one answer. `--moto` installs moto into a directory that goes away with the run, or takes the one
of the Python that is named.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import launch
from floors import bare_post

from cloudcore.domain.instances import Instance, State
from cloudcore.signing.signer import Signer
from cloudcore.store.books import Books
from cloudcore.store.database import sqlite_engine

SIZES = (1, 100, 1000)
FEW = 10
TICKS = os.sysconf("SC_CLK_TCK")
MOTO_IMAGE = "ami-12c6146b"  # of those that moto invents


class Wire:
    """One connection that sends what was made beforehand, and reads no more of an answer than it must."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connect()

    def _connect(self) -> None:
        self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, request: bytes) -> bytes:
        """The body of the answer. Connects again where the server keeps no connection."""
        self._socket.sendall(request)
        head, _, body = self._until_head().partition(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        parts, missing = [body], length - len(body)
        while missing > 0:
            parts.append(self._socket.recv(1 << 18))
            missing -= len(parts[-1])
        if head.split(b" ", 2)[1] != b"200":
            raise RuntimeError(f"{head!r} {b''.join(parts)[:400]!r}")
        if b"connection: close" in head.lower() or head.startswith(b"HTTP/1.0"):
            self._socket.close()
            self._connect()
        return b"".join(parts)

    def _until_head(self) -> bytes:
        text = b""
        while b"\r\n\r\n" not in text:
            more = self._socket.recv(1 << 18)
            if not more:
                raise RuntimeError(f"the server hung up after {text!r}")
            text += more
        return text


@dataclass(frozen=True)
class Target:
    """A server under test: `client` signs for it, `pid` is the process that answers."""

    client: launch.Client
    pid: int

    @property
    def port(self) -> int:
        return int(self.client.host.rpartition(":")[2])

    def request(self, action: str, **parameters: str) -> bytes:
        body, headers = self.client.signed(action, **parameters)
        return written(body, headers)


def written(body: bytes, headers: dict[str, str]) -> bytes:
    lines = [f"{name}: {value}" for name, value in {**headers, "content-length": str(len(body))}.items()]
    return "\r\n".join(["POST / HTTP/1.1", *lines, "", ""]).encode() + body


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rate(port: int, pid: int, request: bytes, options: argparse.Namespace) -> dict[str, float]:
    """Answers per second, and the server's processor time for each."""
    before, began = cpu_seconds(pid), time.monotonic()

    def make() -> Callable[[], None]:
        wire = Wire(port)
        return lambda: wire.ask(request) and None

    per_second = launch.hammer(options.workers, options.seconds, make)
    answers = per_second * (time.monotonic() - began)
    return {"per_s": per_second, "cpu_ms": 1000 * (cpu_seconds(pid) - before) / answers}


def row(name: str, servers: Sequence[Target], action: dict[str, str], image: Sequence[str],
        options: argparse.Namespace) -> dict[str, float]:  # fmt: skip
    """One line of the report: ours first, then moto where it runs; the bare resource in between."""
    with bare_post() as (port, pid):
        bare = rate(port, pid, written(b"x" * 200, {"host": "127.0.0.1"}), options)
    ours, *rest = (
        rate(server.port, server.pid, server.request(**action | ({"ImageId": one} if "MinCount" in action else {})),
             options)
        for server, one in zip(servers, image, strict=True)
    )  # fmt: skip
    found = {"per_s": ours["per_s"], "cpu_ms": ours["cpu_ms"], "to_bare": ours["per_s"] / bare["per_s"],
             "to_bare_by_cpu": bare["cpu_ms"] / ours["cpu_ms"]}  # fmt: skip
    for moto in rest:
        found |= {"to_moto": ours["per_s"] / moto["per_s"], "to_moto_by_cpu": moto["cpu_ms"] / ours["cpu_ms"]}
    rounded = {key: round(value, 3) for key, value in found.items()}
    print(name, json.dumps(rounded), file=sys.stderr)
    return rounded


def fill(state: Path, client: launch.Client, image: str, count: int) -> list[str]:
    """The ids of so many instances that look as if they had run."""
    [group] = re.findall(r"<groupId>(sg-\w+)</groupId><groupName>default<", client.call("DescribeSecurityGroups")) or [
        re.findall(r"<groupId>(sg-\w+)</groupId>", client.call("DescribeSecurityGroups"))[0]
    ]
    project = re.findall(r"<ownerId>(\w+)</ownerId>", client.call("DescribeSecurityGroups"))[0]
    now, made = time.time() - count, []
    for number in range(count):
        end = secrets.token_hex(8)[:17].ljust(17, "0")
        made.append(Instance(
            id=f"i-{end}", project=project, reservation=f"r-{end}", launch_index=0, cell="cell1", image=image,
            instance_type="t3.nano", vcpus=2, memory_mib=512, disk_gib=1, zone="us-east-2a", key_name="default",
            state=State.STOPPED, generation=1, created=now + number, changed=now + number,
            mac="06:" + ":".join(secrets.token_hex(1) for _ in range(5)), address=None,
            reason_code="Client.UserInitiatedShutdown",
            reason="Client.UserInitiatedShutdown: User initiated shutdown"))  # fmt: skip
    engine = sqlite_engine(f"sqlite:///{state / 'cloudcore.sqlite'}", "BEGIN IMMEDIATE")
    for first in range(0, count, 5000):
        with engine.begin() as connection:
            Books(connection).instances.insert(made[first : first + 5000], (group,))
    engine.dispose()
    return [one.id for one in made]


def medians(asked: Sequence[tuple[Target, Sequence[str]]], seconds: float) -> list[float]:
    """Milliseconds of DescribeInstances by one id, for each of the targets, which are asked in turn."""
    wires = [Wire(target.port) for target, _ in asked]
    requests = [[target.request("DescribeInstances", **{"InstanceId.1": id}) for id in ids] for target, ids in asked]
    spent: list[list[float]] = [[] for _ in asked]
    end, turn = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        for number, wire in enumerate(wires):
            request = requests[number][turn % len(requests[number])]
            began = time.perf_counter()
            wire.ask(request)
            spent[number].append(1000 * (time.perf_counter() - began))
        turn += 1
    return [statistics.median(one) for one in spent]


@contextmanager
def moto(python: str, directory: Path) -> Iterator[Target]:
    """moto's server, from its own venv, which is made when no Python is named."""
    if not python:
        subprocess.run([sys.executable, "-m", "venv", str(directory / "moto")], check=True)
        python = str(directory / "moto" / "bin" / "python")
        subprocess.run([python, "-m", "pip", "install", "-q", "moto[ec2,server]"], check=True, stdout=sys.stderr)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    child = subprocess.Popen([python, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        client = launch.Client(f"http://127.0.0.1:{port}", Signer("AKIABENCH", "x" * 40, "us-east-2", "ec2"))
        end = time.monotonic() + 60
        while True:
            try:
                client.call("DescribeInstances")
                break
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)
                client = launch.Client(f"http://127.0.0.1:{port}", client.signer)
        yield Target(client, child.pid)
    finally:
        child.terminate()
        child.wait()


def compared(ours: Target, other: Target | None, state: Path, image: str,
             options: argparse.Namespace) -> dict[str, object]:  # fmt: skip
    servers, images = ([ours, other], [image, MOTO_IMAGE]) if other else ([ours], [image])
    report: dict[str, object] = {}
    made = 0
    for size in SIZES:
        fill(state, ours.client, image, size - made)
        if other:
            other.client.call("RunInstances", ImageId=MOTO_IMAGE, InstanceType="t3.nano", MinCount=str(size - made),
                              MaxCount=str(size - made))  # fmt: skip
        made = size
        name = f"describe {size}"
        report[name] = row(name, servers, {"action": "DescribeInstances"}, images, options)
    one = {"action": "RunInstances", "InstanceType": "t3.nano", "MinCount": "1", "MaxCount": "1"}
    report["run"] = row("run", servers, one, images, options)
    launch.settle(ours.client)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20000)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--moto", nargs="?", const="", metavar="PYTHON", help="compare with moto's server")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cloudcore-bench-", dir=launch.ROOT) as name:
        directory = Path(name)
        few, many = directory / "few", directory / "many"
        with launch.cloud(many) as (client, image):
            ours = Target(client(), launch.process_of(many))
            if options.moto is None:
                report = compared(ours, None, many, image, options)
            else:
                with moto(options.moto, directory) as other:
                    report = compared(ours, other, many, image, options)
            with launch.cloud(few) as (few_client, few_image):
                little = Target(few_client(), launch.process_of(few))
                some = fill(few, little.client, few_image, FEW)
                lots = fill(many, ours.client, image, options.rows)
                chosen = [lots[number * len(lots) // 100] for number in range(100)]
                small, large = medians([(little, some), (ours, chosen)], 2 * options.seconds)
                report[f"by id, p50 of {options.rows} rows to {FEW}"] = round(large / small, 3)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
