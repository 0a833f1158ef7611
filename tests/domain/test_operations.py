from cloudcore.conductor.steps import STEP_FUNCTIONS
from cloudcore.domain.operations import GIVES_UP, LEASE, RETRY_DELAYS, STEPS, retry_delay


def test_every_operation_has_steps_and_an_end():
    assert set(STEPS) == set(GIVES_UP)
    assert all(STEPS.values())


def test_every_step_has_its_function_and_no_function_is_idle():
    assert {kind for kinds in STEPS.values() for kind in kinds} == set(STEP_FUNCTIONS)


def test_what_was_accepted_is_settled_within_five_minutes():
    assert GIVES_UP["launch"] + LEASE < 300
    assert GIVES_UP["start"] + LEASE < 300


def test_retries_come_later_and_later_and_never_stop():
    assert [retry_delay(attempt) for attempt in range(1, 6)] == sorted(RETRY_DELAYS)
    assert retry_delay(1000) == RETRY_DELAYS[-1] < LEASE
