"""How an instance looks in an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import gmtime, strftime
from typing import Any

from cloudcore.api import metadata_options, monitoring
from cloudcore.api.calls import Call
from cloudcore.api.profile_associations import profile_view
from cloudcore.domain.addresses import hostname
from cloudcore.domain.ids import attachment_of, default_subnet, default_vpc, interface_of
from cloudcore.domain.instances import EC2_CODE, Instance, State
from cloudcore.domain.metadata_tree import DOMAIN
from cloudcore.domain.volumes import Attachment
from cloudcore.store.instance_pages import ShownInstance

INITIALIZING = 5.0  # seconds after its last change that a running instance is still said to initialize
ROOT_DEVICE = "/dev/sda1"


def state(value: State) -> dict[str, Any]:
    code, name = EC2_CODE[value]
    return {"Code": code, "Name": name}


def private_dns(address: str | None) -> str:
    """The guest's own full name: its metadata and DHCP say the same."""
    return f"{hostname(address)}.{DOMAIN}" if address else ""


def groups(shown: ShownInstance) -> list[dict[str, str]]:
    return [{"GroupId": id, "GroupName": name} for id, name in shown.groups]


def devices(disks: Sequence[Attachment]) -> list[dict[str, Any]]:
    return [
        {"DeviceName": one.device, "Ebs": {"VolumeId": one.volume, "Status": one.state.value, "AttachTime": one.since,
                                           "DeleteOnTermination": one.delete_on_termination}}
        for one in disks
    ]  # fmt: skip


def root_device(disks: Sequence[Attachment]) -> str:
    return disks[0].device if disks and disks[0].root else ROOT_DEVICE


def item(call: Call, shown: ShownInstance, tags: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """An element of instancesSet."""
    one, zone = shown.instance, shown.zone or call.cloud.zones[0]
    alive = one.state is not State.TERMINATED
    return {
        "InstanceId": one.id,
        "ImageId": one.image,
        "State": state(one.state),
        "PrivateDnsName": private_dns(one.address),
        "PublicIpAddress": shown.public,
        "PublicDnsName": shown.public or "",  # nobody serves a name for it: what can be called is the address
        "StateTransitionReason": one.reason or "",
        "StateReason": {"Code": one.reason_code, "Message": one.reason or one.reason_code} if one.reason_code else None,
        "KeyName": one.key_name,
        "AmiLaunchIndex": one.launch_index,
        "ProductCodes": [],
        "InstanceType": one.instance_type,
        "LaunchTime": one.created,
        "Placement": {"AvailabilityZone": zone, "GroupName": "", "Tenancy": "default"},
        "Monitoring": monitoring.view(one),
        "SubnetId": default_subnet(one.project, zone) if alive else None,
        "VpcId": default_vpc(one.project) if alive else None,
        "PrivateIpAddress": one.address,
        "Architecture": "x86_64",
        "RootDeviceType": "ebs",
        "RootDeviceName": root_device(shown.disks),
        "BlockDeviceMappings": devices(shown.disks),
        "VirtualizationType": "hvm",
        "ClientToken": one.client_token,
        "Tags": list(tags) or None,
        "SecurityGroups": groups(shown),
        "SourceDestCheck": one.source_dest_check,
        "Hypervisor": "xen",
        "IamInstanceProfile": profile_view(shown.profile) if shown.profile else None,
        "NetworkInterfaces": [interface(call, shown, zone)] if alive else [],
        "EbsOptimized": False,
        "EnaSupport": True,
        "MetadataOptions": metadata_options.view(one),
        "CpuOptions": {"CoreCount": one.vcpus, "ThreadsPerCore": 1},
    }  # fmt: skip


def interface(call: Call, shown: ShownInstance, zone: str) -> dict[str, Any]:
    """An element of networkInterfaceSet."""
    one = shown.instance
    outside = {"PublicIp": shown.public, "PublicDnsName": shown.public, "IpOwnerId": one.project}
    association = outside if shown.public else None
    address = {"Primary": True, "PrivateIpAddress": one.address, "PrivateDnsName": private_dns(one.address),
               "Association": association}  # fmt: skip
    return {
        "NetworkInterfaceId": interface_of(one.id),
        "SubnetId": default_subnet(one.project, zone),
        "VpcId": default_vpc(one.project),
        "OwnerId": one.project,
        "Status": "in-use",
        "MacAddress": one.mac,
        "PrivateIpAddress": one.address,
        "PrivateDnsName": private_dns(one.address),
        "SourceDestCheck": one.source_dest_check,
        "Association": association,
        "Groups": groups(shown),
        "InterfaceType": "interface",
        "Attachment": {"AttachmentId": attachment_of(one.id), "AttachTime": one.created,
                       "DeleteOnTermination": True, "DeviceIndex": 0, "Status": "attached"},
        "PrivateIpAddresses": [address] if one.address else [],
    }  # fmt: skip


def reservation(call: Call, members: Sequence[Mapping[str, Any]], first: Instance) -> dict[str, Any]:
    return {"ReservationId": first.reservation, "OwnerId": first.project, "Groups": [], "Instances": list(members)}


def status(call: Call, shown: ShownInstance, now: float) -> dict[str, Any]:
    """An element of instanceStatusSet."""
    one = shown.instance
    if one.state is not State.RUNNING:
        word, detail = "not-applicable", None
    elif now - one.changed < INITIALIZING:
        word, detail = "initializing", [{"Name": "reachability", "Status": "initializing"}]
    else:
        word, detail = "ok", [{"Name": "reachability", "Status": "passed"}]
    return {
        "AvailabilityZone": shown.zone or call.cloud.zones[0],
        "InstanceId": one.id,
        "InstanceState": state(one.state),
        "InstanceStatus": {"Status": word, "Details": detail},
        "SystemStatus": {"Status": word, "Details": detail},
    }


def transition_time(seconds: float) -> str:
    return strftime("%Y-%m-%d %H:%M:%S GMT", gmtime(seconds))


def change(before: Instance, after: Instance) -> dict[str, Any]:
    return {"InstanceId": after.id, "CurrentState": state(after.state), "PreviousState": state(before.state)}
