"""The image worker and the host's cache against a real object store in a process of its own."""

import hashlib
import os
import subprocess

import boto3
import pytest
import pytest_twisted
from botocore.config import Config
from twisted.internet import reactor
from twisted.internet.defer import gatherResults

from cloudcore.errors import CloudError, Code
from cloudcore.images.cache import HostImageCache
from cloudcore.images.objects import ObjectStore
from cloudcore.images.worker import ImageWorker
from cloudcore.rpc.compute import ImageSource
from cloudcore.rpc.images import ImageLocation
from cloudcore.signing.signer import Signer
from tests.objectstore.conftest import keys, start
from tests.virt.rigs import in_thread

ONE, TWO = "111111111111", "222222222222"
DISK = (b"\0" * 510 + b"\x55\xaa").ljust(3 * 2**20, b"d")


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    started = start(tmp_path_factory.mktemp("store"))
    yield started
    started.stop()


def s3_of(running, name):
    access_key, secret = keys(name)
    return boto3.client("s3", endpoint_url=running.url(), region_name="us-east-2", aws_access_key_id=access_key,
                        aws_secret_access_key=secret, config=Config(s3={"addressing_style": "path"}))  # fmt: skip


@pytest.fixture(scope="module")
def put(running):
    """Puts an object into alice's bucket of project one (or bob's of project two) and says where it lies."""
    clients = {name: s3_of(running, name) for name in ("alice", "bob")}
    for name, client in clients.items():
        client.create_bucket(Bucket=f"images-of-{name}",
                             CreateBucketConfiguration={"LocationConstraint": "us-east-2"})  # fmt: skip

    def put(key, body, name="alice"):
        clients[name].put_object(Bucket=f"images-of-{name}", Key=key, Body=body)
        return f"images-of-{name}/{key}"

    return put


@pytest_twisted.async_yield_fixture
async def objects(running):
    objects = ObjectStore(reactor, running.url(), Signer(*keys("root"), "us-east-2", "s3"), in_thread)
    yield objects
    await objects.close()


@pytest.fixture
def worker(objects, tmp_path):
    return ImageWorker(objects, tmp_path / "scratch", in_thread)


async def refused(inspecting):
    with pytest.raises(CloudError) as problem:
        await inspecting
    return problem.value.code, problem.value.text


def digest(data, algorithm="sha256"):
    return hashlib.new(algorithm, data).hexdigest()


# -- the worker -------------------------------------------------------------------------------------------------------


