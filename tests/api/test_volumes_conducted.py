"""Volumes and snapshots from the request to the hosts and back: the api over a whole simulated control plane."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import maybeDeferred

from cloudcore.api.calls import Cloud
from cloudcore.api.site import Api
from cloudcore.auth.memory import MemoryAuthManager
from cloudcore.domain.volumes import Content
from cloudcore.rpc.compute import COMPUTE
from cloudcore.rpc.conductor import CONDUCTOR
from cloudcore.rpc.contract import client
from cloudcore.rpc.images import IMAGES
from cloudcore.store.books import Books
from tests.api.conftest import Answer, Beyond, House
from tests.conductor.wishes import at_rest
from tests.conductor.world import IMAGE, PROJECT, World

ROOT = "f" * 64
ZONE = "zone-a"


class Conducted:
    def __init__(self) -> None:
        self.world = world = World(hosts=2)
        world.start()
        world.images.put("images/tiny", ROOT)
        world.store.run(furnish)
        auth = MemoryAuthManager(world.clock, os.urandom)
        auth.create_project("alice", PROJECT)
        auth.create_user("alice")
        auth.grant("alice", "user")
        made: list[Any] = []
        auth.create_access_key("alice", "alice").addCallback(made.append)
        cloud = Cloud(
            clock=world.clock, random=os.urandom, database=world.store, auth=auth, images=client(IMAGES, world.bus),
            conductor=client(CONDUCTOR, world.bus), off_reactor=maybeDeferred,
            compute_of=lambda host: client(COMPUTE, world.bus, f"compute.{host}"),
            page_secret=b"secret", zones=(ZONE,))  # fmt: skip
        keys = {"alice": (made[0].id, made[0].secret.reveal())}
        self.house = House(world.clock, world.store, Beyond(), cloud, Api(cloud), keys)

    def ask(self, action: str, seconds: float = 0, **asked: Any) -> Answer:
        answer = self.house.ask(action, **asked)
        assert answer.status == 200, answer
        self.world.run(seconds)
        return answer

    def volume(self, id: str, path: str = ".//volumeSet/item/status") -> str:
        return self.ask("DescribeVolumes", **{"VolumeId.1": id}).text(path)

    def in_guest(self, instance: str) -> set[str]:
        found: set[str] = set()
        for host in self.world.hosts:
            found |= host.disks_of(instance)
        return found


def furnish(books: Any) -> None:
    books.contents.put(Content(ROOT, "images/tiny", 1024, "raw", 1 << 30))
    books._connection.exec_driver_sql(f"UPDATE images SET content = '{ROOT}'")


@pytest.fixture
def cloud() -> Iterator[Conducted]:
    made = Conducted()
    yield made
    made.world.stop()


def launched(cloud: Conducted, **asked: Any) -> tuple[str, list[str]]:
    answer = cloud.ask("RunInstances", seconds=5, ImageId=IMAGE.id, MinCount=1, MaxCount=1, InstanceType="t3.nano",
                       **asked)  # fmt: skip
    return answer.text(".//instanceId"), answer.texts(".//ebs/volumeId")


def test_a_launch_makes_its_volumes_and_its_end_takes_those_that_end_with_it(cloud: Conducted) -> None:
    data = {"BlockDeviceMapping.1.DeviceName": "/dev/sdf", "BlockDeviceMapping.1.Ebs.VolumeSize": 3,
            "BlockDeviceMapping.1.Ebs.DeleteOnTermination": "false"}  # fmt: skip
    one, (root, kept) = launched(cloud, **data)
    assert cloud.ask("DescribeInstances").texts(".//ebs/status") == ["attached", "attached"]
    assert (cloud.volume(root), cloud.volume(kept)) == ("in-use", "in-use")
    assert cloud.volume(root, ".//availabilityZone") == ZONE
    assert cloud.in_guest(one) == {root, kept}
    at_rest(cloud.world)
    cloud.ask("TerminateInstances", seconds=8, **{"InstanceId.1": one})
    assert cloud.ask("DescribeVolumes").texts(".//volumeSet/item/volumeId") == [kept]
    assert cloud.volume(kept) == "available"
    cloud.ask("DeleteVolume", seconds=5, VolumeId=kept)
    at_rest(cloud.world)
    assert cloud.world.used() == (0, 0, 0)


def alone(books: Books, instance: str) -> None:
    """New volumes lie on this instance's host: one of another host does not grow under a running guest."""
    found = books.instances.find(instance)
    assert found
    for host in books.hosts.all():
        books.hosts.enable(host.name, host.name == found.host)


