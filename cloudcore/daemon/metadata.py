"""twistd -n cloudcore-metadata: what guests of this host read at 169.254.169.254. No database."""

from __future__ import annotations

from twisted.application.service import Service

from cloudcore.daemon import hosting
from cloudcore.daemon.ground import Assembled, Stack, bus_of
from cloudcore.daemon.options import Options

__all__ = ["Options", "makeService"]


def makeService(options: Options) -> Service:
    under = options.ground

    async def assemble(stack: Stack) -> None:
        bus = bus_of(under)
        await stack.add(bus, *hosting.metadata(under, bus))

    return Assembled(under.reactor, assemble)
