"""twistd -n cloudcore-conductor: intent to reality; also the image worker, which has the same rights."""

from __future__ import annotations

from twisted.application.service import Service

from cloudcore.daemon import control
from cloudcore.daemon.ground import Assembled, Stack, auth_of, bus_of, database_of, objects_of
from cloudcore.daemon.options import Options

__all__ = ["Options", "makeService"]


def makeService(options: Options) -> Service:
    under = options.ground

    async def assemble(stack: Stack) -> None:
        bus, database = bus_of(under), database_of(under)
        await stack.add(bus, database)
        objects = await objects_of(under, auth_of(under, database))
        await stack.add(*control.images(under, bus, objects), control.conductor(under, bus, database))

    return Assembled(under.reactor, assemble)
