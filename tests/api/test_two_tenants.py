"""S06: somebody else's id and an id that never was give the same answer, wherever an id can stand."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from cloudcore.api.catalogue import ACTIONS
from cloudcore.domain.ids import beside_vpc, default_vpc, interface_of
from tests.api.conftest import ALICE

WHERE = [  # action, parameter that names, what it names, what else the action needs
    ("DescribeInstances", "InstanceId.1", "instance", {}),
    ("DescribeInstanceStatus", "InstanceId.1", "instance", {}),
    ("StartInstances", "InstanceId.1", "instance", {}),
    ("StopInstances", "InstanceId.1", "instance", {}),
    ("RebootInstances", "InstanceId.1", "instance", {}),
    ("TerminateInstances", "InstanceId.1", "instance", {}),
    ("GetConsoleOutput", "InstanceId", "instance", {}),
    ("DescribeInstanceAttribute", "InstanceId", "instance", {"Attribute": "userData"}),
    ("ModifyInstanceAttribute", "InstanceId", "instance", {"DisableApiTermination.Value": "true"}),
    ("ModifyInstanceMetadataOptions", "InstanceId", "instance", {"HttpTokens": "required"}),
    ("MonitorInstances", "InstanceId.1", "instance", {}),
    ("UnmonitorInstances", "InstanceId.1", "instance", {}),
    ("ResetInstanceAttribute", "InstanceId", "instance", {"Attribute": "sourceDestCheck"}),
    ("GetPasswordData", "InstanceId", "instance", {}),
    ("GetConsoleScreenshot", "InstanceId", "instance", {}),
    ("DescribeNetworkInterfaces", "NetworkInterfaceId.1", "interface", {}),
    ("DescribeNetworkInterfaceAttribute", "NetworkInterfaceId", "interface", {"Attribute": "groupSet"}),
    ("ModifyNetworkInterfaceAttribute", "NetworkInterfaceId", "interface", {"SourceDestCheck.Value": "false"}),
    ("DescribeRouteTables", "RouteTableId.1", "route table", {}),
    ("DescribeInternetGateways", "InternetGatewayId.1", "internet gateway", {}),
    ("DescribeNetworkAcls", "NetworkAclId.1", "network acl", {}),
    ("DescribeDhcpOptions", "DhcpOptionsId.1", "dhcp options", {}),
    ("DescribeVpcAttribute", "VpcId", "vpc", {"Attribute": "enableDnsSupport"}),
    ("CreateTags", "ResourceId.1", "interface", {"Tag.1.Key": "a"}),
    ("CreateTags", "ResourceId.1", "route table", {"Tag.1.Key": "a"}),
    ("CreateTags", "ResourceId.1", "instance", {"Tag.1.Key": "a"}),
    ("CreateTags", "ResourceId.1", "group", {"Tag.1.Key": "a"}),
    ("CreateTags", "ResourceId.1", "rule", {"Tag.1.Key": "a"}),
    ("CreateTags", "ResourceId.1", "pair", {"Tag.1.Key": "a"}),
    ("CreateTags", "ResourceId.1", "image", {"Tag.1.Key": "a"}),
    ("DeleteTags", "ResourceId.1", "instance", {"Tag.1.Key": "a"}),
    ("DescribeImages", "ImageId.1", "image", {}),
    ("DeregisterImage", "ImageId", "image", {}),
    ("RunInstances", "ImageId", "image", {"MinCount": "1", "MaxCount": "1"}),
    ("RunInstances", "SecurityGroupId.1", "group",
     {"MinCount": "1", "MaxCount": "1", "ImageId": "ami-00000000000000002"}),
    ("DescribeKeyPairs", "KeyPairId.1", "pair", {}),
    ("DeleteKeyPair", "KeyPairId", "pair", {}),
    ("DescribeSecurityGroups", "GroupId.1", "group", {}),
    ("DeleteSecurityGroup", "GroupId", "group", {}),
    ("DescribeSecurityGroupRules", "SecurityGroupRuleId.1", "rule", {}),
    ("AuthorizeSecurityGroupIngress", "GroupId", "group", {"IpProtocol": "-1", "CidrIp": "0.0.0.0/0"}),
    ("RevokeSecurityGroupEgress", "GroupId", "group", {"IpProtocol": "-1", "CidrIp": "0.0.0.0/0"}),
    ("ModifySecurityGroupRules", "GroupId", "group",
     {"SecurityGroupRule.1.SecurityGroupRuleId": "sgr-0fedcba9876543210",
      "SecurityGroupRule.1.SecurityGroupRule.IpProtocol": "-1",
      "SecurityGroupRule.1.SecurityGroupRule.CidrIpv4": "10.0.0.0/8"}),
    ("UpdateSecurityGroupRuleDescriptionsIngress", "GroupId", "group",
     {"SecurityGroupRuleDescription.1.SecurityGroupRuleId": "sgr-0fedcba9876543210"}),
    ("DescribeAddresses", "AllocationId.1", "elastic", {}),
    ("DescribeAddressesAttribute", "AllocationId.1", "elastic", {}),
    ("AssociateAddress", "AllocationId", "elastic", {"InstanceId": "i-0fedcba9876543210"}),
    ("AssociateAddress", "PublicIp", "public", {"InstanceId": "i-0fedcba9876543210"}),
    ("DisassociateAddress", "AssociationId", "association", {}),
    ("DisassociateAddress", "PublicIp", "public", {}),
    ("ReleaseAddress", "AllocationId", "elastic", {}),
    ("CreateTags", "ResourceId.1", "elastic", {"Tag.1.Key": "a"}),
    ("DescribeVolumes", "VolumeId.1", "volume", {}),
    ("DescribeVolumeStatus", "VolumeId.1", "volume", {}),
    ("DescribeVolumesModifications", "VolumeId.1", "volume", {}),
    ("DescribeVolumeAttribute", "VolumeId", "volume", {"Attribute": "autoEnableIO"}),
    ("ModifyVolumeAttribute", "VolumeId", "volume", {"AutoEnableIO.Value": "true"}),
    ("ModifyVolume", "VolumeId", "volume", {"Size": "9"}),
    ("DeleteVolume", "VolumeId", "volume", {}),
    ("AttachVolume", "VolumeId", "volume", {"InstanceId": "i-0fedcba9876543210", "Device": "/dev/sdf"}),
    ("DetachVolume", "VolumeId", "volume", {}),
    ("CreateSnapshot", "VolumeId", "volume", {}),
    ("CreateSnapshots", "InstanceSpecification.InstanceId", "instance", {}),
    ("CreateVolume", "SnapshotId", "snapshot", {"AvailabilityZone": "us-east-2a"}),
    ("CopySnapshot", "SourceSnapshotId", "snapshot", {"SourceRegion": "us-east-2"}),
    ("DescribeSnapshots", "SnapshotId.1", "snapshot", {}),
    ("DeleteSnapshot", "SnapshotId", "snapshot", {}),
    ("DescribeSnapshotAttribute", "SnapshotId", "snapshot", {"Attribute": "createVolumePermission"}),
    ("ModifySnapshotAttribute", "SnapshotId", "snapshot", {"CreateVolumePermission.Add.1.Group": "all"}),
    ("ResetSnapshotAttribute", "SnapshotId", "snapshot", {"Attribute": "createVolumePermission"}),
    ("RunInstances", "BlockDeviceMapping.1.Ebs.SnapshotId", "snapshot",
     {"MinCount": "1", "MaxCount": "1", "ImageId": "ami-00000000000000002",
      "BlockDeviceMapping.1.DeviceName": "/dev/sdf"}),
    ("CreateTags", "ResourceId.1", "volume", {"Tag.1.Key": "a"}),
    ("CreateTags", "ResourceId.1", "snapshot", {"Tag.1.Key": "a"}),
    ("CreateImage", "InstanceId", "instance", {"Name": "copy"}),
    ("CopyImage", "SourceImageId", "image", {"Name": "copy", "SourceRegion": "us-east-2"}),
    ("DescribeImageAttribute", "ImageId", "image", {"Attribute": "launchPermission"}),
    ("ModifyImageAttribute", "ImageId", "image", {"Description.Value": "mine"}),
    ("ResetImageAttribute", "ImageId", "image", {"Attribute": "launchPermission"}),
    ("EnableImageDeprecation", "ImageId", "image", {"DeprecateAt": "2030-01-01T00:00:00Z"}),
    ("DisableImageDeprecation", "ImageId", "image", {}),
    ("DescribeImportImageTasks", "ImportTaskId.1", "image task", {}),
    ("DescribeImportSnapshotTasks", "ImportTaskId.1", "snapshot task", {}),
    ("CancelImportTask", "ImportTaskId", "snapshot task", {}),
    ("CreateTags", "ResourceId.1", "image task", {"Tag.1.Key": "a"}),
    ("AssociateIamInstanceProfile", "InstanceId", "instance", {"IamInstanceProfile.Name": "web"}),
    ("DescribeIamInstanceProfileAssociations", "AssociationId.1", "profile association", {}),
    ("DisassociateIamInstanceProfile", "AssociationId", "profile association", {}),
    ("ReplaceIamInstanceProfileAssociation", "AssociationId", "profile association",
     {"IamInstanceProfile.Name": "web"}),
    ("DescribeTags", "Filter.1.Value.1", "instance", {"Filter.1.Name": "resource-id"}),
]  # fmt: skip
NEVER = {"instance": "i-0fedcba9876543210", "group": "sg-0fedcba9876543210", "rule": "sgr-0fedcba9876543210",
         "pair": "key-0fedcba9876543210", "image": "ami-0fedcba9876543210", "interface": "eni-0fedcba9876543210",
         "vpc": "vpc-0fedcba9876543210", "route table": "rtb-0fedcba9876543210",
         "internet gateway": "igw-0fedcba9876543210", "network acl": "acl-0fedcba9876543210",
         "dhcp options": "dopt-0fedcba9876543210",
         "elastic": "eipalloc-0fedcba9876543210", "association": "eipassoc-0fedcba9876543210",
         "volume": "vol-0fedcba9876543210", "snapshot": "snap-0fedcba9876543210",
         "image task": "import-ami-0fedcba9876543210", "snapshot task": "import-snap-0fedcba9876543210",
         "profile association": "iip-assoc-0fedcba9876543210", "public": "192.0.2.1"}  # fmt: skip


def belongings(house: Any) -> dict[str, str]:
    """Alice's."""
    (instance,) = house.run()
    group = house.ask("CreateSecurityGroup", GroupName="web", GroupDescription="d").text("groupId")
    rule = house.ask("AuthorizeSecurityGroupIngress", GroupId=group, IpProtocol="tcp", FromPort=1, ToPort=2,
                     CidrIp="10.0.0.0/8").text(".//securityGroupRuleId")  # fmt: skip
    pair = house.ask("CreateKeyPair", KeyName="k", KeyType="ed25519").text("keyPairId")
    house.ask("CreateTags", **{"ResourceId.1": instance, "Tag.1.Key": "a"})
    given = {kind.replace("-", " "): beside_vpc(ALICE, kind)
             for kind in ("route-table", "internet-gateway", "network-acl", "dhcp-options")}  # fmt: skip
    elastic = house.ask("AllocateAddress")
    allocation = elastic.text("allocationId")
    association = house.ask("AssociateAddress", AllocationId=allocation, InstanceId=instance).text("associationId")
    volume = house.ask("CreateVolume", AvailabilityZone="us-east-2a", Size=1).text("volumeId")
    house.settled()
    snapshot = house.ask("CreateSnapshot", VolumeId=volume).text("snapshotId")
    house.settled()
    given |= {"volume": volume, "snapshot": snapshot, "profile association": profiled(house, instance)}
    for kind, disk in (("Image", "DiskContainer.1"), ("Snapshot", "DiskContainer")):
        place = {f"{disk}.UserBucket.S3Bucket": "b", f"{disk}.UserBucket.S3Key": "k"}
        given[f"{kind.lower()} task"] = house.ask(f"Import{kind}", **place).text("importTaskId")
    return given | {"instance": instance, "group": group, "rule": rule, "pair": pair, "image": "ami-00000000000000001",
                    "interface": interface_of(instance), "vpc": default_vpc(ALICE), "elastic": allocation,
                    "association": association, "public": elastic.text("publicIp")}  # fmt: skip


