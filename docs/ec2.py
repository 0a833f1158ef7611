#!/usr/bin/env python3
"""Writes docs/ec2.md from the registry of actions and the remarks below: `.venv/bin/python docs/ec2.py`.

A test compares; by hand nothing is changed there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from cloudcore.api import (
    access_keys,
    address_actions,
    attachment_actions,
    attribute_changes,
    attributes,
    default_network,
    ebs_defaults,
    empties,
    group_actions,
    identity,
    image_actions,
    image_attributes,
    image_copies,
    image_views,
    import_actions,
    instance_describes,
    instance_types,
    interface_attributes,
    interfaces,
    key_actions,
    launching,
    lifecycle,
    metadata_options,
    monitoring,
    passwords,
    places,
    profile_actions,
    profile_associations,
    role_actions,
    rule_changes,
    screenshots,
    snapshot_actions,
    snapshot_permissions,
    tagging,
    temporary_keys,
    volume_actions,
    volume_changes,
)
from cloudcore.api.catalogue import ACTIONS
from cloudcore.api.registry import Accepted, Action

FILE = Path(__file__).with_name("ec2.md")
HEAD = """\
# What is offered of EC2, STS and IAM

Made by `docs/ec2.py` from the registry of actions and its own remarks. Change those, then run it again.

There are {ec2} actions of EC2, {empty} of them describes of kinds that cannot exist here, {sts} of STS and {iam} of
IAM. Requests are read, checked and answered by botocore's description of the service. An action that it knows and that
is not in this list answers `UnsupportedOperation`; one that it does not know, `InvalidAction`.

A parameter that an action has at Amazon is obeyed, or stands under "takes only" with the values at which it asks for
what is done anyway, or under "makes no difference". Any other is refused by name with `UnsupportedOperation`.
"""
STORAGE = """\
Of volumes in particular:

* A volume type is a label: sizes, IOPS and throughput are checked and shown as Amazon's, and no speed is enforced.
* Nothing is encrypted, and a volume is attached to one instance at a time.
* `Device` is a name in the books, and any form of it is another name (`sdf` beside `/dev/sdf`). The guest has virtio
  disks, which it names in the order of their coming (`/dev/vdb`); the serial number of each is its volume's id without
  the dash.
* The bytes lie on one host, in files (qcow2) or, by `[volume] driver = "lvm"`, in logical volumes. The files are tested
  with real guests; the logical volumes were tried against programs that stand in for LVM's, not on a real volume group.
* An instance may have a volume of another host, by NBD with TLS. Such a volume does not grow while a running guest has
  it: the modification fails, and says so.
