"""twistd -n cloudcore-network: bridge, leases and firewall of this host. No database."""

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
        await stack.add(bus, *hosting.network(under, bus))

    return Assembled(under.reactor, assemble)
