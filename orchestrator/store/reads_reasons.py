"""What must be known to say why a task instance is not running?

The same facts as decisions are made from, read without a lock: an explanation may be a moment old.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select

from orchestrator.core.admission import Candidate, Capacity, Holding
from orchestrator.core.assignments import RunFacts
from orchestrator.core.explain import Surroundings
from orchestrator.core.ids import UNMAPPED, RunUid
from orchestrator.core.reasons import TaskInstanceFacts
from orchestrator.core.specs import DagSpec, TaskSpec
from orchestrator.core.states import RunState, TaskState
from orchestrator.core.views import UNLIMITED_SLOTS, TaskInstanceView, WorkerView
from orchestrator.store.conditions import HOLDING_SLOTS, UNFINISHED_RUN, is_one_of
from orchestrator.store.deciding import load_instances
from orchestrator.store.limits import limit_columns, limits_in_use
from orchestrator.store.pasts import previous_run
from orchestrator.store.planning import run_facts
from orchestrator.store.reads_runs import one_run
from orchestrator.store.reads_services import ServiceReads
from orchestrator.store.reads_tasks import TaskInstanceReads, effective_queue
from orchestrator.store.tables import (
    dag_run_table,
    dag_table,
    pool_table,
    task_instance_table,
)
from orchestrator.store.tables_imports import import_error_table

__all__ = ["ReasonReads"]

NO_LIMIT = 2**31 - 1

_TI = task_instance_table.c
_RUN = dag_run_table.c
_DAG = dag_table.c
_ERROR = import_error_table.c
_POOL = pool_table.c


class ReasonReads(TaskInstanceReads, ServiceReads):
    """What explanations are made from."""

    def task_instance_facts(
        self, dag_id: str, run_id: str, task_id: str, *, map_index: int = UNMAPPED
    ) -> TaskInstanceFacts:
        """Read what an explanation needs; raise NotFoundError naming what does not exist."""
        seen = self.task_instance(dag_id, run_id, task_id, map_index=map_index)
        workers = self.workers()
        is_scheduled_by_somebody = self.scheduler_pulse().alive > 0
        with self._database.reading() as connection:
            run = one_run(connection, dag_id, run_id)
            version = self._versions.version(run.dag_version_id)
            instances = load_instances(connection, RunUid(run.id))
            previous = previous_run(connection, RunUid(run.id), version.spec)
            capacity = _capacity(connection, workers)
            around = _surroundings(
                connection,
                run,
                now=self._database.now(connection),
                scheduler_alive=is_scheduled_by_somebody,
            )
        return TaskInstanceFacts(
            task_instance=seen,
            spec=version.spec,
            run_started_at=run.started_at,
            instances=tuple(instances),
            previous=previous,
            candidate=_candidate(
                seen,
                run_facts(run),
                version.tasks.get(task_id),
                version.spec,
            ),
            capacity=capacity,
            around=around,
        )

    def surroundings_if_queued(self, dag_id: str, run_id: str, task_id: str) -> Surroundings | None:
        """Read why a run has not started; None when it has (also if it has to start again), or its
        DAG has no such task."""
        is_scheduled_by_somebody = self.scheduler_pulse().alive > 0
        with self._database.reading() as connection:
            run = one_run(connection, dag_id, run_id)
            if run.state != RunState.QUEUED:
                return None
            if task_id not in self._versions.version(run.dag_version_id).tasks:
                return None
            if connection.execute(select(_TI.id).where(_TI.run_uid == run.id).limit(1)).first():
                return None
            return _surroundings(
                connection,
                run,
                now=self._database.now(connection),
                scheduler_alive=is_scheduled_by_somebody,
            )


def _capacity(connection: Connection, workers: Iterable[WorkerView]) -> Capacity:
    worker_slots: dict[str, int] = {}
    for worker in workers:
        for queue in worker.queues:
            worker_slots[queue] = worker_slots.get(queue, 0) + worker.concurrency
    pools = connection.execute(select(_POOL.name, _POOL.slots))
    keys, rates = limits_in_use(connection)
    return Capacity(
        keys=keys,
        rates=rates,
        pools={row.name: NO_LIMIT if row.slots == UNLIMITED_SLOTS else row.slots for row in pools},
        worker_slots=worker_slots,
        holdings=tuple(_holding(row) for row in connection.execute(_select_holdings())),
    )


def _surroundings(
    connection: Connection, run: Row[Any], *, now: datetime, scheduler_alive: bool
) -> Surroundings:
    dag = connection.execute(select(dag_table).where(_DAG.dag_id == run.dag_id)).one()
    import_error = connection.execute(
        select(_ERROR.message).where(_ERROR.path == dag.path)
    ).scalar_one_or_none()
    state = RunState(run.state)
    return Surroundings(
        now=now,
        run_state=state,
        run_after=run.run_after,
        dag_is_paused=dag.is_paused,
        max_active_runs=dag.max_active_runs,
        run_blocked_by=_running_runs(connection, dag) if state is RunState.QUEUED else (),
        scheduler_alive=scheduler_alive,
        import_error=import_error,
    )


def _candidate(
    seen: TaskInstanceView, run: RunFacts, task: TaskSpec | None, spec: DagSpec
) -> Candidate | None:
    if task is None or seen.state is not TaskState.SCHEDULED:
        return None
    shared = limit_columns(task, spec, run)
    return Candidate(
        ti_id=seen.ti_id,
        key=seen.key,
        run_uid=run.uid,
        epoch=0,
        pool=seen.pool,
        pool_slots=seen.pool_slots,
        priority=seen.priority,
        weight=task.priority_weight,
        queue=seen.queue,
        run_after=seen.run_after,
        max_active_tasks=spec.max_active_tasks,
        max_active_tis_per_dag=task.max_active_tis_per_dag,
        max_active_tis_per_dagrun=task.max_active_tis_per_dagrun,
        concurrency_key=shared.concurrency_key,
        concurrency_limit=task.concurrency_limit,
        rate_name=shared.rate_name,
        rate_limit=task.rate_limit,
    )


def _select_holdings() -> Select[Any]:
    queue = effective_queue()
    group = (_TI.dag_id, _TI.run_uid, _TI.task_id, _TI.pool, queue)
    return (
        select(
            *group[:4],
            queue.label("queue"),
            func.count().label("held"),
            func.sum(_TI.pool_slots).label("slots"),
            func.count().filter(is_one_of(_TI.state, TaskState.QUEUED)).label("queued"),
        )
        .outerjoin(pool_table, _POOL.name == _TI.pool)
        .where(is_one_of(_TI.state, *HOLDING_SLOTS))
        .group_by(*group)
    )


def _holding(row: Row[Any]) -> Holding:
    facts = row._mapping  # by name: `count` is a method of rows
    return Holding(
        dag_id=facts["dag_id"],
        run_uid=RunUid(facts["run_uid"]),
        task_id=facts["task_id"],
        pool=facts["pool"],
        queue=facts["queue"],
        count=facts["held"],
        slots=int(facts["slots"]),
        queued=facts["queued"],
    )


def _running_runs(connection: Connection, dag: Row[Any]) -> tuple[str, ...]:
    """Return the running runs of a DAG if they fill max_active_runs."""
    statement = (
        select(_RUN.run_id)
        .where(
            _RUN.dag_id == dag.dag_id,
            is_one_of(_RUN.state, *UNFINISHED_RUN),
            is_one_of(_RUN.state, RunState.RUNNING),
        )
        .order_by(_RUN.run_after, _RUN.id)
        .limit(dag.max_active_runs)
    )
    running = tuple(connection.execute(statement).scalars())
    return running if len(running) >= dag.max_active_runs else ()
