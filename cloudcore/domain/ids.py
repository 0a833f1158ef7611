"""EC2 resource ids: a prefix and 17 lower-case hex digits (8 are accepted when read, as EC2 does)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import lru_cache

PREFIXES = {
    "instance": "i",
    "reservation": "r",
    "image": "ami",
    "key-pair": "key",
    "security-group": "sg",
    "security-group-rule": "sgr",
    "volume": "vol",
    "snapshot": "snap",
    "import-image-task": "import-ami",
    "import-snapshot-task": "import-snap",
    "vpc": "vpc",
    "subnet": "subnet",
    "network-interface": "eni",
    "route-table": "rtb",
    "internet-gateway": "igw",
    "network-acl": "acl",
    "dhcp-options": "dopt",
    "elastic-ip": "eipalloc",
    "elastic-ip-association": "eipassoc",
}
KINDS = {prefix: kind for kind, prefix in PREFIXES.items()}
FORM = re.compile(r"([a-z]+(?:-[a-z]+)?)-([0-9a-f]{8}|[0-9a-f]{17})")

RandomBytes = Callable[[int], bytes]  # like os.urandom


def new_id(kind: str, random: RandomBytes) -> str:
    """68 random bits: ids are not guessed, so a foreign one tells nothing."""
    return f"{PREFIXES[kind]}-{random(9).hex()[:17]}"


def kind_of(resource: str) -> str | None:
    """The kind that a well-formed id names, or None."""
    match = FORM.fullmatch(resource)
    return KINDS.get(match[1]) if match else None


def well_formed(kind: str, resource: str) -> bool:
    return kind_of(resource) == kind


def tap_name(instance: str) -> str:
    """Interface names have 15 bytes, an instance id has 19: the last 14 of its 17 digits must do."""
    return "t" + instance.removeprefix("i-")[-14:]


def guest_uuid(instance: str) -> str:
    """The SMBIOS uuid: begins `ec2`, by which cloud-init recognises the platform, and ends in the instance's digits,
    so that it needs no storage and never changes."""
    digits = instance.removeprefix("i-").rjust(17, "0")
    return f"ec2{digits[:5]}-{digits[5:9]}-4{digits[9:12]}-8{digits[12:15]}-{digits[15:]:0>2}{digits[:10]}"


def mac_address(instance: str) -> str:
    """Locally administered, 40 bits of the id; a UNIQUE column refuses the same twice."""
    digits = instance.removeprefix("i-")[-10:].rjust(10, "0")
    return "06:" + ":".join(digits[at : at + 2] for at in range(0, 10, 2))


@lru_cache(1024)
def default_vpc(project: str) -> str:
    """Each account has one default VPC; its id follows from the account and needs no row."""
    return f"{PREFIXES['vpc']}-{hashlib.sha256(f'vpc {project}'.encode()).hexdigest()[:17]}"


def beside_vpc(project: str, kind: str) -> str:
    """The account's one route table, internet gateway, network ACL or set of DHCP options; no rows either."""
    return f"{PREFIXES[kind]}-{default_vpc(project).partition('-')[2]}"


def interface_of(instance: str) -> str:
    """Each instance has one interface, whose id follows from its own."""
    return f"{PREFIXES['network-interface']}-{instance.partition('-')[2]}"


def attachment_of(instance: str) -> str:
    return f"eni-attach-{instance.partition('-')[2]}"


def instance_of(interface: str) -> str:
    return f"{PREFIXES['instance']}-{interface.partition('-')[2]}"


@lru_cache(1024)
def default_subnet(project: str, zone: str) -> str:
    return f"{PREFIXES['subnet']}-{hashlib.sha256(f'subnet {project} {zone}'.encode()).hexdigest()[:17]}"
