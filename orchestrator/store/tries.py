"""How a try is started and how its end is recorded, both under its epoch.

A try that gives its worker back (a reschedule) has not ended: it leaves no record yet, and its next
start goes on with it instead of counting another.

On PostgreSQL each is one statement, so one round trip and one commit; SQLite, which has no such
statements and no network, takes the same steps one by one.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from sqlalchemy import (
    BigInteger,
    Connection,
    Integer,
    Select,
    String,
    Text,
    Uuid,
    bindparam,
    case,
    delete,
    func,
    insert,
    null,
    select,
    true,
    update,
)

from orchestrator.core.lifecycle import TRANSITIONS, Actor, TaskEvent
from orchestrator.core.states import TaskState
from orchestrator.store.attempts import BEGAN_AT, NO_TRY_IS_ON
from orchestrator.store.callbacks import OWE_AFTER_TRY, owing
from orchestrator.store.conditions import is_one_of, may_have, word
from orchestrator.store.engine import Database
from orchestrator.store.limits import recording_start
from orchestrator.store.planning import RUN_FACTS
from orchestrator.store.tables import attempt_table as attempt
from orchestrator.store.tables import dag_run_table as dag_run
from orchestrator.store.tables import task_event_table as task_event
from orchestrator.store.tables import task_instance_table as task_instance
from orchestrator.store.tables import xcom_table as xcom
from orchestrator.store.types import Instant, as_rows, now, now_plus, rows_from

XComPiece: TypeAlias = tuple[str, str, str | None]
"""Key, value as JSON, and as JSON what people see in its place, where it holds a secret."""

_TRY_COLUMNS = (
    task_instance.c.id.label("ti_id"),
    task_instance.c.epoch,
    task_instance.c.task_id,
    task_instance.c.map_index,
    task_instance.c.try_number,
    task_instance.c.max_tries,
    task_instance.c.started_at.label("try_started_at"),
    task_instance.c.began_at,
    task_instance.c.dag_version_id,
    task_instance.c.run_uid,
    task_instance.c.rate_name,
    task_instance.c.rate_s,
)

_START = (
    update(task_instance)
    .where(
        task_instance.c.id == bindparam("of_ti", type_=Uuid()),
        task_instance.c.epoch == bindparam("of_epoch", type_=BigInteger()),
        may_have(task_instance.c.state, TaskEvent.STARTED),
    )
    .values(
        state=word(TRANSITIONS[TaskEvent.STARTED].target),
        try_number=task_instance.c.try_number
        + case((task_instance.c.began_at.is_(None), 1), else_=0),
        worker=bindparam("worker_id", type_=String()),
        lease_owner=bindparam("worker_id", type_=String()),
        lease_until=now_plus(bindparam("lease_s")),
        pid=bindparam("worker_pid", type_=Integer()),
        started_at=now(),
        ended_at=null(),
        publish_due_at=null(),
        reason=null(),
        skip=null(),
        length=null(),
    )
)
_FORGET_XCOMS = delete(xcom).where(xcom.c.ti_id == bindparam("of_ti", type_=Uuid()))


def _start_in_one() -> Select[Any]:
    """PostgreSQL: start, delete what an earlier hand-out left, and read the run."""
    started = _START.returning(*_TRY_COLUMNS).cte("started")
    forgotten = (
        delete(xcom).where(xcom.c.ti_id == started.c.ti_id, started.c.epoch > 1).cte("forgotten")
    )
    return (
        select(*(started.c[column.name] for column in _TRY_COLUMNS), *RUN_FACTS)
        .join_from(started, dag_run, dag_run.c.id == started.c.run_uid)
        .add_cte(forgotten, recording_start(started).cte("recorded"))
    )


_START_IN_ONE = _start_in_one()
_RECORD_START = recording_start(
    select(task_instance.c.rate_name, task_instance.c.rate_s)
    .where(task_instance.c.id == bindparam("of_ti", type_=Uuid()))
    .subquery("started")
)
_SELECT_STARTED = (
    select(*_TRY_COLUMNS, *RUN_FACTS)
    .join_from(task_instance, dag_run, dag_run.c.id == task_instance.c.run_uid)
    .where(
        task_instance.c.id == bindparam("of_ti", type_=Uuid()),
        task_instance.c.epoch == bindparam("of_epoch", type_=BigInteger()),
        is_one_of(task_instance.c.state, TaskState.RUNNING),
        task_instance.c.lease_owner == bindparam("worker_id"),
        task_instance.c.pid == bindparam("worker_pid"),
    )
)

_DONE_COLUMNS = (
    *(task_instance.c[name] for name in ("id", "run_uid", "task_id", "map_index", "epoch")),
    *(task_instance.c[name] for name in ("try_number", "state", "worker", "pid", "queue")),
    *(task_instance.c[name] for name in ("queued_at", "started_at", "ended_at")),
    *(task_instance.c[name] for name in ("eligible_at", "skip", "reason", "length", "group_try")),
    task_instance.c.dag_version_id,
)
_goes_on_later = bindparam("new_state", type_=String()) == word(TaskState.UP_FOR_RESCHEDULE)
_FINISH = (
    update(task_instance)
    .where(
        task_instance.c.id == bindparam("of_ti", type_=Uuid()),
        task_instance.c.epoch == bindparam("of_epoch", type_=BigInteger()),
        is_one_of(task_instance.c.state, TaskState.RUNNING),
        task_instance.c.lease_owner == bindparam("worker_id", type_=String()),
    )
    .values(
        state=bindparam("new_state", type_=String()),
        reason=bindparam("why", type_=Text()),
        # Nothing plus a time is nothing: only what goes on later has a wait.
        eligible_at=now_plus(bindparam("retry_in_s")),
        skip=bindparam("skipped", type_=Text()),
        length=bindparam("new_length", type_=Integer()),
        rendered_map_index=func.coalesce(
            bindparam("map_name", type_=Text()), task_instance.c.rendered_map_index
        ),
        **{
            **NO_TRY_IS_ON,
            "began_at": case((_goes_on_later, BEGAN_AT)),
            "started_at": case((_goes_on_later, task_instance.c.started_at), else_=BEGAN_AT),
            "ended_at": case((_goes_on_later, null()), else_=now()),
        },
    )
    .returning(*_DONE_COLUMNS)
)
_ATTEMPT_OF_DONE = {
    **{"ti_id": "id"},
    **{
        name: name
        for name in (
            *("epoch", "try_number", "state", "worker", "pid", "queue", "queued_at"),
            *("started_at", "ended_at", "reason"),
        )
    },
}
_NEWS_OF_DONE = {
    **{"ti_id": "id"},
    **{
        name: name
        for name in (
            *("run_uid", "task_id", "map_index", "epoch", "state", "eligible_at", "skip"),
            *("length", "group_try"),
        )
    },
}
_XCOM_OF_DONE = {
    **{"ti_id": "id"},
    **{name: name for name in ("run_uid", "task_id", "map_index", "epoch")},
}
_xcoms = rows_from("xcoms", {"key": String(), "value": Text(), "masked": Text()})


def _finish_in_one(*, owes_callback: bool) -> Select[Any]:
    """PostgreSQL: the end of the try, its record, its news, its XComs and the callback it owes."""
    done = _FINISH.cte("done")
    written = (
        insert(attempt).from_select(
            list(_ATTEMPT_OF_DONE),
            select(*(done.c[name] for name in _ATTEMPT_OF_DONE.values())).where(
                done.c.ended_at.is_not(None)
            ),
        ),
        insert(task_event).from_select(
            [*_NEWS_OF_DONE, "at"],
            select(
                *(done.c[name] for name in _NEWS_OF_DONE.values()),
                func.coalesce(done.c.ended_at, now()),
            ),
        ),
        insert(xcom).from_select(
            [*_XCOM_OF_DONE, "key", "value", "masked", "created_at"],
            select(
                *(done.c[name] for name in _XCOM_OF_DONE.values()),
                *(_xcoms.c.key, _xcoms.c.value, _xcoms.c.masked, now()),
            ).join_from(done, _xcoms, true()),
        ),
        *((owing(done),) if owes_callback else ()),
    )
    return select(done.c.id).add_cte(
        *(part.cte(f"written_{index}") for index, part in enumerate(written))
    )


_INSERT_ATTEMPT = insert(attempt)
_INSERT_NEWS = insert(task_event).values(
    at=func.coalesce(bindparam("told_at", type_=Instant()), now())
)
_INSERT_XCOM = insert(xcom).values(
    value=bindparam("json", type_=Text()),
    masked=bindparam("masked_json", type_=Text()),
    created_at=now(),
)
_FINISH_IN_ONE = {owes: _finish_in_one(owes_callback=owes) for owes in (False, True)}
_SELECT_ATTEMPT = select(attempt.c.state, attempt.c.worker, attempt.c.reason).where(
    attempt.c.ti_id == bindparam("of_ti", type_=Uuid()),
    attempt.c.epoch == bindparam("of_epoch", type_=BigInteger()),
)
# A try that goes on later has no record yet; who took its report is seen by what it waits for.
_SELECT_WAITING = select(task_instance.c.id).where(
    task_instance.c.id == bindparam("of_ti", type_=Uuid()),
    task_instance.c.epoch == bindparam("of_epoch", type_=BigInteger()),
    task_instance.c.worker == bindparam("worker_id"),
    is_one_of(task_instance.c.state, TaskState.UP_FOR_RESCHEDULE, TaskState.SCHEDULED),
)


def start(database: Database, who: Mapping[str, Any], *, lease_s: float) -> Any:
    """Start a try and return its row; that of a try that the same process has started already, if
    the answer to its first asking was lost; None when there is nothing to start."""
    if database.is_sqlite:
        with database.writing() as connection:
            moved = connection.execute(_START, {**who, "lease_s": lease_s}).rowcount
            if moved and who["of_epoch"] > 1:
                connection.execute(_FORGET_XCOMS, {"of_ti": who["of_ti"]})
            row = connection.execute(_SELECT_STARTED, who).one_or_none()
            if moved and row is not None and row.rate_name is not None:
                connection.execute(_RECORD_START, who)
            return row
    with database.each_alone() as connection:
        row = connection.execute(_START_IN_ONE, {**who, "lease_s": lease_s}).one_or_none()
        return row or connection.execute(_SELECT_STARTED, who).one_or_none()


def finish(database: Database, parameters: Mapping[str, Any], xcoms: Sequence[XComPiece]) -> bool:
    """Record the end of a try; False when it is not (or no longer) this worker's to end. It owes a
    callback if the parameters name one."""
    if database.is_sqlite:
        with database.writing() as connection:
            return _finish_in_steps(connection, parameters, xcoms)
    with database.each_alone() as connection:
        statement = _FINISH_IN_ONE["callback_id" in parameters]
        row = connection.execute(statement, {**parameters, **as_rows("xcoms", xcoms)})
        return row.one_or_none() is not None or _is_recorded(connection, parameters)


def may_report(event: TaskEvent) -> bool:
    """Whether a worker may end a try with this event."""
    transition = TRANSITIONS[event]
    return transition.actor is Actor.WORKER and transition.sources == {TaskState.RUNNING}


def _finish_in_steps(
    connection: Connection, parameters: Mapping[str, Any], xcoms: Sequence[XComPiece]
) -> bool:
    done = connection.execute(_FINISH, parameters).one_or_none()
    if done is None:
        return _is_recorded(connection, parameters)
    facts = done._mapping
    if done.ended_at is not None:
        connection.execute(
            _INSERT_ATTEMPT, {name: facts[source] for name, source in _ATTEMPT_OF_DONE.items()}
        )
    news = {name: facts[source] for name, source in _NEWS_OF_DONE.items()}
    connection.execute(_INSERT_NEWS, {**news, "told_at": done.ended_at})
    if "callback_id" in parameters:
        connection.execute(OWE_AFTER_TRY, parameters)
    if xcoms:
        common = {name: facts[source] for name, source in _XCOM_OF_DONE.items()}
        connection.execute(
            _INSERT_XCOM,
            [
                {**common, "key": key, "json": value, "masked_json": masked}
                for key, value, masked in xcoms
            ],
        )
    return True


def _is_recorded(connection: Connection, parameters: Mapping[str, Any]) -> bool:
    """Whether this very outcome was recorded before, its answer lost on the way."""
    of_this = {"of_ti": parameters["of_ti"], "of_epoch": parameters["of_epoch"]}
    if parameters["new_state"] == TaskState.UP_FOR_RESCHEDULE:
        waiting = {**of_this, "worker_id": parameters["worker_id"]}
        return connection.execute(_SELECT_WAITING, waiting).one_or_none() is not None
    row = connection.execute(_SELECT_ATTEMPT, of_this).one_or_none()
    return row is not None and tuple(row) == (
        parameters["new_state"],
        parameters["worker_id"],
        parameters["why"],
    )
