"""Temporary keys at the store, in header and URL: their own token and no other, and their boundary."""

from __future__ import annotations

import io
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.objectstore.conftest import Running


def client(running: Running, name: str, token: str | None = None) -> Any:
    access_key, secret, own = json.loads((Path(running.ca).parent / "temporary.json").read_text())[name]
    return boto3.client(
        "s3", endpoint_url=running.url(), region_name="us-east-2", aws_access_key_id=access_key,
        aws_secret_access_key=secret, aws_session_token=own if token is None else token or None,
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, signature_version="s3v4"))


def code(ask: Any, **given: Any) -> str:
    with pytest.raises(ClientError) as refusal:
        ask(**given)
    return str(refusal.value.response["Error"]["Code"])


@pytest.fixture
def key(as_user: Any, bucket: str) -> str:
    as_user().put_object(Bucket=bucket, Key="k", Body=b"data")
    return bucket


def test_a_session_may_what_its_boundary_and_its_owner_may(running: Running, key: str) -> None:
    reader = client(running, "reader")
    assert reader.get_object(Bucket=key, Key="k")["Body"].read() == b"data"
    assert [one["Key"] for one in reader.list_objects_v2(Bucket=key)["Contents"]] == ["k"]
    assert code(reader.put_object, Bucket=key, Key="k", Body=b"x") == "AccessDenied"
    assert code(reader.put_object, Bucket=key, Key="k", Body=io.BytesIO(b"x" * 99)) == "AccessDenied"
    assert code(reader.delete_object, Bucket=key, Key="k") == "AccessDenied"


def test_only_its_own_living_token_opens(running: Running, key: str) -> None:
    expired = json.loads((Path(running.ca).parent / "temporary.json").read_text())["expired"][2]
    for token in ("", "x", expired):
        assert code(client(running, "reader", token).get_object, Bucket=key, Key="k") == "InvalidToken"
    assert code(client(running, "expired").get_object, Bucket=key, Key="k") == "AccessDenied"


def test_a_presigned_url_carries_the_token(running: Running, key: str) -> None:
    url = client(running, "reader").generate_presigned_url("get_object", {"Bucket": key, "Key": "k"}, 60)
    assert "X-Amz-Security-Token=" in url
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310
        assert answer.read() == b"data"
    for broken in (url.replace("X-Amz-Security-Token=", "X-Amz-Security-Token=x"), url.replace("Security", "security"),
                   f"{url}&X-Amz-Security-Token=x"):  # fmt: skip
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(broken, timeout=10)  # noqa: S310
        assert refused.value.code in (400, 403)
