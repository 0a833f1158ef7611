"""Contents of snapshots on their way into a real object store, and who may touch them there."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import boto3
import pytest
import pytest_twisted
from botocore.config import Config
from botocore.exceptions import ClientError
from twisted.internet import reactor

from cloudcore.blockdev import empty_qcow2
from cloudcore.errors import CloudError, Code
from cloudcore.images.contents import ContentStore, measure
from cloudcore.images.downloading import Digest
from cloudcore.images.objects import ObjectStore, Span
from cloudcore.images.worker import ImageWorker
from cloudcore.rpc.compute import DiskSource, Layer, SnapshotPart
from cloudcore.rpc.images import Gone, ImageLocation, Unwanted
from cloudcore.signing.signer import Signer
from tests.blockdev.rigs import in_thread
from tests.objectstore.conftest import keys, start

BUCKET = "cloudcore-snapshots"
GIB, MIB = 2**30, 2**20
DISK = (b"\0" * 510 + b"\x55\xaa").ljust(3 * MIB, b"d")
ONE, TWO = "111111111111", "222222222222"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Any:
    started = start(tmp_path_factory.mktemp("store"))
    yield started
    started.stop()


@pytest.fixture(scope="module")
def s3_of(running: Any) -> Any:
    def client(name: str) -> Any:
        access_key, secret = keys(name)
        return boto3.client(
            "s3", endpoint_url=running.url(), region_name="us-east-2", aws_access_key_id=access_key,
            aws_secret_access_key=secret, config=Config(s3={"addressing_style": "path"}))  # fmt: skip

    return client


@pytest_twisted.async_yield_fixture
async def objects(running: Any) -> Any:
    objects = ObjectStore(reactor, running.url(), Signer(*keys("keeper"), "us-east-2", "s3"), in_thread)
    yield objects
    await objects.close()


def a_part(name: str, parent: DiskSource | None = None) -> SnapshotPart:
    return SnapshotPart("snap-0123456789abcdef0", "vol-0123456789abcdef0", f"{BUCKET}/{name}", parent)


async def refused(awaited: Any) -> Code:
    with pytest.raises(CloudError) as problem:
        await awaited
    return problem.value.code


async def test_a_snapshot_is_stored_whole_and_over_its_parent(objects: ObjectStore, tmp_path: Path) -> None:
    store = ContentStore(objects, in_thread)
    empty_qcow2.write(tmp_path / "whole", GIB)
    made = await store.store(str(tmp_path / "whole"), a_part("whole"))
    sha256 = hashlib.sha256((tmp_path / "whole").read_bytes()).hexdigest()
    assert (made.sha256, made.location, made.format, made.virtual_size, made.below) == (
        sha256, f"{BUCKET}/whole", "qcow2", GIB, "")  # fmt: skip
    parent = DiskSource(Layer(made.location, made.sha256, made.size, made.format, made.virtual_size))
    empty_qcow2.write(tmp_path / "delta", 2 * GIB, (made.sha256, "qcow2"))
    delta = await store.store(str(tmp_path / "delta"), a_part("delta", parent))
    assert (delta.below, delta.virtual_size) == (made.sha256, 2 * GIB)
    digest = Digest()
    await objects.get(f"{BUCKET}/delta", digest, MIB)
    assert digest.sha256 == delta.sha256


async def test_what_names_another_file_than_its_parent_is_not_stored(objects: ObjectStore, tmp_path: Path) -> None:
    store = ContentStore(objects, in_thread)
    empty_qcow2.write(tmp_path / "delta", GIB, ("ab" * 32, "qcow2"))
    other = DiskSource(Layer(f"{BUCKET}/x", "cd" * 32, 1, "qcow2", GIB))
    for parent in (None, other):
        assert await refused(store.store(str(tmp_path / "delta"), a_part("bad", parent))) is Code.IMAGE_INVALID
    assert await refused(objects.size(f"{BUCKET}/bad")) is Code.RESOURCE_UNKNOWN


@pytest.mark.parametrize("size", [0, 1, 5 * MIB, 5 * MIB + 1, 10 * MIB, 12 * MIB])
async def test_large_files_go_in_parts(objects: ObjectStore, tmp_path: Path, size: int) -> None:
    await objects.create_bucket(BUCKET)
    path, data = tmp_path / "large", os.urandom(size)
    path.write_bytes(data)
    store, place = ContentStore(objects, in_thread, part=5 * MIB), f"{BUCKET}/large-{size}"
    assert len(measure(path, 5 * MIB).parts) == max(1, -(-size // (5 * MIB)))
    await store.upload(path, place)
    digest = Digest()
    assert await objects.get(place, digest, 2**30) == size
    assert digest.sha256 == hashlib.sha256(data).hexdigest()
    assert ("-" in await objects.etag(place)) is (size > 5 * MIB)


async def test_parts_that_a_killed_process_left_go(objects: ObjectStore, tmp_path: Path) -> None:
    await objects.create_bucket(BUCKET)
    store = ContentStore(objects, in_thread)
    place, other = f"{BUCKET}/killed", f"{BUCKET}/killed-too"
    begun = [await objects.begin(each) for each in (place, place, other)]
    assert sorted(await objects.unfinished(place)) == sorted(begun[:2])
    empty_qcow2.write(tmp_path / "whole", GIB)
    await store.store(str(tmp_path / "whole"), a_part("killed"))
    assert await objects.unfinished(place) == []
    assert await objects.unfinished(other) == begun[2:]
    await objects.abort(other, begun[2])


async def test_what_is_discarded_leaves_no_parts(objects: ObjectStore, tmp_path: Path) -> None:
    """Of one whose sender was killed and is never asked again."""
    place, worker = f"{BUCKET}/abandoned", ImageWorker(objects, tmp_path, in_thread)
    (tmp_path / "part").write_bytes(b"p" * 5 * MIB)
    await objects.create_bucket(BUCKET)
    upload = await objects.begin(place)
    with (tmp_path / "part").open("rb") as file:
        await objects.put_part(place, upload, 1, Span(file, 0, 5 * MIB, hashlib.sha256(b"p" * 5 * MIB).hexdigest()))
    assert await objects.unfinished(place) == [upload]
    assert await worker.discard(Unwanted(place)) == Gone()
    assert await objects.unfinished(place) == []


async def test_a_file_that_changes_while_it_is_sent_is_not_stored(objects: ObjectStore, tmp_path: Path) -> None:
    await objects.create_bucket(BUCKET)
    path, store = tmp_path / "file", ContentStore(objects, in_thread, part=5 * MIB)
    for size in (MIB, 7 * MIB):
        path.write_bytes(bytes(size))
        known = measure(path, 5 * MIB)
        path.write_bytes(b"x" * size)
        with pytest.raises(CloudError):
            await store.upload(path, f"{BUCKET}/changed", known)
        assert await refused(objects.size(f"{BUCKET}/changed")) is Code.RESOURCE_UNKNOWN
    await in_thread(lambda: None)


async def test_nobody_else_reads_lists_or_deletes_it(objects: ObjectStore, s3_of: Any, tmp_path: Path) -> None:
    empty_qcow2.write(tmp_path / "whole", GIB)
    await ContentStore(objects, in_thread).store(str(tmp_path / "whole"), a_part("secret"))
    for name in ("alice", "audit"):
        s3 = s3_of(name)
        for call in (
            lambda s3=s3: s3.get_object(Bucket=BUCKET, Key="secret"),
            lambda s3=s3: s3.list_objects_v2(Bucket=BUCKET),
            lambda s3=s3: s3.delete_object(Bucket=BUCKET, Key="secret"),
            lambda s3=s3: s3.put_object(Bucket=BUCKET, Key="secret", Body=b""),
            lambda s3=s3: s3.delete_bucket(Bucket=BUCKET),
        ):
            with pytest.raises(ClientError, match="AccessDenied"):
                call()
        assert BUCKET not in {each["Name"] for each in s3.list_buckets()["Buckets"]}
    assert await objects.size(f"{BUCKET}/secret") > 0


def test_its_name_is_taken_before_it_is(tmp_path: Path) -> None:
    """A tenant who was quicker would hold everybody's snapshots."""
    started = start(tmp_path)
    try:
        s3 = boto3.client("s3", endpoint_url=started.url(), region_name="us-east-2",
                          aws_access_key_id=keys("alice")[0], aws_secret_access_key=keys("alice")[1])  # fmt: skip
        with pytest.raises(ClientError, match="BucketAlreadyExists"):
            s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "us-east-2"})
    finally:
        started.stop()