def test_a_volume_comes_to_a_running_guest_grows_under_it_and_leaves(cloud: Conducted) -> None:
    one, (root,) = launched(cloud)
    cloud.world.store.run(alone, one)
    cloud.world.run(2)
    volume = cloud.ask("CreateVolume", seconds=5, AvailabilityZone=ZONE, Size=2).text(".//volumeId")
    assert cloud.volume(volume) == "available"
    cloud.ask("AttachVolume", seconds=5, VolumeId=volume, InstanceId=one, Device="/dev/sdf")
    assert cloud.volume(volume, ".//attachmentSet/item/status") == "attached"
    assert cloud.in_guest(one) == {root, volume}
    cloud.ask("ModifyVolume", seconds=8, VolumeId=volume, Size=5, VolumeType="gp3")
    assert (cloud.volume(volume, ".//size"), cloud.volume(volume, ".//volumeType")) == ("5", "gp3")
    assert cloud.ask("DescribeVolumesModifications").text(".//modificationState") == "completed"
    cloud.ask("ModifyVolume", VolumeId=volume, Iops=4000, Size=8, seconds=8)
    assert cloud.volume(volume, ".//iops") == "4000"
    cloud.ask("DetachVolume", seconds=8, VolumeId=volume)
    assert (cloud.volume(volume), cloud.in_guest(one)) == ("available", {root})
    cloud.ask("DeleteVolume", seconds=5, VolumeId=volume)
    at_rest(cloud.world)


def test_a_root_volume_moves_to_another_instance_when_both_are_stopped(cloud: Conducted) -> None:
    (one, (first,)), (other, (second,)) = launched(cloud), launched(cloud)
    cloud.ask("StopInstances", seconds=8, **{"InstanceId.1": one, "InstanceId.2": other})
    for volume in (first, second):
        cloud.ask("DetachVolume", seconds=6, VolumeId=volume)
        assert cloud.volume(volume) == "available"
    assert cloud.house.ask("StartInstances", **{"InstanceId.1": other}).code == "InvalidParameterValue"
    device = IMAGE.root_device
    cloud.ask("AttachVolume", seconds=6, VolumeId=first, InstanceId=other, Device=device)
    cloud.ask("StartInstances", seconds=8, **{"InstanceId.1": other})
    assert cloud.in_guest(other) == {first}
    cloud.ask("TerminateInstances", seconds=8, **{"InstanceId.1": one, "InstanceId.2": other})
    assert cloud.volume(first) == "available", "what is attached later outlives its instance"
    at_rest(cloud.world)


