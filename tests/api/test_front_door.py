"""Unchanged clients through a real socket: boto3, and the aws command line where it is installed."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
import sqlalchemy as sa
import urllib3
from botocore.config import Config
from botocore.exceptions import ClientError
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutputAndValue

from cloudcore.api.calls import Cloud
from cloudcore.api.reading import BODY
from cloudcore.api.site import Api
from cloudcore.api.transport import ApiFactory
from cloudcore.auth.memory import MemoryAuthManager
from cloudcore.bus.loopback import LoopbackBus
from cloudcore.domain.images import Image
from cloudcore.domain.instances import Event, State
from cloudcore.rpc import compute, conductor, images
from cloudcore.rpc.contract import client, dispatcher
from cloudcore.store.books import Books
from cloudcore.store.database import Database
from cloudcore.store.instance_pages import InstancePages
from cloudcore.store.pages import Wanted
from cloudcore.store.schema import metadata
from tests.api.settling import settle

ACCOUNT = "111111111111"
IMAGE = "ami-00000000000000001"
SETTLES = {State.PENDING: Event.GUEST_STARTED, State.STARTING: Event.GUEST_STARTED, State.STOPPING: Event.GUEST_STOPPED,
           State.SHUTTING_DOWN: Event.GUEST_GONE}  # fmt: skip
AWS = Path(sys.executable).with_name("aws")


class Conductor:
    """Settles every instance of alice's at once, on host h1."""

    def __init__(self, database: Database[Books]) -> None:
        self._database, self._next = database, 10

    def hint(self, request: conductor.Hint) -> Deferred[conductor.Heard]:
        return self._database.transact(self._settle).addCallback(lambda ignored: conductor.Heard())

    def _settle(self, books: Books) -> None:
        for shown in books.over(InstancePages).page(ACCOUNT, Wanted(), 0):
            found = shown.instance
            if found.state is State.PENDING:
                self._next += 1
                found = books.instances.place(found, "h1", f"10.0.0.{self._next}")
            if found.state in SETTLES:
                books.instances.observe(found, SETTLES[found.state])
        settle(books)


class Host:
    def __init__(self) -> None:
        self.rebooted: list[str] = []

    def ensure(self, request: compute.WantedGuest) -> Deferred[compute.Taken]: ...

    def present(self, request: compute.Nothing) -> Deferred[compute.Presence]: ...

    def reboot(self, request: compute.InstanceName) -> compute.Done:
        self.rebooted.append(request.instance)
        return compute.Done()

    def console(self, request: compute.InstanceName) -> compute.ConsoleText:
        return compute.ConsoleText(b"Linux version <6>\r\nlogin:", reactor.seconds())


class Worker:
    def inspect(self, request: images.ImageLocation) -> images.InspectedImage:
        return images.InspectedImage(request.location, "0" * 64, 1 << 20, "qcow2", 1 << 30)


@dataclass
class Door:
    url: str
    key: tuple[str, str]
    host: Host
    clients: list[Any] = field(default_factory=list)

    def client(self, service: str, **options: Any) -> Any:
        """No retries: a call that needs one has failed."""
        settings = Config(retries={"total_max_attempts": 1}, **options)
        made = boto3.client(service, endpoint_url=self.url, region_name="us-east-2", aws_access_key_id=self.key[0],
                            aws_secret_access_key=self.key[1], config=settings)  # fmt: skip
        self.clients.append(made)
        return made

    def environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "AWS_ENDPOINT_URL": self.url,
                "AWS_ACCESS_KEY_ID": self.key[0], "AWS_SECRET_ACCESS_KEY": self.key[1],
                "AWS_DEFAULT_REGION": "us-east-2", "AWS_PAGER": "", "AWS_MAX_ATTEMPTS": "1"}  # fmt: skip


