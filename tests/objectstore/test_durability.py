"""R9: an acknowledged PUT survives the end of the process, and nothing else stays behind."""

from __future__ import annotations

import os
import random
import resource
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tests.objectstore.conftest import client_of, start
from tests.objectstore.wire import UNSIGNED_PAYLOAD, Wire, head_of, rendered, signed, signer

MIB = 1 << 20


def body(seed: str, size: int) -> bytes:
    return random.Random(seed).randbytes(size)  # noqa: S311


def files(root: Path) -> set[str]:
    return {path.name for path in (root / "store" / "blobs").glob("*/*")}


def referred(root: Path) -> set[str]:
    with sqlite3.connect(root / "store" / "index.db") as db:
        return {name for (name,) in db.execute("select name from blobs where parts is null")}


def until(holds: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came to hold"
        time.sleep(0.02)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Callable[[], Any]]:
    """Starts a store of one's own, again and again on the same directory."""
    made: list[Any] = []

    def again() -> Any:
        made.append(start(tmp_path))
        return made[-1]

    yield again
    for running in made:
        if running.process.poll() is None:
            running.stop()


def writer(client: Any, name: int, acknowledged: dict[str, int], stop: threading.Event) -> None:
    number = 0
    while not stop.is_set():
        key, size = f"{name}-{number}", (1000, 300_000, 3 * MIB)[number % 3]
        try:
            client.put_object(Bucket="bkt", Key=key, Body=body(key, size))
        except (BotoCoreError, ClientError, OSError):
            return
        acknowledged[key] = size
        number += 1


