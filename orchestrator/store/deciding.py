"""Which runs have news, and what becomes of a run that was decided.

Reports append to task_event and never lock the run; only a decision does, and it consumes what it
decided on in the same transaction.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    Integer,
    String,
    Text,
    Uuid,
    and_,
    bindparam,
    delete,
    func,
    null,
    select,
    union_all,
    update,
)

from orchestrator.core.ids import RunUid, Slot
from orchestrator.core.scheduling import Decision, Instance
from orchestrator.core.states import FINISHED_TASK_STATES, RunState, TaskState
from orchestrator.ports import DueRun, StaleLedgerError
from orchestrator.store.conditions import is_one_of
from orchestrator.store.pasts import IS_LOOKED_AT, NUDGE_EPOCH
from orchestrator.store.tables import dag_run_table as dag_run
from orchestrator.store.tables import dag_table as dag
from orchestrator.store.tables import task_event_table as task_event
from orchestrator.store.tables import task_instance_table as task_instance
from orchestrator.store.types import Instant, as_rows, now, printable, rows_from

NEWS_MAX = 5000
"""Events looked at for one batch of runs, oldest first; more wait for the next."""

_news = (
    select(task_event.c.run_uid.label("uid"), task_event.c.at.label("due_at"))
    .order_by(task_event.c.id)
    .limit(NEWS_MAX)
    .subquery("news")
)
_timed = (
    select(dag_run.c.id.label("uid"), dag_run.c.wake_at.label("due_at"))
    .where(is_one_of(dag_run.c.state, RunState.RUNNING), dag_run.c.wake_at <= now())
    .subquery("timed")
)
_either = union_all(select(_news), select(_timed)).subquery("either")
_due = (
    select(_either.c.uid, func.min(_either.c.due_at).label("due_at"))
    .group_by(_either.c.uid)
    .subquery("due")
)
_LOCK_DUE_RUNS = (
    select(
        dag_run.c.id,
        dag_run.c.dag_id,
        dag_run.c.run_id,
        dag_run.c.dag_version_id,
        dag_run.c.revision,
        dag_run.c.started_at,
        dag_run.c.wake_at,
        dag_run.c.fails_later,
    )
    .join(_due, _due.c.uid == dag_run.c.id)
    .where(is_one_of(dag_run.c.state, RunState.RUNNING))
    .order_by(_due.c.due_at, dag_run.c.id)
    .limit(bindparam("limit_", type_=Integer()))
    .with_for_update(key_share=True, skip_locked=True, of=dag_run)
)

_told = rows_from("told_runs", {"uid": Uuid()})
_CONSUME_NEWS = (
    delete(task_event)
    .where(task_event.c.run_uid.in_(select(_told.c.uid)))
    .returning(
        task_event.c.id,
        task_event.c.run_uid,
        task_event.c.task_id,
        task_event.c.map_index,
        task_event.c.state,
        task_event.c.epoch,
        task_event.c.eligible_at,
        task_event.c.skip,
        task_event.c.length,
        task_event.c.group_try,
        task_event.c.at.label("ended_at"),
    )
)

_SELECT_INSTANCES = (
    select(
        task_instance.c.task_id,
        task_instance.c.map_index,
        task_instance.c.state,
        task_instance.c.epoch,
        task_instance.c.eligible_at,
        task_instance.c.skip,
        task_instance.c.length,
        task_instance.c.group_try,
        task_instance.c.ended_at,
    )
    .where(task_instance.c.run_uid == bindparam("run_uid"))
    .order_by(task_instance.c.task_id, task_instance.c.map_index)
)

_is_run = and_(
    dag_run.c.id == bindparam("of_run", type_=Uuid()),
    dag_run.c.revision == bindparam("at_revision"),
    is_one_of(dag_run.c.state, RunState.RUNNING),
)
_SET_RUN = (
    update(dag_run)
    .where(_is_run)
    .values(
        revision=bindparam("revision"),
        wake_at=bindparam("wake_at", type_=Instant()),
        fails_later=func.coalesce(bindparam("doom", type_=Text()), dag_run.c.fails_later),
    )
    .returning(IS_LOOKED_AT)
)
_END_RUN = (
    update(dag_run)
    .where(_is_run)
    .values(
        revision=bindparam("revision"),
        wake_at=null(),
        state=bindparam("state"),
        reason=bindparam("reason"),
        ended_at=now(),
    )
    .returning(IS_LOOKED_AT)
)

_woken = rows_from("woken_dags", {"dag_id": String()})
_woken_dag = dag.alias("woken_dag")
_locked_dags = (
    select(_woken_dag.c.dag_id)
    .where(_woken_dag.c.dag_id.in_(select(_woken.c.dag_id)))
    .order_by(_woken_dag.c.dag_id)
    .with_for_update(key_share=True)
    .cte("locked_dags")
)
_WAKE_DAGS = (
    update(dag).where(dag.c.dag_id.in_(select(_locked_dags.c.dag_id))).values(wake_at=now())
)


def lock_due_runs(
    connection: Connection, *, limit: int
) -> tuple[list[DueRun], Mapping[RunUid, datetime | None]]:
    """Lock running runs with news or a due `wake_at`, the longest due first, skipping locked ones;
    consume their news. Also return each one's `wake_at`."""
    rows = connection.execute(_LOCK_DUE_RUNS, {"limit_": limit}).all()
    if not rows:
        return [], {}
    told = as_rows("told_runs", ([row.id] for row in rows))
    news: dict[RunUid, list[tuple[Slot, Instance]]] = {row.id: [] for row in rows}
    events = connection.execute(_CONSUME_NEWS, told).all()
    for event in sorted(events, key=lambda event: event.id):
        if event.epoch != NUDGE_EPOCH:
            news[event.run_uid].append(_fact(event))
    runs = [
        DueRun(
            uid=row.id,
            dag_id=row.dag_id,
            run_id=row.run_id,
            version_id=row.dag_version_id,
            revision=row.revision,
            started_at=row.started_at,
            news=tuple(news[row.id]),
            fails_later=row.fails_later,
        )
        for row in rows
    ]
    return runs, {row.id: row.wake_at for row in rows}