async def opened(directory: Path, visit: Callable[[Door], Deferred[Any]]) -> None:
    """The api with everything real but the conductor's and the host's work, for the length of one visit."""
    url = f"sqlite:///{directory}/cell.sqlite"
    engine = sa.create_engine(url)
    metadata.create_all(engine)
    engine.dispose()
    database = Database(reactor, url, Books)
    database.startService()
    await database.transact(_furnish)
    auth, host, bus = MemoryAuthManager(reactor, os.urandom), Host(), LoopbackBus(reactor)
    await auth.create_project("alice", ACCOUNT)
    await auth.create_user("alice")
    await auth.grant("alice", "user")
    key = await auth.create_access_key("alice", "alice")
    bus.serve("conductor", dispatcher(conductor.CONDUCTOR, Conductor(database)))
    bus.serve("images", dispatcher(images.IMAGES, Worker()))
    bus.serve("compute.h1", dispatcher(compute.COMPUTE, host))
    cloud = Cloud(
        clock=reactor, random=os.urandom, database=database, auth=auth, images=client(images.IMAGES, bus),
        conductor=client(conductor.CONDUCTOR, bus), off_reactor=deferToThread, page_secret=secrets.token_bytes(32),
        compute_of=lambda name: client(compute.COMPUTE, bus, f"compute.{name}"))  # fmt: skip
    endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
    port = await endpoint.listen(ApiFactory(Api(cloud), reactor))
    door = Door(f"http://127.0.0.1:{port.getHost().port}", (key.id, key.secret.reveal()), host)
    try:
        await visit(door)
    finally:
        for one in door.clients:
            one.close()
        await port.stopListening()
        await deferLater(reactor, 0.05)  # the ends of the connections arrive
        bus.stopService()
        database.stopService()


def _furnish(books: Books) -> None:
    books.images.insert(Image(IMAGE, ACCOUNT, "tiny", "", "images/tiny", "images/tiny", "0" * 64, 1, "raw", 1, "x86_64",
                              "/dev/sda1", False, "available", books.now()))  # fmt: skip


def refused(code: str, call: Callable[..., Any], **parameters: Any) -> None:
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    assert caught.value.response["Error"]["Code"] == code


