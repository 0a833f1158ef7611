"""The judge of images against honest ones, hostile ones, and ones damaged at random."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudcore.domain.image_header import HEAD, LARGEST, TAIL, Judged, backing_of, judge
from cloudcore.errors import CloudError, Code

MIB = 2**20
CLUSTER = 65536


def a_raw(size=MIB):
    return b"\0" * 510 + b"\x55\xaa" + b"\0" * (size - 512)


def a_qcow2(size=4 * CLUSTER, extensions=b"", **fields):
    """A whole version-3 file of 1 GiB, as qemu-img makes it; `fields` replaces header fields by name."""
    header = {
        "magic": b"QFI\xfb", "version": 3, "backing_offset": 0, "backing_size": 0, "cluster_bits": 16,
        "virtual": 2**30, "crypt": 0, "l1_size": 2, "l1_offset": 3 * CLUSTER, "refcount_offset": CLUSTER,
        "refcount_clusters": 1, "snapshots": 0, "snapshots_offset": 0, "incompatible": 0, "compatible": 0,
        "autoclear": 0, "refcount_order": 4, "length": 112, "compression": 0,
    }  # fmt: skip
    header.update(fields)
    packed = struct.pack(">4sIQIIQIIQQIIQQQQIIB7x", *header.values())
    data = bytearray(size)
    content = packed + extensions + b"\0" * 8
    data[: len(content)] = content
    return bytes(data)


def verdict(data, size=None):
    return judge(data[:HEAD], data[-TAIL:], len(data) if size is None else size)


def reason(data, size=None):
    with pytest.raises(CloudError) as problem:
        verdict(data, size)
    assert problem.value.code is Code.IMAGE_INVALID
    return problem.value.text


def extension(kind, content=b""):
    return struct.pack(">II", kind, len(content)) + content.ljust(-(-len(content) // 8) * 8, b"\0")


def at(offset, mark, base=None):
    data = bytearray(base or a_raw())
    data[offset : offset + len(mark)] = mark
    return bytes(data)


def test_a_bootable_raw_disk_is_its_own_size():
    assert verdict(a_raw(3 * MIB)) == Judged("raw", 3 * MIB)


def test_a_qcow2_says_its_size():
    assert verdict(a_qcow2()) == Judged("qcow2", 2**30)


def test_version_2_has_no_feature_bits():
    assert verdict(a_qcow2(version=2, compression=0)[:72] + b"\0" * (4 * CLUSTER - 72)) == Judged("qcow2", 2**30)


@pytest.mark.parametrize("extensions", [extension(0x6803F857, b"x" * 336), extension(0x6803F857, b"y" * 5)])
def test_names_of_features_are_harmless(extensions):
    assert verdict(a_qcow2(extensions=extensions)).format == "qcow2"


def test_zstd_is_a_feature_we_know():
    assert verdict(a_qcow2(incompatible=8, compression=1)).format == "qcow2"


HOSTILE_QCOW2 = {
    "backing offset": ({"backing_offset": 512, "backing_size": 11}, "backing"),
    "backing offset alone": ({"backing_offset": 512}, "backing"),
    "backing size alone": ({"backing_size": 11}, "backing"),
    "backing in version 2": ({"version": 2, "backing_offset": 512, "backing_size": 11}, "backing"),
    "external data file": ({"incompatible": 4}, "data file"),
    "data file and another bit": ({"incompatible": 12, "compression": 1}, "data file"),
    "aes": ({"crypt": 1}, "encrypted"),
    "luks": ({"crypt": 2}, "encrypted"),
    "unknown cipher": ({"crypt": 77}, "encrypted"),
    "snapshots": ({"snapshots": 1}, "snapshots"),
    "dirty": ({"incompatible": 1}, "closed"),
    "corrupt": ({"incompatible": 2}, "closed"),
    "extended l2": ({"incompatible": 16}, "features"),
    "unknown bit 5": ({"incompatible": 32}, "features"),
    "unknown bit 63": ({"incompatible": 2**63}, "features"),
    "version 0": ({"version": 0}, "version"),
    "version 1": ({"version": 1}, "version"),
    "version 4": ({"version": 4}, "version"),
    "clusters of 256": ({"cluster_bits": 8}, "clusters"),
    "clusters of 4 MiB": ({"cluster_bits": 22}, "clusters"),
    "clusters of 2**64": ({"cluster_bits": 64}, "clusters"),
    "no size": ({"virtual": 0}, "outside"),
    "1 EB": ({"virtual": 10**18}, "outside"),
    "2**64 - 1": ({"virtual": 2**64 - 1}, "outside"),
    "just too large": ({"virtual": LARGEST + 512}, "outside"),
    "no whole sectors": ({"virtual": 2**30 + 1}, "sectors"),
    "L1 too short": ({"virtual": 2**40}, "L1"),
    "L1 of 32 GiB": ({"l1_size": 2**32 - 1}, "L1"),
    "L1 in the header": ({"l1_offset": 0}, "L1 table lies"),
    "L1 not on a cluster": ({"l1_offset": 3 * CLUSTER + 8}, "L1 table lies"),
    "L1 beyond the end": ({"l1_offset": 4 * CLUSTER}, "L1 table lies"),
    "L1 far beyond": ({"l1_offset": 2**63}, "L1 table lies"),
    "no reference table": ({"refcount_clusters": 0}, "reference table"),
    "reference table beyond": ({"refcount_offset": 40 * CLUSTER}, "reference table"),
    "reference table huge": ({"refcount_clusters": 2**32 - 1}, "reference table"),
    "reference width": ({"refcount_order": 7}, "reference counts"),
    "header too short": ({"length": 100}, "header of"),
    "header beyond its cluster": ({"length": 2**31}, "header of"),
    "header not of 8": ({"length": 108}, "header of"),
    "compression without its bit": ({"compression": 1}, "compression"),
    "compression unknown": ({"compression": 2, "incompatible": 8}, "compression"),
    "compression bit without type": ({"incompatible": 8}, "compression"),
}


@pytest.mark.parametrize("case", HOSTILE_QCOW2)
def test_a_hostile_qcow2_is_refused_and_told_why(case):
    fields, word = HOSTILE_QCOW2[case]
    assert word in reason(a_qcow2(**fields))


HOSTILE_EXTENSIONS = {
    "backing format": (extension(0xE2792ACA, b"raw"), "backing file format"),
    "data file name": (extension(0x44415441, b"/etc/shadow"), "external data file"),
    "encryption header": (extension(0x0537BE77, b"\0" * 16), "encryption header"),
    "bitmaps": (extension(0x23852875, b"\0" * 24), "bitmaps"),
    "unknown": (extension(0x12345678, b"abc"), "unknown extension"),
    "hidden behind names": (extension(0x6803F857, b"n") + extension(0x44415441, b"/etc/shadow"), "external data file"),
    "endless": (struct.pack(">II", 0x6803F857, 2**32 - 1), "do not end"),
    "just over the cluster": (struct.pack(">II", 0x6803F857, CLUSTER), "do not end"),
}


@pytest.mark.parametrize("case", HOSTILE_EXTENSIONS)
def test_a_hostile_extension_is_refused_and_told_why(case):
    extensions, word = HOSTILE_EXTENSIONS[case]
    assert word in reason(a_qcow2(extensions=extensions))


FOREIGN = {
    "VMDK sparse": b"KDMV\1\0\0\0", "VMDK description": b"# Disk DescriptorFile\n", "VMDK old": b"COWD",
    "VHD": b"conectix", "VHDX": b"vhdxfile", "Parallels": b"WithoutFreeSpace", "QED": b"QED\0",
    "LUKS": b"LUKS\xba\xbe\0\1", "gzip": b"\x1f\x8b", "xz": b"\xfd7zXZ\0", "bzip2": b"BZh9",
    "zstd": b"\x28\xb5\x2f\xfd", "zip": b"PK\x03\x04", "ELF": b"\x7fELF",
    "qcow1": b"QFI\xfa", "text": b"#!/bin/sh\n#V2.0 Format",
}  # fmt: skip


@pytest.mark.parametrize("case", FOREIGN)
def test_another_format_with_a_boot_signature_is_still_refused(case):
    reason(at(0, FOREIGN[case]))


MARKS = {"VDI": (0x40, b"\x7f\x10\xda\xbe"), "ISO": (0x8001, b"CD001"), "UDF bridge": (0x8801, b"CD001"),
         "tar": (257, b"ustar"), "kernel": (0x202, b"HdrS")}  # fmt: skip


@pytest.mark.parametrize("case", MARKS)
def test_a_mark_elsewhere_is_another_format(case):
    reason(at(*MARKS[case]))


@pytest.mark.parametrize("tail", [b"koly", b"conectix"])
def test_a_footer_is_another_format(tail):
    reason(at(MIB - 512, tail))


@pytest.mark.parametrize("case", MARKS)
def test_what_two_readers_could_read_differently_is_refused(case):
    assert "and as" in reason(at(*MARKS[case], base=a_qcow2()))


@pytest.mark.parametrize(("data", "word"), [
    (b"", "no disk"),
    (b"\x55\xaa", "no disk"),
    (b"hello\n" * 200, "boot signature"),
    (b"\0" * MIB, "boot signature"),
    (a_raw() + b"\0", "sectors"),
    (b"QFI" + a_raw()[3:], "begins like"),
])  # fmt: skip
def test_what_is_no_disk_is_refused(data, word):
    assert word in reason(data)


def test_a_disk_of_data_needs_no_boot_sector():
    data = b"\0" * 510 + b"no" + b"\xff" * (MIB - 512)
    assert judge(data[:HEAD], data[-512:], MIB, boots=False) == Judged("raw", MIB)


def test_a_disk_of_data_is_no_other_format_and_has_whole_sectors():
    for data in (b"KDMV".ljust(MIB, b"\0"), b"\0" * (MIB + 1)):
        with pytest.raises(CloudError):
            judge(data[:HEAD], data[-512:], len(data), boots=False)


def test_a_raw_disk_larger_than_ec2_has_is_refused():
    data = a_raw()
    assert "outside" in reason(data[:HEAD].ljust(HEAD, b"\0"), LARGEST + 512)


@pytest.mark.parametrize("fields", [
    {"virtual": 2**38, "l1_size": 2**23}, {"virtual": 2**24, "l1_size": 2**9, "refcount_clusters": 2**14 + 1}])
def test_tables_that_qemu_would_not_read_are_refused(fields):
    """Here, and not by every launch."""
    data = a_qcow2(cluster_bits=9, l1_offset=2 * 512, refcount_offset=512, **fields)
    assert "larger than QEMU reads" in reason(data, 2**30)


@pytest.mark.parametrize("length", [4, 71, 72, 103, 104, 500, CLUSTER, 2 * CLUSTER, 3 * CLUSTER])
def test_a_truncated_qcow2_is_refused(length):
    reason(a_qcow2()[:length])


def test_a_head_that_is_shorter_than_the_file_is_no_basis():
    assert "truncated" in reason(a_raw()[:1000], MIB)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=600), st.integers(0, 2**45))
def test_any_bytes_are_judged_or_refused_never_worse(data, size):
    try:
        judged = judge(data, data[-TAIL:], size)
    except CloudError as problem:
        assert problem.code is Code.IMAGE_INVALID
    else:
        assert judged.format == "raw"
        assert data[510:512] == b"\x55\xaa"


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 160), st.integers(0, 255)), min_size=1, max_size=6))
def test_a_mutated_header_never_names_a_file(changes):
    data = bytearray(a_qcow2())
    for offset, value in changes:
        data[offset] = value
    try:
        judged = verdict(bytes(data))
    except CloudError:
        return
    backing, named = struct.unpack_from(">QI", data, 8)
    if judged.format == "qcow2":
        assert (backing, named) == (0, 0)
        assert data[32:36] == b"\0\0\0\0"
        assert data[4:8] == b"\0\0\0\2" or not data[79] & 4
    assert judged.virtual_size <= LARGEST


# -- layers -----------------------------------------------------------------------------------------------------------

BELOW = "ab" * 32


def a_delta(name=BELOW, format=b"qcow2", again=b""):
    extensions = (extension(0xE2792ACA, format) if format else b"") + again
    data = bytearray(a_qcow2(extensions=extensions, backing_offset=1024, backing_size=len(name)))
    data[1024 : 1024 + len(name)] = name.encode()
    return bytes(data)


def test_a_delta_names_just_the_one_below():
    for format in (b"qcow2", b"raw"):
        data = a_delta(format=format)
        assert judge(data[:HEAD], data[-TAIL:], len(data), BELOW) == Judged("qcow2", 2**30)
        assert backing_of(data[:HEAD]) == (BELOW, format.decode())
    assert "names a backing file" in reason(a_delta())


@pytest.mark.parametrize(
    "data",
    [
        a_qcow2(), a_raw(), a_delta("cd" * 32), a_delta("/etc/shadow"), a_delta(BELOW + "x"), a_delta("../" + BELOW),
        a_delta(format=b""), a_delta(format=b"vmdk"), a_delta(again=extension(0xE2792ACA, b"raw")),
        a_delta("json:{}"), a_delta(again=extension(0x44415441, b"x")),
    ],
)  # fmt: skip
def test_whatever_else_it_names_is_refused(data):
    with pytest.raises(CloudError) as problem:
        judge(data[:HEAD], data[-TAIL:], len(data), BELOW)
    assert problem.value.code is Code.IMAGE_INVALID


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1200), st.binary(min_size=1, max_size=8)), max_size=4))
def test_a_damaged_delta_is_refused_or_names_what_it_should(damages):
    data = bytearray(a_delta())
    for offset, mark in damages:
        data[offset : offset + len(mark)] = mark
    try:
        judge(bytes(data[:HEAD]), bytes(data[-TAIL:]), len(data), BELOW)
    except CloudError:
        return
    assert backing_of(bytes(data[:HEAD])) in {(BELOW, "qcow2"), (BELOW, "raw")}
