"""What the conductor's repositories promise, on SQLite in memory, SQLite in a file, and PostgreSQL."""

import pytest
import pytest_twisted
import sqlalchemy as sa
from twisted.internet import reactor
from twisted.internet.defer import gatherResults

from cloudcore.domain.instances import Event, Instance, State
from cloudcore.domain.operations import LEASE, STEPS
from cloudcore.domain.placement import Demand
from cloudcore.errors import CloudError, Code
from cloudcore.rpc.conductor import Heartbeat
from cloudcore.store.addresses import RESTS
from cloudcore.store.books import Books, database_time
from cloudcore.store.database import Database, InlineDatabase, with_driver
from cloudcore.store.instances import LostRace
from cloudcore.store.migrating import migrate
from cloudcore.store.operations import Superseded
from cloudcore.store.schema import metadata, operations

PROJECT = "000000000001"


class Time:
    def __init__(self):
        self.now = 1000.0

    def __call__(self, connection=None):
        return self.now


@pytest.fixture
def time():
    return Time()


@pytest.fixture(scope="session")
def migrated_postgresql(postgresql):
    url = postgresql.url()
    migrate(url)
    return url


@pytest_twisted.async_yield_fixture(params=["inline", "sqlite", "postgresql"])
async def store(request, time, tmp_path):
    if request.param == "inline":
        database = InlineDatabase(time)
        yield database
        database.close()
        return
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/cloudcore.db"
        migrate(url)
    else:
        url = request.getfixturevalue("migrated_postgresql")
        engine = sa.create_engine(with_driver(url))
        with engine.begin() as connection:
            connection.exec_driver_sql(f"TRUNCATE {', '.join(metadata.tables)} CASCADE")
        engine.dispose()
    database = Database(reactor, url, lambda connection: Books(connection, time))
    database.startService()
    yield database
    database.stopService()


def an_instance(number=1, **changes):
    values = {
        "id": f"i-{number:017x}", "project": PROJECT, "reservation": "r-1", "launch_index": 0, "cell": "cell1",
        "image": "ami-1", "instance_type": "t3.nano", "vcpus": 1, "memory_mib": 128, "disk_gib": 1, "zone": None,
        "key_name": None, "state": State.PENDING, "generation": 1, "created": 1.0,
        "mac": f"06:00:00:00:00:{number:02x}",
    }  # fmt: skip
    return Instance(**(values | changes))


def a_beat(host="host-1", **changes):
    values = {"epoch": 1, "cell": "cell1", "zone": "zone-a", "vcpus": 4, "memory_mib": 1024, "disk_gib": 10,
              "virt_type": "kvm", "guests": 0}  # fmt: skip
    return Heartbeat(host, **(values | changes))


SMALL = Demand(1, 128, 1)


# -- operations -------------------------------------------------------------------------------------------------------


def begin(books, kind="launch", subject="i-1", generation=1):
    return books.operations.begin(kind, subject, generation, PROJECT, "request-1")


def take(books, owner="one", limit=10):
    return books.operations.take(owner, limit)


def open_operations(books):
    return len(books._connection.execute(sa.select(operations).where(operations.c.state == "open")).all())


async def test_a_begun_operation_is_due_at_once(store):
    operation = await store.transact(begin)
    [step] = await store.transact(take)
    assert (step.operation, step.kind, step.attempt, step.lease_epoch) == (operation, "place", 1, 1)
    assert (step.project, step.request_id, step.owner) == (PROJECT, "request-1", "one")


async def test_a_leased_step_is_nobody_elses_until_the_lease_expires(store, time):
    await store.transact(begin)
    await store.transact(take)
    time.now += LEASE - 1
    assert await store.transact(take, "two") == []
    time.now += 1
    [step] = await store.transact(take, "two")
    assert (step.attempt, step.lease_epoch) == (2, 2)


async def test_a_renewed_lease_lasts(store, time):
    operation = await store.transact(begin)
    await store.transact(take)
    time.now += LEASE - 1
    await store.transact(lambda books: books.operations.renew("one", [operation]))
    time.now += LEASE - 1
    assert await store.transact(take, "two") == []


