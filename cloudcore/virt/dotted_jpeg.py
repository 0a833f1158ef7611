"""The screen of a guest that only pretends: a grey JPEG of 640 by 400 points, in dots of one block each.

A block of one brightness is its mean and nothing else, so the whole of JPEG (ITU-T T.81, annexes B and F) that is
needed fits here: one component, one difference per block, and the code that says that no more follows.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

COLUMNS, ROWS = 80, 50  # blocks of 8 by 8 points
DARK, DIM, LIGHT = 16, 64, 224
# Hexadecimal digits, three dots wide and five high, row by row from the top.
DIGITS = {
    "0": "### #.# #.# #.# ###", "1": ".#. ##. .#. .#. ###", "2": "### ..# ### #.. ###", "3": "### ..# ### ..# ###",
    "4": "#.# #.# ### ..# ..#", "5": "### #.. ### ..# ###", "6": "### #.. ### #.# ###", "7": "### ..# ..# .#. .#.",
    "8": "### #.# ### #.# ###", "9": "### #.# ### ..# ###", "a": "### #.# ### #.# #.#", "b": "#.. #.. ### #.# ###",
    "c": "### #.. #.. #.. ###", "d": "..# ..# ### #.# ###", "e": "### #.. ### #.. ###", "f": "### #.. ### #.. #..",
}  # fmt: skip
# Table K.3: how many codes there are of each length, and of how many bits the difference is that each announces.
LENGTHS, SIZES = (0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0), tuple(range(12))
NO_MORE = "0"  # the only code of the other table


def dotted(digits: str, share: float) -> bytes:
    """The digits, and below them a bar of which this share is lit."""
    dots = [[DARK] * COLUMNS for _ in range(ROWS)]
    for at, digit in enumerate(digits[:19]):
        for row, cells in enumerate(DIGITS[digit].split()):
            for column, cell in enumerate(cells):
                if cell == "#":
                    dots[16 + row][2 + 4 * at + column] = LIGHT
    width = COLUMNS - 4
    lit = round(width * min(max(share, 0.0), 1.0))
    dots[28][2:-2] = [LIGHT] * lit + [DIM] * (width - lit)
    return grey(dots)


def grey(dots: Sequence[Sequence[int]]) -> bytes:
    """Rows of brightness 0 to 255, each drawn 8 by 8 points large."""
    height, width = 8 * len(dots), 8 * len(dots[0])
    quantisation = bytes([0]) + bytes([8]) * 64  # 8: what the transform multiplies a mean by
    return b"".join((
        b"\xff\xd8",
        _segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0"),
        _segment(0xDB, quantisation),
        _segment(0xC0, struct.pack(">BHHBBBB", 8, height, width, 1, 1, 0x11, 0)),
        _segment(0xC4, bytes([0x00, *LENGTHS, *SIZES])),
        _segment(0xC4, bytes([0x10, 1, *[0] * 15, 0])),
        _segment(0xDA, bytes([1, 1, 0, 0, 63, 0])),
        _scan([dot - 128 for row in dots for dot in row]),
        b"\xff\xd9",
    ))  # fmt: skip


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _scan(means: Sequence[int]) -> bytes:
    codes = _codes()
    bits = []
    for before, mean in zip((0, *means), means, strict=False):
        difference = mean - before
        size = abs(difference).bit_length()
        value = difference if difference >= 0 else difference + (1 << size) - 1
        bits.append(codes[size] + (f"{value:0{size}b}" if size else "") + NO_MORE)
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\0")


def _codes() -> list[str]:
    """By size. Canonical: each length goes on where the one before it ended (annex C)."""
    codes, code = [], 0
    for length, count in enumerate(LENGTHS, 1):
        for _ in range(count):
            codes.append(f"{code:0{length}b}")
            code += 1
        code <<= 1
    return codes
