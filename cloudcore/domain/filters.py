"""EC2's filters: AND between names, OR between values. `*` matches anything, `?` one character, a backslash takes the
next character literally; case counts. Values are compared in the form in which the client would read them.

Matching is greedy with one point of return: a regular expression of many stars would backtrack for ever."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

MOST_VALUES = 200  # per filter, prescribed
LONGEST = 1024  # characters of one value: no value that is compared is longer
Matcher = Callable[[Iterable[str]], bool]


def is_exact(pattern: str) -> bool:
    return not any(special in pattern for special in "*?\\")


def matches(pattern: str, value: str) -> bool:
    if is_exact(pattern):
        return pattern == value
    return _glob(_tokens(pattern), value)


@lru_cache(1024)  # patterns of at most LONGEST characters: 10 MB when all are as long
def _tokens(pattern: str) -> tuple[str | None, ...]:
    """Each token is a literal character, '' for any one character, or None for any run."""
    out: list[str | None] = []
    characters = iter(pattern)
    for one in characters:
        if one == "\\":
            out.append(next(characters, "\\"))
        elif one == "*":
            if not out or out[-1] is not None:
                out.append(None)
        else:
            out.append("" if one == "?" else one)
    return tuple(out)


def _glob(tokens: Sequence[str | None], value: str) -> bool:
    at = token = 0
    star = mark = -1
    while at < len(value):
        if token < len(tokens) and tokens[token] is None:
            star, mark, token = token, at, token + 1
        elif token < len(tokens) and tokens[token] in ("", value[at]):
            at, token = at + 1, token + 1
        elif star >= 0:
            mark += 1
            at, token = mark, star + 1
        else:
            return False
    return all(rest is None for rest in tokens[token:])


def any_of(patterns: Sequence[str]) -> Matcher:
    """Whether one of the values matches one of the patterns."""
    exact = frozenset(pattern for pattern in patterns if is_exact(pattern))
    wild = [_tokens(pattern) for pattern in patterns if not is_exact(pattern)]

    def matching(values: Iterable[str]) -> bool:
        return any(value in exact or any(_glob(tokens, value) for tokens in wild) for value in values)

    return matching
