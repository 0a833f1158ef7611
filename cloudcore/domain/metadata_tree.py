"""What a guest may read at 169.254.169.254, as a plain value and a pure walk over it.

`document` is built from rows where the rows are, travels as plain JSON in `rpc.network.Port.metadata`, and is walked
by the metadata service of the guest's host. Directories are dicts, leaves are text. Only what is served is listed:
cloud-init reads every leaf that a listing names, and gives up on the first that is missing.

Source: EC2's user guide, "Instance metadata categories"; what clients ask is in the tests.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cloudcore.domain.instance_profiles import InstanceRole, iam_tree

VERSIONS = (
    "1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15", "2008-02-01", "2008-09-01",
    "2009-04-04", "2011-01-01", "2011-05-01", "2012-01-12", "2014-02-25", "2014-11-05", "2015-10-20", "2016-04-19",
    "2016-06-30", "2016-09-02", "2018-03-28", "2018-08-17", "2018-09-24", "2019-10-01", "2020-10-27", "2021-01-03",
    "2021-03-23", "2021-07-15", "latest",
)  # fmt: skip
OPTIONS, META_DATA, DYNAMIC, USER_DATA = "options", "meta-data", "dynamic", "user-data"
KEYS = (META_DATA, "public-keys")
DOMAIN = "cloudcore.internal"  # of guests' names


@dataclass(frozen=True, slots=True)
class Options:
    """How the instance wants to be asked. `tokens`: optional or required; `endpoint`: enabled or disabled; `hop_limit`:
    1 to 64, the IP TTL of the answer that carries a token."""

    tokens: str = "optional"
    endpoint: str = "enabled"
    hop_limit: int = 1


@dataclass(frozen=True, slots=True)
class Association:
    """A security group by name and id."""

    name: str
    id: str


@dataclass(frozen=True, slots=True)
class MetadataFacts:
    """Everything an instance may know of itself. Times are ISO 8601 in UTC (`2026-01-02T03:04:05Z`)."""

    instance_id: str
    image_id: str
    instance_type: str
    reservation_id: str
    account: str
    region: str
    zone: str
    mac: str
    address: str
    hostname: str  # the bare name: ip-10-90-0-12
    pending_time: str
    launch_index: int = 0
    domain: str = DOMAIN
    architecture: str = "x86_64"
    groups: tuple[Association, ...] = ()
    key_name: str | None = None
    public_key: str | None = None  # one OpenSSH line
    vpc_id: str = ""
    vpc_cidr: str = ""
    subnet_id: str = ""
    subnet_cidr: str = ""
    interface_id: str = ""
    public_address: str | None = None
    root_device: str = "/dev/vda"
    tags: tuple[tuple[str, str], ...] | None = None  # None: the instance does not show its tags
    options: Options = Options()


@dataclass(frozen=True, slots=True)
class Listing:
    names: tuple[str, ...]  # directories end in "/"; public keys are "0=name"


@dataclass(frozen=True, slots=True)
class Leaf:
    content: bytes


# -- building ---------------------------------------------------------------------------------------------------------


def document(facts: MetadataFacts) -> dict[str, Any]:
    """Plain JSON: {"options": {...}, "meta-data": {...}, "dynamic": {...}}. User data travels beside it, as bytes."""
    chosen = facts.options
    found = {
        OPTIONS: {"tokens": chosen.tokens, "endpoint": chosen.endpoint, "hop_limit": chosen.hop_limit},
        META_DATA: _meta_data(facts),
        DYNAMIC: {"instance-identity": {"document": _identity(facts)}},
    }
    return with_public(found, facts.mac, facts.public_address) if facts.public_address else found


def with_public(found: Mapping[str, Any], mac: str, public: str) -> dict[str, Any]:
    """The same document of an instance that an elastic address leads to: that comes and goes while the rest stays."""
    tree = dict(found.get(META_DATA, {}))
    tree |= {"public-ipv4": public, "public-hostname": public}
    macs = tree.get("network", {}).get("interfaces", {}).get("macs", {})
    if mac in macs:
        mine = macs[mac] | {"public-ipv4s": public, "public-hostname": public,
                            "ipv4-associations": {public: macs[mac].get("local-ipv4s", "")}}  # fmt: skip
        tree["network"] = {"interfaces": {"macs": macs | {mac: mine}}}
    return {**found, META_DATA: tree}


def with_role(found: Mapping[str, Any], held: InstanceRole) -> dict[str, Any]:
    """The same document of an instance that has a profile. Its keys travel beside the document and not in it: what
    holds secrets is made where it is served."""
    return {**found, META_DATA: {**found.get(META_DATA, {}), "iam": iam_tree(held)}}


def options(found: Mapping[str, Any]) -> Options:
    return Options(**found.get(OPTIONS, {}))


def _meta_data(facts: MetadataFacts) -> dict[str, Any]:
    name = f"{facts.hostname}.{facts.domain}"
    tree: dict[str, Any] = {
        "ami-id": facts.image_id,
        "ami-launch-index": str(facts.launch_index),
        "ami-manifest-path": "(unknown)",
        "block-device-mapping": {"ami": facts.root_device.removeprefix("/dev/"), "root": facts.root_device},
        "events": {"maintenance": {"history": "[]", "scheduled": "[]"}},
        "hostname": name,
        "instance-action": "none",
        "instance-id": facts.instance_id,
        "instance-life-cycle": "on-demand",
        "instance-type": facts.instance_type,
        "local-hostname": name,
        "local-ipv4": facts.address,
        "mac": facts.mac,
        "network": {"interfaces": {"macs": {facts.mac: _interface(facts, name)}}},
        "placement": {"availability-zone": facts.zone, "region": facts.region},
        "profile": "default-hvm",
        "reservation-id": facts.reservation_id,
        "security-groups": "\n".join(group.name for group in facts.groups),
        "services": {"domain": facts.domain, "partition": "aws"},
    }
    if facts.key_name and facts.public_key:
        tree["public-keys"] = {"0": {"name": facts.key_name, "openssh-key": facts.public_key.strip() + "\n"}}
    if facts.tags is not None:
        tree["tags"] = {"instance": dict(facts.tags)}
    return tree


def _interface(facts: MetadataFacts, name: str) -> dict[str, Any]:
    tree: dict[str, Any] = {
        "device-number": "0",
        "interface-id": facts.interface_id,
        "local-hostname": name,
        "local-ipv4s": facts.address,
        "mac": facts.mac,
        "owner-id": facts.account,
        "security-group-ids": "\n".join(group.id for group in facts.groups),
        "security-groups": "\n".join(group.name for group in facts.groups),
        "subnet-id": facts.subnet_id,
        "subnet-ipv4-cidr-block": facts.subnet_cidr,
        "vpc-id": facts.vpc_id,
        "vpc-ipv4-cidr-block": facts.vpc_cidr,
        "vpc-ipv4-cidr-blocks": facts.vpc_cidr,
    }
    return {key: value for key, value in tree.items() if value}  # no vpc-id, no VPC: an empty one confuses cloud-init


def _identity(facts: MetadataFacts) -> str:
    return json.dumps({
        "accountId": facts.account,
        "architecture": facts.architecture,
        "availabilityZone": facts.zone,
        "billingProducts": None,
        "devpayProductCodes": None,
        "imageId": facts.image_id,
        "instanceId": facts.instance_id,
        "instanceType": facts.instance_type,
        "kernelId": None,
        "marketplaceProductCodes": None,
        "pendingTime": facts.pending_time,
        "privateIp": facts.address,
        "ramdiskId": None,
        "region": facts.region,
        "version": "2017-09-30",
    }, indent=2)  # fmt: skip


# -- walking ----------------------------------------------------------------------------------------------------------


def find(found: Mapping[str, Any], user_data: bytes | None, path: str) -> Listing | Leaf | None:
    """What is at a decoded path such as `/latest/meta-data/`. Slashes at the end and doubled ones do not matter:
    clients send both. `found` may be any document, also an empty one."""
    version, *names = [part for part in path.split("/") if part] or [""]
    if not version:
        return Listing(VERSIONS)
    if version not in VERSIONS:
        return None
    if not names:
        tops = (DYNAMIC, META_DATA) if found else ()
        return Listing((*tops, USER_DATA) if user_data is not None else tops)
    if names == [USER_DATA]:
        return Leaf(user_data) if user_data is not None else None
    if names[0] not in (META_DATA, DYNAMIC):
        return None
    return _walk(found, tuple(names))


def _walk(found: Mapping[str, Any], names: tuple[str, ...]) -> Listing | Leaf | None:
    node: Any = found
    for name in names:
        node = node.get(name) if isinstance(node, Mapping) else None
    inside_key = len(names) >= 3 and names[:2] == KEYS
    if inside_key and names[3:] == ("name",):
        return None  # only shown in the listing of keys
    if isinstance(node, str):
        return Leaf(node.encode())
    if not isinstance(node, Mapping):
        return None
    if names == KEYS:
        return Listing(tuple(f"{index}={key['name']}" for index, key in node.items()))
    if inside_key:
        return Listing(("openssh-key",))
    return Listing(tuple(name + "/" * isinstance(value, Mapping) for name, value in sorted(node.items())))
