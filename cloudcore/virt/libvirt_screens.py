"""A guest's screen by libvirt, as the JPEG that EC2 answers. QEMU draws PPM or PNG, whichever libvirt asks it for."""

from __future__ import annotations

import time
from io import BytesIO
from typing import Any

import libvirt
from PIL import Image

from cloudcore.errors import CloudError, Code

SHIFT = 42  # KEY_LEFTSHIFT of linux/input-event-codes.h: wakes a console and types nothing
HELD = 50  # milliseconds
LIT = 0.5  # seconds that a guest is given to light its screen again
LARGEST = 64 * 2**20  # bytes of a picture: 4096 by 4096 points in three colours are 48 MiB
POINTS = 4096 * 4096
QUALITY = 85  # text stays readable; 720 by 400 points are 20 to 60 KiB


def screenshot(domain: Any, wake: bool) -> bytes:
    """Blocks. Raises CloudError(PROGRAM_FAILED) for what is no picture, libvirt's error for what it refuses."""
    if wake:
        domain.sendKey(libvirt.VIR_KEYCODE_SET_LINUX, HELD, [SHIFT], 1, 0)
        time.sleep(LIT)
    stream = domain.connect().newStream(0)
    domain.screenshot(stream, 0, 0)
    try:
        picture = _received(stream)
    except BaseException:
        stream.abort()
        raise
    stream.finish()
    return jpeg(picture)


def _received(stream: Any) -> bytes:
    parts, size = [], 0
    while part := stream.recv(2**18):
        size += len(part)
        if size > LARGEST:
            raise CloudError(Code.PROGRAM_FAILED, f"the screen is larger than {LARGEST} bytes")
        parts.append(part)
    return b"".join(parts)


def jpeg(picture: bytes) -> bytes:
    """Of a PPM or PNG. Raises CloudError(PROGRAM_FAILED)."""
    try:
        with Image.open(BytesIO(picture), formats=("PPM", "PNG")) as drawn:
            if drawn.width * drawn.height > POINTS:
                raise CloudError(Code.PROGRAM_FAILED, f"the screen has {drawn.width} by {drawn.height} points")
            made = BytesIO()
            drawn.convert("RGB").save(made, "JPEG", quality=QUALITY)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as problem:
        raise CloudError(Code.PROGRAM_FAILED, f"the screen could not be read: {problem}") from problem
    return made.getvalue()
