"""Which workers have stopped their heartbeat, and what becomes of the tasks they ran?"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Integer,
    Text,
    Uuid,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from orchestrator.core.callbacks import callback_id_of, callback_of
from orchestrator.core.ids import TiId
from orchestrator.core.lifecycle import TRANSITIONS, TaskEvent
from orchestrator.core.states import FINISHED_RUN_STATES, TaskState
from orchestrator.ports import Reaped
from orchestrator.store import callbacks
from orchestrator.store.attempts import BEGAN_AT, NO_TRY_IS_ON, end_tries
from orchestrator.store.conditions import WorkerState, is_one_of, may_have, word
from orchestrator.store.tables import dag_run_table as dag_run
from orchestrator.store.tables import task_event_table as task_event
from orchestrator.store.tables import task_instance_table as task_instance
from orchestrator.store.tables import worker_table as worker
from orchestrator.store.types import as_rows, now, rows_from
from orchestrator.store.versions import Versions

_MARK_OFFLINE = (
    update(worker)
    .where(
        is_one_of(worker.c.state, WorkerState.ONLINE, WorkerState.DRAINING),
        worker.c.lease_until < now(),
    )
    .values(state=word(WorkerState.OFFLINE))
    .returning(worker.c.id)
)

_signed_off = task_instance.c.lease_owner.in_(
    select(worker.c.id).where(is_one_of(worker.c.state, WorkerState.OFFLINE))
)
_running = (
    select(
        task_instance.c.id,
        task_instance.c.epoch,
        task_instance.c.try_number,
        task_instance.c.infra_tries,
        task_instance.c.lease_owner,
        task_instance.c.task_id,
        task_instance.c.dag_version_id,
    )
    .where(is_one_of(task_instance.c.state, TaskState.RUNNING))
    .order_by(task_instance.c.lease_owner, task_instance.c.id)
    .limit(bindparam("limit_", type_=Integer()))
    .with_for_update(key_share=True, skip_locked=True)
)
_LOCK_SIGNED_OFF = _running.where(_signed_off)
_LOCK_LOST = _running.where(or_(task_instance.c.lease_until < now(), _signed_off))

_lost = rows_from("lost", {"id": Uuid(), "epoch": BigInteger(), "reason": Text()})
_is_lost = and_(task_instance.c.id == _lost.c.id, task_instance.c.epoch == _lost.c.epoch)


def _taking_away(event: TaskEvent) -> Any:
    """Return the statement that takes running task instances from their workers."""
    values: dict[str, Any] = {
        "state": word(TRANSITIONS[event].target),
        "epoch": task_instance.c.epoch + 1,
        "infra_tries": task_instance.c.infra_tries + 1,
        "reason": _lost.c.reason,
        "started_at": BEGAN_AT,
        **NO_TRY_IS_ON,
    }
    if event is TaskEvent.LOST:
        # The lost try does not use up one of the task's own.
        values |= {"max_tries": task_instance.c.max_tries + 1, "eligible_at": now()}
    else:
        values |= {"ended_at": now()}
    return (
        update(task_instance)
        .where(_is_lost, may_have(task_instance.c.state, event))
        .values(values)
        .returning(task_instance.c.id)
    )


_TAKE_AWAY = {event: _taking_away(event) for event in (TaskEvent.LOST, TaskEvent.LOST_FOR_GOOD)}
_END_TRIES = {
    event: end_tries(_is_lost, state=TRANSITIONS[event].target, reason=_lost.c.reason)
    for event in _TAKE_AWAY
}

_taken = rows_from("taken", {"id": Uuid()})
_INSERT_NEWS = insert(task_event).from_select(
    [
        *("run_uid", "ti_id", "task_id", "map_index", "epoch", "state", "group_try"),
        *("eligible_at", "at"),
    ],
    select(
        task_instance.c.run_uid,
        task_instance.c.id,
        task_instance.c.task_id,
        task_instance.c.map_index,
        task_instance.c.epoch,
        task_instance.c.state,
        task_instance.c.group_try,
        case(
            (is_one_of(task_instance.c.state, TaskState.UP_FOR_RETRY), task_instance.c.eligible_at)
        ),
        func.coalesce(task_instance.c.ended_at, now()),
    )
    .where(task_instance.c.id.in_(select(_taken.c.id)))
    .order_by(task_instance.c.id),
)

# News of a run that a person has ended: no decision will consume them.
_DELETE_IDLE_NEWS = delete(task_event).where(
    is_one_of(
        select(dag_run.c.state).where(dag_run.c.id == task_event.c.run_uid).scalar_subquery(),
        *sorted(FINISHED_RUN_STATES),
    )
)


def reap(
    connection: Connection,
    versions: Versions,
    *,
    infra_tries_max: int,
    limit: int,
    spares_leases: bool,
) -> Reaped:
    """Mark workers offline whose heartbeat stopped, and take from them, and from whoever let a
    lease end, what they ran; with `spares_leases` only from those who signed off. Locks worker
    rows, then task instances, skipping locked ones."""
    offline: tuple[str, ...] = ()
    if not spares_leases:
        offline = tuple(sorted(row.id for row in connection.execute(_MARK_OFFLINE)))
    connection.execute(_DELETE_IDLE_NEWS)
    lock = _LOCK_SIGNED_OFF if spares_leases else _LOCK_LOST
    lost = connection.execute(lock, {"limit_": limit}).all()
    taken: list[TiId] = []
    owed: list[Sequence[Any]] = []
    for event in (TaskEvent.LOST, TaskEvent.LOST_FOR_GOOD):
        is_for_good = event is TaskEvent.LOST_FOR_GOOD
        rows = [row for row in lost if (row.infra_tries + 1 >= infra_tries_max) == is_for_good]
        if not rows:
            continue
        parameter = as_rows(
            "lost", ((row.id, row.epoch, _reason(row, for_good=is_for_good)) for row in rows)
        )
        connection.execute(_END_TRIES[event], parameter)
        taken += [row.id for row in connection.execute(_TAKE_AWAY[event], parameter)]
        owed += _owed(versions, event, rows)
    assert len(taken) == len(lost), "a locked task instance moved"
    if taken:
        connection.execute(_INSERT_NEWS, as_rows("taken", ([ti_id] for ti_id in taken)))
        callbacks.owe(connection, owed)
    return Reaped(lost=tuple(sorted(taken)), offline_workers=offline)


def _owed(versions: Versions, event: TaskEvent, rows: Sequence[Any]) -> list[Sequence[Any]]:
    """The callbacks of lost tries; of a DAG version that cannot be read, none."""
    owed: list[Sequence[Any]] = []
    for row in rows:
        version = versions.readable(row.dag_version_id)
        task = None if version is None else version.tasks.get(row.task_id)
        kind = None if task is None else callback_of(task, event)
        if kind is not None:
            callback_id = callback_id_of(row.id, row.epoch, kind)
            reason = _reason(row, for_good=event is TaskEvent.LOST_FOR_GOOD)
            owed.append((callback_id, row.id, kind.value, reason))
    return owed


def _reason(row: Any, *, for_good: bool) -> str:
    reason = f"heartbeat lost: worker {row.lease_owner} stopped reporting"
    return f"{reason}; lost {row.infra_tries + 1} times, so not tried again" if for_good else reason
