"""The network of a Linux host: one bridge, nftables, dnsmasq, all by the host's own programs.

Everything here may be repeated, and looks before it acts. The order is the safety: a bridge we made stays down until
the first complete filter is loaded, so that no tap can speak before its rules are there, whoever starts first after a
reboot. The filter is loaded whole in one transaction and then compared with what the kernel has: `nft flush ruleset`
by somebody else is repaired by the next ensure, and nothing is loaded when nothing changed.

Guests and dnsmasq go on when we end; `dismantle` alone takes things away.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from cloudcore.domain.addresses import bridge_mac, fixed_range, is_address
from cloudcore.domain.firewall import PortFilter, RuleSet, compile_rules
from cloudcore.domain.security_groups import Group
from cloudcore.errors import CloudError, Code
from cloudcore.netdev import links, machine, render_nft
from cloudcore.netdev.dnsmasq import Dnsmasq
from cloudcore.netdev.driver import NetworkShape, WantedPort
from cloudcore.netdev.programs import Programs

log = Logger()
RUNTIME = Path("/run/cloudcore")  # of the machine's present boot, like all that lies in it; dnsmasq's user can reach it
NAME_BYTES = 15


class LinuxNetwork:
    """A NetworkDriver. `runtime` holds dnsmasq's files and must be reachable for any user; None means a directory of
    its own in /run. `nameservers` are asked for foreign names; without any, those are refused at once."""

    def __init__(
        self,
        reactor: Any,
        shape: NetworkShape,
        runtime: Path | None = None,
        nameservers: tuple[str, ...] = (),
        prefix: tuple[str, ...] = (),
    ) -> None:
        if not 0 < len(shape.bridge.encode()) <= NAME_BYTES:
            raise CloudError(Code.CONFIGURATION, f"bridge {shape.bridge!r} must have at most {NAME_BYTES} bytes")
        if not all(map(is_address, nameservers)):
            raise CloudError(Code.CONFIGURATION, f"nameservers {nameservers} must be IPv4 addresses")
        fixed_range(shape.cidr)
        self._shape, self._programs = shape, Programs(reactor, prefix)
        directory = runtime if runtime is not None else RUNTIME / shape.table
        self._dnsmasq = Dnsmasq(reactor, self._programs, shape, directory, nameservers)
        self._turn = DeferredLock()
        self._ports: tuple[WantedPort, ...] = ()
        self._groups: tuple[Group, ...] = ()
        self._rules: RuleSet | None = None  # as loaded last; None: not by this process
        self._loaded: str | None = None  # how the kernel listed it then

    # -- the protocol --

    def prepare(self) -> Deferred[None]:
        return self._in_turn(self._prepare)

    def ensure(self, ports: tuple[WantedPort, ...], groups: tuple[Group, ...]) -> Deferred[None]:
        return self._in_turn(lambda: self._ensure(ports, groups))

    def release(self, instance: str) -> Deferred[None]:
        """Of what ensure was told last; a port that a former process left goes with the first ensure."""

        async def without() -> None:
            left = tuple(port for port in self._ports if port.instance != instance)
            if left != self._ports:
                await self._ensure(left, self._groups)

        return self._in_turn(without)

    def present(self) -> Deferred[tuple[str, ...]]:
        async def listed() -> tuple[str, ...]:
            return render_nft.instances(await self._ours())

        return self._in_turn(listed)

    def elastics(self) -> Deferred[dict[str, str]]:
        async def listed() -> dict[str, str]:
            held = {one["local"] for one in await self._addresses()}
            led = render_nft.elastics(await self._ours())
            return {elastic: fixed for elastic, fixed in led.items() if elastic in held}

        return self._in_turn(listed)

    def dismantle(self) -> Deferred[None]:
        return self._in_turn(self._dismantle)

    # -- what they do --

    async def _prepare(self) -> None:
        await machine.join(self._programs, self._shape.table)
        families = {item["table"]["family"] for item in await self._ours() if "table" in item}
        if self._rules is None and families != set(render_nft.FAMILIES):
            await self._programs.nft(render_nft.full(self._shape, RuleSet()))
        await self._bridge()
        await self._dnsmasq.running(links.number(await self._links(), self._shape.bridge))

    async def _bridge(self) -> None:
        """Made down; ensure brings it up. Pinned MAC, no spanning tree, no IPv6, filtered by br_netfilter."""
        shape, run = self._shape, self._programs
        link = (await self._links()).get(shape.bridge)
        kind = link.get("linkinfo", {}).get("info_kind") if link else "bridge"
        if kind != "bridge":
            raise CloudError(Code.PROGRAM_FAILED, f"ip: {shape.bridge} exists and is no bridge")
        if link is None:
            await run.check("ip", "link", "add", shape.bridge, "address", bridge_mac(shape.gateway), "type", "bridge",
                            "forward_delay", "0", "stp_state", "0", "nf_call_iptables", "1")  # fmt: skip
        await run.run("sysctl", "-qw", f"net.ipv6.conf.{shape.bridge}.disable_ipv6=1")  # fails where IPv6 is off anyway
        await run.check("sysctl", "-qw", f"net.ipv4.conf.{shape.bridge}.send_redirects=0")
        await run.check("ip", "-batch", "-", stdin=_batch(links.bridge_settings(shape)))

    async def _ensure(self, ports: tuple[WantedPort, ...], groups: tuple[Group, ...]) -> None:
        self._ports, self._groups = ports, groups
        rules, found = compile_rules(ports, groups), await self._links()
        for name in links.strangers(found, self._shape.bridge, rules.ports):  # before the rules of a released port go
            log.warn("{name} is on {bridge} and nobody's: taken off", name=name, bridge=self._shape.bridge)
            await self._programs.run("ip", "link", "set", "dev", name, "nomaster")  # or it has gone by itself
        await self._filter(rules)
        accepted = {port.instance for port in rules.ports}
        served = tuple(port for port in ports if port.instance in accepted)
        await self._dnsmasq.serving(served, links.number(found, self._shape.bridge))
        await self._join_up(found, rules.ports)

    async def _filter(self, rules: RuleSet) -> None:
        if rules == self._rules and self._loaded == _text(await self._ours()):
            return
        for refused in rules.refused:
            log.error("left out of the filter: {what}: {why}", what=refused.what, why=refused.why)
        self._loaded = None
        await self._programs.nft(render_nft.full(self._shape, rules))
        self._rules, self._loaded = rules, _text(await self._ours())

    async def _join_up(self, found: links.Links, ports: tuple[PortFilter, ...]) -> None:
        """Only now may the bridge be up."""
        bridge, run = self._shape.bridge, self._programs
        if bridge not in found:
            raise CloudError(Code.PROGRAM_FAILED, f"ip: bridge {bridge} does not exist")
        if "UP" not in found[bridge].get("flags", ()):
            await run.check("ip", "link", "set", bridge, "up")
        known = await run.json("ip", "-j", "-4", "neigh", "show", "dev", bridge)
        repairs = [*links.tap_repairs(found, bridge, ports), *links.neighbour_repairs(known, bridge, ports),
                   *links.elastic_repairs(await self._addresses(), self._shape, ports)]  # fmt: skip
        if repairs:  # a tap may go at any time, so nothing here must succeed: the next pass looks again
            await run.run("ip", "-force", "-batch", "-", stdin=_batch(repairs))

    async def _dismantle(self) -> None:
        """Taps are the hypervisor's; one that is still there loses its bridge with it."""
        await self._dnsmasq.ended()
        if self._shape.bridge in await self._links():
            await self._programs.check("ip", "link", "del", self._shape.bridge)
        await self._programs.nft(render_nft.removal(self._shape))
        await machine.leave(self._programs, self._shape.table)
        self._dnsmasq.forget()
        _forget_runtime()
        self._ports, self._groups, self._rules, self._loaded = (), (), None, None

    # -- looking --

    async def _links(self) -> dict[str, dict[str, Any]]:
        return {link["ifname"]: link for link in await self._programs.json("ip", "-j", "-d", "link", "show")}

    async def _addresses(self) -> list[dict[str, Any]]:
        """Of the bridge, addr_info."""
        listed = await self._programs.run("ip", "-j", "-4", "addr", "show", "dev", self._shape.bridge)
        return [one for link in json.loads(listed.stdout or b"[]") for one in link.get("addr_info", ())]

    async def _ours(self) -> list[dict[str, Any]]:
        """What the kernel has in our tables."""
        return render_nft.of_table(await self._programs.ruleset(), self._shape.table)

    def _in_turn(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Deferred[Any]:
        return self._turn.run(lambda: Deferred.fromCoroutine(work()))


def _forget_runtime() -> None:
    with suppress(OSError):  # another cloud's is still there, or none was
        RUNTIME.rmdir()


def _batch(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _text(listed: list[dict[str, Any]]) -> str:
    """Handles count what was made since boot, so that even an equal table loaded by somebody else is told apart."""
    return json.dumps(listed)
