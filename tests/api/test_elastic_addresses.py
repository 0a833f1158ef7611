"""What the tables of tests/wire cannot say of elastic addresses: an empty pool, the operations, plain boto3."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.parsers import EC2QueryParser

from cloudcore.api.site import Api
from cloudcore.domain.instances import Event
from tests.api.conftest import ALICE


def with_pool(house: Any, cidr: str) -> Any:
    house.cloud = replace(house.cloud, elastic_cidr=cidr)
    house.api = Api(house.cloud)
    return house


def test_a_pool_is_exhausted_and_released_addresses_rest(house: Any) -> None:
    with_pool(house, "10.91.0.0/29")
    made = [house.ask("AllocateAddress").text(".//allocationId") for _ in range(6)]
    assert house.ask("AllocateAddress").code == "InsufficientAddressCapacity"
    assert house.ask("ReleaseAddress", AllocationId=made[0]).status == 200
    assert house.ask("AllocateAddress").code == "InsufficientAddressCapacity", "it rests"
    house.clock.advance(61)
    assert house.ask("AllocateAddress").text(".//publicIp") == "10.91.0.1"


def test_a_refused_allocation_counts_for_nothing(house: Any) -> None:
    with_pool(house, "10.91.0.0/29")
    for _ in range(30):
        house.ask("AllocateAddress")
    assert house.works(lambda books: books.quotas.usage(ALICE))["elastic-addresses"][0] == 6


def test_without_a_pool_there_is_none(house: Any) -> None:
    assert with_pool(house, "").ask("AllocateAddress").code == "InsufficientAddressCapacity"


def test_a_larger_pool_gives_what_the_smaller_one_did_not(house: Any) -> None:
    with_pool(house, "10.91.0.0/29").ask("AllocateAddress")
    with_pool(house, "10.91.0.0/28")
    assert house.ask("AllocateAddress").text(".//publicIp") == "10.91.0.2"


def test_each_change_is_an_operation_of_the_address_and_is_hinted(house: Any) -> None:
    (one,) = house.run()
    house.moved(one, Event.GUEST_STARTED, "h1", "10.0.0.9")
    first, second = (house.ask("AllocateAddress") for _ in range(2))
    house.beyond.hints.clear()
    house.ask("AssociateAddress", AllocationId=first.text(".//allocationId"), InstanceId=one)
    house.ask("AssociateAddress", AllocationId=first.text(".//allocationId"), InstanceId=one)
    assert len(house.beyond.hints) == 1, "repeated, it changes nothing"
    house.ask("AssociateAddress", AllocationId=second.text(".//allocationId"), InstanceId=one)
    house.ask("DisassociateAddress", PublicIp=second.text(".//publicIp"))

    def operations(books: Any) -> list[tuple[Any, ...]]:
        chosen = "SELECT subject, generation, state FROM operations WHERE kind = 'address' ORDER BY subject, generation"
        return [tuple(row) for row in books._connection.exec_driver_sql(chosen)]

    assert house.works(operations) == [("10.91.0.1", 1, "superseded"), ("10.91.0.1", 2, "open"),
                                       ("10.91.0.2", 1, "superseded"), ("10.91.0.2", 2, "open")]  # fmt: skip
    assert len(house.beyond.hints) == 4


def test_every_change_leaves_one_audit_record(house: Any) -> None:
    (one,) = house.run()
    id = house.ask("AllocateAddress").text(".//allocationId")
    house.ask("AssociateAddress", AllocationId=id, InstanceId=one, DryRun="true")
    association = house.ask("AssociateAddress", AllocationId=id, InstanceId=one).text(".//associationId")
    house.ask("ReleaseAddress", AllocationId=id)
    house.ask("DisassociateAddress", AssociationId=association)
    house.ask("ReleaseAddress", AllocationId=id)

    def actions(books: Any) -> list[str]:
        found = books._connection.exec_driver_sql("SELECT action FROM audit ORDER BY id")
        return [row[0].removeprefix("ec2:") for row in found]

    assert house.works(actions) == ["RunInstances", "AllocateAddress", "AssociateAddress", "DisassociateAddress",
                                    "ReleaseAddress"]  # fmt: skip


def test_botocore_reads_what_we_answer(house: Any) -> None:
    (one,) = house.run()
    house.moved(one, Event.GUEST_STARTED, "h1", "10.0.0.9")
    id = house.ask("AllocateAddress").text(".//allocationId")
    house.ask("AssociateAddress", AllocationId=id, InstanceId=one)
    model = ServiceModel(Loader().load_service_model("ec2", "service-2"), "ec2")

    def read(action: str) -> Any:
        reply = house.ask(action).reply
        answer = {"body": reply.document, "headers": {}, "status_code": reply.status}
        return EC2QueryParser().parse(answer, model.operation_model(action).output_shape)

    (address,) = read("DescribeAddresses")["Addresses"]
    assert address["PrivateIpAddress"] == "10.0.0.9"
    assert address["NetworkInterfaceId"].startswith("eni-")
    instance = read("DescribeInstances")["Reservations"][0]["Instances"][0]
    assert instance["PublicIpAddress"] == instance["PublicDnsName"] == address["PublicIp"]
    interface = instance["NetworkInterfaces"][0]
    assert interface["Association"]["PublicIp"] == address["PublicIp"]
    assert interface["PrivateIpAddresses"][0]["Association"]["IpOwnerId"] == ALICE
