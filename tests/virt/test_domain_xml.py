"""The domain's text: what it must hold, and that nobody's words get out of their place."""

from dataclasses import replace
from xml.etree.ElementTree import fromstring, tostring

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudcore.errors import CloudError
from cloudcore.virt.domain_xml import MARK, Machine, domain_xml, read_mark, targets
from cloudcore.virt.driver import GuestDisk, GuestSpec

ROOT = GuestDisk("vol-0123456789abcdef0", "/s/disk.qcow2", backing=(("/s/delta", "qcow2"), ("/s/whole", "raw")))
MORE = (GuestDisk("vol-00000000000000002", "/dev/vg/two", "raw", "block"),
        GuestDisk("vol-00000000000000003", "/s/three.sock", "raw", "nbd"))  # fmt: skip
SPEC = GuestSpec("i-00000000000000001", 7, 3, "ec200000-0000-4000-8000-000000000001", 2, 96, (ROOT, *MORE), "/s",
                 "06:00:00:00:00:01", "t00000000000001", 1450)  # fmt: skip


def made(spec=SPEC, virt_type="qemu"):
    return fromstring(domain_xml(spec, Machine(virt_type), inside))


def inside(path):
    return path.replace("/s", "/in", 1) if path.startswith("/s") else path


def test_the_mark_is_read_back():
    mark = made().find(f"metadata/{{{MARK}}}instance")
    assert read_mark(tostring(mark, encoding="unicode")) == (SPEC.instance, 7)


@pytest.mark.parametrize("mark", ["<a/>", "<a id='i-1'/>", "<a id='i-1' generation='x'/>"])
def test_what_is_no_mark_is_nobodys(mark):
    assert read_mark(mark) is None


def test_cloud_init_recognises_the_platform():
    told = {entry.get("name"): entry.text for entry in made().iter("entry")}
    assert told["uuid"] == told["serial"] == made().findtext("uuid") == SPEC.uuid


def test_the_whole_chain_of_disks_names_its_formats_and_ends():
    disk = made().find("devices/disk")
    assert disk.find("driver").get("type") == "qcow2"
    assert disk.find("source").get("file") == "/in/disk.qcow2"
    for depth, (file, format) in enumerate((("/in/delta", "qcow2"), ("/in/whole", "raw")), start=1):
        layer = disk.find("/".join(["backingStore"] * depth))
        assert layer.find("format").get("type") == format
        assert layer.find("source").get("file") == file
        assert layer.find("source/seclabel").get("relabel") == "no"
    assert list(disk.find("backingStore/backingStore/backingStore")) == []


def test_every_disk_has_its_place_and_the_serial_of_its_volume():
    first, second, third = made().findall("devices/disk")
    assert [disk.find("target").get("dev") for disk in (first, second, third)] == ["vda", "vdb", "vdc"]
    assert first.findtext("serial") == "vol0123456789abcdef0"
    assert (second.get("type"), second.find("source").get("dev")) == ("block", "/dev/vg/two")
    assert (third.get("type"), third.find("source/host").get("socket")) == ("network", "/in/three.sock")
    assert {disk.find("driver").get("type") for disk in (second, third)} == {"raw"}


def test_names_of_disks_do_not_end_and_leave_out_what_is_taken():
    names = list(targets({"vda", "vdc"}))
    assert names[:2] == ["vdb", "vdd"]
    assert names[24] == "vdaa"
    assert len(names) == len(set(names)) == 26 * 27 - 2


def test_no_tap_no_interface():
    assert made().find("devices/interface/source").get("bridge") == "ccbr0"
    assert made(replace(SPEC, tap="")).find("devices/interface") is None


def test_emulation_bounds_its_cache_and_kvm_gives_the_hosts_processor():
    assert made().findtext("features/tcg/tb-cache") == "24"
    assert made(replace(SPEC, memory_mib=512)).findtext("features/tcg/tb-cache") == "256"
    kvm = made(virt_type="kvm")
    assert kvm.find("cpu").get("mode") == "host-passthrough"
    assert kvm.find("features/tcg") is None


@given(st.text())
def test_any_text_stays_where_it_was_put_or_is_refused(text):
    try:
        domain = made(replace(SPEC, tap=text or "t", mac=text))
    except CloudError:
        return
    assert len(domain.findall("devices/interface")) == 1
    kept = domain.find("devices/interface/target").get("dev")
    assert kept.split() == (text or "t").split() or kept == (text or "t").replace("\r\n", "\n").replace("\r", "\n")
