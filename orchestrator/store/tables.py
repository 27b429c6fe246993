"""What is stored: one class for each table, one index for each hot question.

Every index that a tick uses is partial: it holds what is waiting or running, so that no statement
grows with the finished work of the past. `epoch` is the fencing token and `revision` the version of
a run's ledger; CORRECTNESS in ARCHITECTURE.md says what they protect. States and other closed words
are stored as their text. A row class describes a table; statements are written on `<class>_table`.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    LargeBinary,
    MetaData,
    Table,
    Text,
    false,
    text,
)
from sqlmodel import Field, SQLModel

from orchestrator.core.ids import UNMAPPED
from orchestrator.core.states import RunState, TaskState
from orchestrator.store.columns import a_count, an_instant, json_value, parent_key, prose, where
from orchestrator.store.types import BigId


class Row(SQLModel):
    """Base of all tables: their own metadata, so that another user of SQLModel in the same process
    adds nothing to ours."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class DagRow(Row, table=True):
    """A DAG as the newest import of its file gave it, and when planning must look at it."""

    __tablename__ = "dag"
    __table_args__ = (Index("ix_dag_wake_at", "wake_at", **where("wake_at IS NOT NULL")),)

    dag_id: str = Field(primary_key=True)
    display_name: str | None = None
    description: str | None = prose()
    path: str = Field(index=True)
    """Relative to the DAG folder."""
    tags: list[str] = json_value(nullable=False)
    owners: list[str] = json_value(nullable=False)
    schedule: str | None = None
    """In words: a cron expression, `@once`, a time span; null without a schedule."""
    timezone: str
    max_active_runs: int
    max_active_tasks: int
    is_paused: bool
    is_stale: bool
    """Its file no longer defines it: hidden, its history kept."""
    current_version_id: UUID
    wake_at: datetime | None = an_instant()
    last_parsed_at: datetime = an_instant(nullable=False)
    next_tick_at: datetime | None = an_instant()
    """When its next scheduled run is due, for display; and that run's dates."""
    next_logical_date: datetime | None = an_instant()
    next_interval_start: datetime | None = an_instant()
    next_interval_end: datetime | None = an_instant()


class DagVersionRow(Row, table=True):
    """What a DAG's file said at one time. Its content never changes: a version that is replaced in
    place (it had no runs) gets a new id, so that processes may cache content by id."""

    __tablename__ = "dag_version"
    __table_args__ = (
        Index("uq_dag_version_dag_id_version_number", "dag_id", "version_number", unique=True),
    )

    id: UUID = Field(primary_key=True)
    dag_id: str = parent_key("dag.dag_id")
    version_number: int
    content_hash: str
    spec: str = Field(sa_type=Text)
    """core.codec's canonical JSON."""
    max_active_tasks: int
    """Copied from the spec for the statement that reads candidates."""
    path: str
    source: str = prose(nullable=False)
    source_digest: str
    created_at: datetime = an_instant(nullable=False)


class DagRunRow(Row, table=True):
    """A run. `wake_at` is when to decide it again if no news comes before."""

    __tablename__ = "dag_run"
    __table_args__ = (
        Index("uq_dag_run_dag_id_run_id", "dag_id", "run_id", unique=True),
        Index(
            "uq_dag_run_dag_id_logical_date",
            "dag_id",
            "logical_date",
            unique=True,
            **where("logical_date IS NOT NULL"),
        ),
        Index("ix_dag_run_due", "wake_at", **where("state = 'running' AND wake_at IS NOT NULL")),
        Index(
            "ix_dag_run_unfinished",
            "dag_id",
            "state",
            "run_after",
            "id",
            **where("state IN ('queued', 'running')"),
        ),
        Index(
            "ix_dag_run_looking_back",
            "dag_id",
            "logical_date",
            **where("state = 'running' AND looks_back"),
        ),
        Index("ix_dag_run_ticks", "dag_id", "run_after", **where("run_type = 'scheduled'")),
        Index("ix_dag_run_recent", "dag_id", "run_after", "id"),
    )

    id: UUID = Field(primary_key=True)
    dag_id: str = parent_key("dag.dag_id")
    run_id: str
    run_type: str
    state: str = RunState.QUEUED
    logical_date: datetime | None = an_instant()
    data_interval_start: datetime | None = an_instant()
    data_interval_end: datetime | None = an_instant()
    run_after: datetime = an_instant(nullable=False)
    queued_at: datetime = an_instant(nullable=False)
    started_at: datetime | None = an_instant()
    ended_at: datetime | None = an_instant()
    conf: dict[str, Any] = json_value(nullable=False)
    triggered_by: str
    triggering_user: str | None = None
    note: str | None = prose()
    dag_version_id: UUID = Field(index=True)
    """The current version when it was created, and again when it starts; from then on fixed."""
    revision: int = Field(default=0, sa_type=BigInteger)
    """Rises with every decision that moved something, and with whatever a person changes in the
    run, so that a ledger in a scheduler's memory knows that it is out of date."""
    wake_at: datetime | None = an_instant()
    reason: str | None = prose()
    clear_number: int = a_count()
    """How often a person sent it back to the queue after it had ended."""
    fails_later: str | None = prose()
    """Why it shall fail, once its teardowns are done: a person or its dagrun_timeout wants that."""
    looks_back: bool = Field(default=False, sa_column_kwargs={"server_default": false()})
    """Whether it has tasks that depend on the run before, so that changes there concern it."""


