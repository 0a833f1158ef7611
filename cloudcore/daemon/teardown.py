"""The end of guests and of what the host was given for them. Found by our marks: nothing needs to run for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cloudcore.blockdev.lvm import LvmVolumes
from cloudcore.config.model import Config
from cloudcore.daemon import hosting, places, storage
from cloudcore.daemon.ground import Ground, ground
from cloudcore.virt.driver import VirtDriver
from cloudcore.virt.private_libvirtd import PrivateLibvirtd

PATIENCE = 30.0  # seconds between power button and power off


async def stop_guests(reactor: Any, config: Config, state: Path) -> int:
    """Power buttons, then power off; the private libvirtd ends too. How many guests there were.

    The journals still say what is wanted: the next start of the cloud runs these guests again, as after a reboot, also
    when we are interrupted.
    """
    under = ground(reactor, config, state)
    if not under.simulated and PrivateLibvirtd(reactor, under.state).pid() is None:
        await no_volumes_between_hosts(under)
        return 0
    driver, _ = await hosting.hypervisor(under)
    try:
        if under.simulated:
            places.simulated_boot(under.state).unlink(missing_ok=True)
        else:
            PrivateLibvirtd(reactor, under.state).end_life()
        running = [guest.instance for guest in await driver.guests() if guest.running]
        await power_off(driver, running)
    finally:
        await driver.close()
    if not under.simulated:
        await PrivateLibvirtd(reactor, under.state).stop()
    await no_volumes_between_hosts(under)
    return len(running)


async def no_volumes_between_hosts(under: Ground) -> None:
    """Those of others that guests of this host had, and those of this host that others have: they wait."""
    await hosting.remote_volumes(under).close_all()
    await storage.servers(under).end_all()


async def power_off(driver: VirtDriver, instances: list[str]) -> None:
    for stopping in [driver.stop(instance, PATIENCE) for instance in instances]:
        await stopping


async def clean(reactor: Any, config: Config, state: Path) -> None:
    """Guests without ceremony, then logical volumes, bridge, tables and DHCP; what lies in the state directory is the
    caller's."""
    under = ground(reactor, config, state)
    if not under.simulated:
        await PrivateLibvirtd(reactor, under.state).stop()
    await no_volumes_between_hosts(under)
    volumes = storage.volume_driver(under)
    if isinstance(volumes, LvmVolumes):
        await volumes.clear()
    await hosting.network_driver(under).dismantle()
