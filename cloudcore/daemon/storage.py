"""What keeps the volumes of one host: the volume service. Like all that runs beside guests it reaches no database."""

from __future__ import annotations

from twisted.application.service import Service

from cloudcore.blockdev.driver import BlockDriver
from cloudcore.blockdev.files import FileVolumes
from cloudcore.blockdev.lvm import LvmVolumes, Places
from cloudcore.blockdev.serving import NbdServers, Servers, SimulatedServers
from cloudcore.blockdev.simulated import SimulatedVolumes
from cloudcore.daemon import places
from cloudcore.daemon.ground import Ground, Served, remember_driver
from cloudcore.errors import CloudError, Code
from cloudcore.images.cache import HostImageCache
from cloudcore.images.contents import ContentStore
from cloudcore.images.objects import ObjectStore
from cloudcore.rpc.contract import Bus
from cloudcore.rpc.volume import VOLUME
from cloudcore.volume.journal import Journal
from cloudcore.volume.service import VolumeService
from cloudcore.volume.tools import Tools


def volume_driver(ground: Ground) -> BlockDriver:
    """Of the volumes of this host: compute and the volume service each have one."""
    configured = ground.config.volume
    if ground.volumes_simulated:
        return SimulatedVolumes(places.volumes(ground.state))
    if configured.driver == "lvm":
        if not configured.group:
            raise CloudError(Code.CONFIGURATION, 'driver = "lvm" in [volume] needs a volume group: group')
        where = Places(places.volumes(ground.state))
        return LvmVolumes(ground.reactor, configured.group, ground.in_thread, where, configured.pool)
    return FileVolumes(ground.reactor, places.volumes(ground.state), ground.in_thread)


def servers(ground: Ground) -> Servers:
    """Programs that outlive us, as the guests elsewhere do that use them."""
    if ground.volumes_simulated:
        return SimulatedServers()
    return NbdServers(ground.reactor, places.exports(ground.state), ground.in_thread)


def volume(ground: Ground, bus: Bus, objects: ObjectStore) -> list[Service]:
    remember_driver(ground)
    journal = places.volume_journal(ground.state)
    journal.parent.mkdir(parents=True, exist_ok=True)
    configured = ground.config.volume
    tools = Tools(
        clock=ground.reactor, volumes=volume_driver(ground),
        images=HostImageCache(places.image_cache(ground.state), objects, ground.in_thread),
        snapshots=ContentStore(objects, ground.in_thread), servers=servers(ground),
        scratch=places.volume_scratch(ground.state), in_thread=ground.in_thread, failpoint=ground.failpoint,
        address=configured.listen, first_port=configured.first_port,
    )  # fmt: skip
    service = VolumeService(tools, Journal(journal, ground.in_thread))
    return [service, Served(bus, f"{VOLUME.name}.{ground.host}", VOLUME, service)]