class TaskInstanceRow(Row, table=True):
    """A task instance. A queued row is the outbox: its message is owed until a worker starts it."""

    __tablename__ = "task_instance"
    __table_args__ = (
        Index(
            "uq_task_instance_run_uid_task_id_map_index",
            "run_uid",
            "task_id",
            "map_index",
            unique=True,
        ),
        Index(
            "ix_task_instance_scheduled",
            "run_uid",
            "pool",
            "named_queue",
            "capped_by",
            text("priority DESC"),
            "map_index",
            "id",
            **where("state = 'scheduled'"),
        ),
        Index("ix_task_instance_active", "run_uid", **where("state IN ('queued', 'running')")),
        Index("ix_task_instance_owed", "publish_due_at", **where("state = 'queued'")),
        Index("ix_task_instance_running", "lease_owner", "id", **where("state = 'running'")),
        Index(
            "ix_task_instance_keyed",
            "concurrency_key",
            **where("concurrency_key IS NOT NULL AND state IN ('queued', 'running')"),
        ),
        # Room on each page for the next state: heartbeats then touch no index.
        {"postgresql_with": {"fillfactor": "85"}},
    )

    id: UUID = Field(primary_key=True)
    run_uid: UUID = parent_key("dag_run.id")
    dag_id: str
    run_id: str
    task_id: str
    map_index: int = Field(default=UNMAPPED, sa_type=BigId)
    group_id: str | None = None
    operator: str
    state: str = TaskState.NONE
    epoch: int = Field(default=0, sa_type=BigInteger)
    try_number: int = 0
    max_tries: int = 0
    infra_tries: int = 0
    pool: str
    pool_slots: int = 1
    priority: int = 1
    concurrency_key: str | None = None
    rate_name: str | None = None
    """What its rate limit is counted over, and for how many seconds a start counts."""
    rate_s: float | None = None
    named_queue: str = ""
    """The queue its task names, or nothing."""
    queue: str | None = None
    """The queue its message is on: the named one, else its pool's, else the default one; chosen
    when it is queued."""
    run_after: datetime = an_instant(nullable=False)
    eligible_at: datetime | None = an_instant()
    scheduled_at: datetime | None = an_instant()
    queued_at: datetime | None = an_instant()
    started_at: datetime | None = an_instant()
    ended_at: datetime | None = an_instant()
    worker: str | None = None
    """Who ran it last; `lease_owner` is who may report for it now."""
    pid: int | None = None
    lease_owner: str | None = None
    lease_until: datetime | None = an_instant()
    publish_due_at: datetime | None = an_instant()
    publish_count: int = 0
    """How often its message was looked for since it was queued."""
    skip: list[str] | None = json_value()
    """The tasks that its branch or short circuit chose not to follow."""
    reason: str | None = prose()
    note: str | None = prose()
    dag_version_id: UUID
    began_at: datetime | None = an_instant()
    """When the try began that goes on, or waits to, after a reschedule; else null, and it began at
    `started_at`: its last start, and once it has ended its first."""
    length: int | None = None
    """Of one that succeeded with a list or dict: how long it is."""
    rendered_map_index: str | None = prose()
    """What its map_index_template made of it: its name for people."""
    group_try: int = a_count()
    """How often its task group has been retried as a unit."""
    capped_by: str = Field(default="", sa_column_kwargs={"server_default": ""})
    """Its task, if that has limits of its own, else nothing: what is behind one limit waits in a
    lane of its own, where nobody has to be read past it."""


