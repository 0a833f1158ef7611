"""The control plane: object store, image worker, scheduler, conductor and front door, each made from its ground."""

from __future__ import annotations

import hmac
import os
from typing import Any
from urllib.parse import urlsplit

from twisted.application.service import Service
from twisted.internet.endpoints import HostnameEndpoint

from cloudcore.api.calls import Cloud
from cloudcore.api.site import Api
from cloudcore.api.throttling import Throttle
from cloudcore.api.transport import ApiFactory
from cloudcore.auth.instances import Keyring
from cloudcore.auth.model import AuthManager
from cloudcore.conductor.service import Conductor
from cloudcore.conductor.service import Settings as ConductorSettings
from cloudcore.config.places import master_key_file
from cloudcore.daemon import places
from cloudcore.daemon.front import FrontFactory
from cloudcore.daemon.ground import Ground, Served, sealer_of
from cloudcore.daemon.serving import Door, url
from cloudcore.domain import addresses, policy, quotas
from cloudcore.domain.instance_types import table
from cloudcore.images.objects import ObjectStore as ImageObjects
from cloudcore.images.worker import ImageWorker
from cloudcore.rpc.compute import COMPUTE
from cloudcore.rpc.conductor import CONDUCTOR
from cloudcore.rpc.contract import Bus, client
from cloudcore.rpc.images import IMAGES
from cloudcore.scheduler.service import Scheduler
from cloudcore.store.database import Database
from objectstore.chain import Doors
from objectstore.service import ObjectStore, Settings

# Beside its own, S3 takes the names that clients sign with when they are told no region: none at all, and us-east-1.
S3_ALIASES = ("us-east-1", "")


def objectstore(under: Ground, auth: AuthManager) -> ObjectStore:
    regions = dict.fromkeys((under.config.cloud.region, *S3_ALIASES))
    settings = Settings(Doors(tuple(regions)))
    return ObjectStore(under.reactor, places.objects(under.state), auth, policy.permits, os.urandom, settings)


def objectstore_door(under: Ground, store: ObjectStore) -> Door:
    """Once the store has started."""
    listen = under.config.objectstore
    return Door(under.reactor, listen.listen, listen.port, store.factory())


def images(under: Ground, bus: Bus, objects: ImageObjects) -> list[Service]:
    return [Served(bus, IMAGES.name, IMAGES, ImageWorker(objects, places.scratch(under.state), under.in_thread))]


def scheduler(under: Ground, bus: Bus, database: Database[Any]) -> Service:
    return Scheduler(under.reactor, bus, database)


def conductor(under: Ground, bus: Bus, database: Database[Any]) -> Service:
    """Its name keeps its leases over a restart: two conductors on one machine need two host names."""
    configured = under.config.conductor
    settings = ConductorSettings(f"conductor@{under.host}", under.config.cloud.region, configured.concurrency,
                                 configured.sweep)  # fmt: skip
    return Conductor(under.reactor, bus, database, settings, under.failpoint, Keyring(sealer_of(under)))


def api_door(under: Ground, bus: Bus, database: Database[Any], auth: AuthManager, s3: str = "") -> Door:
    """`s3` is where the object store listens; requests for it that come here are passed on to it."""
    config = under.config
    cloud = Cloud(
        clock=under.reactor, random=os.urandom, database=database, auth=auth,
        images=client(IMAGES, bus), conductor=client(CONDUCTOR, bus),
        compute_of=lambda host: client(COMPUTE, bus, f"{COMPUTE.name}.{host}"),
        off_reactor=under.in_thread, page_secret=page_secret(under),
        region=config.cloud.region, zones=(config.cloud.zone,), endpoint=lambda: f"{config.api.listen}:{door.port}",
        cidr=config.network.cidr, limits=limits(under), cell=config.cloud.cell,
        types=table(config.instance_types.own, config.instance_types.withdrawn.split()),
        elastic_cidr=addresses.check_elastic(config.network.elastic_cidr, config.network.cidr),
        failpoint=under.failpoint, throttle=throttle(under), sigv2=config.api.sigv2,
    )  # fmt: skip
    factory = with_s3(under, ApiFactory(Api(cloud), under.reactor), s3 or s3_url(under))
    door = Door(under.reactor, config.api.listen, config.api.port, factory)
    return door


def s3_url(under: Ground) -> str:
    """Where the object store is, as far as the configuration tells; empty when it does not."""
    store = under.config.objectstore
    return under.config.images.endpoint or (url(store.listen, store.port) if store.port else "")


def with_s3(under: Ground, factory: ApiFactory, where: str) -> Any:
    """A store behind TLS has to be asked directly: what is passed on is passed on as it is."""
    found = urlsplit(where)
    if found.scheme != "http" or not found.hostname:
        return factory
    store = HostnameEndpoint(under.reactor, found.hostname, found.port or 80, timeout=5)
    return FrontFactory(factory, store.connect, under.reactor)


def throttle(under: Ground) -> Throttle | None:
    configured = under.config.throttling
    return Throttle(under.reactor.seconds, configured.factor) if configured.enabled else None


def page_secret(under: Ground) -> bytes:
    """The same in every api process, and after every restart: derived from the master key, which all of them have."""
    return hmac.digest(master_key_file(under.config, under.state).read_bytes(), b"page tokens", "sha256")


def limits(under: Ground) -> dict[str, int]:
    given = under.config.quotas
    return {quotas.INSTANCES: given.instances, quotas.VCPUS: given.vcpus, quotas.GROUPS: given.security_groups,
            quotas.RULES: given.rules, quotas.ELASTIC: given.elastic_addresses, quotas.VOLUMES: given.volumes,
            quotas.GIGABYTES: given.volume_gigabytes, quotas.SNAPSHOTS: given.snapshots}  # fmt: skip
