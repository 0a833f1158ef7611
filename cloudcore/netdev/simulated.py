"""A host's network that exists in memory, or in a file, and behaves like the real one for whoever drives it.

With a `world` path its state survives the process as the kernel's would, so that a test can kill the agent and look for
what it left. `faults` is called with the name of each operation before it has any effect: it may raise, or return a
Deferred that takes its time. `passes` answers what the filter would do with a packet.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred

from cloudcore.domain.firewall import Packet, RuleSet, arriving, compile_rules, passes
from cloudcore.domain.security_groups import Group
from cloudcore.errors import CloudError, Code
from cloudcore.netdev.driver import NetworkShape, WantedPort

Faults = Callable[[str], Deferred[None] | None]


def no_faults(operation: str) -> None:
    """The weather of every day."""


class SimulatedNetwork:
    """A NetworkDriver."""

    def __init__(self, shape: NetworkShape, world: Path | None = None, faults: Faults = no_faults) -> None:
        self._shape, self._faults = shape, faults
        self._world = _World(world)
        self._told: tuple[tuple[WantedPort, ...], tuple[Group, ...]] = ((), ())
        self._rules: RuleSet | None = RuleSet()  # None: nobody has asked since the last change

    def prepare(self) -> Deferred[None]:
        async def prepare() -> None:
            self._world.prepare()

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
            refused = {one.what for one in self._compiled().refused}
            return tuple(sorted(self._world.ports.keys() - refused))

        return self._does("present", present)

    def elastics(self) -> Deferred[dict[str, str]]:
        async def elastics() -> dict[str, str]:
            refused = {one.what for one in self._compiled().refused}
            return {elastic: address for instance, (address, _, elastic) in self._world.ports.items()
                    if elastic and not {instance, elastic} & refused}  # fmt: skip

        return self._does("elastics", elastics)

    def dismantle(self) -> Deferred[None]:
        async def dismantle() -> None:
            self._rules, self._told = RuleSet(), ((), ())
            self._world.destroy()

        return self._does("dismantle", dismantle)

    # -- what only a simulation can tell --

    @property
    def leases(self) -> dict[str, str]:
        """{address: mac}"""
        return {address: mac for address, mac, _ in self._world.ports.values()}

    def passes(self, packet: Packet) -> bool:
        rules = self._compiled()
        return self._world.prepared and passes(rules, self._shape.cidr, arriving(rules, packet), self._shape.elastic)

    def vandalised(self) -> None:
        """Somebody flushed the host's tables and leases."""
        self._rules, self._told = RuleSet(), ((), ())
        self._world.become({})

    # -- inside --

    def _does(self, operation: str, work: Callable[[], Coroutine[Any, Any, Any]]) -> Deferred[Any]:
        return maybeDeferred(self._faults, operation).addCallback(lambda _: Deferred.fromCoroutine(work()))

    def _compiled(self) -> RuleSet:
        if self._rules is None:
            self._rules = compile_rules(*self._told)
        return self._rules

    def _apply(self, ports: tuple[WantedPort, ...], groups: tuple[Group, ...]) -> None:
        if not self._world.prepared:
            raise CloudError(Code.PROGRAM_FAILED, f"ip: {self._shape.bridge} does not exist")
        if self._told != (ports, groups):
            self._rules, self._told = None, (ports, groups)
            self._world.become({port.instance: (port.address, port.mac, port.elastic or "") for port in ports})


class _World:
    """{instance: (address, mac, elastic)}, and in a file only what changes: `null` prepares, `[instance, address, mac,
    elastic]` adds, `[instance]` removes. A line that a killed process tore is passed over."""

    def __init__(self, path: Path | None) -> None:
        self.prepared, self.ports = False, {}  # type: bool, dict[str, tuple[str, str, str]]
        self._path = path
        for line in path.read_text().splitlines() if path is not None and path.exists() else ():
            with suppress(ValueError):
                self._read(json.loads(line))

    def _read(self, change: list[str] | None) -> None:
        if change is None:
            self.prepared = True
        elif len(change) > 1:
            self.ports[change[0]] = (change[1], change[2], change[3] if len(change) > 3 else "")
        else:
            self.ports.pop(change[0], None)

    def prepare(self) -> None:
        if not self.prepared:
            self.prepared = True
            self._write([None])

    def become(self, ports: dict[str, tuple[str, str, str]]) -> None:
        gone = self.ports.keys() - ports.keys()
        come = ports.items() - self.ports.items()
        self.ports = ports
        self._write([*([instance] for instance in gone), *([instance, *its] for instance, its in come)])

    def destroy(self) -> None:
        self.prepared, self.ports = False, {}
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _write(self, changes: list[list[str] | None]) -> None:
        if self._path is None or not changes:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            file.write("".join(f"{json.dumps(change)}\n" for change in changes))
