"""What today's boto3 does in earnest, over http and https: the two send different requests."""

from __future__ import annotations

import hashlib
import io
import random
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError
from botocore.handlers import validate_bucket_name

MIB = 1 << 20
KEYS = ["plain", "k é+ x/y", "a//b", "../../etc/passwd", "./.", "trailing/", "%2e%2e%2f", "100%", "a+b", "~tilde",
        "&<>\"'", "新しい鍵", "a?b=c&d", "#hash", "x" * 1024, "a;b", "emoji-😀", ".", "..", "\\back", "new\nline",
        "\x01"]


def body(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)  # noqa: S311


def code_of(call: Callable[..., Any], **arguments: Any) -> str:
    with pytest.raises(ClientError) as raised:
        call(**arguments)
    return str(raised.value.response["Error"]["Code"])


@pytest.mark.parametrize("size", [0, 1, 32_768, 32_769, MIB, 3 * MIB + 17])
def test_an_object_comes_back_as_it_was(s3: Any, bucket: str, size: int) -> None:
    data = body(size)
    put = s3.put_object(Bucket=bucket, Key="k", Body=data, ContentType="text/plain", Metadata={"a": "b"})
    assert put["ETag"] == f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
    assert put["ChecksumCRC32"]
    got = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert got["Body"].read() == data
    assert (got["ContentType"], got["Metadata"], got["ContentLength"]) == ("text/plain", {"a": "b"}, size)
    assert got["ChecksumCRC32"] == put["ChecksumCRC32"]
    head = s3.head_object(Bucket=bucket, Key="k")
    assert (head["ContentLength"], head["ETag"], head["AcceptRanges"]) == (size, put["ETag"], "bytes")
    assert "ContentEncoding" not in head


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_every_checksum_is_verified_kept_and_returned(s3: Any, bucket: str, algorithm: str) -> None:
    for size in (10, MIB):
        put = s3.put_object(Bucket=bucket, Key="k", Body=body(size), ChecksumAlgorithm=algorithm)
        got = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
        assert got["Body"].read() == body(size)
        assert got[f"Checksum{algorithm}"] == put[f"Checksum{algorithm}"]
        assert got["ChecksumType"] == "FULL_OBJECT"


@pytest.mark.parametrize("size", [10, MIB])
def test_a_wrong_checksum_leaves_nothing_behind(s3: Any, bucket: str, size: int) -> None:
    assert code_of(s3.put_object, Bucket=bucket, Key="k", Body=body(size), ChecksumCRC32="AAAAAA==") == "BadDigest"
    wrong = "XUFAKrxLKna5cZ2REBfFkg=="
    assert code_of(s3.put_object, Bucket=bucket, Key="k", Body=body(size), ContentMD5=wrong) == "BadDigest"
    assert code_of(s3.put_object, Bucket=bucket, Key="k", Body=body(size), ContentMD5="no") == "InvalidDigest"
    assert code_of(s3.get_object, Bucket=bucket, Key="k") == "NoSuchKey"


def test_s14_hostile_keys_stay_in_their_bucket(s3: Any, bucket: str) -> None:
    for key in KEYS:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    for key in KEYS:
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()
    in_order = sorted(KEYS, key=str.encode)
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, PaginationConfig={"PageSize": 3})
    assert [found["Key"] for page in pages for found in page["Contents"]] == in_order
    old = s3.get_paginator("list_objects").paginate(Bucket=bucket, PaginationConfig={"PageSize": 3})
    assert [found["Key"] for page in old for found in page["Contents"]] == in_order
    for key in KEYS:
        s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": key})
        s3.delete_object(Bucket=bucket, Key=key)
        assert s3.get_object(Bucket=bucket, Key="copy")["Body"].read() == key.encode()
    assert [found["Key"] for found in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["copy"]


def test_every_object_is_its_own_only_version(s3: Any, bucket: str) -> None:
    for key in ("a", "b é", "c"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    pages = list(s3.get_paginator("list_object_versions").paginate(Bucket=bucket, PaginationConfig={"PageSize": 2}))
    found = [(one["Key"], one["VersionId"]) for page in pages for one in page["Versions"]]
    assert found == [("a", "null"), ("b é", "null"), ("c", "null")]
    gone = s3.delete_objects(Bucket=bucket, Delete={"Objects": [
        {"Key": key, "VersionId": version} for key, version in found]})
    assert len(gone["Deleted"]) == 3
    refused = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "a", "VersionId": "v1"}]})
    assert refused["Errors"][0]["Code"] == "NoSuchVersion"


