"""Fixed addresses of a flat network: which there are, who has the first one, and what a guest is called.

A fixed range is one private IPv4 network. Its first usable address is the gateway (the bridge of each host, the DHCP
server, the metadata service); the network and the broadcast address belong to nobody; all others are for guests.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterator

from cloudcore.errors import CloudError, Code

LARGEST, SMALLEST = 8, 29  # prefix lengths: a /29 leaves five guests; nobody routes more than a /8 of private addresses
LINK_LOCAL = ipaddress.IPv4Network("169.254.0.0/16")  # holds the metadata address
DOTTED = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){3}")
CIDR = re.compile(DOTTED.pattern + "/[0-9]{1,2}")
MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


def network(cidr: str) -> ipaddress.IPv4Network:
    """Any IPv4 CIDR of a rule, host bits cleared as EC2 does. Raises CloudError(BAD_VALUE)."""
    malformed = CloudError(Code.BAD_VALUE, f"CIDR block {cidr[:60]} is malformed")
    if not CIDR.fullmatch(cidr):
        raise malformed
    try:
        return ipaddress.IPv4Network(cidr, strict=False)
    except ValueError:
        raise malformed from None


def fixed_range(cidr: str) -> ipaddress.IPv4Network:
    """The CIDR of a network for guests: exact, of sensible size, and neither link-local, loopback nor multicast."""
    found = network(cidr)
    if str(found) != cidr:
        raise CloudError(Code.BAD_VALUE, f"CIDR block {cidr[:60]} has host bits set; {found} is meant")
    if not LARGEST <= found.prefixlen <= SMALLEST:
        raise CloudError(Code.BAD_VALUE, f"CIDR block {cidr} must be between /{LARGEST} and /{SMALLEST}")
    if found.overlaps(LINK_LOCAL) or found.is_loopback or found.is_multicast or found.is_reserved or (
        found.network_address.packed[0] == 0):  # fmt: skip
        raise CloudError(Code.BAD_VALUE, f"CIDR block {cidr} cannot be used for guests")
    return found


def check_elastic(cidr: str, fixed: str) -> str:
    """The CIDR of the pool of elastic addresses, as it is; empty: there is none. Raises CloudError(CONFIGURATION)."""
    if cidr and network(cidr).overlaps(network(fixed)):
        text = f"[network] elastic_cidr = {cidr} overlaps cidr = {fixed}: an address leads to a guest or is its own"
        raise CloudError(Code.CONFIGURATION, text)
    return cidr


def gateway(cidr: str) -> str:
    return str(fixed_range(cidr)[1])


def usable(cidr: str) -> Iterator[str]:
    """The addresses for guests, lowest first."""
    found = fixed_range(cidr)
    for at in range(2, found.num_addresses - 1):
        yield str(found[at])


def capacity(cidr: str) -> int:
    return fixed_range(cidr).num_addresses - 3


def next_free(cidr: str, taken: Collection[str]) -> str:
    """The lowest address nobody has. `taken` should be a set. Raises CloudError(ADDRESSES_EXHAUSTED)."""
    for address in usable(cidr):
        if address not in taken:
            return address
    raise CloudError(Code.ADDRESSES_EXHAUSTED, f"network {cidr} has no free address")


def is_address(text: str) -> bool:
    """A plain dotted IPv4 address in its one canonical spelling."""
    try:
        return bool(DOTTED.fullmatch(text)) and str(ipaddress.IPv4Address(text)) == text
    except ValueError:
        return False


def is_mac(text: str) -> bool:
    """Six lower-case octets of a single station (not a group address, not all zero)."""
    return bool(MAC.fullmatch(text)) and not int(text[:2], 16) & 1 and text != "00:00:00:00:00:00"


def hostname(address: str) -> str:
    """`10.90.0.12` is called `ip-10-90-0-12`, as in EC2."""
    return "ip-" + address.replace(".", "-")


def bridge_mac(gateway_address: str) -> str:
    """A bridge without a MAC of its own takes its lowest port's and changes it under the guests: so it gets this one,
    the same on each start."""
    return "02:cc:" + ":".join(f"{octet:02x}" for octet in ipaddress.IPv4Address(gateway_address).packed)