async def test_our_account_deletes_nothing_of_others(objects: ObjectStore, s3_of: Any) -> None:
    """It reads and writes everywhere, and is more only in the cloud's own project."""
    s3_of("alice").create_bucket(Bucket="of-alice", CreateBucketConfiguration={"LocationConstraint": "us-east-2"})
    s3_of("alice").put_object(Bucket="of-alice", Key="x", Body=b"x")
    assert await objects.size("of-alice/x") == 1
    assert await refused(objects.delete("of-alice/x")) is Code.NOT_AUTHORISED


async def test_an_image_is_adopted_and_outlives_its_object(objects: ObjectStore, s3_of: Any, tmp_path: Path) -> None:
    s3, worker = s3_of("alice"), ImageWorker(objects, tmp_path, in_thread)
    s3.create_bucket(Bucket="images-of-alice", CreateBucketConfiguration={"LocationConstraint": "us-east-2"})
    s3.put_object(Bucket="images-of-alice", Key="a disk", Body=DISK)
    sha256 = hashlib.sha256(DISK).hexdigest()
    place = f"{BUCKET}/{sha256}"
    asked = ImageLocation("images-of-alice/a disk", ONE, target=place)
    for _ in range(2):
        adopted = await worker.adopt(asked)
        assert (adopted.location, adopted.sha256, adopted.virtual_size) == (place, sha256, len(DISK))
    s3.delete_object(Bucket="images-of-alice", Key="a disk")
    digest = Digest()
    await objects.get(place, digest, len(DISK))
    assert digest.sha256 == sha256
    for _ in range(2):
        assert await worker.discard(Unwanted(place)) == Gone()
    assert await refused(objects.size(place)) is Code.RESOURCE_UNKNOWN


