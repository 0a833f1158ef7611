"""The keys of an instance's role on its host: in a file that nobody else reads, through restarts, and gone in time."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from cloudcore.domain.instance_profiles import InstanceRole
from cloudcore.rpc.network import Address, ReleasedPort, WantedNetwork
from tests.network.test_agent import WEB, Host, a_port

ROLE = InstanceRole("AIPA1", "arn:aws:iam::123456789012:instance-profile/web", "2026-01-02T03:04:05Z", role="server",
                    access_key="CCITKEY", secret="s3cret", token="t0ken", expires="2026-01-02T09:04:05Z")  # noqa: S106
HERE = Address("10.90.0.11")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def told(role: InstanceRole | None, revision: int) -> WantedNetwork:
    return WantedNetwork((replace(a_port(), role=role, revision=revision),), (WEB,))


async def test_it_outlives_the_agent_in_a_file_of_the_agents_own(host: Host) -> None:
    agent = host.agent()
    await agent.ensure(told(ROLE, 1))
    await agent.stopService()
    journal = host.path / "journal"
    assert "s3cret" in journal.read_text()
    assert stat.S_IMODE(journal.stat().st_mode) == 0o600
    again = host.agent()
    port = await again.lookup(HERE)
    assert port.role == ROLE
    assert "s3cret" not in repr(port) and "t0ken" not in repr(port)
    await again.stopService()


async def test_the_newer_word_counts_whatever_comes_late(host: Host) -> None:
    agent = host.agent()
    newer = replace(ROLE, access_key="CCITNEXT")
    for role, revision in ((ROLE, 1), (newer, 2), (ROLE, 1)):
        await agent.ensure(told(role, revision))
    assert (await agent.lookup(HERE)).role == newer
    await agent.ensure(told(None, 3))
    await agent.ensure(told(newer, 2))
    assert (await agent.lookup(HERE)).role is None
    await agent.release(ReleasedPort(a_port().instance, 1))
    await agent.stopService()
