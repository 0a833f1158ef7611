from hypothesis import given
from hypothesis import strategies as st

from cloudcore.domain.token_buckets import MOST, Buckets, Rate


class Time:
    now = 0.0

    def seconds(self):
        return self.now


def taken(buckets, key, rate, tries):
    return sum(buckets.take(key, rate) for _ in range(tries))


def test_a_burst_is_granted_and_then_tokens_come_back_steadily():
    time, rate = Time(), Rate(100, 20)
    buckets = Buckets(time.seconds)
    assert taken(buckets, "a", rate, 150) == 100
    time.now += 0.5
    assert taken(buckets, "a", rate, 150) == 10
    time.now += 1000
    assert taken(buckets, "a", rate, 150) == 100


def test_one_key_takes_nothing_from_another():
    buckets = Buckets(Time().seconds)
    assert taken(buckets, "a", Rate(5, 1), 10) == 5
    assert taken(buckets, "b", Rate(5, 1), 10) == 5


def test_a_clock_that_goes_back_gives_nothing():
    time = Time()
    buckets = Buckets(time.seconds)
    assert taken(buckets, "a", Rate(5, 1), 10) == 5
    time.now = -100.0
    assert taken(buckets, "a", Rate(5, 1), 10) == 0


def test_buckets_are_bounded_and_empty_ones_are_kept_longest():
    time, rate = Time(), Rate(2, 1)
    buckets = Buckets(time.seconds)
    for number in range(MOST - 1):
        buckets.take(number, rate)
    time.now += 2.0
    assert taken(buckets, "empty", rate, 3) == 2
    buckets.take("one more", rate)
    assert len(buckets) == 2
    assert not buckets.take("empty", rate)
    for number in range(3 * MOST):
        buckets.take(number, rate)
    assert len(buckets) <= MOST


def test_a_factor_widens_both_and_never_closes():
    assert Rate(100, 20).times(2) == Rate(200, 40)
    assert Rate(100, 20).times(0.001).burst == 1.0


@given(st.lists(st.floats(0, 10), max_size=40), st.integers(1, 50), st.integers(1, 20))
def test_never_more_than_the_burst_and_what_came_back(pauses, burst, refill):
    time, granted = Time(), 0
    buckets = Buckets(time.seconds)
    for pause in pauses:
        time.now += pause
        granted += taken(buckets, "a", Rate(burst, refill), 7)
        assert granted <= burst + time.now * refill + 1e-6
