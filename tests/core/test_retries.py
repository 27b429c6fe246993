"""S8: what follows a failed try."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.lifecycle import TaskEvent
from orchestrator.core.outcomes import Failed, Skipped, Succeeded
from orchestrator.core.retries import (
    RETRY_DELAY_MAX_S,
    Conclusion,
    conclude,
    jitter_seed,
    retry_delay_s,
)
from orchestrator.core.specs import RetryPolicy
from orchestrator.core.states import TaskState

POLICY = RetryPolicy(retries=2, delay_s=30)


@pytest.mark.parametrize(
    ("try_number", "state"),
    [(1, TaskState.UP_FOR_RETRY), (2, TaskState.UP_FOR_RETRY), (3, TaskState.FAILED)],
)
def test_s8_attempts_are_retries_plus_one(try_number: int, state: TaskState) -> None:
    concluded = conclude(
        Failed(reason="boom"), policy=POLICY, try_number=try_number, max_tries=2, seed="s"
    )
    assert concluded.state is state
    assert concluded.reason == "boom"
    assert concluded.retry_in_s == (30 if state is TaskState.UP_FOR_RETRY else None)


def test_s8_a_fail_exception_is_never_retried() -> None:
    outcome = Failed(reason="no use", retryable=False)
    assert conclude(outcome, policy=POLICY, try_number=1, max_tries=2, seed="s") == Conclusion(
        event=TaskEvent.FAILED, reason="no use"
    )


def test_success_carries_the_branch_decision() -> None:
    outcome = Succeeded(skip=("b", "c"))
    assert conclude(outcome, policy=POLICY, try_number=1, max_tries=2, seed="s") == Conclusion(
        event=TaskEvent.SUCCEEDED, skip=("b", "c")
    )


def test_a_skip_is_final() -> None:
    outcome = Skipped(reason="nothing new")
    concluded = conclude(outcome, policy=POLICY, try_number=1, max_tries=2, seed="s")
    assert concluded.state is TaskState.SKIPPED


def test_s8_backoff_is_airflows_formula() -> None:
    policy = RetryPolicy(delay_s=10, backoff=3)
    seed = jitter_seed(dag_id="d", task_id="t", logical_date="2026-01-01", try_number=2)
    jitter = int(hashlib.sha1(b"d#t#2026-01-01#2").hexdigest(), 16) % 30
    assert retry_delay_s(policy, try_number=2, seed=seed) == 30 + jitter


@given(st.floats(0, 1e7), st.floats(1.0001, 100), st.integers(1, 10_000), st.text(max_size=20))
def test_s8_backoff_stays_between_base_and_twice_base_and_below_a_day(
    delay_s: float, backoff: float, try_number: int, seed: str
) -> None:
    policy = RetryPolicy(delay_s=delay_s, backoff=backoff)
    wait_s = retry_delay_s(policy, try_number=try_number, seed=seed)
    assert 1 <= wait_s <= RETRY_DELAY_MAX_S
    if try_number == 1 and 2 * delay_s + 2 < RETRY_DELAY_MAX_S:
        assert max(1, delay_s) <= wait_s < 2 * (delay_s + 1)


@pytest.mark.parametrize(("max_delay_s", "wait_s"), [(45.0, 45.0), (None, RETRY_DELAY_MAX_S)])
def test_s8_the_cap_holds(max_delay_s: float | None, wait_s: float) -> None:
    policy = RetryPolicy(delay_s=1e6, max_delay_s=max_delay_s)
    assert retry_delay_s(policy, try_number=1, seed="s") == wait_s
