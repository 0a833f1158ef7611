"""twistd -n cloudcore-volume: the volumes of this host, beside its cloudcore-compute. No database: its key to the
object store is configured."""

from __future__ import annotations

from twisted.application.service import Service

from cloudcore.daemon import storage
from cloudcore.daemon.ground import Assembled, Stack, bus_of, objects_of
from cloudcore.daemon.options import Options

__all__ = ["Options", "makeService"]


def makeService(options: Options) -> Service:
    under = options.ground

    async def assemble(stack: Stack) -> None:
        bus = bus_of(under)
        await stack.add(bus, *storage.volume(under, bus, await objects_of(under, None)))

    return Assembled(under.reactor, assemble)