async def test_nobody_renews_anothers_lease(store, time):
    operation = await store.transact(begin)
    await store.transact(take)
    time.now += LEASE - 1
    await store.transact(lambda books: books.operations.renew("two", [operation]))
    time.now += 1
    assert len(await store.transact(take, "two")) == 1


async def test_whoever_lost_the_lease_writes_nothing(store, time):
    await store.transact(begin)
    [old] = await store.transact(take)
    time.now += LEASE
    [new] = await store.transact(take, "two")
    for write in ("finish", "supersede"):
        with pytest.raises(Superseded):
            await store.transact(lambda books, write=write: getattr(books.operations, write)(old))
    with pytest.raises(Superseded):
        await store.transact(lambda books: books.operations.again(old, 1.0))
    await store.transact(lambda books: books.operations.release(old))
    assert await store.transact(take, "three") == []  # the release was not ours to give
    assert (await store.transact(lambda books: books.operations.finish(new))).kind == "plug"


async def test_a_restarted_conductor_takes_its_own_steps_at_once(store):
    await store.transact(begin)
    await store.transact(take)
    await store.transact(lambda books: books.operations.reclaim("one"))
    assert len(await store.transact(take)) == 1


async def test_a_finished_step_is_followed_by_the_next_under_the_same_lease(store):
    await store.transact(begin)
    [step] = await store.transact(take)
    kinds = [step.kind]
    while (step := await store.transact(lambda books, step=step: books.operations.finish(step))) is not None:
        kinds.append(step.kind)
        assert await store.transact(take, "two") == []
    assert tuple(kinds) == STEPS["launch"]
    assert await store.transact(open_operations) == 0


async def test_a_step_due_again_waits_its_delay(store, time):
    await store.transact(begin)
    [step] = await store.transact(take)
    await store.transact(lambda books: books.operations.again(step, 5.0))
    time.now += 4.9
    assert await store.transact(take) == []
    time.now += 0.2
    assert len(await store.transact(take)) == 1


async def test_the_pause_ends_with_the_next_step_that_falls_due(store):
    pause = lambda books: books.operations.pause()  # noqa: E731
    assert await store.look(pause) is None
    await store.transact(begin)
    [step] = await store.transact(take)
    assert await store.look(pause) is None
    await store.transact(lambda books: books.operations.again(step, 5.0))
    assert await store.look(pause) == pytest.approx(5.0)


async def test_steps_of_one_subject_never_run_beside_each_other(store):
    await store.transact(begin)
    [launch] = await store.transact(take)
    await store.transact(begin, "terminate", "i-1", 2)
    assert await store.transact(take) == []
    with pytest.raises(Superseded):
        await store.transact(lambda books: books.operations.finish(launch))
    await store.transact(lambda books: books.operations.release(launch))
    [step] = await store.transact(take)
    assert step.kind == "destroy"


async def test_a_take_leases_one_step_per_subject(store):
    def two(books):
        begin(books, "stop", "i-1", 2)
        begin(books, "stop", "i-1", 2)
        begin(books, "stop", "i-2", 2)

    await store.transact(two)
    assert sorted(step.subject for step in await store.transact(take)) == ["i-1", "i-2"]


async def test_a_take_keeps_to_its_limit_and_takes_the_longest_due_first(store, time):
    for number in range(5):
        time.now += 1
        await store.transact(begin, "launch", f"i-{number}")
    assert [step.subject for step in await store.transact(take, "one", 2)] == ["i-0", "i-1"]


async def test_a_newer_operation_supersedes_the_older_ones_at_once(store):
    await store.transact(begin)
    await store.transact(begin, "terminate", "i-1", 2)
    [step] = await store.transact(take)
    assert step.operation_kind == "terminate"
    states = await store.transact(lambda books: dict(books._connection.execute(
        sa.select(operations.c.kind, operations.c.state)).all()))  # fmt: skip
    assert states == {"launch": "superseded", "terminate": "open"}


async def test_regroups_that_wait_are_one(store):
    first = await store.transact(begin, "regroup", "sg-1", 2)
    assert await store.transact(begin, "regroup", "sg-1", 3) == first
    [step] = await store.transact(take)
    assert step.generation == 3
    other = await store.transact(begin, "regroup", "sg-1", 4)  # one under way may have read already
    assert other != first
    assert await store.transact(take) == []
    await store.transact(lambda books: books.operations.finish(step))
    [step] = await store.transact(take)
    assert step.operation == other


