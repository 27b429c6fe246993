"""How does a task look at other runs, and start some?"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from orchestrator.core.specs import DagSpec
from orchestrator.core.states import RunState, TaskState

__all__ = ["ForeignDag", "ForeignRun", "OtherRuns", "RunWish", "TaskStates"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignDag:
    """A DAG as it is now."""

    spec: DagSpec
    is_paused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignRun:
    """A run of some DAG."""

    dag_id: str
    run_id: str
    state: RunState
    logical_date: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunWish:
    """A run that a task asks for. `run_id` None has one made."""

    dag_id: str
    run_id: str | None
    logical_date: datetime | None
    conf: Mapping[str, Any]
    note: str


TaskStates = Mapping[str, frozenset[TaskState]]
"""By task id, the states that the task's instances in one run are in."""


class OtherRuns(Protocol):
    """What there is beside the run of the task. Errors are those of a person's request."""

    def dag(self, dag_id: str) -> ForeignDag | None:
        """Return a DAG, or None if there is none."""

    def find(self, dag_id: str, *, run_id: str) -> ForeignRun | None:
        """Return a run by its id."""

    def watch(self, dag_id: str, *, run_id: str) -> ForeignRun | None:
        """Return a run whose end is waited for."""

    def at(self, dag_id: str, dates: Collection[datetime]) -> Mapping[datetime, ForeignRun]:
        """Return the runs of a DAG that have these logical dates."""

    def tasks_at(
        self, dag_id: str, dates: Collection[datetime], task_ids: Collection[str]
    ) -> Mapping[datetime, TaskStates]:
        """Return how these tasks stand in the runs that have these logical dates."""

    def trigger(self, wish: RunWish) -> str:
        """Ask for a run and return its id. Raise NotFoundError, ConflictError for a run id or
        logical date that is taken, RequestInvalidError or ParamInvalidError for a value."""

    def clear(self, dag_id: str, run_id: str) -> None:
        """Have a whole run done again."""
