"""How a callback gets into the store with its cause, to a worker, and out of debt.

A row is inserted in the transaction of the transition that causes it. It is claimed for as long as
a lease; what was not reported within its lease is published again. `due_at` says when a message is
owed next, whether the last one was lost, its worker died, or an attempt failed.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Float,
    FromClause,
    Insert,
    Integer,
    String,
    Text,
    Uuid,
    and_,
    bindparam,
    case,
    cast,
    func,
    insert,
    literal_column,
    null,
    or_,
    select,
    update,
)

from orchestrator.core.callbacks import (
    ATTEMPTS_MAX,
    CallbackId,
    CallbackState,
    callback_id_of,
    callback_of,
    callback_of_end,
)
from orchestrator.core.ids import RunUid
from orchestrator.core.lifecycle import TaskEvent
from orchestrator.core.scheduling import FinishRun, Move
from orchestrator.core.specs import DEFAULT_QUEUE, CallbackKind, DagSpec, TaskSpec
from orchestrator.core.states import TaskState
from orchestrator.ports import CallbackMessage, DueRun
from orchestrator.store.conditions import is_one_of, word
from orchestrator.store.tables import dag_run_table as dag_run
from orchestrator.store.tables import task_instance_table as task_instance
from orchestrator.store.tables_callbacks import callback_table as callback
from orchestrator.store.types import Prose, as_rows, now, now_plus, rows_from

LOOK_WAIT_MAX_S = 600.0
_DOUBLINGS_MAX = 16

_COMMON: Mapping[str, Any] = {
    "state": word(CallbackState.OWED),
    "delivered": cast("[]", Text),
    "publish_count": literal_column("0"),
}


def owing(done: FromClause, *conditions: ColumnElement[bool]) -> Insert:
    """Return the statement that writes what the try in `done` (one row of task_instance's columns)
    owes. With a lease the worker that reports runs it itself, right away."""
    lease_s: Any = cast(bindparam("callback_lease_s"), Float(53))
    values = {
        **_COMMON,
        "id": bindparam("callback_id", type_=Uuid()),
        "kind": bindparam("callback_kind", type_=String()),
        "run_uid": done.c.run_uid,
        "ti_id": done.c.id,
        "dag_version_id": done.c.dag_version_id,
        "try_number": done.c.try_number,
        "reason": done.c.reason,
        "queue": func.coalesce(done.c.queue, DEFAULT_QUEUE),
        "attempts": case((lease_s.is_(None), literal_column("0")), else_=literal_column("1")),
        "lease_until": now_plus(lease_s),
        "due_at": func.coalesce(now_plus(lease_s), now()),
        "worker": done.c.worker,
        "created_at": now(),
    }
    return insert(callback).from_select(
        list(values),
        select(*(value.label(name) for name, value in values.items())).where(*conditions),
    )


OWE_AFTER_TRY = owing(task_instance, task_instance.c.id == bindparam("of_ti", type_=Uuid()))
"""The same for a try that an earlier statement of the transaction has ended."""

_owed = rows_from(
    "owed",
    {
        "id": Uuid(),
        "ti_id": Uuid(),
        "kind": String(),
        "reason": Text(),
    },
)
_OWE_OF_INSTANCES = insert(callback).from_select(
    [
        *(*_COMMON, "id", "run_uid", "ti_id", "kind", "dag_version_id", "try_number", "reason"),
        *("queue", "attempts", "due_at", "created_at"),
    ],
    select(
        *_COMMON.values(),
        _owed.c.id,
        task_instance.c.run_uid,
        _owed.c.ti_id,
        _owed.c.kind,
        task_instance.c.dag_version_id,
        task_instance.c.try_number,
        _owed.c.reason,
        func.coalesce(task_instance.c.queue, DEFAULT_QUEUE),
        literal_column("0"),
        now(),
        now(),
    ).join_from(_owed, task_instance, task_instance.c.id == _owed.c.ti_id),
)

# Where a task of this very run ran last there is a worker that has the DAG's file.
_last_queue = (
    select(task_instance.c.queue)
    .where(task_instance.c.run_uid == dag_run.c.id, task_instance.c.queue.is_not(None))
    .order_by(task_instance.c.queued_at.desc(), task_instance.c.id)
    .limit(1)
    .scalar_subquery()
)
_OWE_OF_RUN = insert(callback).from_select(
    [
        *(*_COMMON, "id", "run_uid", "kind", "deadline_index", "dag_version_id", "try_number"),
        *("reason", "queue", "attempts", "due_at", "created_at"),
    ],
    select(
        *_COMMON.values(),
        bindparam("callback_id", type_=Uuid()),
        dag_run.c.id,
        bindparam("kind", type_=String()),
        cast(bindparam("deadline_index", type_=Integer()), Integer),
        dag_run.c.dag_version_id,
        literal_column("0"),
        cast(bindparam("why", type_=Prose()), Text),
        func.coalesce(_last_queue, DEFAULT_QUEUE),
        literal_column("0"),
        now(),
        now(),
    ).where(dag_run.c.id == bindparam("of_run", type_=Uuid())),
)

_moving = rows_from(
    "moving",
    {"run_uid": Uuid(), "task_id": String(), "map_index": BigInteger()},
)
_SELECT_MOVING = select(
    task_instance.c.id,
    task_instance.c.task_id,
    task_instance.c.map_index,
    task_instance.c.epoch,
    task_instance.c.state,
).join(
    _moving,
    and_(
        task_instance.c.run_uid == _moving.c.run_uid,
        task_instance.c.task_id == _moving.c.task_id,
        task_instance.c.map_index == _moving.c.map_index,
    ),
)

_is_owed = is_one_of(callback.c.state, CallbackState.OWED)
EARLIEST = (
    select(callback.c.due_at).where(_is_owed).order_by(callback.c.due_at).limit(1).scalar_subquery()
)
"""When the next message is owed."""
_is_free = or_(callback.c.lease_until.is_(None), callback.c.lease_until < now())

_GIVE_UP = (
    update(callback)
    .where(_is_owed, callback.c.due_at <= now(), callback.c.attempts >= ATTEMPTS_MAX)
    .values(
        state=word(CallbackState.FAILED),
        due_at=null(),
        lease_until=null(),
        ended_at=now(),
        error=func.coalesce(callback.c.error, "the worker died with it, each time"),
    )
    .returning(callback.c.id)
)
_doublings = case(
    (callback.c.publish_count < _DOUBLINGS_MAX, callback.c.publish_count), else_=_DOUBLINGS_MAX
)
_wait_s: Any = cast(bindparam("republish_after_s"), Float(53)) * literal_column("1").op("<<")(
    _doublings
)
_candidate = callback.alias("candidate")
# A CTE with row locks is run once; as an IN, PostgreSQL may run it again for each row.
_due = (
    select(_candidate.c.id)
    .where(is_one_of(_candidate.c.state, CallbackState.OWED), _candidate.c.due_at <= now())
    .order_by(_candidate.c.due_at, _candidate.c.id)
    .limit(bindparam("limit_", type_=Integer()))
    .with_for_update(skip_locked=True)
    .cte("due")
)
_LEASE_DUE = (
    update(callback)
    .where(callback.c.id.in_(select(_due.c.id)), _is_owed)
    .values(
        due_at=now_plus(case((_wait_s < LOOK_WAIT_MAX_S, _wait_s), else_=LOOK_WAIT_MAX_S)),
        publish_count=callback.c.publish_count + 1,
    )
    .returning(callback.c.id, callback.c.queue, callback.c.created_at)
)
_EXPIRE_PUBLISHED = (
    update(callback).where(_is_owed, callback.c.due_at > now(), _is_free).values(due_at=now())
)


def owed_by_moves(
    connection: Connection, run: DueRun, tasks: Mapping[str, TaskSpec], moves: Iterable[Move]
) -> list[Sequence[Any]]:
    """Return what a decision's moves will owe. Called before they are written, since only a try
    that is running has anything to tell when it is abandoned."""
    owing_moves: dict[tuple[str, int], tuple[Move, CallbackKind]] = {}
    for move in moves:
        task = tasks.get(move.slot.task_id)
        kind = None if task is None else callback_of(task, move.event)
        if kind is not None:
            owing_moves[move.slot] = (move, kind)
    if not owing_moves:
        return []
    found = connection.execute(
        _SELECT_MOVING, as_rows("moving", ((run.uid, *slot) for slot in sorted(owing_moves)))
    ).all()
    rows: list[Sequence[Any]] = []
    for row in found:
        move, kind = owing_moves[row.task_id, row.map_index]
        if move.event is TaskEvent.ABANDONED and row.state != TaskState.RUNNING:
            continue
        rows.append((callback_id_of(row.id, row.epoch, kind), row.id, kind.value, move.reason))
    return rows


def owe(connection: Connection, rows: Sequence[Sequence[Any]]) -> None:
    """Write callbacks of task instances: (id, task instance, kind, reason), due now."""
    if rows:
        connection.execute(_OWE_OF_INSTANCES, as_rows("owed", rows))


def owe_end(
    connection: Connection, run: DueRun, dag: DagSpec, finish: FinishRun, *, revision: int
) -> bool:
    """Write the callback of a run's end, due now; False when its DAG has none."""
    kind = callback_of_end(dag, finish.state)
    if kind is None:
        return False
    owe_of_run(connection, run.uid, cause=run.uid, number=revision, kind=kind, reason=finish.reason)
    return True


def owe_of_run(
    connection: Connection,
    uid: RunUid,
    *,
    cause: UUID,
    kind: CallbackKind,
    number: int = 0,
    reason: str,
    deadline_index: int | None = None,
) -> None:
    """Write a callback of a run, due now; `cause` and `number` name what owes it."""
    connection.execute(
        _OWE_OF_RUN,
        {
            "callback_id": callback_id_of(cause, number, kind),
            "kind": kind.value,
            "deadline_index": deadline_index,
            "why": reason,
            "of_run": uid,
        },
    )


def give_up(connection: Connection) -> tuple[CallbackId, ...]:
    """End what was begun too often and has no worker any more."""
    return tuple(sorted(row.id for row in connection.execute(_GIVE_UP)))


def lease_due(
    connection: Connection, *, limit: int, republish_after_s: float
) -> list[CallbackMessage]:
    """Return callbacks whose message is owed, the oldest first, and put their next look off."""
    rows = connection.execute(
        _LEASE_DUE, {"limit_": limit, "republish_after_s": republish_after_s}
    ).all()
    return [
        CallbackMessage(callback_id=row.id, queue=row.queue)
        for row in sorted(rows, key=lambda row: (row.created_at, row.id))
    ]


def expire_published(connection: Connection) -> int:
    """Make what no worker has begun yet due now: its message may be lost."""
    return connection.execute(_EXPIRE_PUBLISHED).rowcount