def test_listings_group_at_a_delimiter(s3: Any, bucket: str) -> None:
    for key in ("a/1", "a/2", "b", "c/d/1", "c/e", "ü/x y"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"")

    def listed(**arguments: Any) -> tuple[list[str], list[str]]:
        page = s3.list_objects_v2(Bucket=bucket, **arguments)
        names = [found["Key"] for found in page.get("Contents", [])]
        prefixes = [found["Prefix"] for found in page.get("CommonPrefixes", [])]
        assert page["KeyCount"] == len(names) + len(prefixes)
        return names, prefixes

    assert listed(Delimiter="/") == (["b"], ["a/", "c/", "ü/"])
    assert listed(Delimiter="/", Prefix="c/") == (["c/e"], ["c/d/"])
    assert listed(Prefix="ü/x ") == (["ü/x y"], [])
    assert listed(StartAfter="b", Delimiter="/") == ([], ["c/", "ü/"])
    assert listed(Prefix="none") == ([], [])
    assert listed(MaxKeys=0) == ([], [])
    page = s3.list_objects_v2(Bucket=bucket, Delimiter="/", MaxKeys=1)
    assert page["IsTruncated"]
    owner = s3.list_objects_v2(Bucket=bucket, FetchOwner=True)["Contents"][0]["Owner"]["ID"]
    assert owner == "111111111111"


def test_a_key_may_not_be_too_long(s3: Any, bucket: str) -> None:
    assert code_of(s3.put_object, Bucket=bucket, Key="x" * 1025, Body=b"") == "KeyTooLongError"


@pytest.mark.parametrize("size", [1000, 3 * MIB])
def test_ranges(s3: Any, bucket: str, size: int) -> None:
    data = body(size)
    s3.put_object(Bucket=bucket, Key="k", Body=data)
    for asked, first, last in (("bytes=0-9", 0, 9), ("bytes=10-", 10, None), ("bytes=-7", -7, None),
                               ("bytes=999-99999999", 999, None), ("bytes=500-500", 500, 500)):
        got = s3.get_object(Bucket=bucket, Key="k", Range=asked)
        assert got["Body"].read() == data[first : None if last is None else last + 1]
        assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
        assert got["ContentRange"].endswith(f"/{size}")


def test_a_range_outside_is_416_and_one_that_cannot_be_read_is_the_whole(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"0123456789")
    with pytest.raises(ClientError) as raised:
        s3.get_object(Bucket=bucket, Key="k", Range="bytes=10-")
    assert raised.value.response["ResponseMetadata"]["HTTPHeaders"]["content-range"] == "bytes */10"
    for asked in ("bytes=2-1", "lines=1-2", "bytes=0-1,4-5", "bytes=-"):
        assert s3.get_object(Bucket=bucket, Key="k", Range=asked)["Body"].read() == b"0123456789"


def test_conditional_reads(s3: Any, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"x")["ETag"]
    past, future = datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC) + timedelta(minutes=5)
    get = {"Bucket": bucket, "Key": "k"}
    assert s3.get_object(**get, IfMatch=etag)["Body"].read() == b"x"
    assert s3.get_object(**get, IfNoneMatch='"other"', IfModifiedSince=past)["Body"].read() == b"x"
    assert code_of(s3.get_object, **get, IfMatch='"other"') == "PreconditionFailed"
    assert code_of(s3.get_object, **get, IfUnmodifiedSince=past) == "PreconditionFailed"
    assert code_of(s3.get_object, **get, IfNoneMatch=etag) == "304"
    assert code_of(s3.get_object, **get, IfModifiedSince=future) == "304"


