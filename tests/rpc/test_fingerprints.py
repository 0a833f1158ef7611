"""What both sides of a call depend on is written down: an upgraded control plane talks to last release's hosts.

A changed fingerprint means a changed contract. Only additions are allowed within a major version (a method with its own
`since`, a field with a default): then raise the minor version and write the new fingerprint here. Everything else is
another contract, served beside this one.
"""

from __future__ import annotations

import pytest

from cloudcore.rpc.compute import COMPUTE
from cloudcore.rpc.conductor import CONDUCTOR, FACT_SINK
from cloudcore.rpc.contract import Contract, describe, fingerprint
from cloudcore.rpc.images import IMAGES
from cloudcore.rpc.network import NETWORK
from cloudcore.rpc.scheduler import SCHEDULER
from cloudcore.rpc.volume import VOLUME

CONTRACTS = (COMPUTE, NETWORK, SCHEDULER, CONDUCTOR, FACT_SINK, IMAGES, VOLUME)
KNOWN: dict[str, tuple[tuple[int, int], str]] = {
    "compute": ((1, 1), "74f3ca1f1b3862de"),
    "network": ((1, 2), "8cbca12d0e905030"),
    "scheduler": ((1, 0), "37dc8bb9926a5bb6"),
    "conductor": ((1, 0), "6e8486c752b58933"),
    "conductor.facts": ((1, 0), "98a96a843c5ea08d"),
    "volume": ((1, 0), "173c8af1acdf3e05"),
    "images": ((1, 2), "bf1f8e5771a52a57"),
}


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.name)
def test_a_contract_is_what_was_released(contract: Contract[object]) -> None:
    assert (contract.version, fingerprint(contract)) == KNOWN[contract.name], describe(contract)


def test_every_contract_is_written_down() -> None:
    assert set(KNOWN) == {contract.name for contract in CONTRACTS}
