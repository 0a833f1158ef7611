from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cloudcore.virt.dotted_jpeg import DARK, LIGHT, dotted, grey


def points(picture: bytes) -> Image.Image:
    drawn = Image.open(BytesIO(picture))
    drawn.load()
    return drawn


@given(st.integers(1, 9).flatmap(lambda width: st.lists(
    st.lists(st.integers(0, 255), min_size=width, max_size=width), min_size=1, max_size=9)))  # fmt: skip
def test_each_block_has_the_brightness_that_was_given(dots):
    drawn = points(grey(dots))
    assert (drawn.format, drawn.mode, drawn.size) == ("JPEG", "L", (8 * len(dots[0]), 8 * len(dots)))
    for y, row in enumerate(dots):
        for x, dot in enumerate(row):
            assert abs(drawn.getpixel((8 * x + 3, 8 * y + 4)) - dot) <= 1


@pytest.mark.parametrize(("share", "lit"), [(-1, 0), (0.0, 0), (0.5, 38), (1.0, 76), (7, 76)])
def test_the_bar_shows_how_far_it_is(share, lit):
    drawn = points(dotted("0123456789abcdef0", share))
    row = [drawn.getpixel((8 * column + 4, 8 * 28 + 4)) for column in range(80)]
    assert row.count(LIGHT) == lit
    assert row[0] == row[-1] == DARK
