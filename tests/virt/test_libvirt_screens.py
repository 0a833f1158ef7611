"""What QEMU draws becomes a JPEG; what is no picture is refused."""

from io import BytesIO

import pytest

pytest.importorskip("libvirt")

from PIL import Image

from cloudcore.errors import CloudError, Code
from cloudcore.virt.libvirt_screens import jpeg


@pytest.mark.parametrize("kind", ["PPM", "PNG"])
def test_a_picture_becomes_a_jpeg_of_the_same_size(kind):
    drawn = BytesIO()
    Image.new("RGB", (720, 400), (200, 30, 30)).save(drawn, kind)
    with Image.open(BytesIO(jpeg(drawn.getvalue()))) as made:
        assert (made.format, made.size) == ("JPEG", (720, 400))
        red, green, _ = made.getpixel((360, 200))
    assert red > 180
    assert green < 50


@pytest.mark.parametrize("picture", [
    b"", b"no picture", b"P6\n720 400\n255\n" + b"x" * 100, b"P6\n99999 99999\n255\n" + b"x" * 100,
    b"P6\n5000 5000\n255\n" + b"x" * 100, b"\x89PNG\r\n\x1a\n" + b"x" * 100,
])  # fmt: skip
def test_what_is_no_picture_is_refused(picture):
    with pytest.raises(CloudError) as problem:
        jpeg(picture)
    assert problem.value.code is Code.PROGRAM_FAILED