def test_conditional_writes_are_a_lock(s3: Any, bucket: str) -> None:
    put = {"Bucket": bucket, "Key": "lock"}
    first = s3.put_object(**put, Body=b"1", IfNoneMatch="*")["ETag"]
    assert code_of(s3.put_object, **put, Body=b"2", IfNoneMatch="*") == "PreconditionFailed"
    second = s3.put_object(**put, Body=body(MIB), IfMatch=first)["ETag"]
    assert code_of(s3.put_object, **put, Body=b"3", IfMatch=first) == "PreconditionFailed"
    assert code_of(s3.put_object, Bucket=bucket, Key="none", Body=b"3", IfMatch=first) == "NoSuchKey"
    assert code_of(s3.delete_object, **put, IfMatch=first) == "PreconditionFailed"
    s3.delete_object(**put, IfMatch=second)


def test_response_headers_can_be_overridden_by_the_signed_query(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", CacheControl="no-cache", ContentEncoding="gzip")
    got = s3.get_object(Bucket=bucket, Key="k", ResponseContentType="text/x", ResponseContentDisposition="attachment")
    assert (got["ContentType"], got["ContentDisposition"]) == ("text/x", "attachment")
    assert (got["CacheControl"], got["ContentEncoding"]) == ("no-cache", "gzip")
    assert code_of(s3.get_object, Bucket=bucket, Key="k", ResponseContentType="a\r\nX: y") == "InvalidArgument"


def test_deleting(s3: Any, bucket: str) -> None:
    for key in ("a", "b", "c"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    s3.delete_object(Bucket=bucket, Key="a")
    s3.delete_object(Bucket=bucket, Key="a")
    done = s3.delete_objects(Bucket=bucket, Delete={"Objects": [
        {"Key": "b"}, {"Key": "absent"}, {"Key": "c", "ETag": "other"}]})
    assert [found["Key"] for found in done["Deleted"]] == ["b", "absent"]
    assert [(found["Key"], found["Code"]) for found in done["Errors"]] == [("c", "PreconditionFailed")]
    assert code_of(s3.head_object, Bucket=bucket, Key="b") == "404"
    quiet = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "c"}], "Quiet": True})
    assert "Deleted" not in quiet


def test_copies_keep_or_replace_what_belongs_to_them(s3: Any, bucket: str) -> None:
    source = {"Bucket": bucket, "Key": "big"}
    etag = s3.put_object(**source, Body=body(MIB), Metadata={"a": "1"}, ContentType="text/plain")["ETag"]
    s3.copy_object(Bucket=bucket, Key="kept", CopySource=source)
    s3.copy_object(Bucket=bucket, Key="new", CopySource=source, Metadata={"b": "2"}, MetadataDirective="REPLACE")
    s3.delete_object(**source)
    kept, new = s3.get_object(Bucket=bucket, Key="kept"), s3.get_object(Bucket=bucket, Key="new")
    assert kept["Body"].read() == new["Body"].read() == body(MIB)
    assert (kept["Metadata"], kept["ContentType"], kept["ETag"]) == ({"a": "1"}, "text/plain", etag)
    assert (new["Metadata"], new["ContentType"]) == ({"b": "2"}, "binary/octet-stream")
    kept_source = {"Bucket": bucket, "Key": "kept"}
    assert code_of(s3.copy_object, **kept_source, CopySource=kept_source) == "InvalidRequest"
    s3.copy_object(**kept_source, CopySource=kept_source, MetadataDirective="REPLACE", Metadata={"c": "3"})
    assert s3.head_object(**kept_source)["Metadata"] == {"c": "3"}
    refused = code_of(s3.copy_object, Bucket=bucket, Key="x", CopySource=kept_source, CopySourceIfMatch="other")
    assert refused == "PreconditionFailed"
    assert code_of(s3.copy_object, Bucket=bucket, Key="x", CopySource=source) == "NoSuchKey"


