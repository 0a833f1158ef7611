"""What runs beside guests: the network, compute and metadata services of one host. None of it reaches a database."""

from __future__ import annotations

import os
import random
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred

from cloudcore.blockdev.remote import RemoteVolumes, SimulatedRemotes
from cloudcore.blockdev.slimming import FileSlimming, SimulatedSlimming
from cloudcore.compute.agent import ComputeAgent, Seat
from cloudcore.compute.converging import Tools
from cloudcore.compute.copies import Slimming
from cloudcore.compute.journal import Journal
from cloudcore.daemon import places
from cloudcore.daemon.ground import Ground, Served, remember_driver
from cloudcore.daemon.serving import Door
from cloudcore.daemon.storage import volume_driver
from cloudcore.domain import addresses
from cloudcore.images.cache import HostImageCache
from cloudcore.images.contents import ContentStore
from cloudcore.images.objects import ObjectStore
from cloudcore.journal.lines import Lines
from cloudcore.metadata.site import MetadataSite
from cloudcore.metadata.tokens import kept_secret
from cloudcore.netdev.driver import NetworkDriver, NetworkShape
from cloudcore.netdev.linux import LinuxNetwork
from cloudcore.netdev.simulated import SimulatedNetwork
from cloudcore.network.agent import NetworkAgent
from cloudcore.rpc.compute import COMPUTE
from cloudcore.rpc.conductor import FACT_SINK, HEARTBEATS
from cloudcore.rpc.contract import Bus, client, publish
from cloudcore.rpc.network import NETWORK
from cloudcore.virt import kvm_selftest
from cloudcore.virt.domain_xml import Machine
from cloudcore.virt.driver import Capacity
from cloudcore.virt.libvirt_driver import Allocatable, LibvirtDriver
from cloudcore.virt.private_libvirtd import PrivateLibvirtd, qemu_user
from cloudcore.virt.simulated import Pace, SimulatedDriver
from cloudcore.virt.simulated_world import World

RESOLVERS = Path("/etc/resolv.conf")


def shape(ground: Ground) -> NetworkShape:
    network = ground.config.network
    return NetworkShape(network.bridge, network.table, network.cidr, addresses.gateway(network.cidr), network.mtu,
                        ground.metadata_port,
                        elastic=addresses.check_elastic(network.elastic_cidr, network.cidr))  # fmt: skip


def nameservers(path: Path = RESOLVERS) -> tuple[str, ...]:
    """What the host itself asks: dnsmasq asks the same for its guests."""
    try:
        words = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return ()
    named = (word[1] for word in words if len(word) > 1 and word[0] == "nameserver")
    return tuple(address for address in named if addresses.is_address(address))


def network_driver(ground: Ground) -> NetworkDriver:
    if ground.simulated:
        world = places.simulated_network(ground.state)
        world.parent.mkdir(parents=True, exist_ok=True)
        return SimulatedNetwork(shape(ground), world)
    return LinuxNetwork(ground.reactor, shape(ground), None, nameservers())


def network(ground: Ground, bus: Bus) -> list[Service]:
    remember_driver(ground)
    journal = places.network_journal(ground.state)
    journal.parent.mkdir(parents=True, exist_ok=True)
    agent = NetworkAgent(ground.reactor, network_driver(ground), Lines(journal, ground.in_thread), ground.failpoint)
    return [agent, Served(bus, f"{NETWORK.name}.{ground.host}", NETWORK, agent)]


def metadata(ground: Ground, bus: Bus) -> list[Service]:
    """On the bridge's own address, which need not exist yet; on loopback beside simulated guests, which never ask."""
    configured = ground.config.metadata
    here = configured.listen or ("127.0.0.1" if ground.simulated else shape(ground).gateway)
    agent = client(NETWORK, bus, f"{NETWORK.name}.{ground.host}")
    secret = kept_secret(places.metadata_secret(ground.state), os.urandom)
    site = MetadataSite(ground.reactor, agent.lookup, secret)
    return [Door(ground.reactor, here, ground.metadata_port, site, freebind=True)]


async def compute(ground: Ground, bus: Bus, objects: ObjectStore) -> list[Service]:
    remember_driver(ground)
    journal = places.compute_journal(ground.state)
    journal.parent.mkdir(parents=True, exist_ok=True)
    places.instances(ground.state).mkdir(parents=True, exist_ok=True)
    driver, boot = await hypervisor(ground)
    images = HostImageCache(places.image_cache(ground.state), objects, ground.in_thread)
    volumes, remotes = volume_driver(ground), remote_volumes(ground)
    slimming: Slimming = FileSlimming(ground.reactor, ground.in_thread)
    if ground.simulated:
        slimming = SimulatedSlimming(volumes)
    tools = Tools(
        clock=ground.reactor, driver=driver, attachment=driver.disks, live_copies=driver.disks, images=images,
        volumes=volumes, remotes=remotes, snapshots=ContentStore(objects, ground.in_thread), slimming=slimming,
        directory=places.instances(ground.state), boot=boot, in_thread=ground.in_thread, failpoint=ground.failpoint,
    )  # fmt: skip
    cloud = ground.config.cloud
    agent = ComputeAgent(
        Seat(ground.host, cloud.cell, cloud.zone), tools, Journal(journal, ground.in_thread),
        client(FACT_SINK, bus), lambda beat: publish(bus, HEARTBEATS, beat),
    )  # fmt: skip
    return [Closing(driver, remotes), agent, Served(bus, f"{COMPUTE.name}.{ground.host}", COMPUTE, agent)]


def remote_volumes(ground: Ground) -> RemoteVolumes | SimulatedRemotes:
    """Of guests of this host, by programs that outlive us as their guests do."""
    if ground.simulated:
        return SimulatedRemotes()
    return RemoteVolumes(ground.reactor, places.remotes(ground.state), ground.in_thread, qemu_user()[0])


async def hypervisor(ground: Ground) -> tuple[LibvirtDriver | SimulatedDriver, Callable[[], str]]:
    """The driver, and who says a word that changes whenever every guest has ended."""
    configured = ground.config.compute
    if ground.simulated:
        capacity = Capacity(configured.simulated_vcpus, configured.simulated_memory_mib, configured.simulated_disk_gib,
                            "simulated")  # fmt: skip
        world = World(places.simulated_guests(ground.state))
        pace = Pace(boot=configured.simulated_boot_seconds)
        chance = random.Random()  # noqa: S311 - spreads boot times
        simulated = SimulatedDriver(ground.reactor, chance, world, pace, capacity)
        return simulated, lambda: simulated_boot(places.simulated_boot(ground.state))
    virt_type = await kvm_selftest.virt_type(ground.reactor, ground.state)
    daemon = PrivateLibvirtd(ground.reactor, ground.state, kvm=virt_type == "kvm")
    await daemon.ensure()
    driver = LibvirtDriver(ground.reactor, daemon, Machine(virt_type, ground.config.network.bridge),
                           Allocatable(configured.vcpu_ratio, configured.reserved_memory_mib))  # fmt: skip
    return driver, daemon.identity


def simulated_boot(path: Path) -> str:
    if not path.exists():
        path.write_text(secrets.token_hex(8))
    return path.read_text()


class Closing(Service):
    """Lets go of hypervisor and remote volumes once the agent, which is added after it and so stopped before, has
    ended."""

    def __init__(self, driver: Any, remotes: RemoteVolumes | SimulatedRemotes) -> None:
        self._driver, self._remotes = driver, remotes

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return Deferred.fromCoroutine(self._let_go())

    async def _let_go(self) -> None:
        await self._remotes.leave()
        await self._driver.close()