async def test_a_fact_settles_the_waiting_step_whoever_holds_it(store):
    await store.transact(begin, "terminate", "i-1", 2)
    [held] = await store.transact(take)
    settle = lambda books, generation: books.operations.settle("i-1", generation, ("destroy",))  # noqa: E731
    assert await store.transact(settle, 1) is False
    assert await store.transact(settle, 2) is True
    assert await store.transact(settle, 2) is False
    with pytest.raises(Superseded):
        await store.transact(lambda books: books.operations.again(held, 1.0))
    await store.transact(lambda books: books.operations.release(held))
    [step] = await store.transact(take)
    assert step.kind == "unplug"


async def test_an_abandoned_operation_is_failed_with_its_reason(store):
    await store.transact(begin)
    await store.transact(lambda books: books.operations.abandon("i-1", 1, "no image"))
    assert await store.transact(take) == []
    [row] = await store.transact(lambda books: books._connection.execute(sa.select(operations)).all())
    assert (row.state, row.result) == ("failed", "no image")


async def test_old_operations_are_pruned_and_open_ones_stay(store, time):
    await store.transact(begin)
    [step] = await store.transact(take)
    await store.transact(lambda books: books.operations.fail(step, "no"))
    await store.transact(begin, "launch", "i-2")
    time.now += 100
    assert await store.transact(lambda books: books.operations.prune(200)) == 0
    assert await store.transact(lambda books: books.operations.prune(50)) == 1
    assert await store.transact(open_operations) == 1


@pytest.mark.deadline(60)
async def test_many_takers_take_each_step_once(store):
    def many(books):
        for number in range(40):
            begin(books, "launch", f"i-{number}")

    await store.transact(many)
    taken = await gatherResults([store.transact(take, f"owner-{number}", 4) for number in range(16)])
    operations_taken = [step.operation for steps in taken for step in steps]
    assert len(operations_taken) == len(set(operations_taken)) == 40


# -- hosts ------------------------------------------------------------------------------------------------------------


def heard(books, **changes):
    return books.hosts.heard(a_beat(**changes))


def host(books, name="host-1"):
    return books.hosts.find(name)


async def test_a_new_host_gets_its_rows_and_is_enabled(store, time):
    assert await store.transact(heard)
    found = await store.look(host)
    assert (found.vcpus, found.memory_mib, found.used_vcpus, found.enabled, found.seen) == (4, 1024, 0, True, time.now)


async def test_a_heartbeat_alone_is_no_change_to_read_again(store, time):
    await store.transact(heard)
    before = await store.look(host)
    time.now += 10
    await store.transact(heard, guests=3)
    after = await store.look(host)
    assert (after.seen, after.guests, after.revision) == (time.now, 3, before.revision)
    await store.transact(heard, memory_mib=2048)
    assert (await store.look(host)).revision > before.revision


async def test_a_replaced_agent_is_not_believed(store):
    await store.transact(heard, epoch=5)
    assert not await store.transact(heard, epoch=4, memory_mib=1)
    assert (await store.look(host)).memory_mib == 1024
    fence = lambda books, epoch: books.hosts.fence("host-1", epoch)  # noqa: E731
    assert [await store.transact(fence, epoch) for epoch in (4, 5, 6, 5)] == [False, True, True, False]
    assert await store.transact(lambda books: books.hosts.fence("nowhere", 1)) is None


async def test_a_host_that_shrank_below_its_guests_is_full(store):
    await store.transact(heard)
    await store.transact(lambda books: books.hosts.claim("i-1", "host-1", Demand(1, 1000, 1)))
    await store.transact(heard, memory_mib=500)
    found = await store.look(host)
    assert (found.memory_mib, found.free.memory_mib) == (1000, 0)


async def test_a_claim_takes_room_and_its_release_gives_it_back_once(store):
    await store.transact(heard)
    assert await store.transact(lambda books: books.hosts.claim("i-1", "host-1", SMALL))
    found = await store.look(host)
    assert (found.used_vcpus, found.used_memory_mib, found.used_disk_gib, found.generation) == (1, 128, 1, 1)
    assert await store.look(lambda books: books.hosts.allocated("host-1")) == {"i-1": SMALL}
    assert await store.transact(lambda books: books.hosts.release("i-1")) is True
    assert await store.transact(lambda books: books.hosts.release("i-1")) is False
    assert (await store.look(host)).free == Demand(4, 1024, 10)


