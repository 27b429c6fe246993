"""How do the task instances of a run stand, how did their tries end, and what did they leave?"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, func, select, true

from orchestrator.core.ids import UNMAPPED, Slot, TaskKey, TiId
from orchestrator.core.levels import levels_of
from orchestrator.core.listings import Page, PageRequest, TaskInstanceFilter
from orchestrator.core.map_paths import index_name, instance_name
from orchestrator.core.specs import DEFAULT_QUEUE
from orchestrator.core.states import TaskState
from orchestrator.core.views import TaskInstanceView, TryView
from orchestrator.errors import NotFoundError, did_you_mean
from orchestrator.store.reads_base import ReadBase
from orchestrator.store.reads_dags import version_columns, version_view
from orchestrator.store.reads_paging import Ordering, SortKey, matches, read_piece, within
from orchestrator.store.reads_runs import lasting, one_run, run_bounds
from orchestrator.store.tables import (
    attempt_table,
    dag_run_table,
    dag_table,
    dag_version_table,
    pool_table,
    task_instance_table,
    worker_table,
)

__all__ = ["TaskInstanceReads", "effective_queue", "select_task_instances"]

_TI = task_instance_table.c
_RUN = dag_run_table.c
_DAG = dag_table.c
_VERSION = dag_version_table.c
_ATTEMPT = attempt_table.c
_WORKER = worker_table.c

_QUEUE = func.coalesce(
    _TI.queue, func.nullif(_TI.named_queue, ""), pool_table.c.queue, DEFAULT_QUEUE
)


def _columns() -> Mapping[str, SortKey]:
    return {
        "id": SortKey(_TI.id),
        "dag_id": SortKey(_TI.dag_id),
        "run_id": SortKey(_TI.run_id),
        "task_id": SortKey(_TI.task_id),
        "map_index": SortKey(_TI.map_index),
        "state": SortKey(_TI.state),
        "try_number": SortKey(_TI.try_number),
        "pool": SortKey(_TI.pool),
        "operator": SortKey(_TI.operator),
        "run_after": SortKey(_RUN.run_after),
        "logical_date": SortKey(_RUN.logical_date, is_nullable=True),
        "queued_when": SortKey(_TI.queued_at, is_nullable=True),
        "start_date": SortKey(_TI.started_at, is_nullable=True),
        "end_date": SortKey(_TI.ended_at, is_nullable=True),
    }


_OF_ONE_RUN = Ordering(keys=_columns(), default=("task_id", "map_index"), tie_breaker="id")
_OF_ONE_DAG = Ordering(
    keys=_columns(), default=("run_after", "run_id", "task_id", "map_index"), tie_breaker="id"
)
_OF_ALL = Ordering(keys=_columns(), default=("id",), tie_breaker="id")


class TaskInstanceReads(ReadBase):
    """Task instances and their tries."""

    def task_instances(
        self, wanted: TaskInstanceFilter, request: PageRequest
    ) -> Page[TaskInstanceView]:
        """List task instances: of one run by task, of one DAG by run, of all by creation, unless
        ordered otherwise. NotFoundError if `wanted` names a DAG or run that does not exist."""
        statement = select_task_instances().where(_passes(wanted))
        ordering = _OF_ALL
        with self._database.reading() as connection:
            if wanted.dag_id is not None and wanted.run_id is not None:
                uid = one_run(connection, wanted.dag_id, wanted.run_id).id
                statement = statement.where(_TI.run_uid == uid)
                ordering = _OF_ONE_RUN
            elif wanted.dag_id is not None:
                statement = statement.where(_RUN.dag_id == wanted.dag_id)
                ordering = _OF_ONE_DAG
            elif wanted.run_id is not None:
                statement = statement.where(_RUN.run_id == wanted.run_id)
            piece = read_piece(connection, statement, ordering, request)
        return Page(
            items=tuple(self._task_instance_view(row) for row in piece.rows),
            total=piece.total,
            next_cursor=piece.next_cursor,
            previous_cursor=piece.previous_cursor,
        )

    def task_instance(
        self, dag_id: str, run_id: str, task_id: str, *, map_index: int = UNMAPPED
    ) -> TaskInstanceView:
        """Return one task instance; raise NotFoundError naming what does not exist."""
        return self._task_instance_view(self._one(TaskKey(dag_id, run_id, task_id, map_index)))

    def require_task(self, dag_id: str, run_id: str, task_id: str) -> None:
        """Raise NotFoundError, which says why, unless the task has a mapped instance in the run."""
        self._one(TaskKey(dag_id, run_id, task_id, 0))

    def tries(
        self, dag_id: str, run_id: str, task_id: str, *, map_index: int = UNMAPPED
    ) -> tuple[TaskInstanceView, tuple[TryView, ...]]:
        """Return a task instance and its tries, oldest first; the one that is on, or waits to go on
        after a reschedule, comes last."""
        row = self._one(TaskKey(dag_id, run_id, task_id, map_index))
        with self._database.reading() as connection:
            ended = connection.execute(
                select(attempt_table, _WORKER.hostname)
                .outerjoin(worker_table, _WORKER.id == _ATTEMPT.worker)
                .where(_ATTEMPT.ti_id == row.id)
                .order_by(_ATTEMPT.epoch)
            ).all()
        seen = self._task_instance_view(row)
        tries = [_try_view(attempt) for attempt in ended]
        if seen.state is TaskState.RUNNING or row.began_at is not None:
            tries.append(_running_try(seen))
        return seen, tuple(tries)

    def _one(self, key: TaskKey) -> Row[Any]:
        """Read one task instance, or say which part of its name does not exist."""
        of_task = select_task_instances().where(_TI.task_id == key.task_id)
        with self._database.reading() as connection:
            run = one_run(connection, key.dag_id, key.run_id)
            of_task = of_task.where(_TI.run_uid == run.id)
            row = connection.execute(of_task.where(_TI.map_index == key.map_index)).one_or_none()
            if row is not None:
                return row
            another = connection.execute(of_task.limit(1)).first()
        raise self._missing(key, run, has_instances=another is not None)

    def _missing(self, key: TaskKey, run: Row[Any], *, has_instances: bool) -> NotFoundError:
        version = self._versions.version(run.dag_version_id)
        known, levels, slot = version.tasks, levels_of(version.spec), Slot(*key[2:])
        if key.task_id not in known:
            return NotFoundError(
                f"run {key.run_id!r} of DAG {key.dag_id!r} has no task {key.task_id!r}"
                f"{did_you_mean(key.task_id, known)}"
            )
        if not has_instances:
            return NotFoundError(
                f"{key.dag_id}/{key.run_id}/{instance_name(slot, levels)} does not exist yet: task "
                f"instances are made when the run starts, and it is {run.state}"
            )
        if key.map_index == UNMAPPED:
            return NotFoundError(
                f"task {key.task_id!r} is mapped in run {key.run_id!r}; name one of its map indexes"
            )
        return NotFoundError(
            f"task {key.task_id!r} has no map index {index_name(slot, levels)} in run "
            f"{key.run_id!r}"
        )

    def _task_instance_view(self, row: Row[Any]) -> TaskInstanceView:
        task = self._task(row.dag_version_id, row.task_id)
        return TaskInstanceView(
            ti_id=TiId(row.id),
            key=TaskKey(row.dag_id, row.run_id, row.task_id, row.map_index),
            display_name=(task.display_name if task else None) or row.task_id,
            dag_display_name=row.shown,
            operator=row.operator,
            state=TaskState(row.state),
            try_number=row.try_number,
            max_tries=row.max_tries,
            pool=row.pool,
            pool_slots=row.pool_slots,
            priority=row.priority,
            queue=row.effective_queue,
            reason=row.reason,
            note=row.note,
            scheduled_at=row.scheduled_at,
            queued_at=row.queued_at,
            started_at=row.began_at or row.started_at,
            ended_at=row.ended_at,
            eligible_at=row.eligible_at,
            worker_id=row.worker,
            hostname=row.hostname,
            pid=row.pid,
            logical_date=row.logical_date,
            run_after=row.run_after,
            version=version_view(row),
            rendered_map_index=row.rendered_map_index,
        )


def effective_queue() -> ColumnElement[str]:
    """Return the queue a task instance is or will be on, as a column; needs its pool joined."""
    return _QUEUE


def select_task_instances() -> Select[Any]:
    """Return the statement that reads all that a view of a task instance has."""
    return (
        select(
            task_instance_table,
            _RUN.logical_date,
            _WORKER.hostname,
            _QUEUE.label("effective_queue"),
            *version_columns(),
        )
        .join_from(dag_run_table, task_instance_table, _TI.run_uid == _RUN.id)
        .outerjoin(dag_table, _DAG.dag_id == _RUN.dag_id)
        .outerjoin(dag_version_table, _VERSION.id == _TI.dag_version_id)
        .outerjoin(worker_table, _WORKER.id == _TI.worker)
        .outerjoin(pool_table, pool_table.c.name == _TI.pool)
    )


def _passes(wanted: TaskInstanceFilter) -> ColumnElement[bool]:
    conditions: list[ColumnElement[bool]] = [
        matches(_TI.dag_id, wanted.dag_id_match),
        matches(_TI.run_id, wanted.run_id_match),
        matches(_TI.task_id, wanted.task_id_match),
        matches(_TI.pool, wanted.pool_match),
        matches(_QUEUE, wanted.queue_match),
        matches(_TI.operator, wanted.operator_match),
        run_bounds(wanted.bounds),
        within(_TI.started_at, wanted.bounds.get("started_at"), null_is_now=True),
        within(_TI.ended_at, wanted.bounds.get("ended_at"), null_is_now=True),
        lasting(_TI.started_at, _TI.ended_at, wanted.bounds.get("duration_s")),
    ]
    for column, values in (
        (_TI.dag_id, wanted.dag_ids),
        (_TI.run_id, wanted.run_ids),
        (_TI.task_id, wanted.task_ids),
        (_TI.state, wanted.states),
        (_TI.pool, wanted.pools),
        (_QUEUE, wanted.queues),
        (_TI.operator, wanted.operators),
        (_TI.map_index, wanted.map_indexes),
        (_TI.try_number, wanted.try_numbers),
        (_VERSION.version_number, wanted.version_numbers),
    ):
        if values:
            conditions.append(column.in_(values))
    if wanted.group_id is not None:
        group = wanted.group_id
        below = func.substr(_TI.group_id, 1, len(group) + 1) == f"{group}."
        conditions.append((_TI.group_id == group) | below)
    if wanted.is_mapped is not None:
        mapped = _TI.map_index != UNMAPPED
        conditions.append(mapped if wanted.is_mapped else ~mapped)
    return and_(true(), *conditions)


def _try_view(row: Row[Any]) -> TryView:
    return TryView(
        try_number=row.try_number,
        state=TaskState(row.state),
        reason=row.reason,
        queue=row.queue,
        queued_at=row.queued_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        worker_id=row.worker,
        hostname=row.hostname,
        pid=row.pid,
    )


def _running_try(seen: TaskInstanceView) -> TryView:
    return TryView(
        try_number=seen.try_number,
        state=seen.state,
        reason=None,
        queue=seen.queue,
        queued_at=seen.queued_at,
        started_at=seen.started_at,
        ended_at=None,
        worker_id=seen.worker_id,
        hostname=seen.hostname,
        pid=seen.pid,
    )