def load_instances(connection: Connection, uid: RunUid) -> list[tuple[Slot, Instance]]:
    """Read every task instance of a locked run."""
    return [_fact(row) for row in connection.execute(_SELECT_INSTANCES, {"run_uid": uid})]


def write_run(
    connection: Connection,
    run: DueRun,
    *,
    revision: int,
    decision: Decision,
) -> bool:
    """Write the run's new revision and either its end or when to look at it again; return whether
    other runs look back at it."""
    values: dict[str, Any] = {
        "of_run": run.uid,
        "at_revision": run.revision,
        "revision": revision,
    }
    finish = decision.finish
    if finish is None:
        doom = decision.fails_later and printable(decision.fails_later)
        result = connection.execute(_SET_RUN, values | {"wake_at": decision.wake_at, "doom": doom})
    else:
        result = connection.execute(
            _END_RUN, values | {"state": finish.state, "reason": finish.reason}
        )
    written = result.one_or_none()
    if written is None:
        raise StaleLedgerError(f"run {run.uid} is no longer running at revision {run.revision}")
    return bool(written[0])


def wake_dags(connection: Connection, dag_ids: Iterable[str]) -> None:
    """Have planning look at DAGs now. Locks their rows in the order of their ids."""
    connection.execute(_WAKE_DAGS, as_rows("woken_dags", ([dag_id] for dag_id in sorted(dag_ids))))


def _fact(row: Any) -> tuple[Slot, Instance]:
    return Slot(row.task_id, row.map_index), Instance(
        state=TaskState(row.state),
        epoch=row.epoch,
        eligible_at=row.eligible_at,
        skip=None if row.skip is None else tuple(row.skip),
        length=row.length,
        group_try=row.group_try,
        ended_at=row.ended_at if row.state in FINISHED_TASK_STATES else None,
    )
