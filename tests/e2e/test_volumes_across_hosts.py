"""A guest of one host with a volume of another: by NBD with TLS, over the deaths of all that serves it.

The near host is this machine. The far one has a state directory and a name of its own; its guests are simulated, its
volumes are not.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.e2e import main_job, remains
from tests.e2e.clouds import Cloud, environment, until
from tests.e2e.daemons import ALL, Daemons, explained, healthy, prepared
from tests.e2e.guests import BLOCKS, Guests
from tests.ports import free_port

pytestmark = pytest.mark.timeout(900)
ZONE = "us-east-2a"
PIECES, PIECE = 40, 256 * 1024  # of what a guest writes and reads; bytes
GIB = 2**30


@dataclass
class Hosts:
    near: Daemons
    far: Daemons

    @property
    def cloud(self) -> Cloud:
        return self.near.cloud

    @contextmanager
    def without(self, host: str) -> Iterator[None]:
        """Nothing new is placed there meanwhile."""
        self.cloud.run("host", "disable", host)
        try:
            yield
        finally:
            self.cloud.run("host", "enable", host)

    def file(self, volume: str) -> Path:
        return self.far.cloud.state / "volumes" / volume / "disk.qcow2"

    def port(self, volume: str) -> int:
        listening = remains.run("ss", "-Hltnp").splitlines()
        (line,) = [line for line in listening if f"pid={servers(volume)['qemu-nbd']}," in line]
        return int(line.split()[3].rpartition(":")[2])

    def key_file(self, volume: str) -> Path:
        return self.far.cloud.state / "exports" / volume / "keys.psk"


def all_known(cloud: Cloud) -> bool:
    return {"near", "far"} <= {one["name"] for one in json.loads(cloud.run("host", "list", "--json").stdout)}


@pytest.fixture(scope="module")
def hosts(rabbitmq: Any, postgresql: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    home = tmp_path_factory.mktemp("across")
    cloud = prepared(home / "near", environment(12) | {"CLOUDCORE_COMPUTE__HOST": "near"}, rabbitmq.url,
                     postgresql.url())  # fmt: skip
    own = {"CLOUDCORE_COMPUTE__HOST": "far", "CLOUDCORE_COMPUTE__DRIVER": "simulated",
           "CLOUDCORE_VOLUME__DRIVER": "files", "CLOUDCORE_VOLUME__FIRST_PORT": str(free_port())}  # fmt: skip
    other = Cloud(home / "far", cloud.environment | own)
    del other.environment["CLOUDCORE_DATABASE__URL"]
    made = Hosts(Daemons(cloud), Daemons(other))
    try:
        for name in ALL:
            made.near.start(name)
        for name in ("network", "volume", "compute"):
            made.far.start(name)
        cloud.learn()
        with explained(made.near, made.far):
            until(lambda: healthy(cloud) and all_known(cloud), "api and object store answer, both hosts are known", 60)
        yield made
    finally:
        for daemons in (made.near, made.far):
            for name in list(daemons.running):
                daemons.stop(name)
        other.remove()
        cloud.remove()


@pytest.fixture(scope="module")
def guests(hosts: Hosts, tmp_path_factory: pytest.TempPathFactory) -> Guests:
    with explained(hosts.near, hosts.far):
        return Guests(hosts.cloud, tmp_path_factory.mktemp("guests"))


@pytest.fixture(scope="module")
def guest(hosts: Hosts, guests: Guests) -> str:
    with explained(hosts.near, hosts.far), hosts.without("far"):
        return guests.launch()[0]


@pytest.fixture(scope="module")
def volume(hosts: Hosts, guests: Guests) -> str:
    with explained(hosts.near, hosts.far), hosts.without("near"):
        made = str(guests.ec2.create_volume(AvailabilityZone=ZONE, Size=1, VolumeType="gp3")["VolumeId"])
        guests.wait("volume_available", VolumeIds=[made])
    assert hosts.file(made).exists()
    return made


@pytest.fixture(autouse=True)
def words(hosts: Hosts) -> Iterator[None]:
    yield
    for daemons in (hosts.near, hosts.far):
        for name in daemons.running:
            assert daemons.running[name].poll() is None, f"{name} has ended\n{daemons.words()}"


def servers(volume: str) -> dict[str, int]:
    """{program: pid} of what serves it, on either host."""
    lines = [line.split(None, 1) for line in remains.run("ps", "-ww", "-eo", "pid,args").splitlines()]
    found = {Path(args.split()[0]).name: int(pid) for pid, args in lines if volume in args}
    return {name: pid for name, pid in found.items() if name in ("qemu-nbd", "nbdkit")}


def fill(guests: Guests, guest: str, disk: str) -> str:
    """Its hash."""
    guests.sh(guest, f"dd if=/dev/urandom of=/dev/{disk} bs={PIECE} count={PIECES} conv=fsync,notrunc 2>/dev/null")
    return read(guests, guest, disk)


def read(guests: Guests, guest: str, disk: str, pause: float = 0) -> str:
    """From the volume, piece by piece; nothing is kept in the guest's memory."""
    one = f"dd if=/dev/{disk} bs={PIECE} skip=$i count=1 2>/dev/null; sleep {pause}; i=$((i+1))"
    command = f"echo 3 > /proc/sys/vm/drop_caches; i=0; while [ $i -lt {PIECES} ]; do {one}; done | sha256sum"
    return guests.sh(guest, command).split()[0]