def test_i12_killed_amid_sixteen_streams_no_acknowledged_object_is_lost_and_no_file_without_a_row_stays(
        own: Callable[[], Any], tmp_path: Path) -> None:
    acknowledged: dict[str, int] = {}
    for round_ in range(2):
        running, stop = own(), threading.Event()
        client = client_of(running, max_pool_connections=20)
        client.create_bucket(Bucket="bkt")
        client.create_multipart_upload(Bucket="bkt", Key="unfinished")
        threads = [threading.Thread(target=writer, args=(client, 100 * round_ + name, acknowledged, stop))
                   for name in range(16)]
        for thread in threads:
            thread.start()
        wanted = len(acknowledged) + 40
        until(lambda wanted=wanted: len(acknowledged) >= wanted, 30)
        running.kill()
        stop.set()
        for thread in threads:
            thread.join()
    after = own()
    client = client_of(after)
    for key, size in acknowledged.items():
        assert client.get_object(Bucket="bkt", Key=key)["Body"].read() == body(key, size), key
    until(lambda: files(tmp_path) == referred(tmp_path))
    listed = [found["Key"] for page in client.get_paginator("list_objects_v2").paginate(Bucket="bkt")
              for found in page.get("Contents", [])]
    assert set(acknowledged) <= set(listed)


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_abandoned_transfers_leave_no_descriptor_and_no_file(own: Callable[[], Any], tmp_path: Path) -> None:
    running = own()
    client = client_of(running)
    client.create_bucket(Bucket="bkt")
    client.put_object(Bucket="bkt", Key="k", Body=body("k", 8 * MIB))
    client.close()
    kept = files(tmp_path)
    Wire(running.http).close()
    before = descriptors(running.process.pid)
    for number in range(20):
        upload = Wire(running.http)
        head = head_of("PUT", "/bkt/half", running.http, content_length=str(4 * MIB))
        upload.send(rendered(signed(head, UNSIGNED_PAYLOAD)) + b"x" * (number * 200_000))
        upload.close()
        judged = Wire(running.http)
        head = head_of("PUT", "/bkt/judged", running.http, content_length=str(4 * MIB))
        judged.send(rendered(signed(head, UNSIGNED_PAYLOAD, by=signer("slow"))) + b"x" * 1000)
        judged.close()
        download = Wire(running.http)
        download.send(rendered(signed(head_of("GET", "/bkt/k", running.http))))
        download._socket.recv(1000)
        download._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        download.close()
    time.sleep(0.5)  # the slow Auth Manager has answered about those who had left
    until(lambda: descriptors(running.process.pid) <= before)
    until(lambda: files(tmp_path) == kept)
    again = client_of(running)
    assert again.get_object(Bucket="bkt", Key="k")["Body"].read() == body("k", 8 * MIB)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_f26_a_flipped_bit_or_a_short_file_cuts_the_connection(own: Callable[[], Any], tmp_path: Path,
                                                              scheme: str) -> None:
    running = own()
    client = client_of(running, scheme=scheme)
    client.create_bucket(Bucket="bkt")
    client.put_object(Bucket="bkt", Key="k", Body=body("k", 3 * MIB))
    name, = files(tmp_path)
    path = tmp_path / "store" / "blobs" / name[:2] / name
    data = bytearray(path.read_bytes())
    data[2 * MIB + 5] ^= 1
    path.write_bytes(data)
    assert client.get_object(Bucket="bkt", Key="k", Range="bytes=0-1000")["Body"].read() == bytes(data[:1001])
    with pytest.raises((BotoCoreError, ClientError)):
        client.get_object(Bucket="bkt", Key="k")["Body"].read()
    path.write_bytes(data[: 2 * MIB])
    with pytest.raises((BotoCoreError, ClientError)):
        client.get_object(Bucket="bkt", Key="k")["Body"].read()
    path.unlink()
    with pytest.raises(ClientError, match="InternalError"):
        client.get_object(Bucket="bkt", Key="k")
    assert client.list_buckets()["Buckets"]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_disk_that_takes_no_more_is_507_leaves_nothing_and_the_store_goes_on(own: Callable[[], Any], tmp_path: Path,
                                                                              scheme: str) -> None:
    running = own()
    client = client_of(running, scheme=scheme)
    client.create_bucket(Bucket="bkt")
    _, hard = resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (2 * MIB, hard))
    for size in (3 * MIB, 24 * MIB):  # the second is still under way when the disk says no
        with pytest.raises(ClientError) as raised:
            client.put_object(Bucket="bkt", Key="k", Body=bytes(size))
        assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 507
    until(lambda: files(tmp_path) == set())
    client.put_object(Bucket="bkt", Key="k", Body=body("k", MIB))
    resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
    client.put_object(Bucket="bkt", Key="k", Body=body("k", 3 * MIB))
    assert client.get_object(Bucket="bkt", Key="k")["Body"].read() == body("k", 3 * MIB)
    assert "Traceback" not in running.log()


def test_a_second_store_on_one_directory_does_not_start(own: Callable[[], Any]) -> None:
    own()
    with pytest.raises(AssertionError, match="another object store has"):
        own()


def test_after_an_orderly_end_everything_is_there(own: Callable[[], Any]) -> None:
    first = own()
    client = client_of(first)
    client.create_bucket(Bucket="bkt")
    client.put_object(Bucket="bkt", Key="k", Body=b"x")
    upload = client.create_multipart_upload(Bucket="bkt", Key="m")["UploadId"]
    part = client.upload_part(Bucket="bkt", Key="m", UploadId=upload, PartNumber=1, Body=body("m", MIB))
    first.stop()
    assert first.process.returncode == 0
    again = client_of(own())
    assert again.get_object(Bucket="bkt", Key="k")["Body"].read() == b"x"
    again.complete_multipart_upload(Bucket="bkt", Key="m", UploadId=upload, MultipartUpload={
        "Parts": [{"PartNumber": 1, "ETag": part["ETag"], "ChecksumCRC32": part["ChecksumCRC32"]}]})
    assert again.list_multipart_uploads(Bucket="bkt").get("Uploads", []) == []
    assert again.get_object(Bucket="bkt", Key="m")["Body"].read() == body("m", MIB)