async def test_a_qcow2_that_was_cut_off_is_refused(put, worker, tmp_path):
    """Its header and L1 table are whole; only the object's end is missing."""
    raw, whole = tmp_path / "disk.raw", tmp_path / "disk.qcow2"
    raw.write_bytes(os.urandom(2**20))
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, whole], check=True, timeout=60)
    data = whole.read_bytes()
    inspected = await worker.inspect(ImageLocation(put("whole.qcow2", data), ONE))
    assert (inspected.format, inspected.virtual_size) == ("qcow2", 2**20)
    code, text = await refused(worker.inspect(ImageLocation(put("cut.qcow2", data[: len(data) // 2]), ONE)))
    assert code is Code.IMAGE_INVALID and "truncated" in text


@pytest.mark.parametrize("key", ["tiny.raw", "a folder/ü+%20&?.raw"])
async def test_a_good_disk_is_described(worker, put, key):
    inspected = await worker.inspect(ImageLocation(put(key, DISK), ONE, digest(DISK)))
    assert inspected.location.endswith(key)
    assert (inspected.sha256, inspected.size) == (digest(DISK), len(DISK))
    assert (inspected.format, inspected.virtual_size) == ("raw", len(DISK))


async def test_the_checksum_that_was_given_must_be_right(worker, put):
    code, text = await refused(worker.inspect(ImageLocation(put("other.raw", DISK), ONE, "00" * 32)))
    assert code is Code.IMAGE_INVALID
    assert digest(DISK) in text


@pytest.mark.parametrize(("body", "word"), [
    (b"", "no disk"),
    (b"hello world\n" * 1000, "boot signature"),
    (DISK[:-1], "sectors"),
    (b"QFI\xfb\0\0\0\3" + b"\0\0\0\0\0\0\2\0\0\0\0\x0b" + b"\0" * 4096, "backing file"),
    (b"QFI\xfb\0\0\0\3" + b"\0\0\0\0\0\0\2\0\0\0\0\x0b" + b"\0" * 2**20, "backing file"),
])  # fmt: skip
async def test_a_bad_one_is_refused_and_told_why(worker, put, body, word):
    code, text = await refused(worker.inspect(ImageLocation(put("bad", body), ONE)))
    assert code is Code.IMAGE_INVALID
    assert word in text


async def test_a_disk_of_data_may_be_imported(worker, put):
    data = b"d" * 2**20
    inspected = await worker.inspect(ImageLocation(put("data.raw", data), ONE, boots=False))
    assert (inspected.format, inspected.virtual_size) == ("raw", len(data))


async def test_what_is_not_there_is_unknown(worker, put):
    put("x", b"")
    assert (await refused(worker.inspect(ImageLocation("images-of-alice/nothing", ONE))))[0] is Code.RESOURCE_UNKNOWN
    assert (await refused(worker.inspect(ImageLocation("no-such-bucket/x", ONE))))[0] is Code.RESOURCE_UNKNOWN


async def test_another_projects_object_is_not_ours_to_read(worker, put):
    location = put("theirs.raw", DISK, "bob")
    assert (await refused(worker.inspect(ImageLocation(location, ONE))))[0] is Code.NOT_AUTHORISED
    assert (await worker.inspect(ImageLocation(location, TWO))).size == len(DISK)


@pytest.mark.parametrize("location", ["", "bucket", "bucket/", "/key", "../x/y", "UPPER/key", "http://h/x"])
async def test_what_is_no_place_is_refused(worker, location):
    assert (await refused(worker.inspect(ImageLocation(location, ONE))))[0] is Code.IMAGE_INVALID


async def test_an_object_larger_than_allowed_is_refused(objects, put, tmp_path):
    worker = ImageWorker(objects, tmp_path, in_thread, largest=2**20)
    assert "larger" in (await refused(worker.inspect(ImageLocation(put("big.raw", DISK), ONE))))[1]


def manifest(parts, extra="", algorithm="SHA1", change=lambda text: text):
    rows = "".join(
        f"<part index='{number}'><filename>{name}</filename>"
        f"<digest algorithm='{algorithm}'>{digest(body, algorithm.lower())}</digest></part>"
        for number, (name, body) in enumerate(parts)
    )
    return change(f"<?xml version='1.0'?><manifest><image>{extra}<parts count='{len(parts)}'>{rows}</parts></image>"
                  "</manifest>")  # fmt: skip


@pytest.fixture
def parts(put):
    cut = [("disk.part.0", DISK[:2**20]), ("disk.part.1", DISK[2**20:])]
    for name, body in cut:
        put(f"bundle/{name}", body)
    return cut


@pytest.mark.parametrize("algorithm", ["SHA1", "MD5"])
async def test_a_bundle_becomes_one_object_that_hosts_can_fetch(worker, objects, put, parts, tmp_path, algorithm):
    whole = f"<size>{len(DISK)}</size><digest algorithm='SHA1'>{digest(DISK, 'sha1')}</digest>"
    location = put("bundle/disk.manifest.xml", manifest(parts, whole, algorithm))
    inspected = await worker.inspect(ImageLocation(location, ONE, digest(DISK)))
    assert inspected.location == f"images-of-alice/bundle/disk.{digest(DISK)[:16]}.image"
    assert list((tmp_path / "scratch").iterdir()) == []
    cache = HostImageCache(tmp_path / "cache", objects, in_thread)
    source = ImageSource("ami-1", inspected.location, inspected.sha256, inspected.size, "raw", inspected.virtual_size)
    path = await cache.ensure(source)
    with open(path, "rb") as file:
        assert file.read() == DISK


@pytest.mark.parametrize(("extra", "change", "word"), [
    ("<size>5</size>", str, "not 5"),
    (f"<digest algorithm='SHA1'>{'a' * 40}</digest>", str, "together"),
    ("<ec2_encrypted_key algorithm='AES-128-CBC'>00</ec2_encrypted_key>", str, "encrypted"),
    ("", lambda text: text.replace("disk.part.1", "disk.part.9"), "does not exist"),
    ("", lambda text: text.replace("disk.part.1", "../../images-of-bob/x"), "no name of a part"),
    ("", lambda text: text.replace("disk.part.1", "disk.part.0"), "not what the manifest says"),
    ("", lambda text: text.replace("index='1'", "index='0'"), "indices"),
    ("", lambda text: text.replace("count='2'", "count='3'"), "count"),
    ("", lambda text: text.replace("SHA1", "ROT13"), "none we know"),
    ("", lambda text: text[:-20], "well-formed"),
    ("", lambda text: text.replace("?>", "?><!DOCTYPE manifest [<!ENTITY a SYSTEM 'file:///etc/passwd'>]>"), "type"),
    ("", lambda text: "<manifest>" + "<a>" * 100 + "</a>" * 100 + "</manifest>", "deeper"),
    ("", lambda text: text + " " * 2**20, "larger"),
    ("", lambda text: "<manifest><image><parts/></image></manifest>", "parts"),
    ("", lambda text: "hello", "well-formed"),
])  # fmt: skip
async def test_a_bad_bundle_is_refused_and_told_why(worker, put, parts, tmp_path, extra, change, word):
    location = put("bundle/bad.manifest.xml", manifest(parts, extra, change=change))
    code, text = await refused(worker.inspect(ImageLocation(location, ONE)))
    assert code is Code.IMAGE_MANIFEST
    assert word in text
    assert not (tmp_path / "scratch").exists() or not list((tmp_path / "scratch").iterdir())


async def test_a_bundle_of_a_bad_image_is_refused(worker, put):
    location = put("bad.manifest.xml", manifest([("bad.part", b"no disk" * 1000)]))
    put("bad.part", b"no disk" * 1000)
    assert (await refused(worker.inspect(ImageLocation(location, ONE))))[0] is Code.IMAGE_INVALID


# -- the cache --------------------------------------------------------------------------------------------------------


def a_source(put, body=DISK, key="cached.raw", **changes):
    fields = {"id": "ami-1", "location": put(key, body), "sha256": digest(body), "size": len(body), "format": "raw",
              "virtual_size": len(body)}  # fmt: skip
    return ImageSource(**{**fields, **changes})


class Counted:
    """The object store, counting."""

    def __init__(self, objects):
        self._objects, self.count = objects, 0

    async def get(self, *arguments):
        self.count += 1
        return await self._objects.get(*arguments)


async def test_those_who_ask_at_once_share_one_fetch(objects, put, tmp_path):
    counted = Counted(objects)
    cache = HostImageCache(tmp_path, counted, in_thread)
    source = a_source(put)
    paths = await gatherResults([cache.ensure(source) for _ in range(5)])
    assert len(set(paths)) == 1
    assert await cache.ensure(source) == paths[0]
    assert counted.count == 1
    assert os.stat(paths[0]).st_mode & 0o777 == 0o644


@pytest.mark.parametrize("changes", [
    {"sha256": "ab" * 32}, {"size": len(DISK) + 1}, {"size": len(DISK) - 1}, {"format": "qcow2"},
    {"virtual_size": 5}, {"sha256": "../../../etc"},
])  # fmt: skip
async def test_what_is_not_what_was_registered_leaves_nothing(objects, put, tmp_path, changes):
    cache = HostImageCache(tmp_path / "cache", objects, in_thread)
    code, _ = await refused(cache.ensure(a_source(put, **changes)))
    assert code is Code.IMAGE_INVALID
    assert not (tmp_path / "cache").exists() or list((tmp_path / "cache").iterdir()) == []


async def test_the_least_recently_used_makes_room_but_never_what_a_guest_holds(objects, put, tmp_path):
    bodies = [DISK[:510] + b"\x55\xaa" + bytes([number]) * (2**20 - 512) for number in range(4)]
    sources = [a_source(put, body, f"lru-{number}") for number, body in enumerate(bodies)]
    cache = HostImageCache(tmp_path / "cache", objects, in_thread, quota=3 * 2**20)
    paths = []
    for number, source in enumerate(sources[:3]):
        paths.append(await cache.ensure(source))
        os.utime(paths[-1], (1000 + number, 1000 + number))
    os.link(paths[0], tmp_path / "base-of-a-guest")
    await cache.ensure(sources[3])
    assert [os.path.exists(path) for path in paths] == [True, False, True]
    os.link(paths[2], tmp_path / "base-of-another")
    os.link(tmp_path / "cache" / sources[3].sha256, tmp_path / "base-of-a-third")
    assert (await refused(cache.ensure(sources[1])))[0] is Code.CAPACITY


async def test_what_a_killed_process_left_half_fetched_is_swept(objects, put, tmp_path):
    (tmp_path / "half.part").write_bytes(b"half")
    path = await HostImageCache(tmp_path, objects, in_thread).ensure(a_source(put))
    assert [str(file) for file in tmp_path.iterdir()] == [path]


async def test_a_store_that_is_away_is_worth_another_try(tmp_path):
    objects = ObjectStore(reactor, "http://127.0.0.1:1", Signer("k", "s", "us-east-2", "s3"), in_thread)
    source = ImageSource("ami-1", "some-bucket/key", "ab" * 32, 512, "raw", 512)
    code, _ = await refused(HostImageCache(tmp_path, objects, in_thread).ensure(source))
    assert code is Code.UNAVAILABLE
    assert list(tmp_path.iterdir()) == []
