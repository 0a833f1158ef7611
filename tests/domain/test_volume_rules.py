"""What volumes of each type may be, and what devices may be called."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudcore.domain.device_names import well_named
from cloudcore.domain.volume_rules import check, shown_iops, shown_throughput, usual_iops
from cloudcore.domain.volumes import BUCKET, DEFAULT_VOLUME_TYPE, VOLUME_TYPES
from cloudcore.errors import CloudError, Code
from cloudcore.images.worker import OWN_BUCKETS
from objectstore.access import RESERVED


def refusal(*asked: object) -> Code | None:
    try:
        check(*asked)  # type: ignore[arg-type]
    except CloudError as refused:
        return refused.code
    return None


@pytest.mark.parametrize("kind", VOLUME_TYPES.values(), ids=str)
def test_the_bounds_of_a_type_are_allowed_and_what_lies_beyond_is_not(kind):
    iops = kind.iops[0] if kind.iops else None
    assert refusal(kind.name, kind.least_gib, iops, None) is None
    assert refusal(kind.name, kind.most_gib, iops, None) is None
    assert refusal(kind.name, kind.least_gib - 1, iops, None) is Code.BAD_VALUE
    assert refusal(kind.name, kind.most_gib + 1, iops, None) is Code.BAD_VALUE


def test_no_type_is_the_usual_one():
    assert check(None, 1, None, None).name == DEFAULT_VOLUME_TYPE


@pytest.mark.parametrize(("asked", "code"), [
    (("io9", 1, None, None), Code.VOLUME_TYPE_UNKNOWN),
    (("io1", 4, None, None), Code.MISSING_PARAMETER),
    (("io1", 4, 200, None), None),
    (("io1", 4, 201, None), Code.BAD_VALUE),
    (("io2", 4, 4000, None), None),
    (("gp2", 1, 100, None), Code.BAD_COMBINATION),
    (("gp2", 1, None, 125), Code.BAD_COMBINATION),
    (("gp3", 1, 3000, 125), None),
    (("gp3", 1, 3001, None), Code.BAD_VALUE),
    (("gp3", 8, 4000, 1000), None),
    (("gp3", 8, None, 751), Code.BAD_VALUE),
])  # fmt: skip
def test_speed_is_bounded_by_type_and_size(asked, code):
    assert refusal(*asked) is code


@given(st.sampled_from([kind for kind in VOLUME_TYPES.values() if kind.iops]), st.integers(1, 65536))
def test_what_a_type_usually_has_is_allowed(kind, size):
    if kind.least_gib <= size <= kind.most_gib:
        assert refusal(kind.name, size, usual_iops(kind, size), None) is None


def test_iops_are_shown_as_ec2_shows_them():
    assert [shown_iops("gp2", size, None) for size in (1, 100, 16384)] == [100, 300, 16000]
    assert shown_iops("gp3", 1, None) == 3000
    assert shown_iops("standard", 1, None) is None
    assert (shown_throughput("gp3", None), shown_throughput("gp2", None)) == (125, None)


def test_devices_are_named_as_ec2_names_them():
    good = ["/dev/sda", "/dev/sdf", "/dev/sdf15", "sdf", "xvdb", "/dev/xvdba", "/dev/vdb", "/dev/sda1", "/dev/nvme1n1"]
    assert [name for name in good if not well_named(name)] == []
    bad = ["", "/dev/sdf16", "/dev/sdf0", "/dev/sdaa", "/dev/xvdabc", "/dev/../sda", "/dev/sdf\n", "disk", "/sdf"]
    assert [name for name in bad if well_named(name)] == []


def test_the_bucket_of_the_cloud_is_its_own_for_all_who_write_and_guard_it():
    assert BUCKET in OWN_BUCKETS
    assert BUCKET in RESERVED
