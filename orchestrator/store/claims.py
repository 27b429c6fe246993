"""Who holds slots, and how free ones are handed out.

The pools' rows are locked first and everything is counted by later statements, so at any time one
scheduler claims, and it sees what the one before it committed.
"""

from collections.abc import Sequence

from sqlalchemy import (
    BigInteger,
    Connection,
    String,
    Uuid,
    bindparam,
    func,
    select,
    update,
)

from orchestrator.core.admission import Candidate, Capacity, Holding
from orchestrator.core.lifecycle import TRANSITIONS, TaskEvent
from orchestrator.core.states import TaskState
from orchestrator.ports import TaskMessage
from orchestrator.store.conditions import HOLDING_SLOTS, WorkerState, is_one_of, may_have, word
from orchestrator.store.limits import forget_starts, limits_in_use
from orchestrator.store.tables import pool_table as pool
from orchestrator.store.tables import task_instance_table as task_instance
from orchestrator.store.tables import worker_table as worker
from orchestrator.store.types import as_rows, now, now_plus, rows_from

UNLIMITED_SLOTS = 2**31 - 1
"""What a pool of -1 slots has."""

_LOCK_POOLS = select(pool.c.name, pool.c.slots).order_by(pool.c.name).with_for_update()

_is_queued = is_one_of(task_instance.c.state, TaskState.QUEUED)
_SELECT_HOLDINGS = (
    select(
        task_instance.c.dag_id,
        task_instance.c.run_uid,
        task_instance.c.task_id,
        task_instance.c.pool,
        task_instance.c.queue,
        func.count().label("held"),
        func.sum(task_instance.c.pool_slots).label("slots"),
        func.count().filter(_is_queued).label("queued"),
    )
    .where(is_one_of(task_instance.c.state, *HOLDING_SLOTS))
    .group_by(
        task_instance.c.dag_id,
        task_instance.c.run_uid,
        task_instance.c.task_id,
        task_instance.c.pool,
        task_instance.c.queue,
    )
)

_SELECT_WORKER_SLOTS = select(worker.c.queues, worker.c.concurrency).where(
    worker.c.state == WorkerState.ONLINE, worker.c.lease_until > now()
)


def lock_capacity(connection: Connection) -> Capacity:
    """Lock every pool's row, by name, and count who holds what."""
    pools = {row.name: row.slots for row in connection.execute(_LOCK_POOLS)}
    worker_slots: dict[str, int] = {}
    for row in connection.execute(_SELECT_WORKER_SLOTS):
        for queue in row.queues:
            worker_slots[queue] = worker_slots.get(queue, 0) + row.concurrency
    keys, rates = limits_in_use(connection)
    return Capacity(
        keys=keys,
        rates=rates,
        pools={name: UNLIMITED_SLOTS if slots < 0 else slots for name, slots in pools.items()},
        worker_slots=worker_slots,
        holdings=tuple(
            Holding(
                dag_id=row.dag_id,
                run_uid=row.run_uid,
                task_id=row.task_id,
                pool=row.pool,
                queue=row.queue,
                count=row.held,
                slots=row.slots,
                queued=row.queued,
            )
            for row in connection.execute(_SELECT_HOLDINGS)
        ),
    )


_admitted = rows_from("admitted", {"id": Uuid(), "epoch": BigInteger(), "queue": String()})
_waiting = task_instance.alias("waiting")
_unlocked = (
    select(_waiting.c.id)
    .where(
        _waiting.c.id.in_(select(_admitted.c.id)),
        may_have(_waiting.c.state, TaskEvent.ADMITTED),
    )
    .order_by(_waiting.c.id)
    .with_for_update(skip_locked=True)
    .cte("unlocked")
)
_CLAIM = (
    update(task_instance)
    .where(
        task_instance.c.id == _admitted.c.id,
        task_instance.c.epoch == _admitted.c.epoch,
        task_instance.c.id.in_(select(_unlocked.c.id)),
        may_have(task_instance.c.state, TaskEvent.ADMITTED),
    )
    .values(
        state=word(TRANSITIONS[TaskEvent.ADMITTED].target),
        epoch=task_instance.c.epoch + 1,
        queue=_admitted.c.queue,
        queued_at=now(),
        publish_due_at=now_plus(bindparam("republish_after_s")),
        publish_count=0,
    )
    .returning(task_instance.c.id, task_instance.c.epoch)
)


def claim(
    connection: Connection, admitted: Sequence[Candidate], *, republish_after_s: float
) -> list[TaskMessage]:
    """Queue candidates that are still as they were read, and return their messages in the order of
    admission. Rows locked by somebody else are about to change: they are skipped."""
    rows = connection.execute(
        _CLAIM,
        {
            **as_rows("admitted", ((c.ti_id, c.epoch, c.queue) for c in admitted)),
            "republish_after_s": republish_after_s,
        },
    )
    epochs = {row.id: row.epoch for row in rows}
    if any(each.rate_limit is not None for each in admitted):
        forget_starts(connection)
    return [
        TaskMessage(ti_id=c.ti_id, epoch=epochs[c.ti_id], queue=c.queue)
        for c in admitted
        if c.ti_id in epochs
    ]
