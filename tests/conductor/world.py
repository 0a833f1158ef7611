"""A whole control plane in one thread: loopback bus, simulated clock, SQLite in memory, hosts that do as they are told.

`World().launch(...)` writes what the api writes; `world.run(seconds)` lets time pass.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from itertools import count
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from cloudcore.auth.instances import Keyring
from cloudcore.auth.seal import Envelope
from cloudcore.bus.loopback import LoopbackBus
from cloudcore.conductor.service import Conductor, Settings
from cloudcore.domain.images import Image
from cloudcore.domain.instance_profiles import InstanceProfile
from cloudcore.domain.instances import Event, Instance, State
from cloudcore.domain.roles import Role
from cloudcore.domain.security_groups import Rule
from cloudcore.errors import CloudError, Code
from cloudcore.rpc.compute import (
    COMPUTE,
    ConsoleText,
    Done,
    GuestSummary,
    InstanceName,
    Nothing,
    Presence,
    Taken,
    WantedGuest,
)
from cloudcore.rpc.conductor import CONDUCTOR, FACT_SINK, HEARTBEATS, Facts, GuestFact, Heartbeat, Hint
from cloudcore.rpc.contract import client, dispatcher, publish
from cloudcore.rpc.network import (
    NETWORK,
    Address,
    Applied,
    Elastic,
    Everything,
    Port,
    Ports,
    PortSummary,
    ReleasedPort,
    WantedNetwork,
)
from cloudcore.scheduler.service import Scheduler
from cloudcore.store.books import Books
from cloudcore.store.database import InlineDatabase
from cloudcore.store.schema import projects, security_group_rules, security_groups
from tests.conductor.storage import Disks, FakeImages

PROJECT = "000000000001"
IMAGE = Image("ami-00000000000000001", PROJECT, "tiny", "", "images/tiny", "images/tiny", "0" * 64, 1024, "raw", 1024,
              "x86_64", "/dev/vda", True, "available", 0.0)  # fmt: skip
LIMITS = {"instances": 1000, "vcpus": 1000}
GROUP = "sg-00000000000000001"


class FakeHost(Disks):
    """The agents of one host, kept in dictionaries. `deaf` never answers; `stuck` takes orders and does nothing;
    `mute` works without ever reporting; `refuses` is the reason of every failed start."""

    def __init__(self, world: World, name: str, epoch: int = 1, memory_mib: int = 65536) -> None:
        self.world, self.name, self.epoch, self.memory_mib = world, name, epoch, memory_mib
        self.guests: dict[str, GuestSummary] = {}
        self.ports: dict[str, Port] = {}
        self.released: dict[str, int] = {}
        self.elastics: dict[str, Elastic] = {}
        self.groups: dict[str, tuple[int, tuple[str, ...]]] = {}
        self.deaf = self.stuck = self.mute = False
        self.refuses: str | None = None
        self.ensured: list[WantedGuest] = []
        self.network = FakeNetwork(self)
        self._sequence = count(1)
        self.begin(world.images)
        world.bus.serve(f"compute.{name}", dispatcher(COMPUTE, self))
        world.bus.serve(f"network.{name}", dispatcher(NETWORK, self.network))

    def beat(self) -> None:
        publish(self.world.bus, HEARTBEATS, Heartbeat(
            self.name, self.epoch, "cell1", "zone-a", 64, self.memory_mib, 1000, "simulated", len(self.guests),
        ))  # fmt: skip

    def ensure(self, request: WantedGuest) -> Deferred[Taken]:
        if self.deaf:
            return Deferred()
        self.ensured.append(request)
        before = self.guests.get(request.instance)
        if before is not None and before.generation > request.generation:
            return succeed(Taken(before.generation))
        self.listed(request)
        if before is None or before.generation < request.generation:
            self._become(request.instance, request.generation, "working")
            if not self.stuck:
                self.world.clock.callLater(0.2, self._done, request)
        return succeed(Taken(request.generation))

    def reboot(self, request: InstanceName) -> Deferred[Done]:
        return succeed(Done())

    def console(self, request: InstanceName) -> Deferred[ConsoleText]:
        return succeed(ConsoleText(b"", 0.0))

    def present(self, request: Nothing) -> Deferred[Presence]:
        return Deferred() if self.deaf else succeed(Presence(self.epoch, tuple(self.guests.values())))

    def _become(self, instance: str, generation: int, state: str) -> None:
        self.guests[instance] = GuestSummary(instance, generation, state)

    def _done(self, request: WantedGuest) -> None:
        if self.guests[request.instance].generation != request.generation:
            return
        state = request.power
        if request.power == "running" and self.refuses is not None:
            state = "failed"
        assert request.power != "running" or request.instance in self.ports, "a guest without a port"
        self._become(request.instance, request.generation, state)
        if state != "failed":
            self.powered(request)
        change = {"running": "started", "stopped": "stopped", "absent": "gone", "failed": "failed"}[state]
        self.tell(request.instance, request.generation, change, self.refuses or "")

    def tell(self, instance: str, generation: int, change: str, reason: str = "") -> None:
        if self.mute:
            return
        fact = GuestFact(instance, generation, change, next(self._sequence), reason)
        self._report(Facts(self.name, self.epoch, (fact,)))

    def _report(self, facts: Facts) -> None:
        """Again every five seconds until it is acknowledged."""

        def unheard(result: object) -> None:
            if not getattr(result, "known", False) and facts.epoch == self.epoch:
                self.world.clock.callLater(5.0, self._report, facts)

        client(FACT_SINK, self.world.bus).report(facts).addBoth(unheard)

    def power_off_inside(self, instance: str) -> None:
        generation = self.guests[instance].generation
        self.has.pop(instance, None)
        self._become(instance, generation, "stopped")
        self.tell(instance, generation, "stopped")

    def crash(self, instance: str) -> None:
        generation = self.guests[instance].generation
        self.has.pop(instance, None)
        self._become(instance, generation, "stopped")
        self.tell(instance, generation, "crashed")

    @property
    def running(self) -> set[str]:
        return {name for name, guest in self.guests.items() if guest.state == "running"}

    @property
    def leads(self) -> dict[str, str]:
        """{elastic address: instance}"""
        return {address: one.instance for address, one in self.elastics.items() if one.instance in self.ports}

    @property
    def left(self) -> set[str]:
        """Instances that have any trace here."""
        return {name for name, guest in self.guests.items() if guest.state != "absent"} | set(self.ports)


class FakeNetwork:
    def __init__(self, host: FakeHost) -> None:
        self.host = host

    def ensure(self, request: WantedNetwork) -> Deferred[Applied]:
        host = self.host
        if host.deaf:
            return Deferred()
        for port in request.ports:
            known = host.ports.get(port.instance)
            held = (known.generation, known.revision) if known else (-1, 0)
            if (port.generation, port.revision) >= held and port.generation > host.released.get(port.instance, -1):
                host.ports[port.instance] = port
        for one in request.elastics:
            held = host.elastics.get(one.address)
            if held is None or (held.revision, held.instance is not None) <= (one.revision, one.instance is not None):
                host.elastics[one.address] = one
        for group in request.groups:
            if group.revision >= host.groups.get(group.id, (-1, ()))[0]:
                host.groups[group.id] = group.revision, group.members
        return succeed(Applied(len(host.ports)))

    def release(self, request: ReleasedPort) -> Deferred[Applied]:
        if self.host.deaf:
            return Deferred()
        self.host.released[request.instance] = request.generation
        self.host.ports.pop(request.instance, None)
        return succeed(Applied(len(self.host.ports)))

    def lookup(self, request: Address) -> Deferred[Port]:
        raise CloudError(Code.RESOURCE_UNKNOWN, request.address)

    def present(self, request: Everything) -> Deferred[Ports]:
        if self.host.deaf:
            return Deferred()
        return succeed(Ports(tuple(PortSummary(one.instance, one.generation) for one in self.host.ports.values())))


class World:
    def __init__(self, hosts: int = 1, cidr: str = "10.90.0.0/24", memory_mib: int = 65536,
                 faults: Callable[[str], tuple[float, ...]] = lambda topic: (0.0,)) -> None:  # fmt: skip
        self.clock = Clock()
        self.clock.advance(1_000_000.0)
        self.bus = LoopbackBus(self.clock, faults)
        self.store = InlineDatabase(self.clock.seconds)
        self.keyring = Keyring(Envelope(b"k" * 32, os.urandom))
        self._numbers = count(1)
        self.conductors: list[Conductor] = []
        self.images = FakeImages(self.bus)
        self.store.run(prepare, cidr)
        self.scheduler = Scheduler(self.clock, self.bus, self.store)
        self.scheduler.startService()
        self.hosts = [FakeHost(self, f"host-{number + 1}", memory_mib=memory_mib) for number in range(hosts)]
        self.clock.callLater(10.0, self._beat)

    def start(self, failpoint: Callable[[str], None] = lambda name: None, owner: str = "conductor",
              **settings: Any) -> Conductor:  # fmt: skip
        settled = Settings(owner=owner, **settings)
        conductor = Conductor(self.clock, self.bus, self.store, settled, failpoint, self.keyring)
        conductor.startService()
        self.conductors.append(conductor)
        for host in self.hosts:
            if not host.deaf:
                host.beat()
        self.run(0.5)
        return conductor

    def abandon(self) -> None:
        """As SIGKILL would: nothing of the conductors happens any more, and what they awaited never comes."""
        for conductor in self.conductors:
            conductor.stopService()
        self.conductors.clear()
        self.bus._servers.pop(CONDUCTOR.name, None)
        self.bus._servers.pop(FACT_SINK.name, None)

    def stop(self) -> None:
        self.abandon()
        self.scheduler.stopService()
        self.bus.stopService()
        self.store.close()

    def _beat(self) -> None:
        for host in self.hosts:
            if not host.deaf:
                host.beat()
        self.clock.callLater(10.0, self._beat)

    def run(self, seconds: float, step: float = 0.1) -> None:
        for _ in range(round(seconds / step)):
            self.clock.advance(step)

    def launch(self, number: int = 1, hint: bool = True, **changes: object) -> list[str]:
        made = [self.an_instance(**changes) for _ in range(number)]
        operations = self.store.run(accept, made)
        self.hint(operations[0] if hint else None)
        return [instance.id for instance in made]

    def an_instance(self, **changes: object) -> Instance:
        number = next(self._numbers)
        values: dict[str, object] = {
            "id": f"i-{number:017x}", "project": PROJECT, "reservation": f"r-{number:017x}", "launch_index": 0,
            "cell": "cell1", "image": IMAGE.id, "instance_type": "t3.nano", "vcpus": 1, "memory_mib": 128,
            "disk_gib": 1, "zone": None, "key_name": None, "state": State.PENDING, "generation": 1,
            "created": self.clock.seconds(), "mac": f"06:00:00:00:{number >> 8:02x}:{number & 255:02x}",
        }  # fmt: skip
        return Instance(**(values | changes))  # type: ignore[arg-type]

    def request(self, instance: str, event: Event, hint: bool = True) -> None:
        operation = self.store.run(requested, instance, event)
        self.hint(operation if hint else None)

    def reshape(self, instance: str, hint: bool = True, **changes: object) -> None:
        """As the api does when something is changed that the instance's port says."""
        operation = self.store.run(reshaped, instance, changes)
        self.hint(operation if hint else None)

    def hint(self, operation: str | None) -> None:
        if operation is not None:
            client(CONDUCTOR, self.bus).hint(Hint(operation)).addErrback(lambda failure: None)

    def find(self, instance: str) -> Instance:
        found = self.store.run(lambda books: books.instances.find(instance))
        assert found is not None
        return found

    def state(self, instance: str) -> State:
        return self.find(instance).state

    def states(self, instances: list[str]) -> set[State]:
        return {self.state(instance) for instance in instances}

    def host(self, name: str):  # type: ignore[no-untyped-def]
        return self.store.run(lambda books: books.hosts.find(name))

    def open_operations(self) -> int:
        count = "SELECT count(*) FROM operations WHERE state = 'open'"
        return self.store.run(lambda books: books._connection.exec_driver_sql(count).scalar_one())

    def used(self) -> tuple[int, int, int]:
        """(instances in the quota, addresses in use, MiB claimed on all hosts): zero when all was given back."""

        def count_all(books: Books) -> tuple[int, int, int]:
            return (
                books.quotas.usage(PROJECT).get("instances", (0, 0))[0],
                sum(network.used for network in books.addresses.networks()),
                sum(host.used_memory_mib for host in books.hosts.all()),
            )

        return self.store.run(count_all)


