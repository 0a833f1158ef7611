"""twistd -n cloudcore-scheduler: proposes hosts."""

from __future__ import annotations

from twisted.application.service import Service

from cloudcore.daemon import control
from cloudcore.daemon.ground import Assembled, Stack, bus_of, database_of
from cloudcore.daemon.options import Options

__all__ = ["Options", "makeService"]


def makeService(options: Options) -> Service:
    under = options.ground

    async def assemble(stack: Stack) -> None:
        bus, database = bus_of(under), database_of(under)
        await stack.add(bus, database, control.scheduler(under, bus, database))

    return Assembled(under.reactor, assemble)
