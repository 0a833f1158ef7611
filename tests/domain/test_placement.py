from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from cloudcore.domain.placement import (
    NOTHING,
    UNREACHABLE_AFTER,
    Demand,
    Host,
    Question,
    judge,
    lacks,
    ranked,
)


def a_host(name="host-1", **changes):
    host = Host(name, "cell1", "zone-a", 1, 0, 8, 16384, 100, 0, 0, 0, 0, "kvm", True, 0.0, 1)
    return replace(host, **changes)


def a_question(vcpus=1, memory_mib=1024, disk_gib=8, **changes):
    return replace(Question(Demand(vcpus, memory_mib, disk_gib), "op-1"), **changes)


@st.composite
def hosts(draw):
    names = draw(st.lists(st.sampled_from([f"host-{number}" for number in range(9)]), unique=True, max_size=9))
    made = []
    for name in names:
        capacity = [draw(st.integers(0, size)) for size in (16, 32768, 200)]
        used = [draw(st.integers(0, limit)) for limit in capacity]
        made.append(Host(name, "cell1", draw(st.sampled_from(["zone-a", "zone-b"])), 1, 0, *capacity, *used, 0, "kvm",
                         draw(st.booleans()), 0.0, 1))  # fmt: skip
    return made


QUESTIONS = st.builds(
    Question, st.builds(Demand, st.integers(1, 16), st.integers(1, 32768), st.integers(0, 200)), st.text(max_size=5),
    st.sampled_from([None, "zone-a", "zone-b"]), st.frozensets(st.sampled_from(["host-1", "host-2"])),
    st.dictionaries(st.sampled_from(["host-3", "host-4"]), st.floats(0, 100)),
)  # fmt: skip
PROMISES = st.dictionaries(st.sampled_from([f"host-{number}" for number in range(9)]),
                           st.builds(Demand, st.integers(0, 8), st.integers(0, 9999), st.integers(0, 99)))  # fmt: skip


@given(hosts(), QUESTIONS, PROMISES)
def test_a_proposal_always_fits(given_hosts, question, promised):
    fitting, _ = judge(given_hosts, question)
    for host in ranked(fitting, question, promised):
        assert lacks(host, question.demand) is None
        assert host.enabled
        assert question.zone in (None, host.zone)
        assert host.name not in question.not_hosts
        assert (question.silent or {}).get(host.name, 0) <= UNREACHABLE_AFTER


@given(hosts(), QUESTIONS)
def test_every_host_is_proposed_or_removed_by_exactly_one_filter(given_hosts, question):
    fitting, lines = judge(given_hosts, question)
    told = sum(line.count("; ") if " more hosts" not in line else 3 + int(line.split("and ")[-1].split()[0])
               for line in lines)  # fmt: skip
    assert len(fitting) + told == len(given_hosts)


@given(hosts(), QUESTIONS, PROMISES)
def test_promises_order_hosts_and_never_remove_one(given_hosts, question, promised):
    fitting, _ = judge(given_hosts, question)
    assert set(ranked(fitting, question, promised)) == set(fitting)


def test_the_same_question_has_the_same_answer():
    given_hosts = [a_host(f"host-{number}") for number in range(9)]
    fitting, _ = judge(given_hosts, a_question())
    assert ranked(fitting, a_question(), {}) == ranked(list(reversed(fitting)), a_question(), {})


def test_another_seed_breaks_ties_otherwise():
    given_hosts = [a_host(f"host-{number}") for number in range(9)]
    firsts = {ranked(given_hosts, a_question(seed=f"op-{number}"), {})[0].name for number in range(50)}
    assert len(firsts) > 3


def test_the_host_with_the_most_free_memory_comes_first():
    best = ranked([a_host("full", used_memory_mib=9000), a_host("empty")], a_question(), {})
    assert [host.name for host in best] == ["empty", "full"]


def test_what_was_promised_a_moment_ago_counts_as_used():
    promised = {"host-1": Demand(1, 12000, 1)}
    best = ranked([a_host("host-1"), a_host("host-2", used_memory_mib=6000)], a_question(), promised)
    assert best[0].name == "host-2"


def test_a_host_whose_promises_fill_it_comes_last():
    promised = {"host-1": Demand(8, 0, 0)}
    best = ranked([a_host("host-1"), a_host("host-2", used_memory_mib=15000)], a_question(), promised)
    assert [host.name for host in best] == ["host-2", "host-1"]


def test_the_explanation_names_hosts_and_amounts():
    given_hosts = [a_host("host-1", used_memory_mib=15184), a_host("host-2", enabled=False)]
    fitting, lines = judge(given_hosts, a_question(memory_mib=4096))
    assert not fitting
    assert lines == ("must be enabled; host-2 is disabled", "needs 4096 MiB; host-1 has 1200 MiB free")


def test_the_explanation_of_a_large_cloud_stays_short():
    _, lines = judge([a_host(f"host-{number}") for number in range(1000)], a_question(vcpus=64))
    assert len(lines) == 1
    assert lines[0].endswith("; and 997 more hosts")


def test_no_host_at_all_has_an_explanation_too():
    assert judge([], a_question()) == ([], ("no host has reported yet",))


def test_a_silent_host_is_named_with_its_silence():
    _, lines = judge([a_host()], a_question(silent={"host-1": 45.2}))
    assert lines == ("must be reachable; host-1 has not been heard of for 45 s",)


def test_demands_add_up():
    assert sum([Demand(1, 2, 3), Demand(4, 5, 6)], NOTHING) == Demand(5, 7, 9)
