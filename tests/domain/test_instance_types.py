from __future__ import annotations

import pytest

from cloudcore.domain.instance_types import BUILT_IN, DEFAULT_TYPE, NAME, InstanceType, fits, table
from cloudcore.domain.placement import Demand

BIG = InstanceType("x.big", 8, 4096, 50)


def test_the_built_in_table_has_each_name_once_and_the_default() -> None:
    names = [kind.name for kind in BUILT_IN]
    assert len(set(names)) == len(names)
    assert DEFAULT_TYPE in names
    assert all(map(NAME.fullmatch, names))
    assert all(kind.vcpus > 0 and kind.memory_mib > 0 and kind.disk_gib > 0 for kind in BUILT_IN)


@pytest.mark.parametrize(("withdrawn", "gone"), [
    ((), set()), (("t3.nano",), {"t3.nano"}), (("r5.*",), {"r5.large", "r5.xlarge", "r5.2xlarge"}),
    (("*",), {kind.name for kind in BUILT_IN}), (("nothing",), set()),
])  # fmt: skip
def test_patterns_withdraw(withdrawn: tuple[str, ...], gone: set[str]) -> None:
    assert set(table((), withdrawn)) == {kind.name for kind in BUILT_IN} - gone


def test_own_types_replace_and_are_never_withdrawn() -> None:
    mine = InstanceType("t3.nano", 2, 99, 3)
    assert table([mine], ["*"]) == {"t3.nano": mine}
    assert table([mine])["t3.nano"] == mine
    assert len(table([BIG])) == len(BUILT_IN) + 1


@pytest.mark.parametrize(("capacities", "zone", "holds"), [
    ({}, None, True),  # no host is known yet
    ({}, "a", True),
    ({"a": [Demand(8, 4096, 50)]}, None, True),
    ({"a": [Demand(7, 4096, 50)]}, None, False),
    ({"a": [Demand(8, 4095, 50)]}, None, False),
    ({"a": [Demand(8, 4096, 49)]}, "a", False),
    ({"a": [Demand(8, 64, 50), Demand(2, 4096, 50)]}, None, False),  # no one host has it all
    ({"a": [Demand(2, 4096, 50)], "b": [Demand(8, 4096, 50)]}, None, True),
    ({"a": [Demand(2, 4096, 50)], "b": [Demand(8, 4096, 50)]}, "a", False),
    ({"a": [Demand(2, 4096, 50)]}, "b", True),
])  # fmt: skip
def test_what_fits_an_empty_host_is_offered(capacities: dict[str, list[Demand]], zone: str | None, holds: bool) -> None:
    assert fits(BIG, capacities, zone) is holds
