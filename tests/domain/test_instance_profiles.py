"""What the metadata says of profiles and roles, and whom a role trusts."""

import json

import pytest

from cloudcore.domain.instance_profiles import (
    NO_PROFILE,
    UNTRUSTED,
    InstanceProfile,
    InstanceRole,
    iso,
    trusts_instances,
)
from cloudcore.domain.metadata_tree import Leaf, Listing, find, with_role

PROFILE = InstanceProfile("AIPA0000000000000PROF", "123456789012", "web", "/apps/", 0.0)
HELD = InstanceRole(PROFILE.id, PROFILE.arn, "2026-01-02T03:04:05Z", role="server", access_key="CCITKEY",
                    secret="hidden", token="also hidden", expires="2026-01-02T09:04:05Z")  # noqa: S106
BARE = {"meta-data": {"instance-id": "i-1", "iam-not": "x"}}
ROOT = "/latest/meta-data/iam"


def read(path, held=HELD):
    found = find(with_role(BARE, held), None, path)
    return json.loads(found.content) if isinstance(found, Leaf) else found


def test_the_tree_of_a_role():
    assert read("/latest/meta-data/") == Listing(("iam/", "iam-not", "instance-id"))
    assert read(ROOT) == Listing(("info", "security-credentials/"))
    assert read(f"{ROOT}/security-credentials/") == Listing(("server",))
    assert read(f"{ROOT}/info") == {
        "Code": "Success", "LastUpdated": "2026-01-02T03:04:05Z", "InstanceProfileId": PROFILE.id,
        "InstanceProfileArn": "arn:aws:iam::123456789012:instance-profile/apps/web"}
    assert read(f"{ROOT}/security-credentials/server") == {
        "Code": "Success", "LastUpdated": "2026-01-02T03:04:05Z", "Type": "AWS-HMAC", "AccessKeyId": "CCITKEY",
        "SecretAccessKey": "hidden", "Token": "also hidden", "Expiration": "2026-01-02T09:04:05Z"}
    assert read(f"{ROOT}/security-credentials/other") is None
    assert find(BARE, None, ROOT) is None


def test_a_role_that_does_not_trust_instances_says_so_and_shows_no_key():
    held = InstanceRole(PROFILE.id, PROFILE.arn, "2026-01-02T03:04:05Z", UNTRUSTED, "server")
    assert read(f"{ROOT}/info", held)["Code"] == "Success"
    told = read(f"{ROOT}/security-credentials/server", held)
    assert told["Code"] == "AssumeRoleUnauthorizedAccess" and "server" in told["Message"]
    assert not told.keys() & {"AccessKeyId", "SecretAccessKey", "Token"}


def test_a_profile_that_is_gone_says_so_and_lists_no_role():
    held = InstanceRole(PROFILE.id, PROFILE.arn, "2026-01-02T03:04:05Z", NO_PROFILE)
    assert read(ROOT, held) == Listing(("info",))
    assert read(f"{ROOT}/info", held)["Code"] == "InstanceProfileNotFound"


def test_secrets_are_in_no_repr():
    assert "hidden" not in repr(HELD) and "CCITKEY" in repr(HELD)


def test_the_document_itself_is_not_touched():
    with_role(BARE, HELD)
    assert BARE == {"meta-data": {"instance-id": "i-1", "iam-not": "x"}}


@pytest.mark.parametrize(("principal", "trusted"), [
    ({"Service": "ec2.amazonaws.com"}, True), ({"Service": ["lambda.amazonaws.com", "ec2.amazonaws.com"]}, True),
    ({"Service": "lambda.amazonaws.com"}, False), ({"AWS": "123456789012"}, False),
    ({"AWS": "123456789012", "Service": "ec2.amazonaws.com"}, True)])  # fmt: skip
def test_whom_a_role_trusts(principal, trusted):
    document = json.dumps({"Statement": {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal}})
    assert trusts_instances(document, "123456789012") is trusted


def test_times_have_whole_seconds():
    assert iso(1_767_225_600.9) == "2026-01-01T00:00:00Z"
