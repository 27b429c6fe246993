"""How a task sees and starts other runs: as the store has them, and as a person would."""

from collections.abc import Collection, Mapping
from datetime import datetime

from orchestrator.control import Clearing, Control, RunRequest
from orchestrator.core.requests import RunsNamed
from orchestrator.core.selection import Selection
from orchestrator.core.states import RunType, TriggeredBy
from orchestrator.sdk.other_runs import ForeignDag, ForeignRun, RunWish, TaskStates
from orchestrator.store.reads_foreign import ForeignReads
from workers.patience import until_answered

__all__ = ["StoredRuns"]


class StoredRuns:
    """All runs of the installation."""

    def __init__(self, reads: ForeignReads, control: Control, clearing: Clearing) -> None:
        self._reads = reads
        self._control = control
        self._clearing = clearing

    def dag(self, dag_id: str) -> ForeignDag | None:
        """Return a DAG, or None if no file defines it."""
        found = until_answered(lambda: self._reads.current_spec(dag_id))
        return None if found is None else ForeignDag(spec=found[0], is_paused=found[1])

    def find(self, dag_id: str, *, run_id: str) -> ForeignRun | None:
        """Return a run by its id."""
        found = until_answered(lambda: self._reads.run_named(dag_id, run_id))
        if found is None:
            return None
        state, logical_date = found
        return ForeignRun(dag_id=dag_id, run_id=run_id, state=state, logical_date=logical_date)

    def watch(self, dag_id: str, *, run_id: str) -> ForeignRun | None:
        """Return a run whose end is waited for: a scheduler sees to it."""
        return self.find(dag_id, run_id=run_id)

    def at(self, dag_id: str, dates: Collection[datetime]) -> Mapping[datetime, ForeignRun]:
        """Return the runs of a DAG that have these logical dates."""
        found = until_answered(lambda: self._reads.runs_at(dag_id, dates))
        return {
            date: ForeignRun(dag_id=dag_id, run_id=run_id, state=state, logical_date=date)
            for date, (run_id, state) in found.items()
        }

    def tasks_at(
        self, dag_id: str, dates: Collection[datetime], task_ids: Collection[str]
    ) -> Mapping[datetime, TaskStates]:
        """Return how these tasks stand in the runs that have these logical dates."""
        return until_answered(lambda: self._reads.task_states_at(dag_id, dates, task_ids))

    def trigger(self, wish: RunWish) -> str:
        """Ask for a run like a person, and ring."""
        request = RunRequest(
            run_id=wish.run_id,
            logical_date=wish.logical_date,
            conf=wish.conf,
            note=wish.note,
            run_type=RunType.OPERATOR_TRIGGERED,
        )
        run = self._control.trigger(wish.dag_id, request, triggered_by=TriggeredBy.OPERATOR)
        return run.run_id

    def clear(self, dag_id: str, run_id: str) -> None:
        """Have a whole run done again."""
        self._clearing.clear(dag_id, RunsNamed(run_id=run_id), Selection(), dry_run=False)
