"""What a DAG says, frozen: the form the parser yields, the store keeps and the scheduler reads.

Only data, no user code: a spec can be decoded in the scheduler and the API without importing the
author's file. `frontend` names who can turn it back into running code on a worker.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from msgspec import Struct

SDK_FRONTEND = "orchestrator.sdk"
DEFAULT_POOL = "default_pool"
DEFAULT_QUEUE = "default"


class TriggerRule(StrEnum):
    """When a task may run, given how its direct upstream tasks ended."""

    ALL_SUCCESS = "all_success"
    ALL_FAILED = "all_failed"
    ALL_DONE = "all_done"
    ALL_DONE_MIN_ONE_SUCCESS = "all_done_min_one_success"
    ALL_DONE_SETUP_SUCCESS = "all_done_setup_success"
    ALL_SKIPPED = "all_skipped"
    ALWAYS = "always"
    NONE_FAILED = "none_failed"
    NONE_FAILED_MIN_ONE_SUCCESS = "none_failed_min_one_success"
    NONE_SKIPPED = "none_skipped"
    ONE_DONE = "one_done"
    ONE_FAILED = "one_failed"
    ONE_SUCCESS = "one_success"


class WeightRule(StrEnum):
    """How a task's own priority weight becomes its effective one."""

    DOWNSTREAM = "downstream"
    """Its own weight plus that of every descendant: start what unblocks most."""
    UPSTREAM = "upstream"
    """Its own weight plus that of every ancestor: finish what is nearly done."""
    ABSOLUTE = "absolute"


class CronSchedule(Struct, frozen=True, kw_only=True, tag="cron"):
    """Fire at a cron expression's local times; a run covers the time since the one before."""

    expression: str
    timezone: str = "UTC"


class DeltaSchedule(Struct, frozen=True, kw_only=True, tag="delta"):
    """Fire every so many seconds of elapsed time from the start date."""

    seconds: float


class OnceSchedule(Struct, frozen=True, kw_only=True, tag="once"):
    """Fire once, at the start date."""


Schedule = CronSchedule | DeltaSchedule | OnceSchedule | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How a failed try is followed by another.

    The wait before try n+1 is `delay_s`, or with `backoff` m other than 0 and 1 a value drawn
    from [b, 2b) with b = delay_s * m**(n-1), never above `max_delay_s` nor a day.
    """

    retries: int = 0
    delay_s: float = 300.0
    backoff: float = 0.0
    max_delay_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """One task as authored. `upstream` is sorted; every other field has the author's value."""

    task_id: str
    operator: str
    """The operator's class name, for people; never imported from here."""
    upstream: tuple[str, ...] = ()
    trigger_rule: TriggerRule = TriggerRule.ALL_SUCCESS
    retry: RetryPolicy = RetryPolicy()
    execution_timeout_s: float | None = None
    pool: str = DEFAULT_POOL
    pool_slots: int = 1
    priority_weight: int = 1
    weight_rule: WeightRule = WeightRule.DOWNSTREAM
    queue: str | None = None
    """The Celery queue the author named; None means the pool's own queue, else the default one."""
    max_active_tis_per_dag: int | None = None
    max_active_tis_per_dagrun: int | None = None
    group_id: str | None = None
    needs_worker: bool = True
    """False for a task with nothing to execute (EmptyOperator): it succeeds when it is due."""
    chooses: bool = False
    """Whether its result may decide which of the tasks below it run (a branch, a short circuit)."""
    display_name: str | None = None
    doc_md: str | None = None
    owner: str = "orchestrator"
    template_fields: dict[str, Any] = field(default_factory=dict)
    """Templated arguments as authored (JSON), for version diffs and the rendered view."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSpec:
    """One task group; `parent_id` is None for a group directly in the DAG."""

    group_id: str
    parent_id: str | None = None
    display_name: str | None = None
    tooltip: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeLabel:
    """Text on the edge between two tasks."""

    upstream: str
    downstream: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ParamSpec:
    """One param: its default (JSON; absent when `has_default` is False) and its JSON schema."""

    name: str
    has_default: bool
    default: Any = None
    schema: dict[str, Any] = field(default_factory=dict)
    description: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DagSpec:
    """One DAG as authored. Tuples are sorted by id, so equal meaning gives equal bytes."""

    dag_id: str
    tasks: tuple[TaskSpec, ...]
    frontend: str = SDK_FRONTEND
    groups: tuple[GroupSpec, ...] = ()
    edge_labels: tuple[EdgeLabel, ...] = ()
    params: tuple[ParamSpec, ...] = ()
    schedule: Schedule = None
    start_date: datetime | None = None
    """Aware, UTC."""
    end_date: datetime | None = None
    timezone: str = "UTC"
    """Zone of the author's start_date: what local times in the page mean."""
    catchup: bool = False
    max_active_runs: int = 16
    max_active_tasks: int = 16
    """At most so many task instances of one run hold slots at a time."""
    dagrun_timeout_s: float | None = None
    is_paused_upon_creation: bool = False
    description: str | None = None
    doc_md: str | None = None
    display_name: str | None = None
    tags: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    render_template_as_native_obj: bool = False
