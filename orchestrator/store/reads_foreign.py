"""How do other runs stand, as a task asks that waits for them?"""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Text, bindparam, select
from sqlalchemy.sql.selectable import Select

from orchestrator.core.ids import VersionId
from orchestrator.core.specs import DagSpec
from orchestrator.core.states import RunState, TaskState
from orchestrator.store.reads_base import ReadBase
from orchestrator.store.tables import dag_run_table, dag_table, task_instance_table
from orchestrator.store.types import as_rows, rows_from

__all__ = ["ForeignReads"]

_DAG = dag_table.c
_RUN = dag_run_table.c
_TI = task_instance_table.c
_wanted = rows_from("wanted", {"task_id": Text})

_STATES: Select[Any] = (
    select(_TI.task_id, _TI.state)
    .where(_TI.run_uid == bindparam("uid"), _TI.task_id == _wanted.c.task_id)
    .distinct()
)


class ForeignReads(ReadBase):
    """Runs of any DAG, by id and by logical date."""

    def current_spec(self, dag_id: str) -> tuple[DagSpec, bool] | None:
        """Return a DAG's current version and whether it is paused; None if there is none."""
        statement = select(_DAG.current_version_id, _DAG.is_paused).where(
            _DAG.dag_id == dag_id, _DAG.is_stale.is_(False)
        )
        with self._database.reading() as connection:
            row = connection.execute(statement).one_or_none()
        if row is None:
            return None
        return self.spec(VersionId(row.current_version_id)), row.is_paused

    def run_named(self, dag_id: str, run_id: str) -> tuple[RunState, datetime | None] | None:
        """Return a run's state and logical date."""
        statement = select(_RUN.state, _RUN.logical_date).where(
            _RUN.dag_id == dag_id, _RUN.run_id == run_id
        )
        with self._database.reading() as connection:
            row = connection.execute(statement).one_or_none()
        return None if row is None else (RunState(row.state), row.logical_date)

    def runs_at(
        self, dag_id: str, dates: Collection[datetime]
    ) -> Mapping[datetime, tuple[str, RunState]]:
        """Return the id and state of the runs with these logical dates."""
        with self._database.reading() as connection:
            rows = connection.execute(_at(dag_id, dates)).all()
        return {row.logical_date: (row.run_id, RunState(row.state)) for row in rows}

    def task_states_at(
        self, dag_id: str, dates: Collection[datetime], task_ids: Collection[str]
    ) -> Mapping[datetime, Mapping[str, frozenset[TaskState]]]:
        """Return, for each of these logical dates that has a run, the states that the instances of
        these tasks are in; removed ones do not count."""
        wanted = as_rows("wanted", [(task_id,) for task_id in sorted(task_ids)])
        found: dict[datetime, dict[str, frozenset[TaskState]]] = {}
        with self._database.reading() as connection:
            for run in connection.execute(_at(dag_id, dates)).all():
                of_run = found[run.logical_date] = {}
                for row in connection.execute(_STATES, {"uid": run.id, **wanted}):
                    state = TaskState(row.state)
                    if state is not TaskState.REMOVED:
                        of_run[row.task_id] = of_run.get(row.task_id, frozenset()) | {state}
        return found


def _at(dag_id: str, dates: Collection[datetime]) -> Select[Any]:
    return select(_RUN.id, _RUN.run_id, _RUN.state, _RUN.logical_date).where(
        _RUN.dag_id == dag_id, _RUN.logical_date.in_(sorted(dates))
    )
