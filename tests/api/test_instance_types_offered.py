"""The operator's table of types, and what the hosts make of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cloudcore.api.site import Api
from cloudcore.domain.instance_types import BUILT_IN, InstanceType, table
from cloudcore.rpc.conductor import Heartbeat


@pytest.fixture
def own(house: Any) -> Any:
    house.cloud = replace(house.cloud, types=table([InstanceType("own.type", 3, 300, 5)], ["t3.*"]))
    house.api = Api(house.cloud)
    return house


def a_host(house: Any, name: str, zone: str, vcpus: int) -> None:
    beat = Heartbeat(host=name, cell="cell1", zone=zone, epoch=1, vcpus=vcpus, memory_mib=1 << 20, disk_gib=1 << 10,
                     guests=0, virt_type="kvm")  # fmt: skip
    house.works(lambda books: books.hosts.heard(beat))


def test_the_table_is_what_is_described_and_launched(own: Any) -> None:
    answer = own.ask("DescribeInstanceTypes", InstanceType__1="own.type")
    assert answer.text(".//vCpuInfo/defaultVCpus") == "3"
    assert answer.text(".//memoryInfo/sizeInMiB") == "300"
    assert own.ask("DescribeInstanceTypes", InstanceType__1="t3.nano").code == "InvalidInstanceType"
    assert own.ask("RunInstances", ImageId="ami-00000000000000001", MinCount=1, MaxCount=1,
                   InstanceType="t3.nano").code == "InvalidParameterValue"  # fmt: skip
    (id,) = own.run(InstanceType="own.type")
    assert own.ask("DescribeInstances", InstanceId__1=id).text(".//cpuOptions/coreCount") == "3"


def test_without_a_default_type_the_type_must_be_named(own: Any) -> None:
    assert own.ask("RunInstances", ImageId="ami-00000000000000001", MinCount=1, MaxCount=1).code == "MissingParameter"


def test_types_are_paged(house: Any) -> None:
    seen: list[str] = []
    token: dict[str, str] = {}
    for _ in range(9):
        answer = house.ask("DescribeInstanceTypes", MaxResults=5, **token)
        seen += answer.texts(".//instanceTypeSet/item/instanceType")
        if not answer.text("nextToken"):
            break
        token = {"NextToken": answer.text("nextToken")}
    assert seen == sorted(kind.name for kind in BUILT_IN)


def offered(house: Any, location_type: str) -> set[tuple[str, str]]:
    answer = house.ask("DescribeInstanceTypeOfferings", LocationType=location_type)
    items = answer.root.findall(".//instanceTypeOfferingSet/item")
    return {(item.findtext("instanceType"), item.findtext("location")) for item in items}


def test_without_a_known_host_everything_is_offered_everywhere(house: Any) -> None:
    assert len(offered(house, "region")) == len(BUILT_IN)
    assert len(offered(house, "availability-zone")) == 2 * len(BUILT_IN)


def test_what_is_larger_than_every_host_is_described_but_not_offered(house: Any) -> None:
    a_host(house, "h1", "us-east-2a", 8)
    a_host(house, "h2", "us-east-2b", 2)
    assert ("m5.4xlarge", "us-east-2") not in offered(house, "region")
    assert ("m5.2xlarge", "us-east-2") in offered(house, "region")
    zones = offered(house, "availability-zone")
    assert ("m5.2xlarge", "us-east-2a") in zones
    assert ("m5.2xlarge", "us-east-2b") not in zones
    assert ("m5.large", "use2-az2") in offered(house, "availability-zone-id")
    assert house.ask("DescribeInstanceTypes", InstanceType__1="m5.4xlarge").status == 200
    order = {"ImageId": "ami-00000000000000001", "MinCount": 1, "MaxCount": 1}
    refused = house.ask("RunInstances", InstanceType="m5.4xlarge", **order)
    assert (refused.code, refused.status) == ("Unsupported", 400)
    assert "larger than every host" in refused.text(".//Message")
    elsewhere = {"Placement.AvailabilityZone": "us-east-2b"}
    assert house.ask("RunInstances", InstanceType="m5.2xlarge", **order, **elsewhere).code == "Unsupported"
    assert house.ask("RunInstances", InstanceType="m5.2xlarge", **order).status == 200
