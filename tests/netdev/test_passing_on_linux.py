"""A guest without the source/destination check, as a router or a VPN is one: what it may pass on, in a real kernel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.netdev.pretend_host import PretendHost, allow, group, needs_root, off_the_reactor

pytestmark = needs_root
BEYOND = "198.51.100.1"


@pytest.fixture
def host() -> Iterator[PretendHost]:
    pretend = PretendHost()
    try:
        yield pretend
    finally:
        pretend.close()


@pytest.mark.deadline(60)
async def test_what_lies_behind_a_router_is_reached_while_its_check_is_off(host):
    driver, ping = host.driver(), allow("icmp", 8, -1)
    groups = (group("sg-1", allow("icmp", 8, -1, f"{BEYOND}/32")), group("sg-2", ping))
    inner, router = host.port(1, "sg-1"), host.port(2, "sg-2")
    free = replace(router, source_dest_check=False)
    await driver.prepare()
    await driver.ensure((inner, router), groups)
    one, two = host.guest(inner).configured(), host.guest(router).configured()
    one.ip("route", "add", "198.51.100.0/24", "via", router.address)
    two.ip("addr", "add", f"{BEYOND}/32", "dev", "lo")

    async def calls() -> bool:
        return await off_the_reactor(host.pings, one.namespace, BEYOND)

    async def is_called() -> bool:
        return await off_the_reactor(host.pings, two.namespace, inner.address, "-I", BEYOND)

    assert await off_the_reactor(host.pings, one.namespace, router.address)
    assert not await calls(), "checked, it hears only what is for itself"
    assert not await is_called(), "and speaks only for itself"
    await driver.ensure((inner, free), groups)
    assert await calls()
    assert await is_called()
    assert await off_the_reactor(host.pings, two.namespace, host.shape.gateway), "its own address is its own still"

    await driver.ensure((inner, free), (groups[0], group("sg-2")))
    assert not await calls(), "its groups decide what it is handed"
    await driver.ensure((inner, free), (group("sg-1", ping), groups[1]))
    for stolen in ("10.91.0.99", "169.254.169.254", "10.141.0.7"):
        two.ip("addr", "add", f"{stolen}/32", "dev", "lo")
        assert not await off_the_reactor(host.pings, two.namespace, inner.address, "-I", stolen), stolen
    await driver.ensure((inner, router), groups)
    assert not await calls()
    assert not await is_called()