def test_snapshots_of_a_running_guest_become_volumes_and_instances(cloud: Conducted) -> None:
    one, (root,) = launched(cloud)
    data = {"BlockDeviceMapping.1.DeviceName": "/dev/sdg"}
    snapshot = cloud.ask("CreateSnapshot", seconds=8, VolumeId=root).text(".//snapshotId")
    shown = cloud.ask("DescribeSnapshots", **{"SnapshotId.1": snapshot})
    assert (shown.text(".//status"), shown.text(".//progress")) == ("completed", "100%")
    volume = cloud.ask("CreateVolume", seconds=5, AvailabilityZone=ZONE, SnapshotId=snapshot).text(".//volumeId")
    assert cloud.volume(volume) == "available"
    copy = cloud.ask("CopySnapshot", SourceSnapshotId=snapshot, SourceRegion="us-east-2").text(".//snapshotId")
    cloud.ask("DeleteSnapshot", seconds=5, SnapshotId=snapshot)
    other, made = launched(cloud, **data, **{"BlockDeviceMapping.1.Ebs.SnapshotId": copy})
    assert cloud.in_guest(other) == set(made)
    both = cloud.ask("CreateSnapshots", seconds=8, **{"InstanceSpecification.InstanceId": other}).texts(".//snapshotId")
    assert set(cloud.ask("DescribeSnapshots").texts(".//status")) == {"completed"}
    pending = cloud.ask("CreateSnapshot", VolumeId=volume).text(".//snapshotId")
    cloud.ask("DeleteSnapshot", seconds=8, SnapshotId=pending)
    at_rest(cloud.world)
    cloud.ask("TerminateInstances", seconds=8, **{"InstanceId.1": one, "InstanceId.2": other})
    cloud.ask("DeleteVolume", seconds=5, VolumeId=volume)
    for id in (copy, *both):
        cloud.ask("DeleteSnapshot", seconds=5, SnapshotId=id)
    cloud.world.run(10)
    at_rest(cloud.world)
    assert cloud.world.images.objects == {"images/tiny": ROOT}, "nothing is left but what was there before"


def test_a_volume_that_is_deleted_while_it_grows_gives_back_what_it_was_to_take(cloud: Conducted) -> None:
    volume = cloud.ask("CreateVolume", seconds=5, AvailabilityZone=ZONE, Size=2).text(".//volumeId")
    cloud.ask("ModifyVolume", VolumeId=volume, Size=5)
    cloud.ask("DeleteVolume", seconds=8, VolumeId=volume)
    assert cloud.house.ask("DescribeVolumes", **{"VolumeId.1": volume}).code == "InvalidVolume.NotFound"
    at_rest(cloud.world)
    usage = cloud.world.store.run(lambda books: books.quotas.usage(PROJECT))
    assert (usage["volumes"][0], usage["volume-gigabytes"][0]) == (0, 0)


def test_a_volume_that_cannot_grow_keeps_its_size_and_may_be_asked_again(cloud: Conducted) -> None:
    volume = cloud.ask("CreateVolume", seconds=5, AvailabilityZone=ZONE, Size=2).text(".//volumeId")
    cloud.ask("ModifyVolume", seconds=8, VolumeId=volume, Size=5000)
    assert cloud.ask("DescribeVolumesModifications").text(".//modificationState") == "failed"
    assert (cloud.volume(volume), cloud.volume(volume, ".//size")) == ("available", "2")
    at_rest(cloud.world)
    cloud.ask("ModifyVolume", seconds=8, VolumeId=volume, Size=4)
    assert cloud.volume(volume, ".//size") == "4"
    at_rest(cloud.world)


def test_a_volume_that_a_guest_cannot_take_is_available_again(cloud: Conducted) -> None:
    one, (root,) = launched(cloud)
    volume = cloud.ask("CreateVolume", seconds=5, AvailabilityZone=ZONE, Size=2).text(".//volumeId")
    for host in cloud.world.hosts:
        host.rejects[volume] = "no slot is free"
    cloud.ask("AttachVolume", seconds=8, VolumeId=volume, InstanceId=one, Device="/dev/sdf")
    assert (cloud.volume(volume), cloud.in_guest(one)) == ("available", {root})
    at_rest(cloud.world)


def test_what_fits_nowhere_ends_in_error_and_can_be_deleted(cloud: Conducted) -> None:
    volume = cloud.ask("CreateVolume", seconds=8, AvailabilityZone=ZONE, Size=9000).text(".//volumeId")
    assert cloud.volume(volume) == "error"
    cloud.ask("DeleteVolume", seconds=5, VolumeId=volume)
    at_rest(cloud.world)
    assert cloud.ask("DescribeVolumes").texts(".//volumeId") == []


# -- whatever comes ---------------------------------------------------------------------------------------------------


