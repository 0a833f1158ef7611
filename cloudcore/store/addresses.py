"""Networks and their fixed addresses. A claim costs the same however large the network is: one that has rested, or the
next that was never given. No row is made before its address is needed.

A freed address rests: caches of neighbours, and connections of whoever spoke with the former owner, are gone by then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network
from typing import Any

import sqlalchemy as sa

from cloudcore.errors import CloudError, Code
from cloudcore.store.instances import LostRace
from cloudcore.store.schema import addresses, networks

RESTS = 60.0  # seconds
IN_USE = 1e12  # as `rests_until`: the index over free addresses then holds no used one in front

THE_INSTANCE = sa.bindparam("the_instance", type_=sa.Text)
THE_NETWORK = sa.bindparam("the_network", type_=sa.Text)
HELD = sa.select(addresses.c.address).where(addresses.c.instance == THE_INSTANCE)
IN_ORDER = sa.select(networks).order_by(networks.c.name)
RESTED = (
    sa.select(addresses.c.address)
    .where(addresses.c.network == THE_NETWORK, addresses.c.rests_until <= sa.bindparam("the_moment"))
    .order_by(addresses.c.rests_until).limit(1).with_for_update(skip_locked=True)
)  # fmt: skip
STEP = (
    sa.update(networks).where(networks.c.name == THE_NETWORK, networks.c.next <= networks.c.last)
    .values(next=networks.c.next + 1).returning(networks.c.next)
)  # fmt: skip
INSERT = sa.insert(addresses)
LEFT = sa.select(  # some network, one that can give more, an address that rests or has rested
    sa.exists().where(networks.c.name.is_not(None)), sa.exists().where(networks.c.next <= networks.c.last),
    sa.exists().where(addresses.c.rests_until < IN_USE))  # fmt: skip
CIDR_OF = (
    sa.select(networks.c.cidr).join_from(addresses, networks, networks.c.name == addresses.c.network)
    .where(addresses.c.address == sa.bindparam("the_address"))
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Network:
    """`used` counts addresses of instances; `size` is how many it can give."""

    name: str
    cidr: str
    gateway: str
    used: int
    size: int


class Addresses:
    def __init__(self, connection: sa.Connection, now: Callable[[], float]) -> None:
        self._connection, self._now = connection, now

    def create_network(self, name: str, cidr: str, gateway: str | None = None) -> Network:
        """`gateway` is the first address unless told. Raises BAD_VALUE, NETWORK_DUPLICATE."""
        net, door = parsed(cidr, gateway)
        overlapping = [one.cidr for one in self.networks() if ip_network(one.cidr).overlaps(net)]
        if overlapping or any(one.name == name for one in self.networks()):
            taken = f"overlaps {overlapping[0]}" if overlapping else "is taken as a name"
            raise CloudError(Code.NETWORK_DUPLICATE, f"The network '{name}' ({net}) {taken}")
        row = {"name": name, "cidr": str(net), "gateway": str(door)}
        span = {"next": int(net.network_address) + 1, "last": int(net.broadcast_address) - 1}
        try:
            self._connection.execute(sa.insert(networks).values(**row, **span))
        except sa.exc.IntegrityError as problem:
            raise CloudError(Code.NETWORK_DUPLICATE, f"The network '{name}' ({net}) exists") from problem
        return Network(name, str(net), str(door), 0, net.num_addresses - 3)

    def networks(self) -> list[Network]:
        used = (
            sa.select(sa.func.count()).select_from(addresses)
            .where(addresses.c.network == networks.c.name, addresses.c.instance.is_not(None)).scalar_subquery()
        )  # fmt: skip
        found = self._connection.execute(sa.select(networks, used.label("used")).order_by(networks.c.name))
        return [Network(row.name, row.cidr, row.gateway, row.used, ip_network(row.cidr).num_addresses - 3)
                for row in found]  # fmt: skip

    def remove_network(self, name: str) -> None:
        """Raises NETWORK_UNKNOWN, IN_USE."""
        found = {one.name: one for one in self.networks()}.get(name)
        if found is None:
            raise CloudError(Code.NETWORK_UNKNOWN, f"The network '{name}' does not exist")
        if found.used:
            raise CloudError(Code.IN_USE, f"The network '{name}' has {found.used} addresses in use")
        self._connection.execute(sa.delete(addresses).where(addresses.c.network == name))
        self._connection.execute(sa.delete(networks).where(networks.c.name == name))

    def claim(self, instance: str) -> str:
        """The instance's address, now its own; the same again when it has one. Raises ADDRESSES_EXHAUSTED."""
        held: str | None = self._connection.execute(HELD, {"the_instance": instance}).scalar_one_or_none()
        if held is not None:
            return held
        for network in self._connection.execute(IN_ORDER).all():
            found = self._rested(network.name, instance) or self._never_given(network, instance)
            if found is not None:
                return found
        raise CloudError(Code.ADDRESSES_EXHAUSTED, "No network has a free address")

    def cidr_of(self, address: str) -> str:
        """Of the network that the address belongs to; empty when it is nobody's."""
        return self._connection.execute(CIDR_OF, {"the_address": address}).scalar_one_or_none() or ""

    def release(self, instance: str) -> None:
        """Its address rests; nothing happens when it has none."""
        mine = sa.update(addresses).where(addresses.c.instance == instance)
        self._connection.execute(mine.values(instance=None, rests_until=self._now() + RESTS))

    def exhausted(self) -> bool:
        """Whether every address of every network is an instance's at this moment."""
        there, never_given, idle = self._connection.execute(LEFT).one()
        return bool(there and not never_given and not idle)

    def resting(self) -> int:
        """How many addresses will be free within a minute."""
        count = sa.select(sa.func.count()).select_from(addresses)
        return self._connection.execute(count.where(addresses.c.instance.is_(None))).scalar_one()

    def _rested(self, network: str, instance: str) -> str | None:
        asked = {"the_network": network, "the_moment": self._now()}
        found: str | None = self._connection.execute(RESTED, asked).scalar_one_or_none()
        if found is not None:
            idle = sa.and_(addresses.c.address == found, addresses.c.instance.is_(None))
            taken = sa.update(addresses).where(idle).values(instance=instance, rests_until=IN_USE)
            if self._connection.execute(taken).rowcount != 1:
                raise LostRace(found)
        return found

    def _never_given(self, network: sa.Row[Any], instance: str) -> str | None:
        after: int | None = self._connection.execute(STEP, {"the_network": network.name}).scalar_one_or_none()
        if after is None:
            return None
        found = str(IPv4Address(after - 1))
        if found == network.gateway:
            return self._never_given(network, instance)
        row = {"address": found, "network": network.name, "instance": instance, "rests_until": IN_USE}
        self._connection.execute(INSERT, row)
        return found


def parsed(cidr: str, gateway: str | None) -> tuple[IPv4Network, IPv4Address]:
    try:
        net = ip_network(cidr)
        door = ip_address(gateway) if gateway else net[1]
    except (ValueError, IndexError) as problem:
        raise CloudError(Code.BAD_VALUE, f"'{cidr}' with gateway '{gateway}' is no network: {problem}") from problem
    if not isinstance(net, IPv4Network) or not isinstance(door, IPv4Address) or net.prefixlen > 29:
        raise CloudError(Code.BAD_VALUE, f"'{cidr}' is no IPv4 network of at least eight addresses")
    if door not in net or door in (net.network_address, net.broadcast_address):
        raise CloudError(Code.BAD_VALUE, f"The gateway {door} is no host address of {net}")
    return net, door
