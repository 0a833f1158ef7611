"""Where the volumes of a host lie, by its configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor

from cloudcore.blockdev.files import FileVolumes
from cloudcore.blockdev.lvm import LvmVolumes
from cloudcore.blockdev.serving import NbdServers, SimulatedServers
from cloudcore.blockdev.simulated import SimulatedVolumes
from cloudcore.config.model import Compute, Config, Volume
from cloudcore.daemon import storage
from cloudcore.daemon.ground import ground

CASES = [  # [compute] driver, [volume] driver, what lies where, what serves it
    ("libvirt", "auto", FileVolumes, NbdServers),
    ("libvirt", "files", FileVolumes, NbdServers),
    ("libvirt", "lvm", LvmVolumes, NbdServers),
    ("simulated", "auto", SimulatedVolumes, SimulatedServers),
    ("simulated", "files", FileVolumes, NbdServers),
    ("simulated", "lvm", LvmVolumes, NbdServers),
]


@pytest.mark.parametrize(("guests", "volumes", "driver", "servers"), CASES)
def test_volumes_lie_where_it_is_said(guests: str, volumes: str, driver: Any, servers: Any, tmp_path: Path) -> None:
    """Beside simulated guests nowhere, unless it is said."""
    config = Config(compute=Compute(driver=guests), volume=Volume(driver=volumes, group="group"))
    under = ground(reactor, config, tmp_path)
    assert type(storage.volume_driver(under)) is driver
    assert type(storage.servers(under)) is servers
