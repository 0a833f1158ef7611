from dataclasses import replace

from cloudcore.domain.placement import Demand, Host, Question
from cloudcore.scheduler.view import PROMISE_LASTS, View

SMALL = Demand(1, 1024, 1)


def a_host(name="host-1", **changes):
    host = Host(name, "cell1", "zone-a", 1, 0, 8, 16384, 100, 0, 0, 0, 0, "kvm", True, 0.0, 1)
    return replace(host, **changes)


def a_view(*hosts, now=0.0):
    view = View()
    view.read(0.0, hosts, now)
    return view


def first(view, now=0.0, seed="op-1", **changes):
    best, _ = view.select(Question(SMALL, seed, **changes), 3, now)
    return best[0].name if best else None


def test_many_questions_in_one_instant_are_spread():
    view = a_view(*(a_host(f"host-{number}") for number in range(4)))
    firsts = [first(view, seed=f"op-{number}") for number in range(32)]
    assert {name: firsts.count(name) for name in set(firsts)} == {f"host-{number}": 8 for number in range(4)}


def test_a_promise_that_was_kept_is_not_counted_twice():
    view = a_view(a_host("host-1"), a_host("host-2", used_memory_mib=1500))
    assert first(view) == "host-1"
    view.read(0.0, [a_host("host-1", used_memory_mib=1024, generation=1)], 0.1)
    assert first(view) == "host-1"


def test_a_promise_is_forgotten_when_nobody_claimed():
    view = a_view(a_host("host-1"), a_host("host-2", used_memory_mib=500))
    assert first(view) == "host-1"
    assert first(view) == "host-2"
    assert first(view, now=PROMISE_LASTS + 0.1) == "host-1"


def test_promises_never_refuse_what_fits():
    view = a_view(a_host(memory_mib=2048))
    assert [first(view) for _ in range(5)] == ["host-1"] * 5


def test_a_host_is_as_silent_as_the_database_says_until_it_is_heard():
    view = View()
    view.read(1000.0, [a_host(seen=960.0)], 5.0)
    assert first(view, now=5.0) is None
    assert view.expects_more(5.0)
    assert view.heard("host-1", 6.0)
    assert first(view, now=6.0) == "host-1"
    assert not view.expects_more(6.0)
    assert first(view, now=36.1) is None


def test_a_row_read_again_does_not_make_a_host_seem_silent():
    view = a_view(a_host(seen=0.0))
    view.heard("host-1", 100.0)
    view.read(100.0, [a_host(seen=50.0, generation=1)], 100.0)
    assert first(view, now=120.0) == "host-1"


def test_hosts_without_rows_are_forgotten():
    view = a_view(a_host("host-1"), a_host("host-2"))
    view.forget_all_but({"host-2"})
    assert set(view.hosts) == {"host-2"}
    assert not view.heard("host-1", 0.0)


def test_nothing_known_expects_more():
    assert View().expects_more(0.0)
