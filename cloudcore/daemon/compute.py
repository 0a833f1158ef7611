"""twistd -n cloudcore-compute: the guests of this host. No database: its key to the images is configured."""

from __future__ import annotations

from twisted.application.service import Service

from cloudcore.daemon import hosting
from cloudcore.daemon.ground import Assembled, Stack, bus_of, objects_of
from cloudcore.daemon.options import Options

__all__ = ["Options", "makeService"]


def makeService(options: Options) -> Service:
    under = options.ground

    async def assemble(stack: Stack) -> None:
        bus = bus_of(under)
        await stack.add(bus, *await hosting.compute(under, bus, await objects_of(under, None)))

    return Assembled(under.reactor, assemble)
