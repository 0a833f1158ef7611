from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, maybeDeferred

from cloudcore.errors import CloudError
from cloudcore.journal.lines import Lines, line, read


class Threads:
    """Work that waits until the test says so."""

    def __init__(self, patient: bool = False) -> None:
        self.patient, self.waiting = patient, []  # type: bool, list[tuple[Callable[[], Any], Deferred[Any]]]

    def __call__(self, work: Callable[[], Any]) -> Deferred[Any]:
        if not self.patient:
            return maybeDeferred(work)
        done: Deferred[Any] = Deferred()
        self.waiting.append((work, done))
        return done

    def turn(self) -> None:
        work, done = self.waiting.pop(0)
        maybeDeferred(work).chainDeferred(done)


async def test_what_was_appended_is_there_after_a_restart(tmp_path):
    path = tmp_path / "state" / "journal"
    first = Lines(path, Threads())
    assert first.open() == []
    await first.append([{"a": 1}, {"b": "ü"}])
    await first.append([{"c": None}])
    await first.close()
    assert Lines(path, Threads()).open() == [{"a": 1}, {"b": "ü"}, {"c": None}]
    assert path.stat().st_mode & 0o777 == 0o600


@given(st.lists(st.integers(), max_size=5), st.integers(0, 40))
def test_a_torn_end_loses_only_what_was_torn(values, cut):
    content = b"".join(line({"v": value}) for value in values)
    records, good = read(content[: max(0, len(content) - cut)])
    assert records == [{"v": value} for value in values[: len(records)]]
    assert content[:good] == b"".join(line({"v": value}) for value in values[: len(records)])


async def test_after_a_torn_end_the_journal_goes_on(tmp_path):
    path = tmp_path / "journal"
    path.write_bytes(line({"a": 1}) + line({"b": 2})[:-3])
    journal = Lines(path, Threads())
    assert journal.open() == [{"a": 1}]
    await journal.append([{"c": 3}])
    await journal.close()
    assert Lines(path, Threads()).open() == [{"a": 1}, {"c": 3}]


def test_good_lines_after_damage_are_kept_for_a_person(tmp_path):
    path = tmp_path / "journal"
    path.write_bytes(line({"a": 1}) + b"damage\n" + line({"b": 2}))
    assert Lines(path, Threads()).open() == [{"a": 1}]
    assert line({"b": 2}) in (tmp_path / "journal.damaged").read_bytes()


async def test_those_who_wait_while_a_batch_is_written_go_together(tmp_path):
    threads = Threads(patient=True)
    journal = Lines(tmp_path / "journal", threads)
    journal.open()
    done = [journal.append([{"n": number}]) for number in range(10)]
    threads.turn()
    assert [one.called for one in done] == [True] + [False] * 9
    threads.turn()
    assert all(one.called for one in done)
    assert threads.waiting == []


async def test_a_rewritten_journal_has_what_came_after_it(tmp_path):
    threads = Threads(patient=True)
    journal = Lines(tmp_path / "journal", threads)
    journal.open()
    journal.append([{"old": 1}])
    journal.replace([{"whole": 1}])
    journal.append([{"new": 1}])
    while threads.waiting:
        threads.turn()
    await journal.close()
    assert Lines(tmp_path / "journal", Threads()).open() == [{"whole": 1}, {"new": 1}]
    assert journal.count == 2


@pytest.mark.logs_failures(1)
async def test_after_an_error_of_the_disk_nothing_is_taken_any_more(tmp_path):
    journal = Lines(tmp_path / "journal", Threads())
    journal.open()
    await journal.close()
    for _ in range(2):
        with pytest.raises(CloudError):
            await journal.append([{"a": 1}])


async def test_closing_waits_for_what_was_taken(tmp_path):
    threads = Threads(patient=True)
    journal = Lines(tmp_path / "journal", threads)
    journal.open()
    journal.append([{"a": 1}])
    closing = Deferred.fromCoroutine(journal.close())
    assert not closing.called
    threads.turn()
    await closing
    assert Lines(tmp_path / "journal", Threads()).open() == [{"a": 1}]
