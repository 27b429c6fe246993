"""What people see of DAGs, runs and tasks: the rows that the CLI, the API and the page show.

The store reads them, `control` and the frontends pass them on. They are facts joined for reading,
never decided upon, and no frontend's field names are in them. Instants are aware UTC.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.core.ids import RunUid, TaskKey, TiId, VersionId
from orchestrator.core.specs import DagSpec
from orchestrator.core.states import RunState, RunType, TaskState, TriggeredBy

UNLIMITED_SLOTS = -1
"""Slots of a pool without limit, as in Airflow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionView:
    """One stored version of a DAG."""

    version_id: VersionId
    dag_id: str
    dag_display_name: str
    version_number: int
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DagView:
    """One DAG as its current version says it, with where it stands."""

    dag_id: str
    display_name: str
    description: str | None
    path: str
    """Its file, relative to the DAG folder."""
    tags: tuple[str, ...]
    owners: tuple[str, ...]
    schedule: str | None
    """In the author's words (`0 6 * * *`, `@once`); None when it runs only on request."""
    is_periodic: bool
    is_paused: bool
    is_stale: bool
    """Its file is gone or no longer defines it; the history stays."""
    has_import_error: bool
    """Its file does not import at present; the last good version keeps running."""
    max_active_runs: int
    max_active_tasks: int
    has_task_limits: bool
    last_parsed_at: datetime | None
    next_run_at: datetime | None
    """When the next scheduled run is due; None when paused, stale or without schedule."""
    version: VersionView


@dataclass(frozen=True, slots=True, kw_only=True)
class DagDetails:
    """One DAG with all its definition."""

    dag: DagView
    spec: DagSpec
    running_runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceView:
    """The text of the file a DAG version came from."""

    version: VersionView
    path: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """One run."""

    uid: RunUid
    dag_id: str
    dag_display_name: str
    run_id: str
    state: RunState
    run_type: RunType
    triggered_by: TriggeredBy
    user: str | None
    """Who asked for it; None for scheduled runs."""
    logical_date: datetime | None
    data_interval_start: datetime | None
    data_interval_end: datetime | None
    run_after: datetime
    queued_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    conf: Mapping[str, Any]
    note: str | None
    reason: str | None
    """Why it ended as it did."""
    version: VersionView

    @property
    def duration_s(self) -> float | None:
        """Seconds from its start to its end; None while it has not ended."""
        if self.started_at is None or self.ended_at is None:
            return None
        return (self.ended_at - self.started_at).total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCounts:
    """How many runs of one DAG are in which state; none is not named."""

    dag_id: str
    dag_display_name: str
    by_state: Mapping[RunState, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerView:
    """A scheduler process."""

    scheduler_id: str
    hostname: str
    pid: int
    is_alive: bool
    started_at: datetime
    last_heartbeat_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskInstanceView:
    """One task instance as it stands. `try_number` 0: no try has started yet."""

    ti_id: TiId
    key: TaskKey
    display_name: str
    dag_display_name: str
    operator: str | None
    state: TaskState
    try_number: int
    max_tries: int
    """Retries allowed: at most max_tries + 1 tries."""
    pool: str
    pool_slots: int
    priority: int
    queue: str
    """The queue its task names, else its pool's own, else the default one."""
    reason: str | None
    """Why it is in its state: the last failure, the rule that skipped it."""
    note: str | None
    scheduled_at: datetime | None
    queued_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    eligible_at: datetime | None
    """When a waiting one may go on (retry, reschedule)."""
    worker_id: str | None
    hostname: str | None
    pid: int | None
    logical_date: datetime | None
    run_after: datetime
    version: VersionView
    rendered_map_index: str | None
    """What its map_index_template made of its map index."""

    @property
    def duration_s(self) -> float | None:
        """Seconds from the last try's start to its end; None while it has not ended."""
        if self.started_at is None or self.ended_at is None:
            return None
        return (self.ended_at - self.started_at).total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class TryView:
    """One try of a task instance, ended or running. `state` is what it came to."""

    try_number: int
    state: TaskState
    reason: str | None
    queue: str | None
    queued_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    worker_id: str | None
    hostname: str | None
    pid: int | None

    @property
    def duration_s(self) -> float | None:
        """Seconds it took; None while it runs."""
        if self.started_at is None or self.ended_at is None:
            return None
        return (self.ended_at - self.started_at).total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class XComView:
    """One XCom. `value` is plain JSON that people read, typed values in a readable form, of a large
    one the beginning (`is_preview`); listings leave it out (None)."""

    key: str
    task: TaskKey
    task_display_name: str
    dag_display_name: str
    value: Any
    size_bytes: int
    """As it is stored."""
    is_preview: bool
    created_at: datetime
    logical_date: datetime | None
    run_after: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportErrorView:
    """Why a DAG file does not import. `message` is one line, `stacktrace` the whole story."""

    error_id: int
    path: str
    kind: str
    message: str
    stacktrace: str
    recorded_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WarningView:
    """What is odd about a DAG that imports."""

    dag_id: str
    dag_display_name: str
    kind: str
    message: str
    recorded_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolView:
    """A pool's slots and who has them, in slots (not task instances)."""

    name: str
    slots: int
    """-1 means no limit."""
    queue: str | None
    """The Celery queue its tasks go to when they name none."""
    description: str | None
    include_deferred: bool
    """Whether deferred task instances keep their slots."""
    scheduled: int
    """Slots that task instances now ready would take."""
    queued: int
    running: int

    @property
    def occupied(self) -> int:
        """Slots taken."""
        return self.queued + self.running

    @property
    def open(self) -> int:
        """Free slots: -1 without limit, 0 also when the pool was made smaller than its use."""
        return -1 if self.slots == UNLIMITED_SLOTS else max(0, self.slots - self.occupied)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerView:
    """A worker process as it last reported."""

    worker_id: str
    hostname: str
    pid: int
    queues: tuple[str, ...]
    concurrency: int
    version: str
    state: str
    """online, draining (it takes nothing new) or offline."""
    is_alive: bool
    running: int
    """Task instances it holds now."""
    started_at: datetime
    last_heartbeat_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """The life sign of one kind of service: the newest, of how many that are alive."""

    alive: int
    last_heartbeat_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPage:
    """A piece of one try's log. `lines` are JSON objects with at least `event`; `next_offset` is
    where the next piece starts; `is_complete` when nothing will ever follow it."""

    lines: tuple[Mapping[str, Any], ...]
    next_offset: int
    is_complete: bool
