"""A retry policy sees the exception where it was raised and says what follows."""

import logging
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.core.outcomes import Failed
from orchestrator.errors import DagInvalidError
from orchestrator.sdk import (
    DAG,
    AirflowFailException,
    AirflowSensorTimeout,
    Context,
    ExceptionRetryPolicy,
    PythonOperator,
    RetryAction,
    RetryDecision,
    RetryPolicy,
    RetryRule,
)
from tests.sdk.tries import try_task


def fails_with(error: BaseException, policy: Any, **arguments: Any) -> Failed:
    """Fail one try of a task that has this policy and five retries."""

    def fail() -> None:
        raise error

    with DAG("d") as made:
        PythonOperator(task_id="t", python_callable=fail, retries=5, retry_policy=policy)
    outcome = try_task(made, "t", **arguments)
    assert isinstance(outcome, Failed)
    return outcome


RULES = ExceptionRetryPolicy(
    rules=[
        RetryRule(PermissionError, RetryAction.FAIL, reason="the key is wrong"),
        RetryRule([ConnectionError, "builtins.TimeoutError"], retry_delay=timedelta(minutes=5)),
        RetryRule(ArithmeticError, "fail", match_subclasses=False),
    ],
)


@pytest.mark.parametrize(
    ("error", "retryable", "retry_in_s"),
    [
        (PermissionError("no"), False, None),
        (ConnectionResetError("gone"), True, 300.0),
        (TimeoutError("slow"), True, 300.0),
        (ArithmeticError("x"), False, None),
        (ZeroDivisionError("x"), True, None),
        (ValueError("x"), True, None),
    ],
)
def test_the_first_rule_that_matches_decides(
    error: BaseException, retryable: bool, retry_in_s: float | None
) -> None:
    failed = fails_with(error, RULES)
    assert (failed.retryable, failed.retry_in_s) == (retryable, retry_in_s)


def test_without_a_matching_rule_the_default_decides() -> None:
    strict = ExceptionRetryPolicy([RetryRule(OSError)], default=RetryAction.FAIL)
    assert not fails_with(ValueError("x"), strict).retryable
    assert fails_with(OSError("x"), strict).retryable


def test_the_reason_of_a_rule_stands_beside_the_exceptions() -> None:
    reason = fails_with(PermissionError("no"), RULES).reason
    assert reason.startswith("PermissionError: no (test_retry_policies.py:")
    assert reason.endswith("; retry policy: the key is wrong")


@pytest.mark.parametrize("error", [AirflowFailException("never"), AirflowSensorTimeout("late")])
def test_s8_a_final_exception_is_not_retried_whatever_the_policy_says(error: Exception) -> None:
    asked = []

    def policy(exception: BaseException, context: Context) -> RetryDecision:
        asked.append(exception)
        return RetryDecision.retry()

    assert not fails_with(error, policy).retryable
    assert asked == []


def test_s8_the_action_fail_is_never_retried() -> None:
    failed = fails_with(ValueError("x"), lambda error, context: RetryDecision.fail("no use"))
    assert (failed.retryable, failed.retry_in_s) == (False, None)


def test_s8_system_exit_is_a_failure_that_a_policy_may_judge() -> None:
    policy = ExceptionRetryPolicy([RetryRule(SystemExit, RetryAction.FAIL)])
    assert fails_with(SystemExit(0), None).retryable
    assert not fails_with(SystemExit(0), policy).retryable


def test_a_policy_of_ones_own_sees_the_try_and_its_context() -> None:
    class OnlyByDay(RetryPolicy):
        def evaluate(
            self,
            exception: BaseException,
            try_number: int,
            max_tries: int,
            context: Context | None = None,
        ) -> RetryDecision:
            assert context is not None
            seen.append((str(exception), try_number, max_tries, context["ti"].task_id))
            return RetryDecision.retry(timedelta(seconds=7))

    seen: list[Any] = []
    assert fails_with(ValueError("x"), OnlyByDay(), try_number=3).retry_in_s == 7.0
    assert seen == [("x", 3, 5, "t")]


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (lambda error, context: 1 / 0, "the retry policy failed; retries and retry_delay decide"),
        (lambda error, context: True, "the retry policy returned True instead of a RetryDecision"),
    ],
)
def test_a_broken_policy_leaves_the_tasks_own_retries(
    policy: Any, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, logger="orchestrator.task"):
        failed = fails_with(ValueError("x"), policy)
    assert (failed.retryable, failed.retry_in_s) == (True, None)
    assert message in caplog.text


def test_a_path_that_nothing_has_matches_nothing(caplog: pytest.LogCaptureFixture) -> None:
    policy = ExceptionRetryPolicy([RetryRule("no.such.Error", RetryAction.FAIL)])
    assert fails_with(ValueError("x"), policy).retryable
    assert "a retry rule names no.such.Error, which cannot be imported" in caplog.text


def test_a_path_may_be_another_name_of_the_class() -> None:
    policy = ExceptionRetryPolicy([RetryRule("tests.sdk.test_retry_policies.Alias", "fail")])
    assert not fails_with(KeyError("x"), policy).retryable


Alias = LookupError


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda: RetryRule("ValueError"), "exception is 'ValueError'; a text must be the dotted"),
        (lambda: RetryRule("a b.c"), "exception is 'a b.c'; it must be an exception class or its"),
        (lambda: RetryRule(int), "exception is <class 'int'>; it must be an exception class"),  # type: ignore[arg-type]
        (lambda: RetryRule([]), "exception is empty; name at least one exception class"),
        (lambda: RetryRule(OSError, "retri"), "action is 'retri'; did you mean 'retry'?"),
        (lambda: RetryRule(OSError, retry_delay=-1), "retry_delay is -1 day, 23:59:59; it must"),
        (
            lambda: RetryRule(OSError, RetryAction.FAIL, retry_delay=5),
            "retry_delay is 0:00:05, but action is fail; only RetryAction.RETRY waits",
        ),
        (
            lambda: ExceptionRetryPolicy([OSError]),  # type: ignore[list-item]
            "rules has <class 'OSError'>; each must be a RetryRule(exception=...)",
        ),
        (
            lambda: PythonOperator(task_id="t", python_callable=print, retry_policy=RetryPolicy),
            "task 't': retry_policy is <class 'orchestrator.sdk.retry_policies.RetryPolicy'>; it",
        ),
        (
            lambda: PythonOperator(task_id="t", python_callable=print, retry_policy=3),
            "retry_policy is 3; it must be a RetryPolicy, as in ExceptionRetryPolicy(rules=[...])",
        ),
    ],
)
def test_a_wrong_policy_is_refused_where_it_is_written(write: Any, message: str) -> None:
    with pytest.raises(DagInvalidError) as caught:
        write()
    assert message in str(caught.value)
    assert "(test_retry_policies.py:" in str(caught.value)


def test_default_args_give_every_task_a_policy() -> None:
    with DAG("d", default_args={"retry_policy": RULES}) as made:
        task = PythonOperator(task_id="t", python_callable=print)
    assert task.retry_policy is RULES
    assert made.spec().tasks[0].retry.retries == 0, "a policy adds no tries"
