from __future__ import annotations

import pytest

from cloudcore.cli.census import NAMES, found, going_on
from cloudcore.domain.instances import State
from cloudcore.store.census import Counted


def some(*states: State) -> list[Counted]:
    return [Counted(f"i-{at}", f"web-{at}", state) for at, state in enumerate(states, 1)]


@pytest.mark.parametrize(("instances", "images", "text"), [
    ([], 0, "no instances, no images"),
    (some(State.RUNNING, State.STOPPED), 1, "2 instances (1 running), 1 image"),
    (some(State.PENDING), 3, "1 instance (0 running), 3 images"),
])  # fmt: skip
def test_what_a_state_holds(instances: list[Counted], images: int, text: str) -> None:
    assert found(instances, images) == text


@pytest.mark.parametrize(("instances", "text"), [
    ([], ""),
    (some(State.STOPPED, State.PENDING), ""),
    (some(State.RUNNING), "1 instance keeps running: web-1."),
    (some(State.RUNNING, State.STOPPED, State.STARTING), "2 instances keep running: web-1 web-3."),
])  # fmt: skip
def test_what_goes_on_alone(instances: list[Counted], text: str) -> None:
    assert going_on(instances) == text


def test_many_are_counted_rather_than_named() -> None:
    text = going_on(some(*[State.RUNNING] * (NAMES + 5)))
    assert text.startswith(f"{NAMES + 5} instances")
    assert text.endswith(f"web-{NAMES} ….")
