"""Which queued task instances has no worker started yet, and when is their message looked for next?

A queued row owes a message until a worker starts it. Each look puts the next one off further, so
that a long queue is not mistaken for a lost message again and again.
"""

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import (
    Connection,
    Float,
    Integer,
    String,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    null,
    select,
    update,
)

from orchestrator.core.ids import TiId
from orchestrator.core.lifecycle import TRANSITIONS, TaskEvent
from orchestrator.core.states import TaskState
from orchestrator.ports import TaskMessage
from orchestrator.store.conditions import is_one_of, may_have, word
from orchestrator.store.tables import task_instance_table as task_instance
from orchestrator.store.types import as_rows, now, now_plus, rows_from

LOOK_WAIT_MAX_S = 600.0
_DOUBLINGS_MAX = 16

_owed = task_instance.alias("owed")
_is_queued = is_one_of(task_instance.c.state, TaskState.QUEUED)

_doublings = case(
    (task_instance.c.publish_count < _DOUBLINGS_MAX, task_instance.c.publish_count),
    else_=_DOUBLINGS_MAX,
)
_wait_s: Any = cast(bindparam("republish_after_s"), Float(53)) * literal_column("1").op("<<")(
    _doublings
)
# A CTE with row locks is run once; as an IN, PostgreSQL may run it again for each row, and each
# time the LIMIT counts anew.
_due = (
    select(_owed.c.id)
    .where(is_one_of(_owed.c.state, TaskState.QUEUED), _owed.c.publish_due_at <= now())
    .order_by(_owed.c.publish_due_at, _owed.c.id)
    .limit(bindparam("limit_", type_=Integer()))
    .with_for_update(skip_locked=True)
    .cte("due")
)
_LEASE_UNDELIVERED = (
    update(task_instance)
    .where(task_instance.c.id.in_(select(_due.c.id)), _is_queued)
    .values(
        publish_due_at=now_plus(case((_wait_s < LOOK_WAIT_MAX_S, _wait_s), else_=LOOK_WAIT_MAX_S)),
        publish_count=task_instance.c.publish_count + 1,
    )
    .returning(
        task_instance.c.id,
        task_instance.c.epoch,
        task_instance.c.queue,
        task_instance.c.queued_at,
    )
)

_COUNT_QUEUED = (
    select(task_instance.c.queue, func.count().label("queued"))
    .where(_is_queued)
    .group_by(task_instance.c.queue)
)

_given_up = (
    select(_owed.c.id)
    .where(
        is_one_of(_owed.c.state, TaskState.QUEUED),
        _owed.c.publish_count >= bindparam("looks_min"),
    )
    .order_by(_owed.c.publish_due_at, _owed.c.id)
    .limit(bindparam("limit_", type_=Integer()))
    .with_for_update(skip_locked=True)
    .cte("given_up")
)
_WITHDRAW = (
    update(task_instance)
    .where(
        task_instance.c.id.in_(select(_given_up.c.id)),
        may_have(task_instance.c.state, TaskEvent.WAS_UNDELIVERABLE),
    )
    .values(
        state=word(TRANSITIONS[TaskEvent.WAS_UNDELIVERABLE].target),
        epoch=task_instance.c.epoch + 1,
        queue=null(),
        queued_at=null(),
        publish_due_at=null(),
    )
    .returning(task_instance.c.id)
)

_EXPIRE_ALL = (
    update(task_instance)
    .where(_is_queued, task_instance.c.publish_due_at > now())
    .values(publish_due_at=now())
)


_emptied = rows_from("emptied_queues", {"name": String()})
_EXPIRE_ON = (
    update(task_instance)
    .where(
        _is_queued,
        task_instance.c.publish_due_at > now(),
        task_instance.c.queued_at <= now_plus(bindparam("since_s")),
        task_instance.c.queue.in_(select(_emptied.c.name)),
    )
    .values(publish_due_at=now())
)


def lease_undelivered(
    connection: Connection, *, limit: int, republish_after_s: float
) -> list[TaskMessage]:
    """Return messages whose look is due, the longest queued first, and put their next look off."""
    rows = connection.execute(
        _LEASE_UNDELIVERED, {"limit_": limit, "republish_after_s": republish_after_s}
    ).all()
    return [
        TaskMessage(ti_id=row.id, epoch=row.epoch, queue=row.queue)
        for row in sorted(rows, key=lambda row: (row.queued_at, row.id))
    ]


def queued_by_queue(connection: Connection) -> Mapping[str, int]:
    """Count the queued task instances of each queue."""
    return {row.queue: row.queued for row in connection.execute(_COUNT_QUEUED)}


def withdraw_undelivered(connection: Connection, *, looks_min: int, limit: int) -> tuple[TiId, ...]:
    """Take back task instances that were looked for so often in vain: they give up their slots."""
    rows = connection.execute(_WITHDRAW, {"looks_min": looks_min, "limit_": limit})
    return tuple(sorted(row.id for row in rows))


def expire_all(connection: Connection) -> int:
    """Make every queued task instance's look due now."""
    return connection.execute(_EXPIRE_ALL).rowcount


def expire_on(connection: Connection, queues: Collection[str], *, queued_for_s: float) -> int:
    """Make the look due now of what has been queued on these queues for so long."""
    emptied = as_rows("emptied_queues", ([name] for name in sorted(queues)))
    return connection.execute(_EXPIRE_ON, {**emptied, "since_s": -queued_for_s}).rowcount