"""

AREAS = (
    ("Instances", (launching.ACTIONS, lifecycle.ACTIONS, instance_describes.ACTIONS, attributes.ACTIONS,
                   attribute_changes.ACTIONS, metadata_options.ACTIONS, monitoring.ACTIONS, screenshots.ACTIONS,
                   passwords.ACTIONS, instance_types.ACTIONS)),
    ("Volumes", (volume_actions.ACTIONS, volume_changes.ACTIONS, attachment_actions.ACTIONS, ebs_defaults.ACTIONS)),
    ("Snapshots", (snapshot_actions.ACTIONS, snapshot_permissions.ACTIONS)),
    ("Images and imports", (image_views.ACTIONS, image_actions.ACTIONS, image_copies.ACTIONS, image_attributes.ACTIONS,
                            import_actions.ACTIONS)),
    ("Key pairs and tags", (key_actions.ACTIONS, tagging.ACTIONS)),
    ("Security groups", (group_actions.ACTIONS, rule_changes.ACTIONS)),
    ("Addresses and network interfaces", (address_actions.ACTIONS, interfaces.ACTIONS, interface_attributes.ACTIONS)),
    ("Places and the default network", (places.ACTIONS, default_network.ACTIONS)),
    ("Instance profiles of instances", (profile_associations.ACTIONS,)),
    ("STS", (identity.STS, temporary_keys.ACTIONS)),
    ("IAM", (identity.IAM, access_keys.ACTIONS, role_actions.ACTIONS, profile_actions.ACTIONS)),
)  # fmt: skip

ONE_DEFAULT = "what each project has from its first day; it cannot be changed"
REMARKS: Mapping[str, str] = {
    "RunInstances": "one network interface; the private address shows once a host is chosen, not in this answer",
    "StartInstances": "on the host that has the disks",
    "GetConsoleOutput": "what the guest wrote to its serial console",
    "GetConsoleScreenshot": "a JPEG, of a running instance",
    "GetPasswordData": "always empty: no guest is taken for Windows",
    "MonitorInstances": "kept and shown; nothing is measured",
    "UnmonitorInstances": "as MonitorInstances",
    "ModifyInstanceAttribute": "type and user data of a stopped instance, the rest at any time",
    "ModifyInstanceMetadataOptions": "the guest meets them at once",
    "DescribeInstanceCreditSpecifications": "always refused: no type is burstable",
    "GetInstanceUefiData": "always refused: guests start by their BIOS",
    "DescribeInstanceTypes": "the operator's table (reference.md), not Amazon's figures",
    "DescribeInstanceTypeOfferings": "those that the hosts could hold",
    "CreateVolume": "empty or from a snapshot",
    "ModifyVolume": "larger, never smaller; without Amazon's hours of rest between two",
    "AttachVolume": "the instance running or stopped",
    "DetachVolume": "of the root, only while the instance is stopped",
    "ModifyVolumeAttribute": "AutoEnableIO is kept and changes nothing",
    "GetEbsEncryptionByDefault": "always false",
    "GetEbsDefaultKmsKeyId": "the name that Amazon gives where nobody chose one; there are no keys",
    "CreateSnapshot": "of a running guest's volume too, as it is at one moment; the bytes kept are what has changed "
                      "since the one before",
    "CreateSnapshots": "all of one moment",
    "CopySnapshot": "within the region: both share the bytes",
    "DescribeImages": "a deprecated one of others only by its id or with IncludeDeprecated",
    "RegisterImage": "from an object (raw, qcow2, or an S3 manifest), which is read and judged first, or of snapshots",
    "DeregisterImage": "snapshots stay unless DeleteAssociatedSnapshots is given",
    "CreateImage": "shuts the guest down for the copy and starts it again, unless NoReboot is given or one of its "
                   "volumes lies on another host",
    "CopyImage": "within the region: both share the bytes",
    "ImportImage": "raw or qcow2, one disk, from an object; no VMDK, VHD or OVA",
    "ImportSnapshot": "raw or qcow2, from an object; a disk of data needs no boot sector",
    "CreateKeyPair": "RSA or ed25519, as PEM or PPK",
    "AuthorizeSecurityGroupIngress": "IPv4 ranges and groups; no prefix lists",
    "AuthorizeSecurityGroupEgress": "IPv4 ranges and groups; no prefix lists",
    "AllocateAddress": "from `[network] elastic_cidr`",
    "DescribeAddressesAttribute": "no address has a reverse name",
    "DescribeNetworkInterfaces": "each instance has one, which comes and goes with it",
    "ModifyNetworkInterfaceAttribute": "the attributes of its instance by another name",
    "DescribeAvailabilityZones": "those of the hosts",
    "DescribeVpcs": ONE_DEFAULT,
    "DescribeSubnets": ONE_DEFAULT,
    "DescribeRouteTables": ONE_DEFAULT,
    "DescribeInternetGateways": ONE_DEFAULT,
    "DescribeNetworkAcls": ONE_DEFAULT,
    "DescribeDhcpOptions": ONE_DEFAULT,
    "DescribeVpcAttribute": ONE_DEFAULT,
    "AssociateIamInstanceProfile": "keys of the role are at 169.254.169.254 at once",
    "AssumeRole": "a role of one's own account; it never adds a right",
    "GetSessionToken": "at most what the caller may",
    "CreateAccessKey": "for oneself, in the project that the key acts in",
    "PutRolePolicy": "Allow, actions, Resource \"*\"; whatever else a policy may say is refused",
    "CreateRole": "by administrators; trust in the account or in services, without conditions",
    "UpdateAssumeRolePolicy": "as CreateRole",
    "ListAttachedRolePolicies": "always empty: there are no managed policies",
    "CreateInstanceProfile": "by administrators; with at most one role",
    "ListAccountAliases": "always empty",
}


def document() -> str:
    counts = {service: len(actions) for service, actions in ACTIONS.items()}
    parts = [HEAD.format(**counts, empty=len(empties.ACTIONS))]
    for title, tables in AREAS:
        parts.append(f"## {title}\n")
        parts += [STORAGE] if title == "Volumes" else []
        parts += [*table({name: action for one in tables for name, action in one.items()}), ""]
    parts += ["## Describes of what cannot exist here\n",
              "They check their parameters and find nothing; what they are asked for by id is unknown.\n",
              *(f"* `{name}`" for name in sorted(empties.ACTIONS))]  # fmt: skip
    return "\n".join(parts).rstrip() + "\n"


def table(actions: Mapping[str, Action]) -> Iterator[str]:
    yield "| action | takes only | makes no difference | remark |\n|---|---|---|---|"
    for name in sorted(actions):
        fates = sorted(actions[name].fates.items())
        only = (f"`{path}` {', '.join(map(word, fate.values))}" for path, fate in fates if isinstance(fate, Accepted))
        idle = (f"`{path}`" for path, fate in fates if not isinstance(fate, Accepted))
        yield f"| `{name}` | {'; '.join(only)} | {', '.join(idle)} | {REMARKS.get(name, '')} |"


def word(value: object) -> str:
    """As it stands in a request."""
    return str(value).lower() if isinstance(value, bool) else "nothing" if value == [] else str(value)


if __name__ == "__main__":
    FILE.write_text(document(), "utf-8")
