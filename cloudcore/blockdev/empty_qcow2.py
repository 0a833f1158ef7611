"""A qcow2 without data, written by ourselves: what a simulated volume is copied to, so that all who judge, carry and
share contents have a true one in hand."""

from __future__ import annotations

import struct
from pathlib import Path

CLUSTER = 65536
COVERED = CLUSTER * CLUSTER // 8  # bytes of the disk for each entry of the L1 table
END, BACKING_FORMAT = 0x00000000, 0xE2792ACA


def write(path: Path, size: int, base: tuple[str, str] | None = None) -> None:
    """A disk of `size` bytes, all zeros, or all that `base` (name and format) holds."""
    entries = -(-size // COVERED)
    tables = -(-entries * 8 // CLUSTER)
    clusters = 3 + tables  # header, reference table, one block of reference counts, L1
    name, format = (base[0].encode(), base[1].encode()) if base else (b"", b"")
    extensions = struct.pack(">II", BACKING_FORMAT, len(format)) + format.ljust(8, b"\0") if base else b""
    extensions += struct.pack(">II", END, 0)
    name_at = 104 + len(extensions) if base else 0
    header = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 3, name_at, len(name), 16, size, 0, entries, 3 * CLUSTER,
                         CLUSTER, 1, 0, 0)  # fmt: skip
    header += struct.pack(">QQQII", 0, 0, 0, 4, 104)
    with path.open("wb") as file:
        file.write(header + extensions + name)
        file.seek(CLUSTER)
        file.write(struct.pack(">Q", 2 * CLUSTER))
        file.seek(2 * CLUSTER)
        file.write(struct.pack(">H", 1) * clusters)
        file.truncate(clusters * CLUSTER)
