"""The whole cloud in one process: `cloudcore up`. Loopback bus and SQLite unless configured otherwise."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from cloudcore.config.model import Config
from cloudcore.config.places import endpoints_file
from cloudcore.daemon import control, hosting, storage
from cloudcore.daemon.ground import Stack, auth_of, bus_of, database_of, ground, objects_of
from cloudcore.daemon.serving import url


@dataclass(frozen=True)
class Running:
    """`endpoints` are URLs by name: ec2, s3."""

    stack: Stack
    endpoints: dict[str, str]

    def stop(self) -> Deferred[None]:
        """Front doors first, in order, so that requests under way are answered. Guests go on."""
        return self.stack.stopService()


async def start(reactor: Any, config: Config, state: Path) -> Running:
    """Fires once everything listens; then STATE/run/endpoints.json says where. Raises CloudError; nothing is left."""
    stack = Stack()
    try:
        endpoints = await assemble(stack, reactor, config, state)
    except BaseException:
        await stack.stopService()
        raise
    return Running(stack, endpoints)


async def assemble(stack: Stack, reactor: Any, config: Config, state: Path) -> dict[str, str]:
    under = ground(reactor, config, state)
    bus, database = bus_of(under), database_of(under)
    auth = auth_of(under, database)
    store = control.objectstore(under, auth)
    await stack.add(bus, database, store)
    s3 = control.objectstore_door(under, store)
    await stack.add(s3)
    objects = await objects_of(under, auth, url(config.objectstore.listen, s3.port))
    await stack.add(*hosting.network(under, bus), *hosting.metadata(under, bus))
    await stack.add(control.scheduler(under, bus, database), *control.images(under, bus, objects))
    await stack.add(control.conductor(under, bus, database))
    await stack.add(*storage.volume(under, bus, objects))
    await stack.add(*await hosting.compute(under, bus, objects))
    ec2 = control.api_door(under, bus, database, auth, url(config.objectstore.listen, s3.port))
    await stack.add(ec2)
    endpoints = {"ec2": url(config.api.listen, ec2.port), "s3": url(config.objectstore.listen, s3.port)}
    written = json.dumps(endpoints | {"pid": os.getpid(), "metadata_port": under.metadata_port})
    aside = endpoints_file(state).with_suffix(".new")
    aside.write_text(written)
    aside.rename(endpoints_file(state))
    return endpoints