def a_request(chance: random.Random, known: dict[str, list[str]]) -> tuple[str, dict[str, Any]]:
    """One of a user's who has lost the overview: the ids are real, the rest is as it comes."""

    def one(kind: str) -> str:
        return chance.choice(known[kind] or [f"{kind}-0123456789abcdef0"])

    device, size = chance.choice(("/dev/sda1", "/dev/vda", "/dev/sdf", "/dev/sdg")), chance.randint(1, 6)
    mapping = {"BlockDeviceMapping.1.DeviceName": device}
    source = {"BlockDeviceMapping.1.Ebs.SnapshotId": one("snap")} if chance.random() < 0.4 else {}
    return chance.choice((
        ("RunInstances", {"ImageId": IMAGE.id, "MinCount": 1, "MaxCount": 1, "InstanceType": "t3.nano", **mapping,
                          "BlockDeviceMapping.1.Ebs.VolumeSize": size, **source,
                          "BlockDeviceMapping.1.Ebs.DeleteOnTermination": chance.choice(("true", "false"))}),
        ("CreateVolume", {"AvailabilityZone": ZONE, "Size": size}),
        ("CreateVolume", {"AvailabilityZone": ZONE, "SnapshotId": one("snap")}),
        ("AttachVolume", {"VolumeId": one("vol"), "InstanceId": one("i"), "Device": device}),
        ("AttachVolume", {"VolumeId": one("vol"), "InstanceId": one("i"), "Device": "/dev/sdh"}),
        ("DetachVolume", {"VolumeId": one("vol"), "Force": chance.choice(("true", "false"))}),
        ("ModifyVolume", {"VolumeId": one("vol"), "Size": size + 2}),
        ("CreateSnapshot", {"VolumeId": one("vol")}),
        ("CreateSnapshots", {"InstanceSpecification.InstanceId": one("i")}),
        ("CopySnapshot", {"SourceSnapshotId": one("snap"), "SourceRegion": "us-east-2"}),
        ("DeleteSnapshot", {"SnapshotId": one("snap")}),
        ("DeleteVolume", {"VolumeId": one("vol")}),
        ("StopInstances", {"InstanceId.1": one("i")}),
        ("StartInstances", {"InstanceId.1": one("i")}),
        ("TerminateInstances", {"InstanceId.1": one("i")}),
    ))  # fmt: skip


def shown(cloud: Conducted) -> dict[str, list[str]]:
    alive = {"Filter.1.Name": "instance-state-name", "Filter.1.Value.1": "terminated"}
    gone = set(cloud.ask("DescribeInstances", **alive).texts(".//instancesSet/item/instanceId"))
    every = cloud.ask("DescribeInstances").texts(".//instancesSet/item/instanceId")
    return {"i": [id for id in every if id not in gone],
            "vol": cloud.ask("DescribeVolumes").texts(".//volumeSet/item/volumeId"),
            "snap": cloud.ask("DescribeSnapshots").texts(".//snapshotId")}  # fmt: skip


@pytest.mark.deadline(120)
@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_asked_all_of_it_comes_to_rest_and_goes(cloud: Conducted, seed: int) -> None:
    chance, accepted = random.Random(seed), 0  # noqa: S311  (repeatable on purpose)
    for _ in range(80):
        action, asked = a_request(chance, shown(cloud))
        answer = cloud.house.ask(action, **asked)
        assert answer.status < 500, (action, asked, answer)
        accepted += answer.status == 200
        cloud.world.run(chance.choice((0, 0, 0.3, 2, 6)))
    assert accepted > 20
    cloud.world.run(60, 0.5)
    at_rest(cloud.world)
    for id in shown(cloud)["i"]:
        cloud.ask("TerminateInstances", **{"InstanceId.1": id})
    cloud.world.run(60, 0.5)
    for id in shown(cloud)["vol"]:
        cloud.ask("DeleteVolume", VolumeId=id)
    for id in shown(cloud)["snap"]:
        cloud.ask("DeleteSnapshot", SnapshotId=id)
    cloud.world.run(60, 0.5)
    at_rest(cloud.world)
    assert cloud.world.used() == (0, 0, 0)
    assert cloud.world.images.objects == {"images/tiny": ROOT}
