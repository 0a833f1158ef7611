"""twistd -n cloudcore-objectstore: S3. Its index is its own; of the database it reads accounts only."""

from __future__ import annotations

from twisted.application.service import Service

from cloudcore.daemon import control
from cloudcore.daemon.ground import Assembled, Stack, auth_of, database_of
from cloudcore.daemon.options import Options

__all__ = ["Options", "makeService"]


def makeService(options: Options) -> Service:
    under = options.ground

    async def assemble(stack: Stack) -> None:
        database = database_of(under)
        store = control.objectstore(under, auth_of(under, database))
        await stack.add(database, store)
        await stack.add(control.objectstore_door(under, store))

    return Assembled(under.reactor, assemble)
