"""The scheduler over the bus: fed by rows and heartbeats, asked by its contract."""

import pytest
from twisted.internet.defer import fail
from twisted.internet.task import Clock

from cloudcore.bus.loopback import LoopbackBus
from cloudcore.domain.placement import Demand
from cloudcore.errors import CloudError, Code
from cloudcore.rpc.conductor import HEARTBEATS, Heartbeat
from cloudcore.rpc.contract import client, publish
from cloudcore.rpc.scheduler import SCHEDULER, Needs, Proposal
from cloudcore.scheduler.service import Scheduler
from cloudcore.store.database import InlineDatabase


class Cloud:
    def __init__(self):
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.bus, self.store = LoopbackBus(self.clock), InlineDatabase(self.clock.seconds)
        self.scheduler = Scheduler(self.clock, self.bus, self.store)
        self.scheduler.startService()

    def host(self, name="host-1", memory_mib=16384, zone="zone-a"):
        self.beat = Heartbeat(name, 1, "cell1", zone, 8, memory_mib, 100, "kvm", 0)
        self.store.run(lambda books: books.hosts.heard(self.beat))
        self.hear(name)

    def hear(self, name):
        publish(self.bus, HEARTBEATS, Heartbeat(name, 1, "cell1", "zone-a", 8, 16384, 100, "kvm", 0))
        self.clock.advance(0.01)

    def select(self, **changes):
        needs = {"seed": "op-1", "vcpus": 1, "memory_mib": 1024, "disk_gib": 1} | changes
        answer = []
        client(SCHEDULER, self.bus).select(Needs(**needs)).addBoth(answer.append)
        self.clock.advance(0.01)
        return answer[0]

    def claim(self, memory_mib, name="host-1"):
        self.store.run(lambda books: books.hosts.claim(f"i-{memory_mib}", name, Demand(1, memory_mib, 1)))


@pytest.fixture
def cloud():
    made = Cloud()
    yield made
    made.scheduler.stopService()
    made.bus.stopService()
    made.store.close()


def test_a_host_that_has_just_come_is_proposed(cloud):
    cloud.host()
    assert cloud.select().proposals == (Proposal("host-1", 0),)


def test_as_many_alternatives_as_wanted(cloud):
    for number in range(5):
        cloud.host(f"host-{number}")
    assert len(cloud.select().proposals) == 3
    assert len(cloud.select(count=5).proposals) == 5


def test_what_was_claimed_is_seen_within_a_fifth_of_a_second(cloud):
    cloud.host()
    cloud.select()
    cloud.claim(16000)
    cloud.clock.advance(0.25)
    answer = cloud.select()
    assert answer.proposals == ()
    assert answer.explanation == ("needs 1024 MiB; host-1 has 384 MiB free",)


def test_who_lost_a_claim_gets_a_fresh_view_at_once(cloud):
    cloud.host("host-1")
    cloud.host("host-2")
    cloud.select()
    cloud.claim(16000, "host-2")
    assert cloud.select(not_hosts=("host-1",)).explanation == (
        "was tried before; host-1 had no room left when it was claimed",
        "needs 1024 MiB; host-2 has 384 MiB free",
    )


def test_a_disabled_host_is_not_proposed(cloud):
    cloud.host()
    cloud.store.run(lambda books: books.hosts.enable("host-1", False))
    cloud.clock.advance(0.3)
    assert cloud.select().explanation == ("must be enabled; host-1 is disabled",)


def test_a_silent_host_is_not_proposed_until_it_is_heard(cloud):
    cloud.host()
    cloud.clock.advance(31)
    answer = cloud.select()
    assert answer.proposals == ()
    assert "has not been heard of for 31 s" in answer.explanation[0]
    cloud.hear("host-1")
    assert cloud.select().proposals


def test_a_scheduler_that_has_just_started_says_that_more_may_come(cloud):
    assert cloud.select().retry > 0
    cloud.clock.advance(31)
    answer = cloud.select()
    assert (answer.retry, answer.explanation) == (0.0, ("no host has reported yet",))


def test_a_removed_host_is_forgotten_within_half_a_minute(cloud):
    cloud.host("host-1")
    cloud.host("host-2")
    cloud.store.run(lambda books: books.hosts.remove("host-1"))
    for _ in range(7):
        cloud.clock.advance(5)
        cloud.hear("host-2")
    assert [proposal.host for proposal in cloud.select().proposals] == ["host-2"]


def test_a_database_that_cannot_answer_leaves_the_view_as_it_was(cloud):
    cloud.host()
    cloud.select()
    look, cloud.scheduler._store = cloud.store, Unavailable()
    cloud.clock.advance(1)
    assert cloud.select().proposals == (Proposal("host-1", 0),)
    cloud.scheduler._store = look


class Unavailable:
    def look(self, work, *args):
        return fail(CloudError(Code.UNAVAILABLE, "no database"))
