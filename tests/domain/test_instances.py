"""Theorems over the life-cycle table."""

import pytest

from cloudcore.domain.instances import AWAITS, EC2_CODE, REQUESTS, TRANSITIONS, Event, State, after
from cloudcore.domain.operations import STEPS

FACTS = set(Event) - REQUESTS


def reachable(start: State) -> set[State]:
    seen, edge = {start}, [start]
    while edge:
        for target in TRANSITIONS[edge.pop()].values():
            if target not in seen:
                seen.add(target)
                edge.append(target)
    return seen


def test_every_state_has_a_row():
    assert set(TRANSITIONS) == set(State)


def test_every_state_is_reachable_from_pending():
    assert reachable(State.PENDING) == set(State)


@pytest.mark.parametrize("state", State)
def test_terminated_is_reachable_from_everywhere(state):
    assert State.TERMINATED in reachable(state)


def test_terminated_absorbs():
    assert reachable(State.TERMINATED) == {State.TERMINATED}


@pytest.mark.parametrize("state", State)
def test_delete_wins_in_every_state(state):
    assert after(state, Event.TERMINATE) in (State.SHUTTING_DOWN, State.TERMINATED)


def test_nothing_leaves_shutting_down_but_the_end():
    assert reachable(State.SHUTTING_DOWN) == {State.SHUTTING_DOWN, State.TERMINATED}


def test_what_is_awaited_is_exactly_the_unsettled_states():
    settled = {State.RUNNING, State.STOPPED, State.TERMINATED}
    assert set(AWAITS) == set(State) - settled


def test_every_awaited_operation_exists():
    assert set(AWAITS.values()) <= set(STEPS)


@pytest.mark.parametrize("state", AWAITS)
def test_an_unsettled_state_is_left_by_a_fact(state):
    assert any(target is not state for event, target in TRANSITIONS[state].items() if event in FACTS)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", sorted(REQUESTS, key=lambda event: event.value))
def test_a_request_twice_is_the_request_once(state, event):
    once = after(state, event)
    if once is not None and event is not Event.REBOOT:
        assert after(once, event) in (once, None)


def test_every_state_has_its_code_on_the_wire():
    assert set(EC2_CODE) == set(State)
    assert {EC2_CODE[state][1] for state in State} == {
        "pending", "running", "stopping", "stopped", "shutting-down", "terminated"}  # fmt: skip


def test_no_request_is_made_of_a_fact():
    assert {Event.GUEST_STARTED, Event.GUEST_STOPPED, Event.GUEST_GONE, Event.LAUNCH_FAILED} == FACTS
