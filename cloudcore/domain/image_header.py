"""May this file become a guest's disk? A pure judge of the bytes alone, asked before any QEMU tool sees them.

Raw or qcow2, nothing else (S01). QEMU's own probing would follow names that the file gives, and a raw disk that is
probed later may claim to be something else; so everything that names another file, that we do not know, or that two
readers could understand differently is refused here, and the format found is stored and always passed on (S02).

qcow2 is read by docs/interop/qcow2.txt of QEMU. Refused: backing and data files, encryption, internal snapshots, dirty
or corrupt files, unknown incompatible bits, tables that lie outside the file, unknown header extensions that could name
files. A backing file is taken only where one is expected, under exactly that name and with its format stated. Raw is
what nothing else claims. What a guest shall start from has to be what a BIOS can boot: the last two bytes of its first
sector are 55 aa (a master boot record, also the protective one of GPT). An ISO, a kernel, a partition alone or a text
is no disk image: better said at registration than by a guest that never boots. A disk of data, which becomes a
snapshot alone, may begin as it likes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from cloudcore.errors import CloudError, Code

HEAD = 72 * 1024  # bytes of the beginning that the judge wants: qcow2's header cluster at its usual size, ISO's mark
TAIL = 512  # bytes of the end: where VHD keeps its footer
LARGEST = 2**44  # 16 TiB, EC2's largest volume: nothing larger is meant honestly
SECTOR = 512
PROTECTIVE = 0xEE  # the partition type by which a master boot record says that a GPT follows

QCOW2 = b"QFI\xfb"
FOREIGN_STARTS = {  # what begins like this is another format
    b"KDMV": "VMDK",
    b"COWD": "VMDK",
    b"# Disk DescriptorFile": "VMDK description",
    b"conectix": "VHD",
    b"vhdxfile": "VHDX",
    b"WithoutFreeSpace": "Parallels",
    b"WithouFreSpacExt": "Parallels",
    b"QED\0": "QED",
    b"LUKS\xba\xbe": "LUKS",
    b"OOOM": "UML",
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
    b"\x7fELF": "ELF",
    b"#!/bin/sh\n#V2.0 Format": "cloop",
}
FOREIGN_AT = (  # (offset, bytes, format): marks that stand elsewhere
    (0x40, b"\x7f\x10\xda\xbe", "VDI"),
    (0x8001, b"CD001", "ISO 9660"),
    (0x8801, b"CD001", "ISO 9660"),
    (0x9001, b"CD001", "ISO 9660"),
    (257, b"ustar", "tar"),
    (0x202, b"HdrS", "a Linux kernel"),  # it has a boot signature of its own
)
DMG, VHD = b"koly", b"conectix"  # begin the last 512 bytes

DIRTY, CORRUPT, EXTERNAL_DATA, COMPRESSION, EXTENDED_L2 = (1 << bit for bit in range(5))
KNOWN_INCOMPATIBLE = COMPRESSION  # its type stands in the header; no tool makes extended L2 by default
EXTENSION_END, FEATURE_NAMES, BITMAPS = 0x00000000, 0x6803F857, 0x23852875
BACKING_FORMAT, DATA_FILE, CRYPTO = 0xE2792ACA, 0x44415441, 0x0537BE77
NAMES_A_FILE = {BACKING_FORMAT: "backing file format", DATA_FILE: "external data file", CRYPTO: "encryption header"}
V2_LENGTH, V3_LENGTH = 72, 104
LARGEST_L1, LARGEST_REFERENCES = 32 * 2**20, 8 * 2**20  # bytes that QEMU reads (block/qcow2.h)
L1_OFFSET_MASK = 0x00FFFFFFFFFFFE00


@dataclass(frozen=True, slots=True)
class Judged:
    """`format` is raw or qcow2; `virtual_size` in bytes is what the guest sees."""

    format: str
    virtual_size: int


def judge(head: bytes, tail: bytes, size: int, below: str = "", boots: bool = True) -> Judged:
    """`head` is the first min(HEAD, size) bytes, `tail` the last min(TAIL, size), `size` the whole file's length in
    bytes. `below`: it has to be a qcow2 that names just this as its backing file; otherwise none may be named. `boots`:
    a raw one has to have a boot sector. Raises CloudError(IMAGE_INVALID) with the reason."""
    if len(head) < min(HEAD, size) or len(tail) < min(TAIL, size):
        raise invalid(f"the file is truncated: {len(head)} of {size} bytes")
    if size < SECTOR:
        raise invalid(f"{size} bytes are no disk")
    foreign = _foreign(head, tail)
    if head.startswith(QCOW2):
        if foreign:
            raise invalid(f"it could be read as qcow2 and as {foreign}")
        return Judged("qcow2", _qcow2(head, size, below))
    if below:
        raise invalid("it is no qcow2, so it cannot lie over another")
    if head.startswith(b"QFI"):
        raise invalid("it begins like qcow2 but is not")
    if foreign:
        raise invalid(f"it is {foreign}; only raw and qcow2 are taken")
    return Judged("raw", _raw(head, size, boots))


def _foreign(head: bytes, tail: bytes) -> str | None:
    for start, name in FOREIGN_STARTS.items():
        if head.startswith(start):
            return name
    for offset, mark, name in FOREIGN_AT:
        if head[offset : offset + len(mark)] == mark:
            return name
    if tail.startswith(DMG):
        return "DMG"
    return "VHD" if tail.startswith(VHD) or tail[1:].startswith(VHD) else None


def _raw(head: bytes, size: int, boots: bool) -> int:
    signed = head[510:512] == b"\x55\xaa"
    if boots and not signed:
        raise invalid("no boot signature (55 aa) at the end of the first sector: not a disk that can boot")
    if size % SECTOR:
        raise invalid(f"{size} bytes are not whole sectors of {SECTOR}")
    end = partitioned(head) if signed else 0
    if end > size:
        raise invalid(f"it is truncated: its partitions need {end} bytes, and it has {size}")
    return _sensible(size)


def partitioned(head: bytes) -> int:
    """How many bytes the disk must have to hold every partition that its master boot record or its GPT names; 0 where
    there is no such table. A boot sector of a bare file system has code there: a table is one whose four entries begin
    with 00 or 80, as Linux judges it."""
    entries = [head[at : at + 16] for at in range(446, 510, 16)]
    if any(entry[0] not in (0x00, 0x80) for entry in entries):
        return 0
    if any(entry[4] == PROTECTIVE for entry in entries):
        backup = struct.unpack_from("<Q", head, SECTOR + 32)[0] if head[SECTOR:].startswith(b"EFI PART") else 0
        return int(backup + 1) * SECTOR if backup else 0
    spans = (struct.unpack_from("<II", entry, 8) for entry in entries if entry[4])
    return max(((start + count) * SECTOR for start, count in spans), default=0)


def _sensible(virtual: int) -> int:
    if not 0 < virtual <= LARGEST:
        raise invalid(f"its disk of {virtual} bytes is outside 1 to {LARGEST}")
    return virtual


@dataclass(frozen=True, slots=True)
class Header:
    version: int
    backing_offset: int
    backing_size: int
    cluster_bits: int
    virtual: int
    crypt_method: int
    l1_size: int
    l1_offset: int
    refcount_offset: int
    refcount_clusters: int
    snapshots: int
    incompatible: int = 0
    refcount_order: int = 4
    length: int = V2_LENGTH
    compression: int = 0


def qcow2_header(head: bytes) -> Header:
    if len(head) < V2_LENGTH:
        raise invalid("the qcow2 header is truncated")
    version, backing, named, bits, virtual, crypt, l1, l1_at, counts, clusters, snapshots, _ = struct.unpack_from(
        ">IQIIQIIQQIIQ", head, 4
    )
    fields = (version, backing, named, bits, virtual, crypt, l1, l1_at, counts, clusters, snapshots)
    if version == 2:
        return Header(*fields)
    if version != 3:
        raise invalid(f"qcow2 version {version} is unknown")
    if len(head) < V3_LENGTH:
        raise invalid("the qcow2 header is truncated")
    incompatible, _compatible, _autoclear, order, length = struct.unpack_from(">QQQII", head, V2_LENGTH)
    compression = head[V3_LENGTH] if length > V3_LENGTH and len(head) > V3_LENGTH else 0
    return Header(*fields, incompatible, order, length, compression)


def _qcow2(head: bytes, size: int, below: str) -> int:
    header = qcow2_header(head)
    _names_nothing(header, below)
    _features(header)
    if not 9 <= header.cluster_bits <= 21:
        raise invalid(f"clusters of 2**{header.cluster_bits} bytes")
    cluster = 1 << header.cluster_bits
    if header.version == 3 and (header.length < V3_LENGTH or header.length % 8 or header.length > min(cluster, 4096)):
        raise invalid(f"a header of {header.length} bytes")
    _extensions(head[: min(cluster, len(head))], header, below)
    if below and backing_of(head) != (below, "raw") and backing_of(head) != (below, "qcow2"):
        raise invalid("it names another backing file than it should, or does not say its format")
    virtual = _sensible(header.virtual)
    if virtual % SECTOR:
        raise invalid(f"a disk of {virtual} bytes is not whole sectors")
    _tables(header, cluster, size)
    return virtual


def backing_of(head: bytes) -> tuple[str, str] | None:
    """(name, format) of the backing file of a qcow2, the format empty where it says none; None where it has none.
    Only for files of our own making: `judge` first."""
    header = qcow2_header(head)
    if not header.backing_offset or not header.backing_size:
        return None
    name = head[header.backing_offset : header.backing_offset + header.backing_size]
    return name.decode("utf-8", "replace"), _backing_format(head, header.length)


def elsewhere(head: bytes) -> bool:
    """Whether a qcow2 that was of our making keeps data in another file by now, or is encrypted: we make none that
    does."""
    header = qcow2_header(head)
    return bool(header.incompatible & EXTERNAL_DATA or header.crypt_method)


def _backing_format(head: bytes, at: int) -> str:
    while at + 8 <= len(head):
        kind, length = struct.unpack_from(">II", head, at)
        if kind == BACKING_FORMAT:
            return head[at + 8 : at + 8 + length].decode("utf-8", "replace")
        if kind == EXTENSION_END:
            break
        at += 8 + (length + 7) // 8 * 8
    return ""


def _names_nothing(header: Header, below: str) -> None:
    if (header.backing_offset or header.backing_size) and not below:
        raise invalid("it names a backing file")
    if header.incompatible & EXTERNAL_DATA:
        raise invalid("it names an external data file")
    if header.crypt_method:
        raise invalid("it is encrypted")
    if header.snapshots:
        raise invalid("it holds internal snapshots")


def _features(header: Header) -> None:
    if header.incompatible & (DIRTY | CORRUPT):
        raise invalid("it was not closed cleanly or is corrupt (qemu-img check -r all mends it)")
    if header.incompatible & ~KNOWN_INCOMPATIBLE:
        raise invalid(f"it uses features we do not know: {header.incompatible & ~KNOWN_INCOMPATIBLE:#x}")
    if header.compression not in (0, 1) or bool(header.incompatible & COMPRESSION) != bool(header.compression):
        raise invalid(f"compression type {header.compression}")
    if header.refcount_order > 6:
        raise invalid(f"reference counts of 2**{header.refcount_order} bits")


def _extensions(cluster: bytes, header: Header, below: str) -> None:
    """Walks the header extensions. All must lie in the first cluster; of large clusters we hold the beginning, which is
    more than any honest header fills."""
    at, formats = header.length, 0
    while True:
        if at + 8 > len(cluster):
            if header.version == 2 and not any(cluster[header.length :]):
                return
            raise invalid("its header extensions do not end")
        kind, length = struct.unpack_from(">II", cluster, at)
        if kind == EXTENSION_END:
            return
        formats += kind == BACKING_FORMAT
        if kind in NAMES_A_FILE and not (kind == BACKING_FORMAT and below and formats == 1):
            raise invalid(f"its header holds an extension for a {NAMES_A_FILE[kind]}")
        if kind not in (FEATURE_NAMES, BITMAPS, BACKING_FORMAT):
            raise invalid(f"its header holds an unknown extension {kind:#x}")
        if kind == BITMAPS:
            raise invalid("it holds dirty bitmaps")
        at += 8 + (length + 7) // 8 * 8


def _tables(header: Header, cluster: int, size: int) -> None:
    """L1 and reference counts lie in the file, on clusters, and cover the disk, no more than it needs."""
    per_l2 = cluster // 8
    needed = -(-header.virtual // (cluster * per_l2))
    if header.l1_size < needed or header.l1_size > 2 * needed + per_l2:
        raise invalid(f"an L1 table of {header.l1_size} entries for {header.virtual} bytes")
    for name, offset, length, most in (
        ("L1 table", header.l1_offset, header.l1_size * 8, LARGEST_L1),
        ("reference table", header.refcount_offset, header.refcount_clusters * cluster, LARGEST_REFERENCES),
    ):
        if length > most:
            raise invalid(f"its {name} of {length} bytes is larger than QEMU reads: use larger clusters")
        if offset < cluster or offset % cluster or length <= 0 or offset + length > size:
            raise invalid(f"its {name} lies outside the file: it is truncated or damaged")


def invalid(reason: str) -> CloudError:
    """How every refusal of an image begins."""
    return CloudError(Code.IMAGE_INVALID, f"the image is refused: {reason}")
