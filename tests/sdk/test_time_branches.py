"""Branches by clock and calendar, and what only the latest run of a schedule does."""

from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest

from orchestrator.core.outcomes import Outcome, Succeeded
from orchestrator.core.states import RunType
from orchestrator.errors import DagInvalidError
from orchestrator.sdk import (
    DAG,
    BranchDateTimeOperator,
    BranchDayOfWeekOperator,
    EmptyOperator,
    LatestOnlyOperator,
    WeekDay,
)
from orchestrator.testing import run_dag
from tests.sdk.tries import try_task

WEDNESDAY = datetime(2026, 3, 4, 22, 30, tzinfo=UTC)
IDS: dict[str, Any] = {"follow_task_ids_if_true": "yes", "follow_task_ids_if_false": ["no"]}


def followed(
    operator: Any, *, logical_date: datetime = WEDNESDAY, zone: str = "UTC", **arguments: Any
) -> str:
    with DAG("d", timezone=zone) as dag:
        operator(task_id="branch", use_task_logical_date=True, **IDS, **arguments) >> [
            EmptyOperator(task_id="yes"),
            EmptyOperator(task_id="no"),
        ]
    states = run_dag(dag, logical_date=logical_date).states
    assert sorted(states.values()) == ["skipped", "success", "success"]
    return "yes" if states["yes"] == "success" else "no"


@pytest.mark.parametrize(
    ("lower", "upper", "branch"),
    [
        (time(22), time(23), "yes"),
        (time(22, 30), None, "yes"),
        (time(22, 31), None, "no"),
        (None, time(22, 30), "yes"),
        (None, time(22, 29), "no"),
        (time(22), time(2), "yes"),
        (time(23), time(22), "no"),
        (WEDNESDAY - timedelta(days=1), WEDNESDAY, "yes"),
        (WEDNESDAY + timedelta(seconds=1), None, "no"),
        (datetime(2026, 3, 4, 22), time(23), "yes"),  # noqa: DTZ001 - the DAG's own zone
    ],
)
def test_a_branch_by_the_hour(lower: Any, upper: Any, branch: str) -> None:
    given = {"target_lower": lower, "target_upper": upper}
    assert followed(BranchDateTimeOperator, **given) == branch


def test_hours_are_those_of_the_dag() -> None:
    seven_in_tokyo: dict[str, Any] = {"target_lower": time(7), "target_upper": time(8)}
    assert followed(BranchDateTimeOperator, **seven_in_tokyo, zone="Asia/Tokyo") == "yes"
    assert followed(BranchDateTimeOperator, **seven_in_tokyo) == "no"


@pytest.mark.parametrize(
    ("week_day", "branch"),
    [("Wednesday", "yes"), (WeekDay.THURSDAY, "no"), ({"monday", WeekDay.WEDNESDAY}, "yes")],
)
def test_a_branch_by_the_day(week_day: Any, branch: str) -> None:
    assert followed(BranchDayOfWeekOperator, week_day=week_day) == branch


def test_the_day_is_the_dags() -> None:
    assert followed(BranchDayOfWeekOperator, week_day="Thursday", zone="Asia/Tokyo") == "yes"


def test_by_default_the_present_moment_counts() -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    with DAG("d") as dag:
        BranchDateTimeOperator(task_id="branch", target_upper=soon, **IDS) >> [
            EmptyOperator(task_id="yes"),
            EmptyOperator(task_id="no"),
        ]
    assert run_dag(dag, logical_date=soon + timedelta(days=400))["yes"].state == "success"


@pytest.mark.parametrize(
    ("operator", "arguments", "message"),
    [
        (BranchDateTimeOperator, IDS, "neither target_lower nor target_upper is given"),
        (
            BranchDateTimeOperator,
            {**IDS, "target_lower": "8:00"},
            "target_lower is '8:00'; it must be a datetime or a datetime.time",
        ),
        (
            BranchDayOfWeekOperator,
            {**IDS, "week_day": "Tuseday"},
            "week_day is 'Tuseday'; did you mean 'Tuesday'?",
        ),
        (
            BranchDayOfWeekOperator,
            {**IDS, "week_day": "Monday", "follow_task_ids_if_true": 3},
            "follow_task_ids_if_true is 3; it must be a task or group id, or several",
        ),
    ],
)
def test_wrong_arguments_of_a_branch(operator: Any, arguments: Any, message: str) -> None:
    with DAG("d"), pytest.raises(DagInvalidError) as caught:
        operator(task_id="branch", **arguments)
    assert message in str(caught.value)


def latest(
    *, schedule: Any, at: datetime, run_type: RunType = RunType.SCHEDULED, **arguments: Any
) -> Outcome:
    with DAG("d", schedule=schedule, start_date=datetime(2024, 1, 1, tzinfo=UTC)) as dag:
        direct = EmptyOperator(task_id="direct", **arguments)
        LatestOnlyOperator(task_id="latest") >> direct >> EmptyOperator(task_id="later")
    return try_task(dag, "latest", logical_date=at, run_after=at, run_type=run_type)


NOW = datetime.now(UTC)
OLD = NOW - timedelta(days=3)
SKIPS = Succeeded(xcoms={"return_value": []}, skip=("direct",), length=0)
GOES_ON = Succeeded(xcoms={"return_value": ["direct"]}, skip=(), length=1)


@pytest.mark.parametrize("schedule", ["@daily", "30 4 * * *", timedelta(days=1)])
def test_s3_only_the_latest_scheduled_run_goes_on(schedule: Any) -> None:
    assert latest(schedule=schedule, at=OLD) == SKIPS
    assert latest(schedule=schedule, at=NOW - timedelta(minutes=1)) == GOES_ON


def test_s3_the_rule_of_the_child_does_not_count() -> None:
    assert latest(schedule="@daily", at=OLD, trigger_rule="all_done") == SKIPS


@pytest.mark.parametrize("run_type", [RunType.MANUAL, RunType.OPERATOR_TRIGGERED])
def test_s3_a_run_somebody_asked_for_goes_on(run_type: RunType) -> None:
    assert latest(schedule="@daily", at=OLD, run_type=run_type) == GOES_ON


def test_s3_a_backfill_of_the_past_is_not_the_latest() -> None:
    assert latest(schedule="@daily", at=OLD, run_type=RunType.BACKFILL) == SKIPS


@pytest.mark.parametrize("schedule", ["@once", None])
def test_a_schedule_without_a_next_run_has_only_latest_ones(schedule: Any) -> None:
    assert latest(schedule=schedule, at=OLD) == GOES_ON