async def test_room_for_an_instance_and_its_volumes_is_claimed_together_and_given_back_apart(store):
    await store.transact(lambda books: books.hosts.heard(a_beat("host-1")))
    own, free = Demand(1, 1000, 0), (await store.look(lambda books: books.hosts.find("host-1"))).free.disk_gib
    assert not await store.transact(lambda books: books.hosts.claim("i-1", "host-1", own, {"vol-1": 1, "vol-2": free}))
    assert await store.look(lambda books: books.hosts.allocated("host-1")) == {}
    assert await store.transact(lambda books: books.hosts.claim("i-1", "host-1", own, {"vol-1": 1, "vol-2": 2}))
    assert await store.transact(lambda books: books.hosts.release("i-1"))
    held = await store.look(lambda books: books.hosts.allocated("host-1"))
    assert held == {"vol-1": Demand(0, 0, 1), "vol-2": Demand(0, 0, 2)}
    assert (await store.look(lambda books: books.hosts.find("host-1"))).free.disk_gib == free - 3


@pytest.mark.parametrize("demand", [Demand(5, 1, 1), Demand(1, 1025, 1), Demand(1, 1, 11)])
async def test_what_does_not_fit_is_not_claimed(store, demand):
    await store.transact(heard)
    assert not await store.transact(lambda books: books.hosts.claim("i-1", "host-1", demand))
    assert (await store.look(host)).generation == 0


async def test_a_disabled_or_unknown_host_gives_nothing(store):
    await store.transact(heard)
    await store.transact(lambda books: books.hosts.enable("host-1", False))
    for name in ("host-1", "host-2"):
        assert not await store.transact(lambda books, name=name: books.hosts.claim("i-1", name, SMALL))


@pytest.mark.deadline(60)
async def test_concurrent_claims_never_exceed_the_capacity(store):
    await store.transact(heard, memory_mib=128 * 10, vcpus=1000, disk_gib=1000)
    claim = lambda books, number: books.hosts.claim(f"i-{number}", "host-1", SMALL)  # noqa: E731
    won = await gatherResults([store.transact(claim, number) for number in range(32)])
    assert sum(won) == 10
    assert (await store.look(host)).free.memory_mib == 0


async def test_readers_ask_for_what_is_newer(store, time):
    await store.transact(heard)
    await store.transact(lambda books: books.hosts.heard(a_beat("host-2")))
    now, found = await store.look(lambda books: books.hosts.newer(-1))
    assert now == time.now
    assert {one.name for one in found} == {"host-1", "host-2"}
    newest = max(one.revision for one in found)
    await store.transact(lambda books: books.hosts.claim("i-1", "host-1", SMALL))
    _, found = await store.look(lambda books: books.hosts.newer(newest))
    assert [one.name for one in found] == ["host-1"]


async def test_hosts_are_removed_only_empty(store):
    await store.transact(heard)
    await store.transact(lambda books: books.hosts.claim("i-1", "host-1", SMALL))
    remove = lambda books: books.hosts.remove("host-1")  # noqa: E731
    with pytest.raises(CloudError) as refused:
        await store.transact(remove)
    assert refused.value.code is Code.IN_USE
    await store.transact(lambda books: books.hosts.release("i-1"))
    await store.transact(remove)
    with pytest.raises(CloudError) as refused:
        await store.transact(remove)
    assert refused.value.code is Code.HOST_UNKNOWN
    assert await store.transact(heard)  # and it comes back


# -- addresses --------------------------------------------------------------------------------------------------------


def network(books, cidr="10.0.0.0/29", name="main", gateway=None):
    return books.addresses.create_network(name, cidr, gateway)


def claim(books, instance):
    return books.addresses.claim(instance)


async def test_addresses_are_given_in_order_and_never_the_gateway(store):
    await store.transact(network, "10.0.0.0/29", "main", "10.0.0.3")
    assert [await store.transact(claim, f"i-{n}") for n in range(3)] == ["10.0.0.1", "10.0.0.2", "10.0.0.4"]