def begun(guests: Guests, guest: str, disk: str) -> Future[str]:
    """A read that takes some seconds."""
    pool = ThreadPoolExecutor(1)
    reading = pool.submit(read, guests, guest, disk, 0.1)
    pool.shutdown(wait=False)
    time.sleep(1.5)  # ssh is there, and a part is read
    assert not reading.done()
    return reading


def opens(volume: str, port: int, identity: str, key: str, directory: Path) -> bool:
    """Whether a client with this key is let in."""
    directory.mkdir(mode=0o700)
    (directory / "keys.psk").write_text(f"{identity}:{key}\n")
    tls = f"tls-creds-psk,id=tls0,dir={directory},endpoint=client,username={identity}"
    image = f"driver=nbd,host=127.0.0.1,port={port},export={volume},tls-creds=tls0"
    done = subprocess.run(["qemu-img", "info", "--object", tls, "--image-opts", image], capture_output=True,
                          timeout=30)  # fmt: skip
    return done.returncode == 0


def modification(guests: Guests, volume: str) -> dict[str, Any]:
    return dict(guests.ec2.describe_volumes_modifications(VolumeIds=[volume])["VolumesModifications"][0])


def ended(guests: Guests, volume: str, state: str) -> dict[str, Any]:
    """The modification, once it has come to an end, which has to be this one."""
    until(lambda: modification(guests, volume)["ModificationState"] in ("completed", "failed"), "it has ended", 60)
    last = modification(guests, volume)
    assert last["ModificationState"] == state, last
    return last


def lies_at(cloud: Cloud, snapshot: str) -> str:
    with psycopg.connect(cloud.environment["CLOUDCORE_DATABASE__URL"]) as books:
        query = "SELECT contents.source FROM snapshots JOIN contents ON contents.id = content WHERE snapshots.id = %s"
        return str(books.execute(query, [snapshot]).fetchone()[0])  # type: ignore[index]


def copy_of(hosts: Hosts, guests: Guests, guest: str, snapshot: str, beside: str) -> str:
    """The hash of what a new volume of this snapshot holds, made on the guest's own host or on the other one."""
    with hosts.without("far" if beside == "near" else "near"):
        made = guests.ec2.create_volume(AvailabilityZone=ZONE, SnapshotId=snapshot)["VolumeId"]
        guests.wait("volume_available", VolumeIds=[made])
    assert hosts.file(made).exists() is (beside == "far")
    found = read(guests, guest, guests.attach(made, guest, "/dev/sdg"))
    guests.detach(made)
    guests.ec2.delete_volume(VolumeId=made)
    guests.wait("volume_deleted", VolumeIds=[made])
    return found


def test_it_comes_and_goes(hosts: Hosts, guests: Guests, guest: str, volume: str, tmp_path: Path) -> None:
    """What is written is there when it comes again. Only who has the key is let in, and nobody when it has gone."""
    with explained(hosts.near, hosts.far):
        disk = guests.attach(volume, guest, "/dev/sdf")
        assert guests.sh(guest, f"cat /sys/block/{disk}/size") == str(BLOCKS)
        assert set(servers(volume)) == {"qemu-nbd", "nbdkit"}
        written, where = fill(guests, guest, disk), hosts.port(volume)
        identity, _, key = hosts.key_file(volume).read_text().strip().partition(":")
        assert opens(volume, where, identity, key, tmp_path / "right")
        assert not opens(volume, where, identity, hashlib.sha256(key.encode()).hexdigest(), tmp_path / "wrong")
        assert not opens(volume, where, "i-0123456789abcdef0", key, tmp_path / "another")
        plain = ["qemu-img", "info", f"nbd://127.0.0.1:{where}/{volume}"]
        assert subprocess.run(plain, capture_output=True, timeout=30).returncode != 0
        guests.detach(volume)
        guests.gone(guest, volume)
        until(lambda: not servers(volume), f"nothing serves it: {servers(volume)}", 20)
        assert not main_job.reaches("127.0.0.1", where)
        assert not opens(volume, where, identity, key, tmp_path / "late")
        disk = guests.attach(volume, guest, "/dev/sdf")
        assert hosts.key_file(volume).read_text().strip() != f"{identity}:{key}"
        assert read(guests, guest, disk) == written