def reshaped(books: Books, instance: str, changes: dict[str, object]) -> str:
    found = books.instances.find(instance)
    assert found is not None
    now = books.instances.reshape_port(found, **changes)
    return books.operations.begin("replug", now.id, now.generation, PROJECT, "request-3")


def prepare(books: Books, cidr: str) -> None:
    books.addresses.create_network("main", cidr)
    books.images.insert(IMAGE)
    make_group(books, GROUP, "default")


def make_group(books: Books, group: str, name: str, source: str | None = None) -> None:
    """A group whose one rule admits the members of `source`: its own ones unless told."""
    connection = books._connection  # noqa: SLF001  (a row that this suite does not depend on the api for)
    connection.execute(security_groups.insert().values(
        id=group, project=PROJECT, name=name, description="", revision=1, created=0.0))  # fmt: skip
    rule = Rule(f"sgr-{group.removeprefix('sg-')}", "-1", -1, -1, None, source or group)
    connection.execute(security_group_rules.insert().values(
        id=rule.id, group_id=group, egress=False, protocol="-1", from_port=-1, to_port=-1, cidr="",
        source_group=rule.source_group, description="", created=0.0))  # fmt: skip


def accept(books: Books, made: list[Instance], groups: tuple[str, ...] = (GROUP,)) -> list[str]:
    books.instances.insert(made, groups)
    assert books.quotas.take(PROJECT, LIMITS, instances=len(made), vcpus=sum(one.vcpus for one in made))
    return [books.operations.begin("launch", one.id, one.generation, PROJECT, "request-1") for one in made]