async def test_a_claim_twice_is_one_address(store):
    await store.transact(network)
    assert await store.transact(claim, "i-1") == await store.transact(claim, "i-1") == "10.0.0.2"


async def test_a_freed_address_rests_before_it_is_given_again(store, time):
    await store.transact(network)
    for number in range(5):
        await store.transact(claim, f"i-{number}")
    await store.transact(lambda books: books.addresses.release("i-2"))
    await store.transact(lambda books: books.addresses.release("i-2"))
    assert await store.look(lambda books: books.addresses.resting()) == 1
    time.now += RESTS - 1
    with pytest.raises(CloudError) as refused:
        await store.transact(claim, "i-9")
    assert refused.value.code is Code.ADDRESSES_EXHAUSTED
    time.now += 1
    assert await store.transact(claim, "i-9") == "10.0.0.4"


async def test_a_rested_address_comes_before_one_never_given(store, time):
    await store.transact(network)
    await store.transact(claim, "i-1")
    await store.transact(lambda books: books.addresses.release("i-1"))
    time.now += RESTS
    assert await store.transact(claim, "i-2") == "10.0.0.2"


async def test_the_next_network_helps_out_when_the_first_is_full(store):
    await store.transact(network)
    await store.transact(network, "10.0.1.0/29", "more")
    given = [await store.transact(claim, f"i-{number}") for number in range(6)]
    assert given[-1] == "10.0.1.2"
    assert await store.look(lambda books: books.addresses.cidr_of("10.0.1.2")) == "10.0.1.0/29"


@pytest.mark.deadline(60)
async def test_concurrent_claims_get_different_addresses(store, time):
    await store.transact(network, "10.0.0.0/26")
    for number in range(5):
        await store.transact(claim, f"old-{number}")
        await store.transact(lambda books, number=number: books.addresses.release(f"old-{number}"))
    time.now += RESTS
    given = await gatherResults([store.transact(claim, f"i-{number}") for number in range(32)])
    assert len(set(given)) == 32


@pytest.mark.parametrize("cidr", ["10.0.0.0/30", "10.0.0.1/24", "::/64", "nonsense", "10.0.0.0/33"])
async def test_what_is_no_network_is_refused(store, cidr):
    with pytest.raises(CloudError) as refused:
        await store.transact(network, cidr)
    assert refused.value.code is Code.BAD_VALUE


async def test_networks_do_not_overlap_and_go_only_unused(store):
    made = await store.transact(network, "10.0.0.0/24")
    assert (made.gateway, made.size) == ("10.0.0.1", 253)
    for again in (("10.0.0.128/25", "other"), ("10.1.0.0/24", "main")):
        with pytest.raises(CloudError) as refused:
            await store.transact(network, *again)
        assert refused.value.code is Code.NETWORK_DUPLICATE
    await store.transact(claim, "i-1")
    with pytest.raises(CloudError) as refused:
        await store.transact(lambda books: books.addresses.remove_network("main"))
    assert refused.value.code is Code.IN_USE
    await store.transact(lambda books: books.addresses.release("i-1"))
    await store.transact(lambda books: books.addresses.remove_network("main"))
    assert await store.look(lambda books: books.addresses.networks()) == []


# -- instances --------------------------------------------------------------------------------------------------------


async def made(store, **changes):
    one = an_instance(**changes)
    await store.transact(lambda books: books.instances.insert([one], ()))
    return one


async def test_a_row_comes_back_as_it_went_in(store):
    one = await made(store, user_data=b"\x00\xff", zone="zone-a", key_name="key")
    assert await store.look(lambda books: books.instances.find(one.id)) == one


async def test_a_stale_fact_changes_nothing(store):
    one = await made(store, state=State.SHUTTING_DOWN)
    assert await store.transact(lambda books: books.instances.observe(one, Event.GUEST_STARTED)) is one


async def test_only_facts_that_change_what_is_wanted_make_a_generation(store):
    one = await made(store)
    started = await store.transact(lambda books: books.instances.observe(one, Event.GUEST_STARTED))
    assert (started.state, started.generation) == (State.RUNNING, 1)
    ended = await store.transact(lambda books: books.instances.observe(started, Event.GUEST_STOPPED))
    assert (ended.state, ended.generation) == (State.STOPPED, 2)