def test_the_transfer_manager_uploads_downloads_and_copies_in_parts(s3: Any, bucket: str) -> None:
    data, config = body(20 * MIB + 5), TransferConfig(multipart_threshold=8 * MIB, multipart_chunksize=8 * MIB)
    s3.upload_fileobj(io.BytesIO(data), bucket, "big", Config=config, ExtraArgs={"Metadata": {"a": "b"}})
    got = io.BytesIO()
    s3.download_fileobj(bucket, "big", got, Config=config)
    assert got.getvalue() == data
    head = s3.head_object(Bucket=bucket, Key="big", ChecksumMode="ENABLED")
    assert head["ETag"].endswith('-3"')
    assert (head["Metadata"], head["ChecksumType"]) == ({"a": "b"}, "COMPOSITE")
    s3.copy({"Bucket": bucket, "Key": "big"}, bucket, "copy", Config=config)
    s3.delete_object(Bucket=bucket, Key="big")
    copied = s3.get_object(Bucket=bucket, Key="copy", Range=f"bytes={8 * MIB - 3}-{16 * MIB + 3}")
    assert copied["Body"].read() == data[8 * MIB - 3 : 16 * MIB + 4]
    part = s3.get_object(Bucket=bucket, Key="copy", PartNumber=3)
    assert part["Body"].read() == data[16 * MIB :]
    assert part["PartsCount"] == 3


@pytest.mark.parametrize(("algorithm", "kind"), [("CRC32", "FULL_OBJECT"), ("CRC32C", "FULL_OBJECT"),
                                                 ("CRC64NVME", "FULL_OBJECT"), ("SHA256", "COMPOSITE")])
def test_multipart_checksums_are_joined(s3: Any, bucket: str, algorithm: str, kind: str) -> None:
    where = {"Bucket": bucket, "Key": "k"}
    upload = s3.create_multipart_upload(**where, ChecksumAlgorithm=algorithm, ChecksumType=kind)["UploadId"]
    parts, data = [], [body(5 * MIB, 1), body(1000, 2)]
    for number, piece in enumerate(data, 1):
        done = s3.upload_part(**where, UploadId=upload, PartNumber=number, Body=piece, ChecksumAlgorithm=algorithm)
        name = f"Checksum{algorithm}"
        parts.append({"PartNumber": number, "ETag": done["ETag"], name: done[name]})
    whole = s3.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": parts})
    got = s3.get_object(**where, ChecksumMode="ENABLED")  # boto3 checks a full-object checksum itself
    assert got["Body"].read() == b"".join(data)
    assert got["ChecksumType"] == kind
    again = s3.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": parts})
    assert again["ETag"] == whole["ETag"]


def test_multipart_refusals_and_listings(s3: Any, bucket: str) -> None:
    where = {"Bucket": bucket, "Key": "k"}
    upload = s3.create_multipart_upload(**where)["UploadId"]
    etags = [s3.upload_part(**where, UploadId=upload, PartNumber=number, Body=b"small")["ETag"] for number in (1, 2)]
    listed = s3.list_parts(**where, UploadId=upload, MaxParts=1)
    assert (listed["IsTruncated"], listed["NextPartNumberMarker"], len(listed["Parts"])) == (True, 1, 1)
    rest = s3.list_parts(**where, UploadId=upload, PartNumberMarker=1)
    assert [part["PartNumber"] for part in rest["Parts"]] == [2]
    assert [found["UploadId"] for found in s3.list_multipart_uploads(Bucket=bucket)["Uploads"]] == [upload]

    def complete(*parts: tuple[int, str]) -> str:
        named = [{"PartNumber": number, "ETag": etag} for number, etag in parts]
        return code_of(s3.complete_multipart_upload, **where, UploadId=upload, MultipartUpload={"Parts": named})

    assert complete((1, etags[0]), (2, etags[1])) == "EntityTooSmall"
    assert complete((2, etags[1]), (1, etags[0])) == "InvalidPartOrder"
    assert complete((1, etags[0]), (3, etags[0])) == "InvalidPart"
    assert complete((1, "0" * 32)) == "InvalidPart"
    assert complete() == "MalformedXML"
    assert code_of(s3.upload_part, **where, UploadId="none", PartNumber=1, Body=b"") == "NoSuchUpload"
    assert code_of(s3.upload_part, **where, UploadId=upload, PartNumber=10_001, Body=b"") == "InvalidArgument"
    s3.abort_multipart_upload(**where, UploadId=upload)
    assert code_of(s3.abort_multipart_upload, **where, UploadId=upload) == "NoSuchUpload"
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
    assert code_of(s3.head_object, **where) == "404"