@pytest.mark.deadline(60)
async def test_boto3_goes_through_the_life_of_an_instance(tmp_path: Path) -> None:
    def life(door: Door) -> None:
        ec2 = door.client("ec2")
        made = ec2.create_key_pair(KeyName="mine", KeyType="ed25519")
        assert made["KeyMaterial"].startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
        vpc = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
        group = ec2.create_security_group(GroupName="web", Description="w", VpcId=vpc)["GroupId"]
        ec2.authorize_security_group_ingress(
            GroupId=group, IpPermissions=[{"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80,
                                           "IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "all"}]}])
        launched = ec2.run_instances(
            ImageId=IMAGE, MinCount=1, MaxCount=2, KeyName="mine", SecurityGroupIds=[group], InstanceType="t3.nano",
            UserData="#!/bin/sh\n", TagSpecifications=[{"ResourceType": "instance",
                                                        "Tags": [{"Key": "Name", "Value": "a <&> b"}]}])
        ids = [one["InstanceId"] for one in launched["Instances"]]
        assert [one["State"]["Name"] for one in launched["Instances"]] == ["pending"] * 2
        ec2.get_waiter("instance_running").wait(InstanceIds=ids, WaiterConfig={"Delay": 1})
        (found,) = ec2.describe_instances(Filters=[{"Name": "tag:Name", "Values": ["a <*> b"]}])["Reservations"]
        one = found["Instances"][0]
        assert one["Tags"] == [{"Key": "Name", "Value": "a <&> b"}]
        assert one["SecurityGroups"] == [{"GroupId": group, "GroupName": "web"}]
        assert one["PrivateIpAddress"].startswith("10.0.0.")
        assert "login:" in ec2.get_console_output(InstanceId=ids[0])["Output"]
        ec2.reboot_instances(InstanceIds=ids[:1])
        assert door.host.rebooted == ids[:1]
        ec2.stop_instances(InstanceIds=ids)
        ec2.get_waiter("instance_stopped").wait(InstanceIds=ids, WaiterConfig={"Delay": 1})
        ec2.start_instances(InstanceIds=ids)
        ec2.get_waiter("instance_running").wait(InstanceIds=ids, WaiterConfig={"Delay": 1})
        refused("DependencyViolation", ec2.delete_security_group, GroupId=group)
        ec2.terminate_instances(InstanceIds=ids)
        ec2.get_waiter("instance_terminated").wait(InstanceIds=ids, WaiterConfig={"Delay": 1})
        ec2.delete_security_group(GroupId=group)
        ec2.delete_key_pair(KeyName="mine")
        refused("InvalidGroup.NotFound", ec2.describe_security_groups, GroupIds=[group])

    await opened(tmp_path, lambda door: deferToThread(life, door))


@pytest.mark.deadline(60)
async def test_boto3_is_told_once_what_is_wrong(tmp_path: Path) -> None:
    def mistakes(door: Door) -> None:
        ec2, run = door.client("ec2"), {"ImageId": IMAGE, "MinCount": 1, "MaxCount": 1}
        refused("DryRunOperation", ec2.run_instances, DryRun=True, **run)
        assert ec2.describe_instances()["Reservations"] == []
        first = ec2.run_instances(ClientToken="once", **run)["Instances"][0]["InstanceId"]
        assert ec2.run_instances(ClientToken="once", **run)["Instances"][0]["InstanceId"] == first
        refused("IdempotentParameterMismatch", ec2.run_instances, ClientToken="once", **{**run, "MaxCount": 2})
        refused("InvalidInstanceID.NotFound", ec2.describe_instances, InstanceIds=["i-0123456789abcdef0"])
        refused("InvalidInstanceID.Malformed", ec2.describe_instances, InstanceIds=["i-xyz"])
        refused("InvalidAMIID.NotFound", ec2.run_instances, **{**run, "ImageId": "ami-0123456789abcdef0"})
        refused("InvalidKeyPair.NotFound", ec2.run_instances, KeyName="none", **run)
        refused("VcpuLimitExceeded", ec2.run_instances, **{**run, "MinCount": 20, "MaxCount": 20},
                InstanceType="m5.4xlarge")
        refused("UnsupportedOperation", ec2.create_volume, AvailabilityZone="us-east-2a", Size=1, Encrypted=True)
        door.key = (door.key[0], "wrong")
        refused("AuthFailure", door.client("ec2").describe_instances)
        refused("SignatureDoesNotMatch", door.client("sts").get_caller_identity)

    await opened(tmp_path, lambda door: deferToThread(mistakes, door))


@pytest.mark.deadline(60)
async def test_boto3_reads_and_changes_what_terraform_and_ansible_do(tmp_path: Path) -> None:
    def attributes(door: Door) -> None:
        ec2 = door.client("ec2")
        options = {"HttpTokens": "required", "HttpPutResponseHopLimit": 2, "HttpEndpoint": "enabled"}
        made = ec2.run_instances(ImageId=IMAGE, MinCount=1, MaxCount=1, MetadataOptions=options, DisableApiStop=True,
                                 Monitoring={"Enabled": True})["Instances"][0]
        id = made["InstanceId"]
        assert (made["MetadataOptions"]["HttpTokens"], made["Monitoring"]["State"]) == ("required", "enabled")
        ec2.get_waiter("instance_running").wait(InstanceIds=[id], WaiterConfig={"Delay": 1})
        refused("OperationNotPermitted", ec2.stop_instances, InstanceIds=[id])
        ec2.modify_instance_attribute(InstanceId=id, DisableApiStop={"Value": False})
        ec2.unmonitor_instances(InstanceIds=[id])
        ec2.modify_instance_metadata_options(InstanceId=id, HttpTokens="optional", InstanceMetadataTags="enabled")
        group = ec2.create_security_group(GroupName="web", Description="w")["GroupId"]
        ec2.modify_instance_attribute(InstanceId=id, Groups=[group])
        (interface,) = ec2.describe_network_interfaces(
            Filters=[{"Name": "group-id", "Values": [group]}])["NetworkInterfaces"]  # fmt: skip
        assert interface["Attachment"]["InstanceId"] == id
        ec2.stop_instances(InstanceIds=[id])
        ec2.get_waiter("instance_stopped").wait(InstanceIds=[id], WaiterConfig={"Delay": 1})
        ec2.modify_instance_attribute(InstanceId=id, InstanceType={"Value": "t3.small"})
        ec2.modify_instance_attribute(InstanceId=id, UserData={"Value": b"#!/bin/sh\n"})
        ec2.start_instances(InstanceIds=[id])
        ec2.get_waiter("instance_running").wait(InstanceIds=[id], WaiterConfig={"Delay": 1})
        now = ec2.describe_instances(InstanceIds=[id])["Reservations"][0]["Instances"][0]
        assert (now["InstanceType"], now["MetadataOptions"]["HttpTokens"]) == ("t3.small", "optional")
        read = ec2.describe_instance_attribute(InstanceId=id, Attribute="userData")
        assert read["UserData"]["Value"] == "IyEvYmluL3NoCg=="

    await opened(tmp_path, lambda door: deferToThread(attributes, door))


@pytest.mark.deadline(60)
async def test_boto3_finds_the_default_network_whole_and_nothing_beyond(tmp_path: Path) -> None:
    def network(door: Door) -> None:
        ec2 = door.client("ec2")
        (vpc,) = ec2.describe_vpcs()["Vpcs"]
        within = [{"Name": "vpc-id", "Values": [vpc["VpcId"]]}]
        (table,) = ec2.describe_route_tables(Filters=within)["RouteTables"]
        assert table["Associations"][0]["Main"]
        assert len(ec2.describe_network_acls(Filters=within)["NetworkAcls"]) == 1
        attached = [{"Name": "attachment.vpc-id", "Values": [vpc["VpcId"]]}]
        (gateway,) = ec2.describe_internet_gateways(Filters=attached)["InternetGateways"]
        assert gateway["InternetGatewayId"] in [route["GatewayId"] for route in table["Routes"]]
        ec2.describe_dhcp_options(DhcpOptionsIds=[vpc["DhcpOptionsId"]])
        found = ec2.describe_vpc_attribute(VpcId=vpc["VpcId"], Attribute="enableDnsSupport")
        assert found["EnableDnsSupport"] == {"Value": True}
        assert ec2.describe_volumes()["Volumes"] == ec2.describe_hosts()["Hosts"] == []
        refused("InvalidVolume.NotFound", ec2.describe_volumes, VolumeIds=["vol-0123456789abcdef0"])
        refused("UnsupportedOperation", ec2.describe_instance_credit_specifications)
        for pages in ("describe_volumes", "describe_network_interfaces", "describe_route_tables"):
            assert list(ec2.get_paginator(pages).paginate(PaginationConfig={"PageSize": 5}))

    await opened(tmp_path, lambda door: deferToThread(network, door))


@pytest.mark.deadline(60)
async def test_s10_a_hundred_sends_of_one_token_launch_once(tmp_path: Path) -> None:
    def storm(door: Door) -> None:
        ec2 = door.client("ec2", max_pool_connections=16)

        def send(n: int) -> str:
            made = ec2.run_instances(ImageId=IMAGE, MinCount=1, MaxCount=1, ClientToken=f"token{n % 2}")
            return made["Instances"][0]["InstanceId"]

        with ThreadPoolExecutor(16) as threads:
            ids = set(threads.map(send, range(100)))
        found = [one["InstanceId"] for reservation in ec2.describe_instances()["Reservations"]
                 for one in reservation["Instances"]]  # fmt: skip
        assert (len(ids), sorted(found)) == (2, sorted(ids))

    await opened(tmp_path, lambda door: deferToThread(storm, door))


@pytest.mark.deadline(60)
async def test_boto3_pages_through_everything_once(tmp_path: Path) -> None:
    def pages(door: Door) -> None:
        ec2 = door.client("ec2")
        made = {one["InstanceId"] for _ in range(3)
                for one in ec2.run_instances(ImageId=IMAGE, MinCount=7, MaxCount=7)["Instances"]}  # fmt: skip
        found = [one["InstanceId"] for page in ec2.get_paginator("describe_instances").paginate(MaxResults=5)
                 for reservation in page["Reservations"] for one in reservation["Instances"]]  # fmt: skip
        assert sorted(found) == sorted(made)

    await opened(tmp_path, lambda door: deferToThread(pages, door))


@pytest.mark.deadline(60)
async def test_boto3_asks_sts_and_iam_who_it_is(tmp_path: Path) -> None:
    def identity(door: Door) -> None:
        assert door.client("sts").get_caller_identity()["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/alice"
        iam = door.client("iam")
        assert iam.get_user()["User"]["UserName"] == "alice"
        assert iam.list_account_aliases()["AccountAliases"] == []
        assert iam.list_roles()["Roles"] == []

    await opened(tmp_path, lambda door: deferToThread(identity, door))


@pytest.mark.deadline(60)
async def test_boto3_works_with_a_session_of_its_own(tmp_path: Path) -> None:
    def session(door: Door) -> None:
        made = door.client("sts").get_session_token(DurationSeconds=900)["Credentials"]
        assert 890 < made["Expiration"].timestamp() - reactor.seconds() <= 900
        own = door.key
        door.key = made["AccessKeyId"], made["SecretAccessKey"]
        refused("AuthFailure", door.client("ec2").describe_instances)
        door.key = own
        held = boto3.Session(made["AccessKeyId"], made["SecretAccessKey"], made["SessionToken"], "us-east-2")
        for service in ("ec2", "sts"):
            door.clients.append(held.client(service, endpoint_url=door.url))
        ec2, sts = door.clients[-2:]
        assert sts.get_caller_identity()["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/alice"
        ec2.create_key_pair(KeyName="mine", KeyType="ed25519")
        assert urllib3.request("GET", sts.generate_presigned_url("get_caller_identity", HttpMethod="GET")).status == 200
        refused("AccessDenied", sts.get_session_token)

    await opened(tmp_path, lambda door: deferToThread(session, door))


@pytest.mark.deadline(60)
async def test_a_presigned_get_is_served(tmp_path: Path) -> None:
    def presigned(door: Door) -> None:
        url = door.client("sts").generate_presigned_url("get_caller_identity", HttpMethod="GET")
        assert urllib3.request("GET", url).status == 200
        assert urllib3.request("GET", url.replace("Action=Get", "Action=get")).status == 403

    await opened(tmp_path, lambda door: deferToThread(presigned, door))


@pytest.mark.deadline(60)
async def test_the_socket_has_limits_and_a_health_page(tmp_path: Path) -> None:
    def raw(door: Door) -> None:
        assert urllib3.request("GET", f"{door.url}/healthz").data == b"ok\n"
        over = urllib3.request("POST", f"{door.url}/", body=b"x" * (BODY + 1))
        assert (over.status, b"InvalidRequest" in over.data) == (400, True)
        assert urllib3.request("POST", f"{door.url}/", body=b"a=" + b"x" * (BODY - 2)).status == 401
        assert urllib3.request("GET", f"{door.url}/?UserData={'x' * 30_000}").status == 401
        assert urllib3.request("GET", f"{door.url}/?UserData={'x' * 70_000}").status == 400
        assert urllib3.request("PUT", f"{door.url}/bucket").status == 400

    await opened(tmp_path, lambda door: deferToThread(raw, door))


@pytest.mark.skipif(not AWS.exists(), reason="the aws command line is not installed")
@pytest.mark.deadline(60)
async def test_the_aws_command_line_describes_and_launches(tmp_path: Path) -> None:
    async def lines(door: Door) -> None:
        for words in (f"ec2 run-instances --image-id {IMAGE} --count 1", "ec2 describe-instances --output text",
                      "sts get-caller-identity", "ec2 describe-key-pairs"):  # fmt: skip
            out, err, status = await getProcessOutputAndValue(str(AWS), words.split(), door.environment())
            assert status == 0, (words, out, err)
        out, err, status = await getProcessOutputAndValue(
            str(AWS), ["ec2", "describe-instances", "--filters", "Name=bogus,Values=x"], door.environment()
        )
        assert status != 0
        assert b"InvalidParameterValue" in err

    await opened(tmp_path, lambda door: Deferred.fromCoroutine(lines(door)))