def test_whoever_serves_it_may_die(hosts: Hosts, guests: Guests, guest: str, volume: str) -> None:
    """The guest reads late, but what it has written: the server is killed, the service that restarts it, and both."""
    with explained(hosts.near, hosts.far):
        disk = guests.disk(guest, volume)
        written = fill(guests, guest, disk)
        before, where = servers(volume), hosts.port(volume)

        reading = begun(guests, guest, disk)
        os.kill(before["qemu-nbd"], signal.SIGKILL)
        until(lambda: servers(volume).get("qemu-nbd", before["qemu-nbd"]) != before["qemu-nbd"], "it is restarted", 20)
        assert reading.result(60) == written
        assert (servers(volume)["nbdkit"], hosts.port(volume)) == (before["nbdkit"], where)

        hosts.far.stop("volume", signal.SIGKILL)
        known = servers(volume)
        assert read(guests, guest, disk) == written
        hosts.far.start("volume")
        time.sleep(3)
        assert servers(volume) == known

        hosts.far.stop("volume", signal.SIGKILL)
        reading = begun(guests, guest, disk)
        os.kill(known["qemu-nbd"], signal.SIGKILL)
        time.sleep(5)
        assert not reading.done()
        hosts.far.start("volume")
        assert reading.result(60) == written
        written = fill(guests, guest, disk)
        assert read(guests, guest, disk) == written


def test_a_snapshot_of_it_while_the_guest_runs(hosts: Hosts, guests: Guests, guest: str, volume: str) -> None:
    """The guest's own host copies it; each host makes volumes of it."""
    with explained(hosts.near, hosts.far):
        disk = guests.disk(guest, volume)
        written = fill(guests, guest, disk)
        snapshot = guests.snapshot(volume)
        assert lies_at(hosts.cloud, snapshot).endswith("-live")
        assert fill(guests, guest, disk) != written
        assert copy_of(hosts, guests, guest, snapshot, "near") == written
        assert copy_of(hosts, guests, guest, snapshot, "far") == written
        guests.ec2.delete_snapshot(SnapshotId=snapshot)


def test_it_does_not_grow_in_a_guest(hosts: Hosts, guests: Guests, guest: str, volume: str) -> None:
    """QEMU sees the size of a volume of another host when it opens it. Who asks hears so, and nothing has changed."""
    with explained(hosts.near, hosts.far):
        disk = guests.disk(guest, volume)
        guests.ec2.modify_volume(VolumeId=volume, Size=2)
        assert "does not grow while" in ended(guests, volume, "failed")["StatusMessage"]
        assert guests.ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]["Size"] == 1
        assert guests.sh(guest, f"cat /sys/block/{disk}/size") == str(BLOCKS)


def test_it_waits_for_a_guest_that_is_stopped(hosts: Hosts, guests: Guests, guest: str, volume: str) -> None:
    """Meanwhile its own host copies it, and makes it larger."""
    ec2 = guests.ec2
    with explained(hosts.near, hosts.far):
        written = fill(guests, guest, guests.disk(guest, volume))
        boots = main_job.console(ec2, guest).count(" login")
        ec2.stop_instances(InstanceIds=[guest])
        guests.wait("instance_stopped", InstanceIds=[guest])
        snapshot = guests.snapshot(volume)
        assert not lies_at(hosts.cloud, snapshot).endswith("-live")
        ec2.modify_volume(VolumeId=volume, Size=2)
        ended(guests, volume, "completed")
        ec2.start_instances(InstanceIds=[guest])
        main_job.wait_running(ec2, [guest])
        main_job.wait_for_words(ec2, guest, " login", times=boots + 1)
        disk = guests.disk(guest, volume)
        assert guests.sh(guest, f"cat /sys/block/{disk}/size") == str(2 * BLOCKS)
        assert read(guests, guest, disk) == written
        assert copy_of(hosts, guests, guest, snapshot, "near") == written
        ec2.delete_snapshot(SnapshotId=snapshot)


def test_nothing_is_left(hosts: Hosts, guests: Guests, guest: str, volume: str) -> None:
    """The guest ends with the volume attached."""
    ec2, cloud = guests.ec2, hosts.cloud
    with explained(hosts.near, hosts.far):
        ec2.terminate_instances(InstanceIds=[guest])
        guests.wait("instance_terminated", InstanceIds=[guest])
        guests.wait("volume_available", VolumeIds=[volume])
        until(lambda: not servers(volume), f"nothing serves it: {servers(volume)}", 20)
        assert hosts.file(volume).exists()
        ec2.delete_volume(VolumeId=volume)
        guests.wait("volume_deleted", VolumeIds=[volume])
        assert not hosts.file(volume).parent.exists()
        until(lambda: ec2.describe_volumes()["Volumes"] == [], "no volume is left", 30)
        table = cloud.environment["CLOUDCORE_NETWORK__TABLE"]
        until(lambda: not remains.of([guest], cloud.state, table), "nothing is left", 20)
        for state in (cloud.state, hosts.far.cloud.state):
            for place in ("volumes/vol-*", "exports/*", "remotes/*", "volume/copies/*", "instances/*"):
                until(lambda found=state, place=place: not list(found.glob(place)), f"{state}: no {place}", 20)
