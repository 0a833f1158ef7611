"""Files that qemu-img itself made are taken whole, and refused when their end is missing."""

from __future__ import annotations

import random
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudcore.domain.image_extent import block_place, check_end, table_place
from cloudcore.domain.image_header import HEAD, TAIL, judge
from cloudcore.errors import CloudError, Code

MIB = 2**20
OPTIONS = ("", "cluster_size=512", "cluster_size=2M", "refcount_bits=1", "refcount_bits=64", "preallocation=metadata",
           "compat=0.10", "compression_type=zstd")  # fmt: skip


def check(data: bytes) -> None:
    """What the image worker does: header, reference table, last block."""
    judge(data[:HEAD], data[-TAIL:], len(data))
    offset, length = table_place(data[:HEAD])
    number, offset, length = block_place(data[:HEAD], data[offset : offset + length], len(data))
    check_end(data[:HEAD], number, data[offset : offset + length], len(data))


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """5 MiB: content that does not compress, with a hole."""
    path = tmp_path_factory.mktemp("disk") / "disk.raw"
    path.write_bytes(random.Random(1).randbytes(2 * MIB) + b"\0" * MIB + random.Random(2).randbytes(2 * MIB))
    return path


def qcow2(disk: Path, *arguments: str) -> bytes:
    target = disk.with_suffix(".qcow2")
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", *arguments, str(disk), str(target)], check=True,
                   timeout=60)  # fmt: skip
    return target.read_bytes()


@pytest.mark.parametrize("options", OPTIONS)
def test_a_whole_file_is_taken_and_one_without_its_end_is_not(disk: Path, options: str) -> None:
    data = qcow2(disk, *(["-o", options] if options else []))
    check(data)
    last = 2 * MIB if "2M" in options else 65536  # a file may end amid its last cluster: what is cut there is not seen
    for kept in (len(data) // 5, len(data) // 2, len(data) - last):
        with pytest.raises(CloudError) as problem:
            check(data[: kept // 512 * 512])
        assert problem.value.code is Code.IMAGE_INVALID and "truncated" in problem.value.text


def test_a_compressed_file_may_end_amid_a_cluster(disk: Path) -> None:
    data = qcow2(disk, "-c")
    check(data)
    with pytest.raises(CloudError):
        check(data[: len(data) // 2])


def test_an_empty_disk_is_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "empty.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), "100G"], check=True, timeout=60)
    check(path.read_bytes())


def test_a_snapshot_of_a_file_that_grows_is_refused_at_every_length_but_the_last(disk: Path) -> None:
    data = qcow2(disk)
    cluster = 65536
    for clusters in range(1, len(data) // cluster):
        with pytest.raises(CloudError):
            check(data[: clusters * cluster])


@settings(max_examples=300, deadline=None)
@given(number=st.integers(0, 2**16), block=st.binary(max_size=600), size=st.integers(0, 2**40),
       order=st.integers(0, 6), bits=st.integers(9, 21))  # fmt: skip
def test_any_block_is_judged_or_refused(number: int, block: bytes, size: int, order: int, bits: int) -> None:
    head = struct.pack(">4sIQIIQIIQQIIQQQQII", b"QFI\xfb", 3, 0, 0, bits, MIB, 0, 1, 65536, 131072, 1, 0, 0, 0, 0, 0,
                       order, 104)  # fmt: skip
    try:
        check_end(head, number, block, size)
    except CloudError as problem:
        assert problem.code is Code.IMAGE_INVALID


# -- raw disks: what their partitions need ----------------------------------------------------------------------------


def a_disk(*partitions: tuple[int, int, int], size: int = 4 * MIB) -> bytes:
    """With a master boot record of (type, first sector, sectors)."""
    table = b"".join(struct.pack("<BxxxBxxxII", 0x80, kind, first, count) for kind, first, count in partitions)
    return (b"\xfa" * 446 + table.ljust(64, b"\0") + b"\x55\xaa").ljust(size, b"\0")


def verdict(data: bytes) -> str:
    try:
        return judge(data[:HEAD], data[-TAIL:], len(data)).format
    except CloudError as problem:
        return problem.text


def test_a_raw_disk_holds_all_its_partitions() -> None:
    whole = a_disk((0x0E, 2048, 2048), (0x83, 4096, 4096))
    assert verdict(whole) == "raw"
    assert "truncated" in verdict(whole[: 3 * MIB])


def test_a_gpt_ends_with_its_backup() -> None:
    def gpt(last: int, size: int) -> str:
        disk = bytearray(a_disk((0xEE, 1, 0xFFFFFFFF), size=size))
        disk[512 : 512 + 40] = b"EFI PART".ljust(32, b"\0") + struct.pack("<Q", last)
        return verdict(bytes(disk))

    assert gpt(4 * MIB // 512 - 1, 4 * MIB) == "raw"
    assert gpt(4 * MIB // 512 - 1, 8 * MIB) == "raw", "a disk that grew keeps its old table"
    assert "truncated" in gpt(4 * MIB // 512 - 1, 2 * MIB)


def test_code_where_a_table_would_stand_is_no_table() -> None:
    assert verdict((b"\xcc" * 510 + b"\x55\xaa").ljust(MIB, b"\0")) == "raw"
