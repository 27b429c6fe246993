"""How a worker begins an attempt at a callback, and how it records what came of it."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    Integer,
    String,
    Uuid,
    bindparam,
    case,
    func,
    null,
    or_,
    select,
    update,
)

from orchestrator.core.assignments import Assignment
from orchestrator.core.callbacks import (
    ATTEMPTS_MAX,
    CallbackAssignment,
    CallbackId,
    CallbackReport,
    CallbackState,
    after_attempt,
)
from orchestrator.core.ids import TaskKey
from orchestrator.core.specs import CallbackKind
from orchestrator.core.states import RunState, TaskState
from orchestrator.store.conditions import is_one_of
from orchestrator.store.engine import Database
from orchestrator.store.planning import RUN_FACTS, run_facts
from orchestrator.store.tables import attempt_table as attempt
from orchestrator.store.tables import dag_run_table as dag_run
from orchestrator.store.tables import task_instance_table as task_instance
from orchestrator.store.tables_callbacks import callback_table as callback
from orchestrator.store.types import Json, Prose, now, now_plus
from orchestrator.store.versions import Version, Versions

_is_owed = is_one_of(callback.c.state, CallbackState.OWED)
_is_free = or_(callback.c.lease_until.is_(None), callback.c.lease_until < now())

_CLAIM = (
    update(callback)
    .where(
        callback.c.id == bindparam("of_callback", type_=Uuid()),
        _is_owed,
        _is_free,
        callback.c.attempts < ATTEMPTS_MAX,
    )
    .values(
        attempts=callback.c.attempts + 1,
        lease_until=now_plus(bindparam("lease_s")),
        due_at=now_plus(bindparam("lease_s")),
        worker=bindparam("worker_id", type_=String()),
    )
    .returning(*callback.c)
)
_FINISH = (
    update(callback)
    .where(
        callback.c.id == bindparam("of_callback", type_=Uuid()),
        callback.c.attempts == bindparam("attempt", type_=Integer()),
        callback.c.lease_until.is_not(None),
        _is_owed,
    )
    .values(
        state=bindparam("new_state", type_=String()),
        lease_until=null(),
        due_at=now_plus(bindparam("retry_in_s")),
        # The looks so far were for a message that did arrive.
        publish_count=0,
        delivered=bindparam("now_delivered", type_=Json()),
        error=bindparam("failure", type_=Prose()),
        output=func.coalesce(callback.c.output, "") + bindparam("written", type_=Prose()),
        ended_at=now(),
    )
)

_SELECT_RUN = select(*RUN_FACTS, dag_run.c.state, dag_run.c.ended_at).where(
    dag_run.c.id == bindparam("of_run", type_=Uuid())
)
_TRIED = (
    task_instance.c.id.label("ti_id"),
    task_instance.c.epoch,
    task_instance.c.dag_id,
    task_instance.c.run_id,
    task_instance.c.task_id,
    task_instance.c.map_index,
    task_instance.c.try_number,
    task_instance.c.max_tries,
    task_instance.c.started_at,
    task_instance.c.ended_at,
)
_SELECT_TRIED = select(*_TRIED).where(task_instance.c.id == bindparam("of_ti", type_=Uuid()))
# What a run's callback is told as `ti`: as in Airflow one that says something about its end.
_SELECT_TELLING = (
    select(*_TRIED)
    .where(task_instance.c.run_uid == bindparam("of_run", type_=Uuid()))
    .order_by(
        case((is_one_of(task_instance.c.state, TaskState.FAILED), 0), else_=1),
        task_instance.c.ended_at.is_(None),
        task_instance.c.ended_at.desc(),
        task_instance.c.task_id,
        task_instance.c.map_index,
    )
    .limit(1)
)
_SELECT_ATTEMPT = select(attempt.c.epoch, attempt.c.started_at, attempt.c.ended_at).where(
    attempt.c.ti_id == bindparam("of_ti", type_=Uuid()),
    attempt.c.try_number == bindparam("of_try", type_=Integer()),
)


def claim(
    database: Database,
    versions: Versions,
    callback_id: CallbackId,
    *,
    worker_id: str,
    lease_s: float,
) -> CallbackAssignment | None:
    """Begin an attempt if the callback is owed and nobody else is at it."""
    with database.writing() as connection:
        row = connection.execute(
            _CLAIM, {"of_callback": callback_id, "worker_id": worker_id, "lease_s": lease_s}
        ).one_or_none()
        if row is None:
            return None
        run = connection.execute(_SELECT_RUN, {"of_run": row.run_uid}).one()
        version = versions.version(row.dag_version_id)
        return CallbackAssignment(
            callback_id=CallbackId(row.id),
            kind=CallbackKind(row.kind),
            attempt=row.attempts,
            delivered=tuple(row.delivered),
            reason=row.reason,
            is_of_run=row.ti_id is None,
            deadline_index=row.deadline_index,
            ended_at=None if row.ti_id is None else row.created_at,
            run=run_facts(run),
            run_state=RunState(run.state),
            run_ended_at=run.ended_at,
            dag=version.spec,
            source=version.source,
            tried=_tried(connection, version, row, run),
        )


def finish(
    database: Database, callback_id: CallbackId, report: CallbackReport, *, attempt: int
) -> bool:
    """Record what an attempt came to, if it is still the last one."""
    state, retry_in_s = after_attempt(attempt, is_delivered=report.error is None)
    with database.each_alone() as connection:
        parameters = {
            "of_callback": callback_id,
            "attempt": attempt,
            "new_state": state.value,
            "retry_in_s": retry_in_s,
            "now_delivered": list(report.delivered),
            "failure": report.error,
            "written": report.output,
        }
        return connection.execute(_FINISH, parameters).rowcount == 1


def _tried(connection: Connection, version: Version, row: Any, run: Any) -> Assignment | None:
    """The try whose end the callback follows, as its attempt recorded it: another may be on."""
    if row.ti_id is None:
        seen = connection.execute(_SELECT_TELLING, {"of_run": row.run_uid}).one_or_none()
        number = None if seen is None else seen.try_number
    else:
        seen = connection.execute(_SELECT_TRIED, {"of_ti": row.ti_id}).one_or_none()
        number = row.try_number
    if seen is None or seen.task_id not in version.tasks:
        return None
    recorded = connection.execute(
        _SELECT_ATTEMPT, {"of_ti": seen.ti_id, "of_try": number}
    ).one_or_none()
    began_at: datetime = run.started_at or run.run_after
    if recorded is not None and recorded.started_at is not None:
        began_at = recorded.started_at
    elif seen.started_at is not None:
        began_at = seen.started_at
    return Assignment(
        ti_id=seen.ti_id,
        epoch=seen.epoch if recorded is None else recorded.epoch,
        key=TaskKey(seen.dag_id, seen.run_id, seen.task_id, seen.map_index),
        try_number=number or 0,
        max_tries=seen.max_tries,
        started_at=began_at,
        began_at=began_at,
        run=run_facts(run),
        dag=version.spec,
        task=version.tasks[seen.task_id],
        source=version.source,
    )