async def test_a_stop_that_was_asked_for_keeps_its_generation_and_its_reason(store):
    one = await made(store, state=State.RUNNING)
    _, stopping = await store.transact(lambda books: books.instances.request(PROJECT, one.id, Event.STOP))
    stopped = await store.transact(lambda books: books.instances.observe(stopping, Event.GUEST_STOPPED))
    assert (stopped.generation, stopped.reason_code) == (2, "Client.UserInitiatedShutdown")


async def test_a_failed_launch_wants_absence_from_then_on(store):
    one = await made(store)
    failed = await store.transact(lambda books: books.instances.observe(one, Event.LAUNCH_FAILED, "Server.X", "why"))
    assert (failed.state, failed.generation, failed.reason_code) == (State.SHUTTING_DOWN, 2, "Server.X")
    gone = await store.transact(lambda books: books.instances.observe(failed, Event.GUEST_GONE))
    assert (gone.state, gone.reason) == (State.TERMINATED, "why")


async def test_a_race_that_was_lost_is_no_silent_success(store):
    one = await made(store)
    await store.transact(lambda books: books.instances.observe(one, Event.GUEST_STARTED))
    with pytest.raises((LostRace, CloudError)):
        await store.transact(lambda books: books.instances.observe(one, Event.GUEST_STOPPED))


async def test_the_databases_clock_is_a_clock(store):
    first = await store.look(lambda books: database_time(books._connection))
    assert 1.7e9 < first < 1e10


# -- what may be changed of an instance -------------------------------------------------------------------------------


async def test_attributes_change_without_a_moment_of_change(store, time):
    before = await made(store, changed=7.0)
    time.now += 100
    after = await store.transact(lambda books: books.instances.modify(before, protected=True, user_data=b"new"))
    assert (after.protected, after.user_data, after.changed, after.generation) == (True, b"new", before.changed, 1)
    assert await store.look(lambda books: books.instances.find(before.id)) == after


async def test_a_port_that_changes_counts_each_change_and_hears_of_the_last_confirmed(store):
    before = await made(store, changed=7.0)

    def twice(books):
        once = books.instances.reshape_port(before, metadata_tokens="required")
        return once, books.instances.reshape_port(before)  # by somebody who has not seen the first

    once, again = await store.transact(twice)
    assert (once.port_revision, again.port_revision, again.metadata_tokens) == (1, 2, "required")

    def confirm(books):
        for revision in (2, 1):  # the later one comes last
            books.instances.port_confirmed(before.id, revision)
        return books.instances.find(before.id).port_applied

    assert await store.transact(confirm) == 2


async def test_who_has_moved_meanwhile_is_not_reshaped(store):
    before = await made(store, changed=7.0)
    await store.transact(lambda books: books.instances.request(PROJECT, before.id, Event.TERMINATE))
    with pytest.raises((LostRace, CloudError)):  # a real database tries a few times itself
        await store.transact(lambda books: books.instances.reshape_port(before))


async def test_a_claim_follows_what_its_instance_demands(store):
    await store.transact(heard)
    await store.transact(lambda books: books.hosts.claim("i-1", "host-1", SMALL))

    def used(books):
        return books.hosts.find("host-1").used_memory_mib, books.hosts.allocated("host-1")["i-1"]

    for demand, fits in ((Demand(4, 1024, 1), True), (Demand(5, 1024, 1), False), (Demand(1, 2048, 1), False),
                         (Demand(1, 256, 1), True), (Demand(1, 256, 1), True)):  # fmt: skip
        assert await store.transact(lambda books, wanted=demand: books.hosts.resize("i-1", wanted)) is fits
    assert await store.look(used) == (256, Demand(1, 256, 1))
    assert await store.transact(lambda books: books.hosts.resize("i-2", SMALL)) is False
    await store.transact(lambda books: books.hosts.release("i-1"))
    assert await store.look(lambda books: books.hosts.find("host-1").used_memory_mib) == 0


async def test_a_replug_outlives_the_generation_it_began_in(store):
    await store.transact(begin, "launch")
    await store.transact(begin, "replug")
    await store.transact(begin, "stop", "i-1", 2)
    steps = await store.transact(take)
    assert [step.kind for step in steps] in (["replug"], ["halt"])
    assert await store.look(open_operations) == 2
