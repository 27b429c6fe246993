"""What other runs does a task see in `orchestrator.testing`: those it is told of, and started."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from orchestrator.core.planning import run_id_of
from orchestrator.core.specs import DagSpec
from orchestrator.core.states import RunState, RunType
from orchestrator.errors import ConflictError
from orchestrator.sdk.exceptions import TaskException
from orchestrator.sdk.other_runs import ForeignDag, ForeignRun, RunWish, TaskStates
from orchestrator.sdk.params import resolve_params

__all__ = ["RecordedRun", "RecordedRuns"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRun:
    """A run and how its tasks stand."""

    run: ForeignRun
    tasks: TaskStates = field(default_factory=dict)
    conf: Mapping[str, Any] = field(default_factory=dict)


class RecordedRuns:
    """Other runs in memory. A run of a DAG that is known is started by `start`; one of another is
    only noted."""

    def __init__(
        self,
        dags: Mapping[str, DagSpec],
        runs: Iterable[RecordedRun],
        *,
        start: Callable[[RunWish], RecordedRun],
        now: Callable[[], datetime],
    ) -> None:
        self._dags = dags
        self._runs = list(runs)
        self._start = start
        self._now = now
        self.triggered: list[ForeignRun] = []

    def dag(self, dag_id: str) -> ForeignDag | None:
        """Return a DAG that was given."""
        spec = self._dags.get(dag_id)
        return None if spec is None else ForeignDag(spec=spec)

    def find(self, dag_id: str, *, run_id: str) -> ForeignRun | None:
        """Return a run by its id."""
        return next((each.run for each in self._runs if _is(each.run, dag_id, run_id)), None)

    def watch(self, dag_id: str, *, run_id: str) -> ForeignRun | None:
        """Return a run by its id, unless it is one that would be waited for in vain."""
        run = self.find(dag_id, run_id=run_id)
        if run is not None and run.state is RunState.QUEUED:
            raise TaskException(
                f"run {run_id!r} of DAG {dag_id!r} was asked for, but that DAG is not run here; "
                "give it to run_dag: other_dags=[...]"
            )
        return run

    def at(self, dag_id: str, dates: Collection[datetime]) -> Mapping[datetime, ForeignRun]:
        """Return the runs of a DAG that have these logical dates."""
        return {date: recorded.run for date, recorded in self._at(dag_id, dates)}

    def tasks_at(
        self, dag_id: str, dates: Collection[datetime], task_ids: Collection[str]
    ) -> Mapping[datetime, TaskStates]:
        """Return how these tasks stand in the runs that have these logical dates."""
        return {
            date: {id_: states for id_, states in recorded.tasks.items() if id_ in task_ids}
            for date, recorded in self._at(dag_id, dates)
        }

    def trigger(self, wish: RunWish) -> str:
        """Run the DAG if it is known, else note that its run was asked for."""
        run_id = wish.run_id or run_id_of(
            RunType.OPERATOR_TRIGGERED, wish.logical_date or self._now()
        )
        wish = replace(wish, run_id=run_id)
        taken = [each.run for each in self._runs if _collide(each.run, wish)]
        if taken:
            raise ConflictError(f"DAG {wish.dag_id!r} has a run {taken[0].run_id!r} already")
        spec = self._dags.get(wish.dag_id)
        if spec is None:
            run = ForeignRun(
                dag_id=wish.dag_id,
                run_id=run_id,
                state=RunState.QUEUED,
                logical_date=wish.logical_date,
            )
            recorded = RecordedRun(run=run, conf=wish.conf)
        else:
            resolve_params(spec.params, wish.conf)
            recorded = self._start(wish)
        self._runs.append(recorded)
        self.triggered.append(recorded.run)
        return run_id

    def clear(self, dag_id: str, run_id: str) -> None:
        """Run it again, if its DAG is known."""
        (old,) = [each for each in self._runs if _is(each.run, dag_id, run_id)]
        self._runs.remove(old)
        self.trigger(
            RunWish(
                dag_id=dag_id,
                run_id=run_id,
                logical_date=old.run.logical_date,
                conf=old.conf,
                note="cleared",
            )
        )

    def _at(
        self, dag_id: str, dates: Collection[datetime]
    ) -> Sequence[tuple[datetime, RecordedRun]]:
        return [
            (each.run.logical_date, each)
            for each in self._runs
            if each.run.dag_id == dag_id and each.run.logical_date in dates
            if each.run.logical_date is not None
        ]


def _is(run: ForeignRun, dag_id: str, run_id: str) -> bool:
    return (run.dag_id, run.run_id) == (dag_id, run_id)


def _collide(run: ForeignRun, wish: RunWish) -> bool:
    if run.dag_id != wish.dag_id:
        return False
    same_date = run.logical_date is not None and run.logical_date == wish.logical_date
    return same_date or run.run_id == wish.run_id
