import os
import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudcore.domain.ids import (
    KINDS,
    PREFIXES,
    default_subnet,
    default_vpc,
    guest_uuid,
    kind_of,
    mac_address,
    new_id,
    tap_name,
    well_formed,
)

INSTANCES = st.text("0123456789abcdef", min_size=17, max_size=17).map(lambda digits: f"i-{digits}")


@pytest.mark.parametrize("kind", PREFIXES)
def test_a_new_id_is_well_formed(kind):
    made = new_id(kind, os.urandom)
    assert well_formed(kind, made)
    assert kind_of(made) == kind


def test_prefixes_name_one_kind_each():
    assert len(KINDS) == len(PREFIXES)


@pytest.mark.parametrize(
    "text", ["", "i-", "i-123", "i-0123456789abcdeF0", "x-0123456789abcdef0", "i-0123456789abcdef0\n"]
)
def test_what_is_no_id_names_nothing(text):
    assert kind_of(text) is None


def test_old_short_ids_are_read():
    assert kind_of("i-1a2b3c4d") == "instance"


@given(INSTANCES)
def test_a_guest_uuid_is_a_uuid_that_cloud_init_takes_for_ec2(instance):
    made = guest_uuid(instance)
    assert str(uuid.UUID(made)) == made
    assert made.startswith("ec2")


@given(INSTANCES, INSTANCES)
def test_different_instances_have_different_uuids(one, other):
    assert (guest_uuid(one) == guest_uuid(other)) == (one == other)


@given(INSTANCES)
def test_a_mac_is_a_local_unicast_one(instance):
    made = mac_address(instance)
    assert re.fullmatch(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", made)
    assert int(made[:2], 16) & 3 == 2


@given(INSTANCES)
def test_a_tap_name_fits_into_an_interface_name(instance):
    assert len(tap_name(instance)) <= 15


def test_default_networks_follow_from_the_account():
    assert default_vpc("1") == default_vpc("1") != default_vpc("2")
    assert well_formed("vpc", default_vpc("1"))
    assert well_formed("subnet", default_subnet("1", "zone-a"))
