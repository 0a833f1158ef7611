"""EC2's filters: AND between names, OR between values. `*` matches anything, `?` one character, a backslash takes the
next character literally; case counts. Values are compared in the form in which the client would read them.

What stands between stars is searched from left to right, never back: a regular expression of many stars would
backtrack for ever."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

MOST_VALUES = 200  # per filter, prescribed
SPECIAL = re.compile(r"([*?\\])")
LONGEST = 1024  # characters of one value: no value that is compared is longer
Matcher = Callable[[Iterable[str]], bool]


def is_exact(pattern: str) -> bool:
    return not any(special in pattern for special in "*?\\")


def literal(text: str) -> str:
    """The pattern that only this text matches."""
    return SPECIAL.sub(r"\\\1", text)


def matches(pattern: str, value: str) -> bool:
    if is_exact(pattern):
        return pattern == value
    return _glob(_runs(pattern), value)


@dataclass(frozen=True, slots=True)
class _Run:
    """What stands between two stars: a text, or an expression of `length` single characters where one may be any."""

    length: int
    text: str | None
    form: re.Pattern[str] | None

    def stands(self, value: str, at: int) -> bool:
        if self.form is None:
            return value.startswith(self.text or "", at)
        return self.form.match(value, at) is not None

    def find(self, value: str, at: int, end: int) -> int:
        """Where it stands first, -1 where it does not."""
        if self.form is None:
            return value.find(self.text or "", at, end)
        found = self.form.search(value, at, end)
        return found.start() if found else -1


@lru_cache(1024)  # patterns of at most LONGEST characters
def _runs(pattern: str) -> tuple[_Run, ...]:
    """One more than there are stars."""
    runs: list[list[str | None]] = [[]]
    characters = iter(pattern)
    for one in characters:
        if one == "*":
            runs.append([])
        else:
            runs[-1].append(None if one == "?" else next(characters, one) if one == "\\" else one)
    return tuple(map(_run, runs))


def _run(characters: list[str | None]) -> _Run:
    """None is any one character."""
    literal = [one for one in characters if one is not None]
    if len(literal) == len(characters):
        return _Run(len(characters), "".join(literal), None)
    form = "".join("." if one is None else re.escape(one) for one in characters)
    return _Run(len(characters), None, re.compile(form, re.DOTALL))


def _glob(runs: Sequence[_Run], value: str) -> bool:
    """The first and the last run stand at the ends; each in between where it first can, to leave most to the rest."""
    first, last = runs[0], runs[-1]
    if len(runs) == 1:
        return len(value) == first.length and first.stands(value, 0)
    at, end = first.length, len(value) - last.length
    if at > end or not first.stands(value, 0) or not last.stands(value, end):
        return False
    for run in runs[1:-1]:
        found = run.find(value, at, end)
        if found < 0:
            return False
        at = found + run.length
    return True


def any_of(patterns: Sequence[str]) -> Matcher:
    """Whether one of the values matches one of the patterns."""
    exact = frozenset(pattern for pattern in patterns if is_exact(pattern))
    wild = [_runs(pattern) for pattern in patterns if not is_exact(pattern)]

    def matching(values: Iterable[str]) -> bool:
        return any(value in exact or any(_glob(runs, value) for runs in wild) for value in values)

    return matching
