"""What `control` asks of the store: one Protocol for commands, one for explanations."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from orchestrator.core.admission import Candidate, Capacity
from orchestrator.core.explain import Surroundings
from orchestrator.core.ids import Slot, VersionId
from orchestrator.core.scheduling import Instance
from orchestrator.core.specs import DagSpec
from orchestrator.core.states import TriggeredBy
from orchestrator.core.views import PoolView, RunView, TaskInstanceView

__all__ = [
    "CommandStore",
    "CurrentDag",
    "NewRun",
    "ReasonStore",
    "RunRequest",
    "TaskInstanceFacts",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """A run as somebody asks for it; everything left out is chosen by `trigger`. A logical date
    in the future lets the run wait until then, unless `run_after` says otherwise."""

    run_id: str | None = None
    logical_date: datetime | None = None
    data_interval_start: datetime | None = None
    data_interval_end: datetime | None = None
    run_after: datetime | None = None
    conf: Mapping[str, Any] | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentDag:
    """A DAG's current version, and the store's clock when it was read."""

    version_id: VersionId
    spec: DagSpec
    is_stale: bool
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """A manual run to store in state queued."""

    dag_id: str
    version_id: VersionId
    run_id: str
    run_after: datetime
    logical_date: datetime | None
    data_interval_start: datetime | None
    data_interval_end: datetime | None
    conf: Mapping[str, Any]
    note: str | None
    triggered_by: TriggeredBy
    user: str | None


class CommandStore(Protocol):
    """The store as a person's commands see it. Each call is one transaction."""

    def current_dag(self, dag_id: str) -> CurrentDag:
        """Return a DAG's current version; raise NotFoundError, naming similar ids."""

    def create_run(self, run: NewRun) -> RunView:
        """Store a queued run and make its DAG due now. Raise ConflictError naming the run that
        has its id or logical date already."""

    def set_paused(self, dag_id: str, *, is_paused: bool) -> None:
        """Pause or unpause a DAG and make it due now; NotFoundError if there is none."""

    def create_pool(
        self, name: str, *, slots: int, queue: str | None, description: str | None
    ) -> PoolView:
        """Store a new pool; ConflictError if it exists."""

    def update_pool(self, name: str, changes: Mapping[str, int | str | None]) -> PoolView:
        """Change slots, queue or description of a pool; NotFoundError if there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskInstanceFacts:
    """All that an explanation looks at, read in one transaction. `instances` is empty for a run
    that has not started."""

    task_instance: TaskInstanceView
    spec: DagSpec
    run_started_at: datetime | None
    instances: tuple[tuple[Slot, Instance], ...]
    candidate: Candidate | None
    capacity: Capacity
    around: Surroundings


class ReasonStore(Protocol):
    """The store as explanations see it."""

    def task_instance_facts(
        self, dag_id: str, run_id: str, task_id: str, map_index: int
    ) -> TaskInstanceFacts:
        """Read what an explanation needs; raise NotFoundError naming what does not exist."""
