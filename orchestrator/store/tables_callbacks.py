"""What is stored of callbacks that are owed, and of the deadlines of runs."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Index
from sqlmodel import Field

from orchestrator.core.callbacks import CallbackState
from orchestrator.store.columns import an_instant, json_value, parent_key, prose, where
from orchestrator.store.tables import Row


class CallbackRow(Row, table=True):
    """A callback that a transition owes, kept as history when it was delivered."""

    __tablename__ = "callback"
    __table_args__ = (Index("ix_callback_due", "due_at", **where("state = 'owed'")),)

    id: UUID = Field(primary_key=True)
    """Made from its cause: the same transition never owes two."""
    run_uid: UUID = parent_key("dag_run.id", index=True)
    ti_id: UUID | None = None
    """Null for a callback of the run."""
    kind: str
    deadline_index: int | None = None
    """Of a missed deadline: which of the DAG's."""
    dag_version_id: UUID
    """Whose functions are called."""
    try_number: int = 0
    reason: str | None = prose()
    state: str = CallbackState.OWED
    queue: str
    attempts: int = 0
    """How often a worker has begun it; the last of them may report, no other."""
    delivered: list[int] = json_value(nullable=False)
    """Which of the author's functions have completed."""
    due_at: datetime | None = an_instant()
    """When its message is sent (again); null when nobody is owed anything more."""
    publish_count: int = 0
    lease_until: datetime | None = an_instant()
    """A worker is at it until then."""
    worker: str | None = None
    created_at: datetime = an_instant(nullable=False)
    ended_at: datetime | None = an_instant()
    error: str | None = prose()
    """Why the last attempt failed."""
    output: str | None = prose()
    """What its attempts wrote: lines of JSON, as in a task's log."""


class DeadlineRow(Row, table=True):
    """When a run must be done; gone once it succeeded in time."""

    __tablename__ = "deadline"
    __table_args__ = (
        Index("ix_deadline_due", "due_at", **where("missed_at IS NULL")),
        Index(
            "uq_deadline_open",
            "run_uid",
            "deadline_index",
            unique=True,
            **where("missed_at IS NULL"),
        ),
        Index("ix_deadline_run_uid", "run_uid"),
    )

    id: UUID = Field(primary_key=True)
    run_uid: UUID = parent_key("dag_run.id")
    deadline_index: int
    dag_version_id: UUID
    due_at: datetime = an_instant(nullable=False)
    missed_at: datetime | None = an_instant()


callback_table = Row.metadata.tables["callback"]
deadline_table = Row.metadata.tables["deadline"]
