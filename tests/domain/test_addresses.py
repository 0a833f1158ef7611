import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudcore.domain import addresses
from cloudcore.errors import CloudError, Code

networks = st.builds(
    lambda number, length: ipaddress.IPv4Network((number, length), strict=False),
    st.integers(0x0A000000, 0x0AFFFFFF), st.integers(22, 29),
)  # fmt: skip


def test_the_first_usable_address_is_the_gateway():
    assert addresses.gateway("10.90.0.0/24") == "10.90.0.1"


def test_guests_have_neither_network_nor_gateway_nor_broadcast():
    assert list(addresses.usable("10.90.0.0/29")) == ["10.90.0.2", "10.90.0.3", "10.90.0.4", "10.90.0.5", "10.90.0.6"]
    assert addresses.capacity("10.90.0.0/29") == 5


@given(networks)
def test_capacity_counts_what_is_usable(network):
    found = list(addresses.usable(str(network)))
    assert len(found) == len(set(found)) == addresses.capacity(str(network))
    assert all(ipaddress.IPv4Address(one) in network for one in found)
    assert addresses.gateway(str(network)) not in found


@given(networks, st.data())
def test_the_next_free_address_is_the_lowest_that_nobody_has(network, data):
    usable = list(addresses.usable(str(network)))
    taken = data.draw(st.sets(st.sampled_from(usable), max_size=len(usable) - 1))
    found = addresses.next_free(str(network), taken)
    assert found == min(set(usable) - taken, key=ipaddress.IPv4Address)


def test_a_full_network_says_so():
    with pytest.raises(CloudError) as caught:
        addresses.next_free("10.90.0.0/29", set(addresses.usable("10.90.0.0/29")))
    assert caught.value.code is Code.ADDRESSES_EXHAUSTED


@pytest.mark.parametrize("cidr", [
    "10.90.0.1/24", "10.90.0.0/30", "10.0.0.0/7", "169.254.0.0/16", "127.0.0.0/8", "224.0.0.0/8", "0.0.0.0/8",
    "10.90.0.0", "10.90.0/24", "10.90.0.0/024", "10.90.0.0/ 24", "::/64", "", "10.90.0.0/255.255.255.0", "１0.0.0.0/24",
])  # fmt: skip
def test_a_range_that_guests_cannot_live_in_is_refused(cidr):
    with pytest.raises(CloudError) as caught:
        addresses.fixed_range(cidr)
    assert caught.value.code is Code.BAD_VALUE


def test_the_network_of_a_rule_loses_its_host_bits_as_in_ec2():
    assert str(addresses.network("10.0.0.5/24")) == "10.0.0.0/24"


def test_a_guest_is_named_after_its_address():
    assert addresses.hostname("10.90.0.12") == "ip-10-90-0-12"


@pytest.mark.parametrize(("text", "good"), [
    ("06:00:00:00:00:01", True), ("01:00:5e:00:00:01", False), ("00:00:00:00:00:00", False), ("06:00:00:00:00", False),
    ("06:00:00:00:00:0G", False), ("06:00:00:00:00:01\n", False), ("06:00:00:00:00:AB", False),
])  # fmt: skip
def test_a_mac_names_one_station_in_lower_case(text, good):
    assert addresses.is_mac(text) is good


@pytest.mark.parametrize("text", ["10.0.0.01", "10.0.0.1\n", "1.2.3", "256.1.1.1", "", "::1"])
def test_other_spellings_are_no_addresses(text):
    assert not addresses.is_address(text)


def test_the_bridge_has_a_mac_of_its_own_each_time_the_same():
    assert addresses.bridge_mac("10.90.0.1") == "02:cc:0a:5a:00:01"
    assert addresses.is_mac(addresses.bridge_mac("10.90.0.1"))
