"""What `control` asks of the store: one Protocol for commands, one for explanations."""

from collections.abc import Mapping
from typing import Protocol

from orchestrator.core.explain import Surroundings
from orchestrator.core.reasons import TaskInstanceFacts
from orchestrator.core.requests import CurrentDag, NewRun
from orchestrator.core.views import PoolView, RunView

__all__ = ["CommandStore", "ReasonStore"]


class CommandStore(Protocol):
    """The store as a person's commands see it. Each call is one transaction."""

    def current_dag(self, dag_id: str) -> CurrentDag:
        """Return a DAG's current version; raise NotFoundError, naming similar ids."""

    def create_run_if_current(self, run: NewRun) -> RunView | None:
        """Store a queued run and make its DAG due now; None when the DAG has another version by
        now. Raise ConflictError naming the run that has its run id or logical date already."""

    def set_paused(self, dag_id: str, *, is_paused: bool) -> None:
        """Pause or unpause a DAG and make it due now; NotFoundError if there is none."""

    def create_pool(
        self,
        name: str,
        *,
        slots: int,
        queue: str | None,
        description: str | None,
        include_deferred: bool,
    ) -> PoolView:
        """Store a new pool; ConflictError if it exists."""

    def update_pool(self, name: str, changes: Mapping[str, int | str | None]) -> PoolView:
        """Change columns of a pool; NotFoundError if there is none."""


class ReasonStore(Protocol):
    """The store as explanations see it."""

    def task_instance_facts(
        self, dag_id: str, run_id: str, task_id: str, *, map_index: int
    ) -> TaskInstanceFacts:
        """Read what an explanation needs; raise NotFoundError naming what does not exist."""

    def surroundings_if_queued(self, dag_id: str, run_id: str, task_id: str) -> Surroundings | None:
        """Read why a run has not started; None when it has, or its DAG has no such task."""
