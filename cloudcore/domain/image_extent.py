"""Is a qcow2 file as long as it says itself? A copy that was cut off has a whole header and is no disk.

A truncated file lacks its end, so it is enough to look at the last cluster that the reference counts say is in use: it
must begin within the file (it need not end there: compressed clusters are shorter). That takes two reads: the reference
table, and the last block that it names.
"""

from __future__ import annotations

import struct

from cloudcore.domain.image_header import invalid, qcow2_header

OFFSET = 0xFFFFFFFFFFFFFE00  # of a reference table's entry; the low nine bits are reserved
LONGEST = 8 * 2**20  # bytes of a reference table: QEMU's own limit


def table_place(head: bytes) -> tuple[int, int]:
    """Offset and length, in bytes, of the reference table; the header was judged before."""
    header = qcow2_header(head)
    length = header.refcount_clusters << header.cluster_bits
    if length > LONGEST:
        raise invalid(f"a reference table of {length} bytes")
    return header.refcount_offset, length


def block_place(head: bytes, table: bytes, size: int) -> tuple[int, int, int]:
    """Number, offset and length of the last reference block; it lies on clusters, within the file's `size` bytes."""
    header = qcow2_header(head)
    cluster = 1 << header.cluster_bits
    offsets = [entry & OFFSET for (entry,) in struct.iter_unpack(">Q", table)]
    number = next((at for at in range(len(offsets) - 1, -1, -1) if offsets[at]), None)
    if number is None:
        raise invalid("its reference table is empty")
    if offsets[number] % cluster or offsets[number] + cluster > size:
        raise invalid("it is truncated: its last reference block lies outside the file")
    return number, offsets[number], cluster


def check_end(head: bytes, number: int, block: bytes, size: int) -> None:
    """Raises CloudError(IMAGE_INVALID) when the last cluster in use, as block `number` counts, begins after the end."""
    header = qcow2_header(head)
    cluster, bits = 1 << header.cluster_bits, 1 << header.refcount_order
    used = len(block.rstrip(b"\0"))
    if not used:
        return  # a block of nothing: what is before it is shorter
    within = (block[used - 1].bit_length() - 1) // bits  # counts smaller than a byte begin at its lowest bit
    last = number * (cluster * 8 // bits) + (used - 1) * 8 // bits + within
    if last * cluster >= size:
        raise invalid(f"it is truncated: it uses cluster {last} of {cluster} bytes, and the file has {size} bytes")