def test_presigned_urls_get_and_put_with_plain_http(s3: Any, running: Any, bucket: str) -> None:
    def send(operation: str, data: bytes | None = None, **headers: str) -> bytes:
        url = s3.generate_presigned_url(operation, {"Bucket": bucket, "Key": "a b+c"}, ExpiresIn=60)
        assert "X-Amz-Signature" in url
        request = urllib.request.Request(url, data, headers, method="PUT" if data is not None else "GET")  # noqa: S310
        context = ssl.create_default_context(cafile=running.ca) if url.startswith("https") else None
        with urllib.request.urlopen(request, context=context) as answer:  # noqa: S310
            return bytes(answer.read())

    send("put_object", body(MIB), **{"Content-Type": "text/plain"})
    assert send("get_object") == body(MIB)
    assert s3.head_object(Bucket=bucket, Key="a b+c")["ContentType"] == "text/plain"
    with pytest.raises(urllib.error.HTTPError) as raised:
        send("put_object", b"x", **{"x-amz-meta-a": "unsigned"})
    assert raised.value.code == 403


def test_buckets_live_and_die(s3: Any, bucket: str, as_user: Callable[..., Any]) -> None:
    assert s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "us-east-2"})
    assert s3.head_bucket(Bucket=bucket)["BucketRegion"] == "us-east-2"
    assert s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] == "us-east-2"
    assert bucket in [found["Name"] for found in s3.list_buckets()["Buckets"]]
    assert code_of(as_user("bob").create_bucket, Bucket=bucket) == "BucketAlreadyExists"
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    assert code_of(s3.delete_bucket, Bucket=bucket) == "BucketNotEmpty"
    s3.delete_object(Bucket=bucket, Key="k")
    s3.create_multipart_upload(Bucket=bucket, Key="k")
    s3.delete_bucket(Bucket=bucket)
    assert code_of(s3.head_bucket, Bucket=bucket) == "404"
    assert code_of(s3.put_object, Bucket=bucket, Key="k", Body=b"") == "NoSuchBucket"
    assert code_of(s3.list_objects_v2, Bucket=bucket) == "NoSuchBucket"


@pytest.mark.parametrize("name", ["ab", "Upper", "a..b", "-ab", "ab-", "192.168.0.1", "a" * 64, "a_b", "healthz"])
def test_bad_bucket_names_are_refused(as_user: Callable[..., Any], name: str) -> None:
    client = as_user()
    client.meta.events.unregister("before-parameter-build.s3", validate_bucket_name)  # ask the store, not the client
    assert code_of(client.create_bucket, Bucket=name) == "InvalidBucketName"


def test_pages_of_buckets(as_user: Callable[..., Any], bucket: str) -> None:
    client = as_user()
    pages = client.get_paginator("list_buckets").paginate(PaginationConfig={"PageSize": 1})
    names = [found["Name"] for page in pages for found in page["Buckets"]]
    assert names == sorted(names)
    assert names == [found["Name"] for found in client.list_buckets()["Buckets"]]


def test_x12_what_is_not_set_has_its_own_code_and_what_is_not_offered_is_501(as_user: Callable[..., Any],
                                                                             bucket: str) -> None:
    s3 = as_user()
    for call, code in ((s3.get_bucket_policy, "NoSuchBucketPolicy"), (s3.get_bucket_cors, "NoSuchCORSConfiguration"),
                       (s3.get_bucket_tagging, "NoSuchTagSet"), (s3.get_bucket_website, "NoSuchWebsiteConfiguration"),
                       (s3.get_bucket_lifecycle_configuration, "NoSuchLifecycleConfiguration"),
                       (s3.get_bucket_encryption, "ServerSideEncryptionConfigurationNotFoundError"),
                       (s3.get_public_access_block, "NoSuchPublicAccessBlockConfiguration"),
                       (s3.get_bucket_ownership_controls, "OwnershipControlsNotFoundError"),
                       (s3.get_object_lock_configuration, "ObjectLockConfigurationNotFoundError"),
                       (s3.get_bucket_replication, "ReplicationConfigurationNotFoundError"),
                       (s3.list_bucket_metrics_configurations, "NotImplemented")):
        assert code_of(call, Bucket=bucket) == code
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
    assert s3.get_bucket_acl(Bucket=bucket)["Grants"][0]["Permission"] == "FULL_CONTROL"
    assert s3.get_bucket_request_payment(Bucket=bucket)["Payer"] == "BucketOwner"
    refused = code_of(s3.put_object, Bucket=bucket, Key="k", Body=b"", ServerSideEncryption="AES256")
    assert refused == "NotImplemented"
    assert code_of(s3.put_object, Bucket=bucket, Key="k", Body=b"", Tagging="a=b") == "NotImplemented"
    assert code_of(s3.put_object_tagging, Bucket=bucket, Key="k", Tagging={"TagSet": []}) == "NotImplemented"
    assert code_of(s3.get_object, Bucket=bucket, Key="k", VersionId="v1") == "NoSuchVersion"
    s3.put_object(Bucket=bucket, Key="k", Body=b"", ACL="private", StorageClass="STANDARD")
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == []


