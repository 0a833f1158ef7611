"""What every daemon is told on its command line: `twistd -n cloudcore-api --state DIR [--config FILE]`."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from twisted.internet import reactor
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from cloudcore.config.loading import BadConfiguration, load
from cloudcore.config.places import configuration_file
from cloudcore.daemon.ground import Ground, ground


class Options(UsageOptions):
    optParameters = [  # noqa: RUF012
        ["state", "s", "./var", "state directory of this daemon"],
        ["config", "c", None, "configuration (default: cloudcore.toml in the state directory)"],
    ]

    def postOptions(self) -> None:
        state = Path(self["state"])
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = Path(self["config"]) if self["config"] else configuration_file(state)
        try:
            config = load(path, os.environ)
        except BadConfiguration as mistakes:
            raise UsageError(str(mistakes)) from mistakes
        if config.compute.driver == "auto":
            config = replace(config, compute=replace(config.compute, driver="libvirt"))
        self.ground: Ground = ground(reactor, config, state)