async def test_what_lies_there_under_its_name_must_be_it(objects: ObjectStore, s3_of: Any, tmp_path: Path) -> None:
    s3, worker = s3_of("alice"), ImageWorker(objects, tmp_path, in_thread)
    s3.create_bucket(Bucket="more-of-alice", CreateBucketConfiguration={"LocationConstraint": "us-east-2"})
    s3.put_object(Bucket="more-of-alice", Key="disk", Body=DISK)
    (tmp_path / "other").write_bytes(b"another")
    await objects.create_bucket(BUCKET)
    await ContentStore(objects, in_thread).upload(tmp_path / "other", f"{BUCKET}/mine")
    await worker.adopt(ImageLocation("more-of-alice/disk", ONE, target=f"{BUCKET}/mine"))
    assert await objects.size(f"{BUCKET}/mine") == len(DISK)


async def test_only_the_clouds_own_bucket_is_written_or_emptied(objects: ObjectStore, s3_of: Any, tmp_path: Path
                                                                ) -> None:  # fmt: skip
    s3, worker = s3_of("alice"), ImageWorker(objects, tmp_path, in_thread)
    s3.create_bucket(Bucket="last-of-alice", CreateBucketConfiguration={"LocationConstraint": "us-east-2"})
    s3.put_object(Bucket="last-of-alice", Key="disk", Body=DISK)
    own = f"{BUCKET}/target"
    assert await refused(worker.discard(Unwanted("last-of-alice/disk"))) is Code.NOT_AUTHORISED
    for location, project, target in (
        ("last-of-alice/disk", ONE, "last-of-alice/other"), ("last-of-alice/disk", TWO, own), (own, ONE, own),
    ):  # fmt: skip
        assert await refused(worker.adopt(ImageLocation(location, project, target=target))) in {
            Code.NOT_AUTHORISED, Code.RESOURCE_UNKNOWN}  # fmt: skip
    assert s3.head_object(Bucket="last-of-alice", Key="disk")["ContentLength"] == len(DISK)
    assert await refused(objects.size(own)) is Code.RESOURCE_UNKNOWN