def test_metadata_has_a_limit_and_keeps_its_bytes(s3: Any, bucket: str) -> None:
    assert code_of(s3.put_object, Bucket=bucket, Key="k", Body=b"", Metadata={"a": "x" * 2048}) == "MetadataTooLarge"
    s3.put_object(Bucket=bucket, Key="k", Body=b"", Metadata={"a": "x" * 2000})
    assert s3.head_object(Bucket=bucket, Key="k")["Metadata"] == {"a": "x" * 2000}


@pytest.mark.parametrize("user", ["bob", "nobody"])
def test_s05_another_project_and_a_user_without_a_role_reach_nothing(as_user: Callable[..., Any], bucket: str,
                                                                    user: str) -> None:
    as_user().put_object(Bucket=bucket, Key="k", Body=b"x")
    upload = as_user().create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    other, where = as_user(user), {"Bucket": bucket, "Key": "k"}
    for call, arguments in (
            (other.get_object, where), (other.put_object, {**where, "Body": b""}), (other.delete_object, where),
            (other.list_objects_v2, {"Bucket": bucket}), (other.delete_bucket, {"Bucket": bucket}),
            (other.list_multipart_uploads, {"Bucket": bucket}), (other.create_multipart_upload, where),
            (other.upload_part, {**where, "UploadId": upload, "PartNumber": 1, "Body": b""}),
            (other.list_parts, {**where, "UploadId": upload}), (other.get_bucket_policy, {"Bucket": bucket}),
            (other.delete_objects, {"Bucket": bucket, "Delete": {"Objects": [{"Key": "k"}]}})):
        assert code_of(call, **arguments) == "AccessDenied"
    if user == "bob":
        mine = f"{bucket}-of-bob"
        other.create_bucket(Bucket=mine)
        assert code_of(other.copy_object, Bucket=mine, Key="k", CopySource=where) == "AccessDenied"
        assert bucket not in [found["Name"] for found in other.list_buckets()["Buckets"]]


def test_a_colleague_may_an_auditor_reads_and_an_administrator_reaches_every_project(as_user: Callable[..., Any],
                                                                                    bucket: str) -> None:
    where = {"Bucket": bucket, "Key": "k"}
    as_user("anna").put_object(**where, Body=b"x")
    assert as_user("audit").get_object(**where)["Body"].read() == b"x"
    assert code_of(as_user("audit").put_object, **where, Body=b"") == "AccessDenied"
    assert as_user("root").get_object(**where)["Body"].read() == b"x"


def test_s06_whoever_names_the_owner_reaches_no_other_bucket(as_user: Callable[..., Any], bucket: str) -> None:
    where, root = {"Bucket": bucket, "Key": "k"}, as_user("root")
    as_user().put_object(**where, Body=b"x", ExpectedBucketOwner="111111111111")
    assert root.get_object(**where, ExpectedBucketOwner="111111111111")["Body"].read() == b"x"
    assert code_of(root.get_object, **where, ExpectedBucketOwner="222222222222") == "AccessDenied"
    copy = {"Bucket": bucket, "Key": "copy", "CopySource": where}
    assert code_of(root.copy_object, **copy, ExpectedSourceBucketOwner="222222222222") == "AccessDenied"
    assert root.copy_object(**copy, ExpectedSourceBucketOwner="111111111111")
