"""EC2 and S3 at one port, by unchanged clients and over one connection."""

from __future__ import annotations

import hashlib
import http.client
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from cloudcore.api.calls import Cloud
from cloudcore.api.site import Api
from cloudcore.api.transport import ApiFactory
from cloudcore.auth.memory import MemoryAuthManager
from cloudcore.daemon.front import FrontFactory
from cloudcore.daemon.serving import Door
from cloudcore.domain.policy import permits
from cloudcore.signing.heads import Head
from cloudcore.signing.signer import Signer, sign
from cloudcore.store.database import InlineDatabase
from objectstore.chain import Doors
from objectstore.service import ObjectStore, Settings

REGION = "us-east-2"
BIG = os.urandom(1 << 20) * 12


@dataclass
class Place:
    port: int
    key: tuple[str, str]
    factory: FrontFactory

    def client(self, service: str, **options: Any) -> Any:
        settings = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, **options)
        return boto3.client(service, endpoint_url=f"http://127.0.0.1:{self.port}", region_name=REGION,
                            aws_access_key_id=self.key[0], aws_secret_access_key=self.key[1], config=settings)

    def ask(self, connection: http.client.HTTPConnection, service: str, method: str, path: str,
            body: bytes = b"", more: dict[str, str] | None = None) -> tuple[int, bytes]:  # fmt: skip
        bare = {"host": f"127.0.0.1:{self.port}", **(more or {})}
        now = reactor.seconds()
        signer, digest = Signer(*self.key, REGION, service), hashlib.sha256(body).hexdigest()
        headers = sign(Head(method, path, "", bare), signer, now, digest)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()


async def standing(directory: Path, visit: Callable[[Place], Any], away: bool = False) -> None:
    auth = MemoryAuthManager(reactor, os.urandom)
    await auth.create_project("alice", "111111111111")
    await auth.create_user("alice")
    await auth.grant("alice", "user")
    key = await auth.create_access_key("alice", "alice")
    store = ObjectStore(reactor, directory / "store", auth, permits, os.urandom, Settings(Doors((REGION,))))
    await maybeDeferred(store.startService)
    behind = Door(reactor, "127.0.0.1", 0, store.factory())
    behind.startService()
    port = behind.port
    if away:
        await behind.stopService()
    nobody: Any = None
    cloud = Cloud(clock=reactor, random=os.urandom, database=InlineDatabase(now=reactor.seconds), auth=auth,
                  images=nobody, conductor=nobody, compute_of=nobody, off_reactor=deferToThread, page_secret=b"x")
    factory = FrontFactory(ApiFactory(Api(cloud), reactor), TCP4ClientEndpoint(reactor, "127.0.0.1", port).connect,
                           reactor)  # fmt: skip
    door = Door(reactor, "127.0.0.1", 0, factory)
    door.startService()
    try:
        await Deferred.fromCoroutine(_visited(visit, Place(door.port, (key.id, key.secret.reveal()), factory)))
    finally:
        await door.stopService()
        if not away:
            await behind.stopService()
        await maybeDeferred(store.stopService)
        await deferLater(reactor, 0.05)
        cloud.database.close()  # type: ignore[attr-defined]
    assert factory._relays == set()


async def _visited(visit: Callable[[Place], Any], place: Place) -> None:
    await deferToThread(visit, place)


@pytest.mark.deadline(60)
async def test_boto3_reaches_both_services_at_one_port(tmp_path: Path) -> None:
    def visit(place: Place) -> None:
        ec2, sts, s3 = place.client("ec2"), place.client("sts"), place.client("s3")
        assert sts.get_caller_identity()["Account"] == "111111111111"
        assert ec2.describe_regions()["Regions"][0]["RegionName"] == REGION
        s3.create_bucket(Bucket="things", CreateBucketConfiguration={"LocationConstraint": REGION})
        s3.put_object(Bucket="things", Key="big/one ö", Body=BIG)
        assert s3.get_object(Bucket="things", Key="big/one ö")["Body"].read() == BIG
        assert [one["Key"] for one in s3.list_objects_v2(Bucket="things")["Contents"]] == ["big/one ö"]
        url = s3.generate_presigned_url("get_object", {"Bucket": "things", "Key": "big/one ö"})
        connection = http.client.HTTPConnection("127.0.0.1", place.port, timeout=20)
        connection.request("GET", url.partition(f":{place.port}")[2])
        assert connection.getresponse().read() == BIG
        connection.close()
        for one in (ec2, sts, s3):
            one.close()

    await standing(tmp_path, visit)


@pytest.mark.deadline(60)
async def test_one_connection_carries_both_in_turn(tmp_path: Path) -> None:
    def visit(place: Place) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", place.port, timeout=20)
        form = {"content-type": "application/x-www-form-urlencoded"}
        regions = b"Action=DescribeRegions&Version=2016-11-15"
        for turn in range(3):
            status, answer = place.ask(connection, "ec2", "POST", "/", regions, form)
            assert (status, b"<regionName>us-east-2<" in answer) == (200, True)
            first = connection.sock
            status, _ = place.ask(connection, "s3", "PUT", f"/bucket{turn}")
            assert status == 200
            status, _ = place.ask(connection, "s3", "PUT", f"/bucket{turn}/key", BIG)
            assert status == 200
            status, answer = place.ask(connection, "s3", "GET", f"/bucket{turn}/key")
            assert (status, answer == BIG) == (200, True)
            assert connection.sock is first
        connection.close()

    await standing(tmp_path, visit)


@pytest.mark.deadline(60)
async def test_a_wrong_signature_is_judged_by_whom_it_is_for(tmp_path: Path) -> None:
    def visit(place: Place) -> None:
        place.key = (place.key[0], "wrong")
        connection = http.client.HTTPConnection("127.0.0.1", place.port, timeout=20)
        status, answer = place.ask(connection, "s3", "GET", "/bucket/key")
        assert (status, b"SignatureDoesNotMatch" in answer) == (403, True)
        status, answer = place.ask(connection, "ec2", "POST", "/", b"Action=DescribeRegions&Version=2016-11-15",
                                   {"content-type": "application/x-www-form-urlencoded"})
        assert (status, b"AuthFailure" in answer) == (401, True)
        connection.close()

    await standing(tmp_path, visit)


@pytest.mark.deadline(60)
async def test_while_the_store_is_away_s3_is_unavailable_and_ec2_is_not(tmp_path: Path) -> None:
    def visit(place: Place) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", place.port, timeout=20)
        status, answer = place.ask(connection, "s3", "GET", "/bucket/key")
        assert (status, b"ServiceUnavailable" in answer) == (503, True)
        connection.close()
        ec2 = place.client("ec2")
        assert ec2.describe_regions()["Regions"]
        ec2.close()

    await standing(tmp_path, visit, away=True)


@pytest.mark.deadline(60)
async def test_clients_that_leave_leave_nothing(tmp_path: Path) -> None:
    def visit(place: Place) -> None:
        for sent in (b"", b"GET / HT", b"PUT /b/k HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc"):
            with socket.create_connection(("127.0.0.1", place.port)) as connection:
                connection.sendall(sent)

    await standing(tmp_path, visit)
