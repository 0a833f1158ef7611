"""The journal: what a crash may leave, and what it may not."""

import pytest
from twisted.internet.defer import maybeDeferred

from cloudcore.compute.journal import LEAST_LINES, TOMBSTONE, Entry, Journal, settle
from cloudcore.rpc.compute import ImageSource, WantedGuest

IMAGE = ImageSource("ami-1", "b/k", "00" * 32, 5, "raw", 512)


def wanted(number=1, generation=1, power="running"):
    return WantedGuest(f"i-{number:017x}", generation, power, "ec2", 1, 96, 1, IMAGE)


def a_journal(path, in_thread=maybeDeferred, now=0.0):
    journal = Journal(path / "journal", in_thread)
    journal.open(now)
    return journal


async def test_what_was_put_is_read_again(tmp_path):
    journal = a_journal(tmp_path)
    await journal.put(Entry(wanted(1)))
    await journal.put(Entry(wanted(1, 2), "launched", "", "boot"))
    await journal.close()
    assert dict(a_journal(tmp_path).entries()) == {wanted().instance: Entry(wanted(1, 2), "launched", "", "boot")}


def test_the_epoch_grows_with_each_start(tmp_path):
    assert [a_journal(tmp_path).epoch for _ in range(3)] == [1, 2, 3]


@pytest.mark.parametrize("torn", [2, 5, 60])
async def test_a_torn_last_line_is_dropped(tmp_path, torn):
    journal = a_journal(tmp_path)
    await journal.put(Entry(wanted(1)))
    await journal.put(Entry(wanted(2)))
    await journal.close()
    path = tmp_path / "journal"
    path.write_bytes(path.read_bytes()[:-torn])
    assert [name for name, _ in a_journal(tmp_path).entries()] == [wanted(1).instance]


async def test_it_is_rewritten_once_it_says_much_more_than_it_knows(tmp_path):
    journal = a_journal(tmp_path)
    for generation in range(LEAST_LINES + 10):
        await journal.put(Entry(wanted(1, generation)))
    await journal.close()
    assert len((tmp_path / "journal").read_bytes().splitlines()) < 20
    assert a_journal(tmp_path).get(wanted().instance).wanted.generation == LEAST_LINES + 9


async def test_a_tombstone_stays_a_day_and_forgets_what_the_guest_was_made_of(tmp_path):
    journal = a_journal(tmp_path)
    await journal.put(settle(Entry(wanted(1, 4, "absent"), "gone"), 100.0))
    await journal.close()
    kept = a_journal(tmp_path, now=100.0 + TOMBSTONE).get(wanted().instance)
    assert (kept.wanted.generation, kept.wanted.image, kept.outcome) == (4, None, "gone")
    assert a_journal(tmp_path, now=101.0 + TOMBSTONE).get(wanted().instance) is None
