"""Filters: by value, then against a model so simple that it cannot be wrong."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudcore.domain.filters import any_of, is_exact, matches


@pytest.mark.parametrize(("pattern", "value", "expected"), [
    ("web", "web", True), ("web", "Web", False), ("web", "web1", False), ("web*", "web1", True), ("*", "", True),
    ("w?b", "wxb", True), ("w?b", "wb", False), ("a*b*c", "a--b--c", True), ("a*b*c", "a--c--b", False),
    ("\\*", "*", True), ("\\*", "x", False), ("a\\?", "a?", True), ("a\\?", "ab", False), ("\\\\", "\\", True),
    ("a.c", "abc", False), ("[a]", "a", False), ("**", "x", True), ("", "", True), ("?", "", False),
    ("a\\", "a\\", True),
])  # fmt: skip
def test_by_value(pattern: str, value: str, expected: bool) -> None:
    assert matches(pattern, value) is expected


def naive(pattern: str, value: str) -> bool:
    """By the definition, one character at a time."""
    if not pattern:
        return not value
    if pattern[0] == "*":
        return naive(pattern[1:], value) or (bool(value) and naive(pattern, value[1:]))
    if pattern[0] == "\\" and len(pattern) > 1:
        return value[:1] == pattern[1] and naive(pattern[2:], value[1:])
    return bool(value) and (pattern[0] in ("?", value[0])) and naive(pattern[1:], value[1:])


PATTERNS = st.text("ab*?\\", max_size=7)


@given(PATTERNS, st.text("ab*\\", max_size=7))
def test_as_the_definition_says(pattern: str, value: str) -> None:
    assert matches(pattern, value) is naive(pattern, value)


@given(st.lists(PATTERNS, max_size=4), st.lists(st.text("ab", max_size=4), max_size=4))
def test_or_between_patterns_and_between_values(patterns: list[str], values: list[str]) -> None:
    assert any_of(patterns)(values) is any(naive(pattern, value) for pattern in patterns for value in values)


@given(st.text(max_size=9))
def test_what_is_exact_matches_only_itself(text: str) -> None:
    if is_exact(text):
        assert matches(text, text)
        assert not matches(text, text + "x")


def test_many_stars_take_no_time() -> None:
    before = time.perf_counter()
    assert not matches("*a" * 60 + "b", "a" * 256)
    assert time.perf_counter() - before < 0.5


@pytest.mark.parametrize("doubt", ["", "?"])
def test_s32_patterns_that_nearly_match_everywhere_take_no_time(doubt: str) -> None:
    wanted = any_of([f"*{'a' * 500}{doubt}b{number}" for number in range(200)])
    before = time.perf_counter()
    assert not wanted(["a" * 1024])
    assert time.perf_counter() - before < 0.5