def profiled(house: Any, instance: str) -> str:
    """The association of the instance with a profile of its account's."""
    house.ask("CreateInstanceProfile", "ada", "iam", InstanceProfileName="web")
    made = house.ask("AssociateIamInstanceProfile", "ada", InstanceId=instance, IamInstanceProfile__Name="web")
    return made.text(".//associationId")


def rows(house: Any) -> list[Any]:
    return [house.ask(action, **more).reply.document.partition(b"</requestId>")[2] for action, more in (
        ("DescribeInstances", {}), ("DescribeSecurityGroups", {}), ("DescribeKeyPairs", {}), ("DescribeTags", {}),
        ("DescribeAddresses", {}), ("DescribeImages", {"Owner.1": "self"}), ("DescribeVolumes", {}),
        ("DescribeSnapshots", {}), ("DescribeImportImageTasks", {}), ("DescribeImportSnapshotTasks", {}),
        ("DescribeIamInstanceProfileAssociations", {}))]  # fmt: skip


@pytest.mark.parametrize(("action", "parameter", "kind", "more"), WHERE, ids=[f"{one[0]}-{one[2]}" for one in WHERE])
def test_foreign_equals_absent(house: Any, action: str, parameter: str, kind: str, more: dict[str, str]) -> None:
    own = belongings(house)
    assert all(own.values()), own
    before, answers = rows(house), []
    for id in (own[kind], NEVER[kind]):
        answer = house.ask(action, who="bob", **{parameter: id}, **more)
        document = answer.reply.document.replace(id.encode(), b"ID").replace(answer.reply.request_id.encode(), b"")
        answers.append((answer.status, document))
    assert answers[0] == answers[1]
    assert rows(house) == before


def test_every_action_that_takes_an_id_is_here() -> None:
    """Egress and ingress twins share their code; VPCs, subnets and types are nobody's rows; two have no answer."""
    elsewhere = {"AuthorizeSecurityGroupEgress", "RevokeSecurityGroupIngress", "DescribeVpcs", "DescribeSubnets",
                 "CreateSecurityGroup", "DescribeAvailabilityZones", "UpdateSecurityGroupRuleDescriptionsEgress",
                 "DescribeInstanceCreditSpecifications", "GetInstanceUefiData"}  # fmt: skip
    taking = {name for name, action in ACTIONS["ec2"].items()
              if any(one.name == "Resources" or one.name.removesuffix("s").endswith("Id")
                     for one in fields(action.parameters))}  # fmt: skip
    assert taking - elsewhere == {one[0] for one in WHERE} - {"DescribeTags", "CreateSnapshots"}
