"""A cloud that is only its doors, for tests of `up` and `down`: `python pretend.py up --state DIR ...`.

What the composition root does for real is replaced by two HTTP ports that say they are well; everything else is the
command line itself. PRETEND=broken fails to start, PRETEND=deaf never listens, PRETEND=slow never ends starting,
PRETEND=stubborn never ends stopping.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.python.threadpool import ThreadPool
from twisted.web.resource import Resource
from twisted.web.server import Site

from cloudcore.cli import ending, entry, running
from cloudcore.config.model import Config
from cloudcore.config.places import endpoints_file
from cloudcore.errors import CloudError, Code

ANSWER = b"<Response><keyFingerprint>pretended</keyFingerprint></Response>"


class Door(Resource):
    isLeaf = True

    def render(self, request: Any) -> bytes:
        return ANSWER


class Doors:
    def __init__(self, ports: list[Any]) -> None:
        self._ports = ports

    def stop(self) -> Deferred[Any]:
        if os.environ.get("PRETEND") == "stubborn":
            return Deferred()
        return gatherResults([port.stopListening() for port in self._ports])


async def start(reactor: Any, config: Config, state: Path) -> Doors:
    how = os.environ.get("PRETEND")
    if how == "broken":
        raise CloudError(Code.NO_HYPERVISOR, "the pretended hypervisor is broken")
    if how == "deaf":
        return Doors([])
    if how == "slow":
        pool = ThreadPool(1, 1)
        pool.start()
        try:
            await Deferred()
        finally:
            pool.stop()
    ports = [reactor.listenTCP(section.port, Site(Door()), interface="127.0.0.1")
             for section in (config.api, config.objectstore)]
    names = ("ec2", "s3")
    found = {name: f"http://127.0.0.1:{port.getHost().port}" for name, port in zip(names, ports, strict=True)}
    endpoints_file(state).write_text(json.dumps(found | {"pid": os.getpid()}))
    return Doors(ports)


class Teardown:
    async def stop_guests(self, reactor: Any, config: Config, state: Path) -> int:
        (state / "guests-stopped").touch()
        return 3

    async def clean(self, reactor: Any, config: Config, state: Path) -> None:
        print("cleaned", config.network.bridge, flush=True)


def up(options: Any, console: Any) -> int:
    return running.up(options, console, start)


def down(options: Any, console: Any) -> int:
    return ending.down(options, console, Teardown())


if __name__ == "__main__":
    sys.exit(entry.main(others={"up": up, "down": down}))
