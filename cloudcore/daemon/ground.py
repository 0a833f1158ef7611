"""What every composition root stands on: configuration, state, host name, threads, bus, database, accounts."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from cloudcore.auth.cached import CachedAuthManager
from cloudcore.auth.model import AccessKey, AuthManager
from cloudcore.auth.rules import CLOUD_PROJECT, IMAGE_FETCHER
from cloudcore.auth.seal import Sealer, read_sealer
from cloudcore.auth.sql import SqlAuthManager
from cloudcore.bus.amqp.bus import AmqpBus
from cloudcore.bus.loopback import LoopbackBus
from cloudcore.config.model import Config
from cloudcore.config.places import database_url, driver_file, master_key_file
from cloudcore.daemon.failpoints import Failpoint, from_environment
from cloudcore.errors import CloudError, Code
from cloudcore.images.objects import ObjectStore
from cloudcore.process.garbage import settle
from cloudcore.rpc.contract import Bus, Contract, dispatcher
from cloudcore.signing.signer import Signer
from cloudcore.store import migrating
from cloudcore.store.database import Database

log = Logger()


@dataclass(frozen=True)
class Ground:
    reactor: Any
    config: Config
    state: Path
    failpoint: Failpoint
    metadata_port: int

    @property
    def host(self) -> str:
        """Of this machine in the cloud: topics are made of it, hence its letters."""
        return re.sub(r"[^A-Za-z0-9._-]", "-", self.config.compute.host or socket.gethostname()) or "host"

    @property
    def simulated(self) -> bool:
        return self.config.compute.driver == "simulated"

    @property
    def volumes_simulated(self) -> bool:
        """Simulated guests open nothing; but guests of other hosts may have volumes that really lie beside them."""
        return self.simulated and self.config.volume.driver == "auto"

    def in_thread(self, work: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """For files: fsync may stall. SQL and libvirt have pools of their own."""
        return deferToThreadPool(self.reactor, self.reactor.getThreadPool(), work, *arguments)


def ground(reactor: Any, config: Config, state: Path) -> Ground:
    port = config.metadata.port or free_port()
    return Ground(reactor, config, state.absolute(), from_environment(os.environ), port)


def remember_driver(under: Ground) -> None:
    """Clean-up knows by it that something was made on this host, and what."""
    driver_file(under.state).write_text(f"{under.config.compute.driver}\n")


def free_port() -> int:
    """The metadata port is written into firewall rules before anybody listens on it."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def bus_of(under: Ground) -> Any:
    url = under.config.bus.url
    return AmqpBus(under.reactor, url) if url else LoopbackBus(under.reactor)


def database_of(under: Ground) -> Database[Any]:
    """Refuses a schema that is not this version's: only `cloudcore up` and `cloudcore db migrate` change it."""
    url = database_url(under.config, under.state)
    migrating.check(url)
    return Database(under.reactor, url)


def auth_of(under: Ground, database: Database[Any]) -> AuthManager:
    return CachedAuthManager(SqlAuthManager(database, sealer_of(under)), under.reactor, under.config.auth.cache_seconds)


def sealer_of(under: Ground) -> Sealer:
    return read_sealer(master_key_file(under.config, under.state), os.urandom)


async def objects_of(under: Ground, auth: AuthManager | None, endpoint: str = "") -> ObjectStore:
    """The object store as image worker and hosts see it: signed requests of the account image-fetcher. A host that has
    no database reads its key from the configuration."""
    images, store = under.config.images, under.config.objectstore
    if images.access_key:
        access_key, secret = images.access_key, await under.in_thread(secret_of, Path(images.secret_file))
    elif auth is not None:
        key = await fetcher_key(auth)
        access_key, secret = key.id, key.secret.reveal()
    else:
        text = "[images] access_key and secret_file are needed where there is no database"
        raise CloudError(Code.CONFIGURATION, text)
    where = images.endpoint or endpoint or f"http://{store.listen}:{store.port}"
    signer = Signer(access_key, secret, under.config.cloud.region, "s3")
    return ObjectStore(under.reactor, where, signer, under.in_thread)


async def fetcher_key(auth: AuthManager) -> AccessKey:
    """Its key of the cloud's own project, where the contents of snapshots lie."""
    home = {project.id for project in await auth.projects() if project.name == CLOUD_PROJECT}
    keys = [key for key in await auth.access_keys(IMAGE_FETCHER) if key.enabled and key.project_id in home]
    if not keys:
        text = f"{IMAGE_FETCHER} has no access key in the project {CLOUD_PROJECT}: cloudcore db seed makes one"
        raise CloudError(Code.CONFIGURATION, text)
    return keys[0]


def secret_of(path: Path) -> str:
    """Refuses a file that others may read (S51)."""
    if path.stat().st_mode & 0o077:
        raise CloudError(Code.CONFIGURATION, f"[images] secret_file {path} is open to others: chmod 0600 {path}")
    return path.read_text().strip()


class Served(Service):
    """A service that answers on the bus while it runs."""

    def __init__(self, bus: Bus, topic: str, contract: Contract[Any], service: Any) -> None:
        self._bus, self._topic, self._handler = bus, topic, dispatcher(contract, service)

    def startService(self) -> Deferred[None]:
        super().startService()
        return self._bus.serve(self._topic, self._handler)


class Stack(Service):
    """Services that stand on one another: each is ready before the next starts, and ends after it."""

    def __init__(self) -> None:
        self._standing: list[Service] = []

    async def add(self, *services: Service) -> None:
        for service in services:
            self._standing.append(service)
            await maybeDeferred(service.startService)

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return Deferred.fromCoroutine(self._end())

    async def _end(self) -> None:
        while self._standing:
            service = self._standing.pop()
            try:
                await maybeDeferred(service.stopService)
            except CancelledError:
                raise
            except Exception:
                log.failure("{service} did not end in order", service=type(service).__name__)


class Assembled(Stack):
    """A daemon whose parts take time to make: `assemble(stack)` runs when it starts. A start that fails ends the
    process, with the reason in the log."""

    def __init__(self, reactor: Any, assemble: Callable[[Stack], Coroutine[Any, Any, None]]) -> None:
        super().__init__()
        self._reactor, self._assemble = reactor, assemble

    def startService(self) -> None:
        super().startService()
        Deferred.fromCoroutine(self._assemble(self)).addCallbacks(lambda nothing: settle(), self._failed)

    def _failed(self, failure: Any) -> None:
        if failure.check(CloudError):
            log.critical("cannot start: {reason}", reason=failure.value.text)
        else:
            log.failure("cannot start", failure)
        self._reactor.addSystemEventTrigger("after", "shutdown", os._exit, 1)
        self._reactor.callLater(0, self._reactor.stop)
