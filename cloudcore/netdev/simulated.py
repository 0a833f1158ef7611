"""A host's network that exists in memory, or in a file, and behaves like the real one for whoever drives it.

With a `world` path its state survives the process as the kernel's would, so that a test can kill the agent and look for
what it left. `faults` is called with the name of each operation before it has any effect: it may raise, or return a
Deferred that takes its time. `passes` answers what the filter would do with a packet.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred

from cloudcore.domain.firewall import Packet, RuleSet, compile_rules, passes
from cloudcore.domain.security_groups import Group
from cloudcore.errors import CloudError, Code
from cloudcore.netdev.driver import NetworkShape, WantedPort

Faults = Callable[[str], Deferred[None] | None]


def no_faults(operation: str) -> None:
    """The weather of every day."""


class SimulatedNetwork:
    """A NetworkDriver."""

    def __init__(self, shape: NetworkShape, world: Path | None = None, faults: Faults = no_faults) -> None:
        self._shape, self._world, self._faults = shape, world, faults
        self._prepared, self._leases, self._rules = False, {}, RuleSet()  # type: bool, dict[str, str], RuleSet
        self._told: tuple[tuple[WantedPort, ...], tuple[Group, ...]] = ((), ())
        self._present: tuple[str, ...] = ()
        if world is not None and world.exists():
            found = json.loads(world.read_text())
            self._prepared, self._leases = found["prepared"], found["leases"]
            self._present = tuple(found["chains"])

    def prepare(self) -> Deferred[None]:
        async def prepare() -> None:
            self._prepared = True
            self._remember()

        return self._does("prepare", prepare)

    def ensure(self, ports: tuple[WantedPort, ...], groups: tuple[Group, ...]) -> Deferred[None]:
        async def ensure() -> None:
            self._apply(ports, groups)

        return self._does("ensure", ensure)

    def release(self, instance: str) -> Deferred[None]:
        async def release() -> None:
            ports, groups = self._told
            self._apply(tuple(port for port in ports if port.instance != instance), groups)

        return self._does("release", release)

    def present(self) -> Deferred[tuple[str, ...]]:
        async def present() -> tuple[str, ...]:
            return self._present

        return self._does("present", present)

    def dismantle(self) -> Deferred[None]:
        async def dismantle() -> None:
            self._prepared, self._leases, self._present, self._rules, self._told = False, {}, (), RuleSet(), ((), ())
            if self._world is not None:
                self._world.unlink(missing_ok=True)

        return self._does("dismantle", dismantle)

    # -- what only a simulation can tell --

    @property
    def leases(self) -> dict[str, str]:
        """{address: mac}"""
        return dict(self._leases)

    def passes(self, packet: Packet) -> bool:
        return self._prepared and passes(self._rules, self._shape.cidr, packet)

    def vandalised(self) -> None:
        """Somebody flushed the host's tables and leases."""
        self._leases, self._present, self._rules, self._told = {}, (), RuleSet(), ((), ())
        self._remember()

    # -- inside --

    def _does(self, operation: str, work: Callable[[], Coroutine[Any, Any, Any]]) -> Deferred[Any]:
        return maybeDeferred(self._faults, operation).addCallback(lambda _: Deferred.fromCoroutine(work()))

    def _apply(self, ports: tuple[WantedPort, ...], groups: tuple[Group, ...]) -> None:
        if not self._prepared:
            raise CloudError(Code.PROGRAM_FAILED, f"ip: {self._shape.bridge} does not exist")
        if self._told == (ports, groups):
            return
        self._rules = compile_rules(ports, groups)
        self._present = tuple(port.instance for port in self._rules.ports)
        self._leases, self._told = {port.address: port.mac for port in self._rules.ports}, (ports, groups)
        self._remember()

    def _remember(self) -> None:
        """Written aside and renamed, so that a killed process leaves the old world or the new one."""
        if self._world is None:
            return
        self._world.parent.mkdir(parents=True, exist_ok=True)
        aside = self._world.with_name(self._world.name + ".new")
        aside.write_text(json.dumps({"prepared": self._prepared, "chains": self._present, "leases": self._leases}))
        aside.rename(self._world)
