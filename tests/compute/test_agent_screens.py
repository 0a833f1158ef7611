from io import BytesIO

import pytest
from PIL import Image

from cloudcore.compute.screens import taken
from cloudcore.errors import CloudError, Code
from cloudcore.rpc.compute import WantedScreenshot
from tests.compute.hosts import Host, name, wanted


@pytest.fixture
def host(tmp_path):
    made = Host(tmp_path)
    yield made
    if made.agent is not None and made.agent.running:
        made.agent.stopService()


async def test_a_guest_that_runs_here_is_shown_and_others_are_refused(host):
    agent, asked = host.start(), WantedScreenshot(name(), wake=True)
    with pytest.raises(CloudError) as problem:
        await agent.screenshot(asked)
    assert problem.value.code is Code.INSTANCE_UNKNOWN
    await agent.ensure(wanted())
    host.advance(2)
    shown = await agent.screenshot(asked)
    with Image.open(BytesIO(shown.image)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (640, 400))
    assert shown.timestamp == host.clock.seconds()
    host.driver.crash(name())
    with pytest.raises(CloudError) as problem:
        await agent.screenshot(asked)
    assert problem.value.code is Code.INSTANCE_STATE
    await agent.ensure(wanted(generation=2, power="stopped"))
    host.advance(1)
    with pytest.raises(CloudError) as problem:
        await agent.screenshot(asked)
    assert problem.value.code is Code.INSTANCE_STATE


async def test_a_hypervisor_without_screens_says_so(host):
    host.start()
    with pytest.raises(CloudError) as problem:
        await taken(None, host.agent._journal.get(name()), False, host.clock)
    assert problem.value.code is Code.UNSUPPORTED


async def test_the_heartbeat_tells_that_there_are_screens(host):
    host.start()
    host.advance(11)
    assert host.heartbeats[-1].options == ("screens",)
