"""Claims and releases in any order, on the real statements, against a model that is a few dictionaries (I3, I4)."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from cloudcore.domain.placement import NOTHING, Demand
from cloudcore.errors import CloudError, Code
from cloudcore.rpc.conductor import Heartbeat
from cloudcore.store.addresses import RESTS
from cloudcore.store.database import InlineDatabase

HOSTS = ("host-1", "host-2")
DEMANDS = st.builds(Demand, st.integers(1, 3), st.integers(1, 600), st.integers(0, 5))


class Claims(RuleBasedStateMachine):
    instances = Bundle("instances")

    @initialize()
    def begin(self):
        self.now, self.count = 1000.0, 0
        self.store = InlineDatabase(lambda: self.now)
        self.claimed = {}  # instance: (host, demand)
        self.addresses = {}  # instance: address
        self.freed = {}  # address: since when
        self.disabled = set()
        self.store.run(lambda books: books.addresses.create_network("main", "10.0.0.0/29"))
        for host in HOSTS:
            self.beat(host, 1024)

    def beat(self, host, memory_mib):
        told = Heartbeat(host, 1, "cell1", "zone-a", 4, memory_mib, 10, "kvm", 0)
        self.store.run(lambda books: books.hosts.heard(told))

    @rule(target=instances)
    def instance(self):
        self.count += 1
        return f"i-{self.count}"

    @rule(instance=instances, host=st.sampled_from(HOSTS), demand=DEMANDS)
    def claim(self, instance, host, demand):
        if instance in self.claimed:
            return
        row = self.store.run(lambda books: books.hosts.find(host))
        fits = all(getattr(row.free, name) >= getattr(demand, name) for name in ("vcpus", "memory_mib", "disk_gib"))
        won = self.store.run(lambda books: books.hosts.claim(instance, host, demand))
        assert won == (fits and host not in self.disabled)
        if won:
            self.claimed[instance] = host, demand

    @rule(instance=instances)
    def release(self, instance):
        held = self.store.run(lambda books: books.hosts.release(instance))
        assert held == (self.claimed.pop(instance, None) is not None)

    @rule(instance=instances)
    def take_address(self, instance):
        try:
            given = self.store.run(lambda books: books.addresses.claim(instance))
        except CloudError as problem:
            assert problem.code is Code.ADDRESSES_EXHAUSTED  # noqa: PT017
            rested = [one for one, since in self.freed.items() if self.now - since >= RESTS]
            assert not rested
            assert len(self.addresses) + len(self.freed) == 5
            return
        assert self.addresses.get(instance, given) == given
        assert given not in self.freed or self.now - self.freed.pop(given) >= RESTS
        self.addresses[instance] = given

    @rule(instance=instances)
    def free_address(self, instance):
        self.store.run(lambda books: books.addresses.release(instance))
        if instance in self.addresses:
            self.freed[self.addresses.pop(instance)] = self.now

    @rule(seconds=st.sampled_from([1.0, RESTS / 2, RESTS]))
    def time_passes(self, seconds):
        self.now += seconds

    @rule(host=st.sampled_from(HOSTS), memory_mib=st.integers(0, 2048))
    def heartbeat(self, host, memory_mib):
        self.beat(host, memory_mib)

    @rule(host=st.sampled_from(HOSTS), enabled=st.booleans())
    def enable(self, host, enabled):
        self.store.run(lambda books: books.hosts.enable(host, enabled))
        self.disabled = self.disabled - {host} if enabled else self.disabled | {host}

    @invariant()
    def no_host_exceeds_its_capacity_and_sums_are_right(self):
        for row in self.store.run(lambda books: books.hosts.all()):
            used = sum((demand for host, demand in self.claimed.values() if host == row.name), NOTHING)
            assert Demand(row.used_vcpus, row.used_memory_mib, row.used_disk_gib) == used
            assert min(row.free.vcpus, row.free.memory_mib, row.free.disk_gib) >= 0

    @invariant()
    def no_address_has_two_owners(self):
        assert len(set(self.addresses.values())) == len(self.addresses)
        assert not set(self.addresses.values()) & set(self.freed)

    def teardown(self):
        if hasattr(self, "store"):
            self.store.close()


TestClaims = Claims.TestCase
TestClaims.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
