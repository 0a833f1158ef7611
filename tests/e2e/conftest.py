"""One simulated cloud for all the modules that show it to unchanged clients. They leave behind what they like, but no
quota used up, and expect nothing to be empty."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from botocore.config import Config

from tests.e2e.clouds import Cloud, environment

NO_RETRIES = Config(retries={"max_attempts": 0})
DISK = bytes(510) + b"\x55\xaa" + bytes((1 << 20) - 512)  # boots nowhere, but is a disk


@dataclass
class Simulated:
    cloud: Cloud
    image: str
    location: str  # of the image's object: bucket/key

    def client(self, service: str) -> Any:
        return self.cloud.client(service)

    def admin(self, service: str) -> Any:
        """The same account's, as who may administer."""
        shown = self.cloud.run("env", "--user", "admin", "--json")
        keys = json.loads(shown.stdout)
        return boto3.client(
            service, endpoint_url=self.cloud.exports[f"AWS_ENDPOINT_URL_{service.upper()}"],
            region_name=keys["AWS_DEFAULT_REGION"], aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"], config=NO_RETRIES)  # fmt: skip

    def launch(self, count: int = 1, **more: Any) -> list[str]:
        asked = {"ImageId": self.image, "InstanceType": "t3.nano", "MinCount": count, "MaxCount": count, **more}
        return [one["InstanceId"] for one in self.client("ec2").run_instances(**asked)["Instances"]]

    def terminate(self, instances: list[str]) -> None:
        if instances:
            self.client("ec2").terminate_instances(InstanceIds=instances)


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulated]:
    cloud = Cloud(tmp_path_factory.mktemp("simulated") / "state", environment(10))
    cloud.up("simulated")
    try:
        s3, ec2 = cloud.client("s3"), cloud.client("ec2")
        s3.create_bucket(Bucket="disks", CreateBucketConfiguration={"LocationConstraint": "us-east-2"})
        s3.put_object(Bucket="disks", Key="disk.raw", Body=DISK)
        image = ec2.register_image(Name="plain", ImageLocation="disks/disk.raw")["ImageId"]
        yield Simulated(cloud, image, "disks/disk.raw")
    finally:
        cloud.remove()
