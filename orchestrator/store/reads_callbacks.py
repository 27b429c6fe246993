"""What was called when tries and runs ended, what is still owed, and which deadlines are open?"""

import json
from typing import Any

from sqlalchemy import Select, select

from orchestrator.core.callback_views import CallbackView, DeadlineView
from orchestrator.core.callbacks import CallbackId, CallbackState
from orchestrator.core.ids import TaskKey
from orchestrator.core.specs import CallbackKind
from orchestrator.store.conditions import is_one_of
from orchestrator.store.reads_base import ReadBase
from orchestrator.store.reads_runs import require_dag
from orchestrator.store.tables import dag_run_table as dag_run
from orchestrator.store.tables import task_instance_table as task_instance
from orchestrator.store.tables_callbacks import callback_table as callback
from orchestrator.store.tables_callbacks import deadline_table as deadline

__all__ = ["CallbackReads"]


class CallbackReads(ReadBase):
    """Callbacks and deadlines."""

    def callbacks(
        self,
        dag_id: str,
        run_id: str | None = None,
        *,
        is_undelivered: bool = False,
        limit: int = 100,
    ) -> tuple[CallbackView, ...]:
        """List callbacks of a DAG or of one of its runs, the newest first; with `is_undelivered`
        only those that are owed or given up."""
        statement = (
            _select_callbacks()
            .where(dag_run.c.dag_id == dag_id)
            .order_by(callback.c.created_at.desc(), callback.c.id)
            .limit(limit)
        )
        if run_id is not None:
            statement = statement.where(dag_run.c.run_id == run_id)
        if is_undelivered:
            states = (CallbackState.FAILED, CallbackState.OWED)
            statement = statement.where(is_one_of(callback.c.state, *states))
        with self._database.reading() as connection:
            require_dag(connection, dag_id)
            return tuple(_view(row) for row in connection.execute(statement))

    def undelivered_of(self, key: TaskKey) -> tuple[CallbackView, ...]:
        """Return what a task instance owes, or owed in vain, the oldest first."""
        statement = (
            _select_callbacks()
            .where(
                dag_run.c.dag_id == key.dag_id,
                dag_run.c.run_id == key.run_id,
                task_instance.c.task_id == key.task_id,
                task_instance.c.map_index == key.map_index,
                is_one_of(callback.c.state, CallbackState.FAILED, CallbackState.OWED),
            )
            .order_by(callback.c.created_at, callback.c.id)
        )
        with self._database.reading() as connection:
            return tuple(_view(row) for row in connection.execute(statement))

    def deadlines(self, dag_id: str, run_id: str) -> tuple[DeadlineView, ...]:
        """Return by when a run must be done, or should have been, the earliest first."""
        statement = (
            select(deadline.c.deadline_index, deadline.c.due_at, deadline.c.missed_at)
            .join(dag_run, dag_run.c.id == deadline.c.run_uid)
            .where(dag_run.c.dag_id == dag_id, dag_run.c.run_id == run_id)
            .order_by(deadline.c.due_at, deadline.c.id)
        )
        with self._database.reading() as connection:
            require_dag(connection, dag_id)
            return tuple(
                DeadlineView(index=row.deadline_index, due_at=row.due_at, missed_at=row.missed_at)
                for row in connection.execute(statement)
            )


def _select_callbacks() -> Select[Any]:
    return (
        select(
            callback,
            dag_run.c.dag_id,
            dag_run.c.run_id,
            task_instance.c.task_id,
            task_instance.c.map_index,
        )
        .join(dag_run, dag_run.c.id == callback.c.run_uid)
        .outerjoin(task_instance, task_instance.c.id == callback.c.ti_id)
    )


def _view(row: Any) -> CallbackView:
    key = None
    if row.task_id is not None:
        key = TaskKey(row.dag_id, row.run_id, row.task_id, row.map_index)
    lines = (row.output or "").splitlines()
    return CallbackView(
        callback_id=CallbackId(row.id),
        dag_id=row.dag_id,
        run_id=row.run_id,
        task=key,
        kind=CallbackKind(row.kind),
        state=CallbackState(row.state),
        attempts=row.attempts,
        try_number=row.try_number,
        reason=row.reason,
        error=row.error,
        queue=row.queue,
        due_at=row.due_at,
        created_at=row.created_at,
        ended_at=row.ended_at,
        output=tuple(json.loads(line) for line in lines),
    )
