"""The cache around an Auth Manager, on a simulated clock and an inner manager that answers when told."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from cloudcore.auth.cached import CachedAuthManager
from cloudcore.auth.memory import MemoryAuthManager
from cloudcore.auth.model import Credential, Secret
from cloudcore.domain.callers import Caller

GOOD = Credential(Secret("secret"), Caller("KEY1", "u", "ada", "1", "engines", frozenset({"user"})))


class Slow(MemoryAuthManager):
    """Answers `credential` only when told."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, bytes)
        self.questions: list[Deferred[Credential | None]] = []

    def credential(self, access_key: str) -> Deferred[Credential | None]:
        self.questions.append(Deferred())
        return self.questions[-1]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def inner(clock: Clock) -> Slow:
    return Slow(clock)


@pytest.fixture
def cache(inner: Slow, clock: Clock) -> CachedAuthManager:
    return CachedAuthManager(inner, clock, seconds=60, most=2)


def ask(cache: CachedAuthManager, key: str = "KEY1") -> list[Credential | None]:
    answers: list[Credential | None] = []
    cache.credential(key).addCallback(answers.append)
    return answers


def test_a_good_answer_is_kept_for_five_seconds_at_most(cache: CachedAuthManager, inner: Slow, clock: Clock) -> None:
    ask(cache)
    inner.questions[0].callback(GOOD)
    clock.advance(4.9)
    assert ask(cache) == [GOOD] and len(inner.questions) == 1
    clock.advance(0.2)
    assert ask(cache) == [] and len(inner.questions) == 2


def test_a_denial_is_never_kept(cache: CachedAuthManager, inner: Slow) -> None:
    assert ask(cache) == []
    inner.questions[0].callback(None)
    ask(cache)
    assert len(inner.questions) == 2


def test_questions_under_way_are_shared(cache: CachedAuthManager, inner: Slow) -> None:
    first, second = ask(cache), ask(cache)
    assert len(inner.questions) == 1
    inner.questions[0].callback(GOOD)
    assert first == second == [GOOD]


def test_who_gives_up_does_not_take_the_answer_from_others(cache: CachedAuthManager, inner: Slow) -> None:
    impatient = cache.credential("KEY1")
    patient = ask(cache)
    impatient.cancel()
    impatient.addErrback(lambda _: None)
    inner.questions[0].callback(GOOD)
    assert patient == [GOOD]


def test_a_failure_reaches_all_and_is_not_kept(cache: CachedAuthManager, inner: Slow) -> None:
    failures: list[object] = []
    for _ in range(2):
        cache.credential("KEY1").addErrback(failures.append)
    inner.questions[0].errback(OSError("down"))
    assert len(failures) == 2
    ask(cache)
    assert len(inner.questions) == 2


def test_a_change_drops_everything(cache: CachedAuthManager, inner: Slow) -> None:
    ask(cache)
    inner.questions[0].callback(GOOD)
    cache.create_user("bob")
    ask(cache)
    assert len(inner.questions) == 2


def test_an_answer_from_before_a_change_is_not_kept(cache: CachedAuthManager, inner: Slow) -> None:
    early = ask(cache)
    cache.create_user("bob")
    inner.questions[0].callback(GOOD)
    assert early == [GOOD]
    ask(cache)
    assert len(inner.questions) == 2


def test_who_asks_after_a_change_does_not_get_the_answer_from_before(cache: CachedAuthManager, inner: Slow) -> None:
    ask(cache)
    cache.create_user("bob")
    late = ask(cache)
    inner.questions[0].callback(GOOD)
    assert late == []
    inner.questions[1].callback(None)
    assert late == [None]


def test_the_oldest_goes_when_there_are_too_many(cache: CachedAuthManager, inner: Slow) -> None:
    for key in ("KEY1", "KEY2", "KEY3"):
        ask(cache, key)
        inner.questions[-1].callback(GOOD)
    assert ask(cache, "KEY3") == ask(cache, "KEY2") == [GOOD] and len(inner.questions) == 3
    assert ask(cache, "KEY1") == []