class TaskEventRow(Row, table=True):
    """News for a run, appended by reports and consumed by the decision: reports of one run never
    wait for each other."""

    __tablename__ = "task_event"
    __table_args__ = (
        Index("ix_task_event_run_uid", "run_uid"),
        # Rows live for milliseconds: vacuum by how many died, not by how large the table is.
        {
            "postgresql_with": {
                "autovacuum_vacuum_scale_factor": "0",
                "autovacuum_vacuum_threshold": "2000",
            }
        },
    )

    id: int | None = Field(default=None, sa_column=Column(BigId, primary_key=True))
    run_uid: UUID
    ti_id: UUID = parent_key("task_instance.id")
    task_id: str
    map_index: int = Field(sa_type=BigId)
    epoch: int = Field(sa_type=BigInteger)
    state: str
    eligible_at: datetime | None = an_instant()
    skip: list[str] | None = json_value()
    at: datetime = an_instant(nullable=False)
    length: int | None = None
    group_try: int = a_count()


class AttemptRow(Row, table=True):
    """How a try ended: written once for its epoch, with the end itself; also the tries' history."""

    __tablename__ = "attempt"

    ti_id: UUID = parent_key("task_instance.id", primary_key=True)
    epoch: int = Field(primary_key=True, sa_type=BigInteger)
    try_number: int
    state: str
    worker: str | None = None
    pid: int | None = None
    queue: str | None = None
    queued_at: datetime | None = an_instant()
    started_at: datetime | None = an_instant()
    ended_at: datetime = an_instant(nullable=False)
    reason: str | None = prose()


class XComRow(Row, table=True):
    """A value that a finished try left for other tasks."""

    __tablename__ = "xcom"
    __table_args__ = (
        Index("ix_xcom_run_uid_key_task_id_map_index", "run_uid", "key", "task_id", "map_index"),
    )

    ti_id: UUID = parent_key("task_instance.id", primary_key=True)
    key: str = Field(primary_key=True)
    run_uid: UUID
    task_id: str
    map_index: int = Field(sa_type=BigId)
    epoch: int = Field(sa_type=BigInteger)
    value: Any = json_value(nullable=False)
    masked: Any = json_value()
    """What people see in the place of a value that holds a secret."""
    created_at: datetime = an_instant(nullable=False)


class PoolRow(Row, table=True):
    """So many slots, and optionally a Celery queue of its own. -1 slots: no limit."""

    __tablename__ = "pool"

    name: str = Field(primary_key=True)
    slots: int
    description: str | None = prose()
    include_deferred: bool = False
    queue: str | None = None


class WorkerRow(Row, table=True):
    """A worker process and its sign of life."""

    __tablename__ = "worker"

    id: str = Field(primary_key=True)
    hostname: str
    pid: int
    queues: list[str] = json_value(nullable=False)
    concurrency: int
    state: str
    """online, draining (it takes nothing new) or offline."""
    version: str
    started_at: datetime = an_instant(nullable=False)
    heartbeat_at: datetime = an_instant(nullable=False)
    lease_until: datetime = an_instant(nullable=False)


class SchedulerRow(Row, table=True):
    """A scheduler process and its sign of life."""

    __tablename__ = "scheduler"

    id: str = Field(primary_key=True)
    hostname: str
    pid: int
    started_at: datetime = an_instant(nullable=False)
    heartbeat_at: datetime = an_instant(nullable=False)
    lease_until: datetime = an_instant(nullable=False)


class LogChunkRow(Row, table=True):
    """A piece of a try's log at a byte offset."""

    __tablename__ = "log_chunk"

    ti_id: UUID = parent_key("task_instance.id", primary_key=True)
    try_number: int = Field(primary_key=True)
    offset: int = Field(primary_key=True, sa_type=BigInteger)
    data: bytes = Field(sa_type=LargeBinary)


def _table(row: type[Row]) -> Table:
    return Row.metadata.tables[str(row.__tablename__)]


dag_table = _table(DagRow)
dag_version_table = _table(DagVersionRow)
dag_run_table = _table(DagRunRow)
task_instance_table = _table(TaskInstanceRow)
task_event_table = _table(TaskEventRow)
attempt_table = _table(AttemptRow)
xcom_table = _table(XComRow)
pool_table = _table(PoolRow)
worker_table = _table(WorkerRow)
scheduler_table = _table(SchedulerRow)
log_chunk_table = _table(LogChunkRow)
