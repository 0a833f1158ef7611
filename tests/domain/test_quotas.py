from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudcore.domain.group_rules import terms
from cloudcore.domain.quotas import fitting, scarcest
from cloudcore.errors import CloudError

AMOUNTS = st.dictionaries(st.sampled_from(["instances", "vcpus"]), st.integers(1, 8), min_size=1)


@given(st.integers(1, 9), st.integers(1, 20), AMOUNTS, st.integers(-3, 40), st.integers(-3, 40))
def test_as_many_as_fit_and_never_fewer_than_asked(least: int, more: int, each: dict[str, int], a: int, b: int) -> None:
    room, most = {"instances": a, "vcpus": b}, least + more
    count = fitting(least, most, each, room)
    fits = [n for n in range(least, most + 1) if all(n * need <= max(0, room[one]) for one, need in each.items())]
    assert count == (max(fits) if fits else None)
    assert scarcest(each, room) in each


@pytest.mark.parametrize(("asked", "made"), [
    (("tcp", 22, 22), ("tcp", 22, 22)), (("6", 22, 23), ("tcp", 22, 23)), (("UDP", 0, 65535), ("udp", 0, 65535)),
    (("-1", None, None), ("-1", -1, -1)), (("-1", 0, 0), ("-1", -1, -1)), (("icmp", 8, -1), ("icmp", 8, -1)),
    (("icmp", None, None), ("icmp", -1, -1)), (("47", None, None), ("47", -1, -1)), (("all", 1, 2), ("-1", -1, -1)),
])  # fmt: skip
def test_terms_have_one_form(asked: tuple[str, int | None, int | None], made: tuple[str, int, int]) -> None:
    assert terms(*asked) == made


@pytest.mark.parametrize("asked", [("tcp", None, 1), ("tcp", 5, 4), ("tcp", 0, 65536), ("icmp", 256, 0),
                                   ("icmp", -1, 3), ("256", None, None), ("", 1, 1), ("carrier", 1, 1),
                                   (None, 1, 1)])  # fmt: skip
def test_what_is_no_rule(asked: tuple[str | None, int | None, int | None]) -> None:
    with pytest.raises(CloudError):
        terms(*asked)