def requested(books: Books, instance: str, event: Event) -> str | None:
    before, after = books.instances.request(PROJECT, instance, event)
    kind = {Event.START: "start", Event.STOP: "stop", Event.TERMINATE: "terminate"}[event]
    if before is after:
        return None
    return books.operations.begin(kind, instance, after.generation, PROJECT, "request-2")


TRUST = json.dumps({"Statement": {"Effect": "Allow", "Action": "sts:AssumeRole",
                                  "Principal": {"Service": "ec2.amazonaws.com"}}})  # fmt: skip
PROFILE = InstanceProfile("AIPA0000000000000PROF", PROJECT, "web", "/", 0.0, "AROA0000000000000ROLE")


def make_profile(books: Books) -> None:
    """A project, a role that trusts instances, and the profile that holds it."""
    connection = books._connection  # noqa: SLF001  (accounts are not this suite's)
    connection.execute(projects.insert().values(id=PROJECT, name="engines", enabled=True))
    books.roles.insert(Role(PROFILE.role_id or "", PROJECT, "server", "", TRUST, 3600, 0, 0.0))
    books.profiles.insert(PROFILE)


def associate(books: Books, instance: str) -> str:
    """As the api does."""
    found = books.instances.find(instance)
    assert found is not None
    books.profile_associations.begin(PROFILE, [(f"iip-assoc-{instance.removeprefix('i-')}", instance)])
    return reshaped(books, instance, {"profile": PROFILE.id})


ELASTIC_POOL = "10.91.0.0/29"


def allocate(books: Books) -> str:
    """An elastic address of the project."""
    return books.elastic.claim(ELASTIC_POOL, PROJECT, f"eipalloc-{int(books.now()):017x}").address


def lead(books: Books, address: str, instance: str | None) -> str:
    """As the api associates it (with the instance) or disassociates it (None); the operation."""
    elastic = books.elastic.at(PROJECT, [address])[address]
    if instance is None:
        after = books.elastic.disassociate(elastic)
    else:
        after = books.elastic.associate(elastic, instance, f"eipassoc-{address}-{elastic.revision}")
    return books.operations.begin("address", address, after.revision, PROJECT, "request-3")
