"""What every NetworkDriver does: the simulated one, and the real one in a network namespace of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from cloudcore.domain.security_groups import Group, Rule
from cloudcore.errors import CloudError, Code
from cloudcore.netdev.driver import NetworkShape
from cloudcore.netdev.simulated import SimulatedNetwork
from tests.firewalls import a_port
from tests.netdev.pretend_host import PretendHost, needs_root

GROUP = Group("sg-0a", 1, (Rule("sgr-1", "tcp", 22, 22, "0.0.0.0/0"),), ("10.91.0.5",))
ONE, TWO = a_port(1, "10.91.0.5"), a_port(2, "10.91.0.6")


@pytest.fixture(params=["simulated", pytest.param("linux", marks=needs_root)])
def host(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Any]:
    """Something with `driver()`: each call is another process that looks after the same host."""
    if request.param == "simulated":
        yield SimulatedHost(tmp_path / "world.json")
        return
    pretend = PretendHost()
    try:
        yield pretend
    finally:
        pretend.close()


class SimulatedHost:
    def __init__(self, path: Any) -> None:
        self._path = path

    def driver(self) -> SimulatedNetwork:
        shape = NetworkShape("cct0", "cctest", "10.91.0.0/24", "10.91.0.1", elastic="10.141.0.0/24")
        return SimulatedNetwork(shape, self._path)


async def test_what_is_ensured_is_present(host):
    driver = host.driver()
    await driver.prepare()
    assert await driver.present() == ()
    await driver.ensure((ONE, TWO), (GROUP,))
    assert await driver.present() == (ONE.instance, TWO.instance)


async def test_everything_may_be_repeated(host):
    driver = host.driver()
    for _ in range(2):
        await driver.prepare()
    for _ in range(2):
        await driver.ensure((ONE,), (GROUP,))
    await driver.prepare()
    assert await driver.present() == (ONE.instance,)
    for _ in range(2):
        await driver.release(ONE.instance)
    assert await driver.present() == ()
    for _ in range(2):
        await driver.dismantle()
    assert await driver.present() == ()


async def test_what_is_no_longer_named_goes(host):
    driver = host.driver()
    await driver.prepare()
    await driver.ensure((ONE, TWO), (GROUP,))
    await driver.ensure((TWO,), (GROUP,))
    assert await driver.present() == (TWO.instance,)


async def test_releasing_one_port_leaves_the_others(host):
    driver = host.driver()
    await driver.prepare()
    await driver.ensure((ONE, TWO), (GROUP,))
    await driver.release(ONE.instance)
    await driver.release("i-00000000000000bad")
    assert await driver.present() == (TWO.instance,)


async def test_the_host_outlives_the_process_that_looks_after_it(host):
    first = host.driver()
    await first.prepare()
    await first.ensure((ONE,), (GROUP,))
    second = host.driver()
    assert await second.present() == (ONE.instance,)
    await second.prepare()
    assert await second.present() == (ONE.instance,), "preparing again takes nothing away"
    await second.ensure((TWO,), (GROUP,))
    assert await second.present() == (TWO.instance,)
    await second.dismantle()
    assert await host.driver().present() == ()


async def test_a_port_without_its_source_check_is_a_port_like_any_other(host):
    driver, free = host.driver(), replace(TWO, source_dest_check=False)
    await driver.prepare()
    for port in (free, free, TWO, free):
        await driver.ensure((ONE, port), (GROUP,))
        assert await driver.present() == (ONE.instance, TWO.instance)
    await driver.release(free.instance)
    assert await host.driver().present() == (ONE.instance,)


async def test_one_bad_port_does_not_keep_the_others_out(host):
    driver = host.driver()
    await driver.prepare()
    await driver.ensure((ONE, replace(TWO, mac="not a mac")), (GROUP,))
    assert await driver.present() == (ONE.instance,)


async def test_an_elastic_address_leads_to_one_port_moves_and_goes(host):
    driver, elastic = host.driver(), "10.141.0.5"
    await driver.prepare()
    await driver.ensure((replace(ONE, elastic=elastic), TWO), (GROUP,))
    assert await driver.elastics() == {elastic: ONE.address}
    await driver.ensure((ONE, replace(TWO, elastic=elastic)), (GROUP,))
    assert await driver.elastics() == {elastic: TWO.address}
    assert await host.driver().elastics() == {elastic: TWO.address}, "the host outlives who looks after it"
    await driver.ensure((replace(ONE, elastic="10.141.0.6"), replace(TWO, elastic=elastic)), (GROUP,))
    await driver.release(TWO.instance)
    assert await driver.elastics() == {"10.141.0.6": ONE.address}
    await driver.ensure((ONE,), (GROUP,))
    assert await driver.elastics() == {}
    await driver.ensure((replace(ONE, elastic=elastic),), (GROUP,))
    await driver.dismantle()
    assert await host.driver().elastics() == {}


@pytest.mark.parametrize("wrong", ["10.91.0.6", "10.91.0.5", "nonsense", "10.141.0.5"])
async def test_an_elastic_address_that_cannot_be_is_left_out_alone(host, wrong):
    """Somebody's fixed one, none at all, or one that another port claims as well."""
    driver = host.driver()
    await driver.prepare()
    other = "10.141.0.5" if wrong == "10.141.0.5" else "10.141.0.7"
    await driver.ensure((replace(ONE, elastic=wrong), replace(TWO, elastic=other)), (GROUP,))
    assert await driver.present() == (ONE.instance, TWO.instance)
    assert await driver.elastics() == ({} if other == wrong else {other: TWO.address})


async def test_ensuring_before_preparing_says_that_the_bridge_is_missing(host):
    with pytest.raises(CloudError) as caught:
        await host.driver().ensure((ONE,), (GROUP,))
    assert caught.value.code is Code.PROGRAM_FAILED
