import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudcore.domain.metadata_tree import (
    VERSIONS,
    Association,
    Leaf,
    Listing,
    MetadataFacts,
    Options,
    document,
    find,
    options,
)

MAC = "06:11:22:33:44:55"
FACTS = MetadataFacts(
    instance_id="i-0123456789abcdef0", image_id="ami-0123456789abcdef0", instance_type="m1.tiny",
    reservation_id="r-0123456789abcdef0", account="123456789012", region="core", zone="core-a", mac=MAC,
    address="10.90.0.12", hostname="ip-10-90-0-12", pending_time="2026-01-02T03:04:05Z", launch_index=2,
    groups=(Association("default", "sg-1"), Association("web", "sg-2")), key_name="mine",
    public_key="ssh-ed25519 AAAA mine", vpc_id="vpc-1", vpc_cidr="10.90.0.0/16", subnet_id="subnet-1",
    subnet_cidr="10.90.0.0/16", interface_id="eni-1",
)  # fmt: skip
DOCUMENT = document(FACTS)


def text(path, found=DOCUMENT, user_data=None):
    leaf = find(found, user_data, path)
    assert isinstance(leaf, Leaf), path
    return leaf.content.decode()


def names(path, found=DOCUMENT, user_data=None):
    listing = find(found, user_data, path)
    assert isinstance(listing, Listing), path
    return listing.names


def everything(found, user_data=None, at="/latest/"):
    """Crawls as cloud-init does: names that end in a slash are directories, `0=name` is the directory 0."""
    for name in names(at, found, user_data):
        if at.endswith("/latest/"):
            name = name if name == "user-data" else name + "/"
        elif "public-keys/" in at and "=" in name:
            name = name.partition("=")[0] + "/"
        if name.endswith("/"):
            yield from everything(found, user_data, at + name)
        else:
            yield at + name, text(at + name, found, user_data)


@pytest.mark.parametrize(("path", "content"), [
    ("ami-id", FACTS.image_id), ("ami-launch-index", "2"), ("instance-id", FACTS.instance_id),
    ("instance-type", "m1.tiny"), ("local-ipv4", "10.90.0.12"), ("mac", MAC), ("reservation-id", FACTS.reservation_id),
    ("hostname", "ip-10-90-0-12.cloudcore.internal"), ("local-hostname", "ip-10-90-0-12.cloudcore.internal"),
    ("placement/availability-zone", "core-a"), ("placement/region", "core"), ("security-groups", "default\nweb"),
    ("public-keys/0/openssh-key", "ssh-ed25519 AAAA mine\n"), ("instance-action", "none"),
    (f"network/interfaces/macs/{MAC}/security-group-ids", "sg-1\nsg-2"),
    (f"network/interfaces/macs/{MAC}/device-number", "0"), (f"network/interfaces/macs/{MAC}/vpc-id", "vpc-1"),
    (f"network/interfaces/macs/{MAC}/subnet-ipv4-cidr-block", "10.90.0.0/16"),
    ("block-device-mapping/root", "/dev/vda"), ("block-device-mapping/ami", "vda"),
    ("events/maintenance/history", "[]"), ("services/partition", "aws"), ("instance-life-cycle", "on-demand"),
])  # fmt: skip
def test_a_guest_reads(path, content):
    assert text(f"/latest/meta-data/{path}") == content


def test_the_root_lists_the_versions():
    assert names("/") == names("") == VERSIONS
    assert {"1.0", "2009-04-04", "2016-09-02", "2018-09-24", "2021-03-23", "latest"} <= set(VERSIONS)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_has_the_tree(version):
    assert text(f"/{version}/meta-data/instance-id") == FACTS.instance_id


@pytest.mark.parametrize("path", ["/latest/meta-data", "/latest/meta-data/", "//latest//meta-data//"])
def test_slashes_do_not_matter(path):
    assert names(path) == names("/latest/meta-data/")
    assert {"placement/", "instance-id", "public-keys/"} <= set(names(path))


def test_public_keys_are_listed_by_number_and_name():
    assert names("/latest/meta-data/public-keys/") == ("0=mine",)
    assert names("/latest/meta-data/public-keys/0") == names("/latest/meta-data/public-keys/0/") == ("openssh-key",)
    assert find(DOCUMENT, None, "/latest/meta-data/public-keys/0/name") is None


@pytest.mark.parametrize("path", [
    "/latest/nothing", "/2000-01-01/meta-data", "/latest/meta-data/nothing", "/latest/meta-data/instance-id/deeper",
    "/latest/options", "/latest/meta-data/public-keys/1/openssh-key", "/latest/meta-data/iam/", "/latest/user-data",
    "/latest/user-data/x", "/latest/meta-data/tags", "/latest/meta-data/public-ipv4", "/x",
    "/latest/meta-data/public-keys/0=mine",
])  # fmt: skip
def test_what_is_not_there_is_not_there(path):
    assert find(DOCUMENT, None, path) is None


def test_user_data_are_bytes_as_given():
    assert find(DOCUMENT, b"\x00\xff", "/latest/user-data") == Leaf(b"\x00\xff")
    assert "user-data" in names("/latest", user_data=b"")
    assert "user-data" not in names("/latest")


def test_the_identity_document_is_json():
    found = json.loads(text("/latest/dynamic/instance-identity/document"))
    assert (found["instanceId"], found["region"], found["availabilityZone"]) == (FACTS.instance_id, "core", "core-a")
    assert found["privateIp"] == "10.90.0.12"
    assert names("/latest/dynamic/instance-identity") == ("document",)


def test_without_a_key_there_are_no_public_keys():
    found = document(replace(FACTS, key_name=None, public_key=None))
    assert "public-keys/" not in names("/latest/meta-data", found)


def test_tags_show_only_when_the_instance_says_so():
    found = document(replace(FACTS, tags=(("Name", "web"),)))
    assert text("/latest/meta-data/tags/instance/Name", found) == "web"


def test_a_public_address_shows_in_both_places():
    found = document(replace(FACTS, public_address="192.0.2.7"))
    assert text("/latest/meta-data/public-ipv4", found) == "192.0.2.7"
    assert text(f"/latest/meta-data/network/interfaces/macs/{MAC}/ipv4-associations/192.0.2.7", found) == "10.90.0.12"


def test_options_travel_with_the_document():
    chosen = Options("required", "enabled", 2)
    assert options(json.loads(json.dumps(document(replace(FACTS, options=chosen))))) == chosen
    assert options({}) == Options()


def test_every_leaf_that_is_listed_is_served():
    leaves = dict(everything(DOCUMENT, b"#!"))
    assert len(leaves) > 35
    assert all(leaves.values())


@given(st.text(max_size=60))
def test_no_path_breaks_the_walk(path):
    found = find(DOCUMENT, None, "/latest/" + path)
    assert found is None or isinstance(found, (Leaf, Listing))


def test_an_empty_document_serves_nothing():
    assert find({}, None, "/latest/meta-data/instance-id") is None
    assert names("/latest", {}) == ()
