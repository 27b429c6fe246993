"""The states a task instance and a run can be in."""

from enum import StrEnum


class TaskState(StrEnum):
    """Where a task instance stands."""

    NONE = "none"
    """Not decided yet: its upstream tasks are unfinished."""
    SCHEDULED = "scheduled"
    """Its trigger rule holds; it waits for limits: pool, run, task and queue capacity."""
    QUEUED = "queued"
    """It has its slots and a message is (or will be again) on its Celery queue."""
    RUNNING = "running"
    """A worker holds its lease and runs user code."""
    DEFERRED = "deferred"
    """It waits for a trigger and holds no worker."""
    UP_FOR_RETRY = "up_for_retry"
    """A try failed; the next one starts at `eligible_at`."""
    UP_FOR_RESCHEDULE = "up_for_reschedule"
    """A sensor gave its worker back; it pokes again at `eligible_at`."""
    SUCCESS = "success"
    FAILED = "failed"
    SKIPPED = "skipped"
    UPSTREAM_FAILED = "upstream_failed"
    REMOVED = "removed"
    """The task is gone from the DAG version of its unfinished run."""


class RunState(StrEnum):
    """Where a run stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"


class RunType(StrEnum):
    """What brought a run into being; also the prefix of a generated run id."""

    SCHEDULED = "scheduled"
    MANUAL = "manual"
    BACKFILL = "backfill"
    OPERATOR_TRIGGERED = "operator_triggered"
    """A task of another run asked for it."""


class TriggeredBy(StrEnum):
    """Through which door a run was asked for (Airflow's names)."""

    CLI = "cli"
    REST_API = "rest_api"
    TIMETABLE = "timetable"
    OPERATOR = "operator"
    TEST = "test"


FINISHED_TASK_STATES = frozenset(
    {
        TaskState.SUCCESS,
        TaskState.FAILED,
        TaskState.SKIPPED,
        TaskState.UPSTREAM_FAILED,
        TaskState.REMOVED,
    }
)
"""States no decision leaves; only a person's clear or mark does."""

WAITING_TASK_STATES = frozenset(
    {TaskState.NONE, TaskState.UP_FOR_RETRY, TaskState.UP_FOR_RESCHEDULE}
)
"""States out of which `decide` schedules."""

FINISHED_RUN_STATES = frozenset({RunState.SUCCESS, RunState.FAILED})
