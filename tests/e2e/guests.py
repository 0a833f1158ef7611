"""Tiny guests with volumes, by boto3 and ssh."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.e2e import main_job
from tests.e2e.clouds import Cloud, until

SOON = {"Delay": 1, "MaxAttempts": 120}
BLOCKS = 2 * 1024 * 1024  # of 512 bytes in a GiB


class Guests:
    """Tiny guests that ssh reaches, and what one does with them."""

    def __init__(self, cloud: Cloud, directory: Path) -> None:
        self.cloud, self.ec2 = cloud, cloud.client("ec2")
        cloud.run("image", "build-tiny", "--output", str(directory / "tiny"))
        self.image = main_job.register_tiny(cloud, next((directory / "tiny").rglob("tiny.raw")), "volumes")
        self.key = main_job.make_key(cloud, "volumes", directory)
        self.group = self.ec2.create_security_group(GroupName="ssh", Description="ssh")["GroupId"]
        self.ec2.authorize_security_group_ingress(GroupId=self.group, IpProtocol="tcp", FromPort=22, ToPort=22,
                                                  CidrIp="0.0.0.0/0")  # fmt: skip

    def launch(self, count: int = 1, **more: Any) -> list[str]:
        asked = {"ImageId": self.image, "InstanceType": "t3.nano", "KeyName": "volumes",
                 "SecurityGroupIds": [self.group]} | more  # fmt: skip
        made = self.ec2.run_instances(MinCount=count, MaxCount=count, **asked)["Instances"]
        ids = [one["InstanceId"] for one in made]
        main_job.wait_running(self.ec2, ids)
        for instance in ids:
            main_job.wait_for_words(self.ec2, instance, " login")
        return ids

    def sh(self, instance: str, command: str) -> str:
        return main_job.ssh(main_job.describe(self.ec2, instance)["PrivateIpAddress"], self.key, command)

    def disk(self, instance: str, volume: str) -> str:
        """The name in the guest of the disk with the volume's serial, once it is there."""
        serial = volume.replace("-", "")
        look = f"grep -l {serial} /sys/block/vd*/serial || true"
        shown = until(lambda: self.sh(instance, look), f"{volume} there", 30)
        return str(re.search(r"/sys/block/(vd\w+)/", shown)[1])  # type: ignore[index]

    def gone(self, instance: str, volume: str) -> None:
        serial = volume.replace("-", "")
        until(lambda: not self.sh(instance, f"grep -l {serial} /sys/block/vd*/serial || true"), f"{volume} gone", 30)

    def write(self, instance: str, disk: str, text: str, block: int = 0) -> None:
        self.sh(instance, f"echo {text} | dd of=/dev/{disk} bs=512 seek={block} conv=sync,notrunc 2>/dev/null; sync")

    def read(self, instance: str, disk: str, block: int = 0) -> str:
        return self.sh(instance, f"dd if=/dev/{disk} bs=512 skip={block} count=1 2>/dev/null | tr -d '\\000'")

    def wait(self, waiter: str, **asked: Any) -> None:
        self.ec2.get_waiter(waiter).wait(WaiterConfig=SOON, **asked)

    def attach(self, volume: str, instance: str, device: str) -> str:
        self.ec2.attach_volume(VolumeId=volume, InstanceId=instance, Device=device)
        self.wait("volume_in_use", VolumeIds=[volume])
        until(lambda: self.attachment(volume)["State"] == "attached", f"{volume} attached", 60)
        return self.disk(instance, volume)

    def detach(self, volume: str) -> None:
        assert self.ec2.detach_volume(VolumeId=volume)["State"] in ("detaching", "detached")
        self.wait("volume_available", VolumeIds=[volume])

    def attachment(self, volume: str) -> dict[str, Any]:
        return dict(self.ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]["Attachments"][0])

    def snapshot(self, volume: str) -> str:
        id = str(self.ec2.create_snapshot(VolumeId=volume, Description="of a test")["SnapshotId"])
        self.wait("snapshot_completed", SnapshotIds=[id])
        return id
