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
    CRITICAL_PATH = "critical_path"
    """Its own weight plus the seconds that the longest way from it to the end takes, by how long
    its tasks took lately: start what the run's end waits for."""


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


class LiteralLength(Struct, frozen=True, kw_only=True, tag="literal"):
    """A list or dict written in the DAG file: its length is known."""

    length: int


class ReturnLength(Struct, frozen=True, kw_only=True, tag="return"):
    """What a task returned: as many as its list or dict has. Of a task that is mapped itself (and
    not in the same mapped group): as many as its instances that succeeded."""

    task_id: str


class ZipLength(Struct, frozen=True, kw_only=True, tag="zip"):
    """As long as the shortest of `inputs`, or with `longest` (a fill value) as the longest."""

    inputs: tuple["MapInput", ...]
    longest: bool = False


class ConcatLength(Struct, frozen=True, kw_only=True, tag="concat"):
    """As long as all `inputs` together."""

    inputs: tuple["MapInput", ...]


MapInput = LiteralLength | ReturnLength | ZipLength | ConcatLength
"""What is expanded over, as far as its length goes; `.map` changes no length."""

MAP_LENGTH_MAX = 100_000
"""Instances that one expansion may have, unless the DAG says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """How a mapped task or group multiplies: the cross product of its inputs, in the order the
    author wrote them, of which the last varies fastest. `limit` is the most instances allowed."""

    inputs: tuple[MapInput, ...]
    limit: int = MAP_LENGTH_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """At most `count` starts in any `per_s` seconds."""

    count: int
    per_s: float


class RunStatePolicy(StrEnum):
    """Whose failure makes a run failed."""

    LEAVES = "leaves"
    """A task with nothing downstream, as in Airflow."""
    ALL = "all"
    CRITICAL = "critical"
    """The tasks that `critical_tasks` names."""


class CallbackKind(StrEnum):
    """When a callback of a task or a run is called."""

    EXECUTE = "execute"
    """Right before a try's `execute`, in the try itself."""
    SUCCESS = "success"
    FAILURE = "failure"
    RETRY = "retry"
    SKIPPED = "skipped"
    """Its own code asked to be skipped; not when a rule or a branch did."""
    DEADLINE = "deadline"
    """A run was not done when its deadline came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadlineSpec:
    """A run must be done `interval_s` after `reference`, else its callback number `index` (among
    the DAG's deadlines) is called. References: `logical_date`, `queued_at`, `fixed` (`fixed_at`)
    and `average_runtime` (of the last `max_runs` successful runs, if there are `min_runs`)."""

    index: int
    reference: str
    interval_s: float
    fixed_at: datetime | None = None
    max_runs: int = 10
    min_runs: int = 10


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
    expansion: Expansion | None = None
    """Set for a mapped task. Mapped groups around it multiply it further."""
    map_index_template: str | None = None
    is_setup: bool = False
    is_teardown: bool = False
    setups: tuple[str, ...] = ()
    """Of a teardown: the setup tasks it belongs to, sorted."""
    on_failure_fail_dagrun: bool = False
    """Of a teardown: whether its failure counts for the run's state."""
    depends_on_past: bool = False
    wait_for_downstream: bool = False
    ignore_first_depends_on_past: bool = False
    wait_for_past_depends_before_skipping: bool = False
    concurrency_key: str | None = None
    """Text with `{{ params.name }}`, `{{ dag_run.conf.name }}`, `{{ run_id }}`, `{{ dag_id }}`:
    task instances whose key is the same share `concurrency_limit` slots, over all DAGs."""
    concurrency_limit: int = 1
    rate_limit: RateLimit | None = None
    """Over all runs of the DAG, or with a concurrency_key over all task instances of that key."""
    callbacks: tuple[CallbackKind, ...] = ()
    """The kinds of callback the author gave, sorted; the functions are in the author's file."""
    isolation: str = "worker"
    """`worker`: in the worker's child, warm; `process`: in an interpreter of its own."""
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
    expansion: Expansion | None = None
    """Set for a mapped group: the tasks in it have one instance for each index."""
    retry: RetryPolicy | None = None
    """Set for a group that is retried as a unit: once nothing in it is left to do and one of its
    tasks failed, all of them run again."""


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
    fail_fast: bool = False
    """The first task that fails for good ends everything else in the run."""
    run_state: RunStatePolicy = RunStatePolicy.LEAVES
    critical_tasks: tuple[str, ...] = ()
    """With RunStatePolicy.CRITICAL: whose failure fails the run, sorted."""
    callbacks: tuple[CallbackKind, ...] = ()
    """The kinds of callback the author gave the DAG itself, sorted."""
    deadlines: tuple[DeadlineSpec, ...] = ()
