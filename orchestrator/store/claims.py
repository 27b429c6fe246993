"""Who waits for slots, who holds them, and how slots are handed out.

The pools' rows are locked first and everything is counted by later statements, so at any time one
scheduler claims and sees what the one before it committed. Waiting task instances are found lane by
lane (a lane: one run, one pool, one named queue) with one step in an index for each, so that a
flood of ten thousand costs what a window of it costs, and a full lane nothing.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    Connection,
    FromClause,
    Integer,
    Select,
    String,
    Subquery,
    Uuid,
    bindparam,
    false,
    func,
    or_,
    select,
    true,
    tuple_,
    update,
)

from orchestrator.core.admission import Candidate, Capacity, Holding, full_pools, full_queues
from orchestrator.core.ids import RunUid, TaskKey, VersionId
from orchestrator.core.lifecycle import TRANSITIONS, TaskEvent
from orchestrator.core.specs import DEFAULT_QUEUE
from orchestrator.core.states import TaskState
from orchestrator.ports import TaskMessage
from orchestrator.store.conditions import HOLDING_SLOTS, WorkerState, is_one_of, may_have, word
from orchestrator.store.tables import dag_run_table as dag_run
from orchestrator.store.tables import dag_table as dag
from orchestrator.store.tables import dag_version_table as dag_version
from orchestrator.store.tables import pool_table as pool
from orchestrator.store.tables import task_instance_table as task_instance
from orchestrator.store.tables import worker_table as worker
from orchestrator.store.types import as_rows, now, now_plus, rows_from
from orchestrator.store.versions import Versions

UNLIMITED_SLOTS = 2**31 - 1
"""What a pool of -1 slots has."""

_LOCK_POOLS = select(pool.c.name, pool.c.slots).order_by(pool.c.name).with_for_update()

_is_queued = is_one_of(task_instance.c.state, TaskState.QUEUED)
_SELECT_HOLDINGS = (
    select(
        task_instance.c.dag_id,
        task_instance.c.run_uid,
        task_instance.c.dag_version_id,
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
        task_instance.c.dag_version_id,
        task_instance.c.task_id,
        task_instance.c.pool,
        task_instance.c.queue,
    )
)

_SELECT_WORKER_SLOTS = select(worker.c.queues, worker.c.concurrency).where(
    worker.c.state == WorkerState.ONLINE, worker.c.lease_until > now()
)


_LANE = ("run_uid", "pool", "named_queue")


def lock_capacity(connection: Connection) -> tuple[Capacity, Mapping[RunUid, VersionId]]:
    """Lock every pool's row, by name, and count who holds what. Also return the versions of the
    runs that hold something."""
    pools = {row.name: row.slots for row in connection.execute(_LOCK_POOLS)}
    held = connection.execute(_SELECT_HOLDINGS).all()
    worker_slots: dict[str, int] = {}
    for row in connection.execute(_SELECT_WORKER_SLOTS):
        for queue in row.queues:
            worker_slots[queue] = worker_slots.get(queue, 0) + row.concurrency
    capacity = Capacity(
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
            for row in held
        ),
    )
    return capacity, {row.run_uid: row.dag_version_id for row in held}


def _lanes() -> CTE:
    """Name one task instance of each lane that has scheduled ones: a loose index scan."""
    first, here, after = (task_instance.alias(name) for name in ("first", "here", "after"))
    lane = (
        select(
            select(first.c.id)
            .where(is_one_of(first.c.state, TaskState.SCHEDULED))
            .order_by(*(first.c[name] for name in _LANE))
            .limit(1)
            .scalar_subquery()
            .label("id")
        )
    ).cte("lane", recursive=True)
    following = (
        select(after.c.id)
        .where(
            is_one_of(after.c.state, TaskState.SCHEDULED),
            tuple_(*(after.c[name] for name in _LANE)) > tuple_(*(here.c[name] for name in _LANE)),
        )
        .order_by(*(after.c[name] for name in _LANE))
        .limit(1)
        .correlate(here)
        .scalar_subquery()
    )
    return lane.union_all(select(following).join_from(lane, here, here.c.id == lane.c.id))


def _open_lanes() -> Subquery:
    """Leave out what no candidate of a lane could pass: paused DAGs, runs at max_active_tasks, full
    pools and full queues."""
    lane, one, holder = _lanes(), task_instance.alias("one"), task_instance.alias("holder")
    full_pool = rows_from("full_pools", {"name": String()})
    full_queue = rows_from("full_queues", {"name": String()})
    queue = func.coalesce(func.nullif(one.c.named_queue, ""), pool.c.queue, DEFAULT_QUEUE)
    held = (
        select(func.count())
        .where(holder.c.run_uid == one.c.run_uid, is_one_of(holder.c.state, *HOLDING_SLOTS))
        .correlate(one)
        .scalar_subquery()
    )
    return (
        select(
            *(one.c[name] for name in _LANE),
            queue.label("queue"),
            dag_version.c.max_active_tasks,
            (dag_version.c.max_active_tasks - held).label("room"),
        )
        .join_from(lane, one, one.c.id == lane.c.id)
        .join(dag_run, dag_run.c.id == one.c.run_uid)
        .join(dag, dag.c.dag_id == one.c.dag_id)
        .join(dag_version, dag_version.c.id == dag_run.c.dag_version_id)
        .join(pool, pool.c.name == one.c.pool)
        .where(
            dag.c.is_paused == false(),
            pool.c.name.not_in(select(full_pool.c.name)),
            queue.not_in(select(full_queue.c.name)),
            dag_version.c.max_active_tasks > held,
        )
        .subquery("open_lane")
    )


def _window(lane: Subquery, *, capped: bool) -> Select[Any]:
    """Select the ids of one lane's most urgent task instances, full tasks left out."""
    waiting = task_instance.alias("waiting")
    window = (
        select(waiting.c.id)
        .where(
            is_one_of(waiting.c.state, TaskState.SCHEDULED),
            *(waiting.c[name] == lane.c[name] for name in _LANE),
        )
        .order_by(waiting.c.priority.desc(), waiting.c.map_index, waiting.c.id)
        .limit(bindparam("per_dag", type_=Integer()))
        .correlate(lane)
    )
    if not capped:
        return window
    full = rows_from("full_tasks", {"dag_id": String(), "task_id": String(), "run_uid": Uuid()})
    return window.where(
        ~select(full.c.task_id)
        .where(
            full.c.dag_id == waiting.c.dag_id,
            full.c.task_id == waiting.c.task_id,
            or_(full.c.run_uid.is_(None), full.c.run_uid == waiting.c.run_uid),
        )
        .correlate(waiting)
        .exists()
    )


def _candidates(dialect: str, *, capped: bool) -> Select[Any]:
    """Read each lane's window, cut to the run's room and then to the DAG's share."""
    lane, one = _open_lanes(), task_instance.alias("candidate")
    window = _window(lane, capped=capped)
    source: FromClause
    if dialect == "postgresql":
        # PostgreSQL would search a correlated IN by reading the whole table.
        chosen = window.lateral("chosen")
        source = lane.join(chosen, true()).join(one, one.c.id == chosen.c.id)
    else:
        source = lane.join(one, one.c.id.in_(window))
    urgency = (one.c.priority.desc(), one.c.map_index, one.c.id)
    columns = [one.c[name] for name in _CANDIDATE_COLUMNS]
    in_run = func.row_number().over(partition_by=one.c.run_uid, order_by=urgency)
    fitting = (
        select(*columns, lane.c.queue, lane.c.max_active_tasks, lane.c.room, in_run.label("rank"))
        .select_from(source)
        .subquery("fitting")
    )
    in_dag = func.row_number().over(
        partition_by=fitting.c.dag_id,
        order_by=(
            fitting.c.priority.desc(),
            fitting.c.run_after,
            fitting.c.map_index,
            fitting.c.id,
        ),
    )
    shared = (
        select(fitting, in_dag.label("rank_in_dag"))
        .where(fitting.c.rank <= fitting.c.room)
        .subquery("shared")
    )
    return select(shared).where(shared.c.rank_in_dag <= bindparam("per_dag", type_=Integer()))


_CANDIDATE_COLUMNS = (
    *("id", "dag_id", "run_id", "task_id", "map_index", "run_uid", "epoch"),
    *("pool", "pool_slots", "priority", "run_after", "dag_version_id"),
)
_SELECT_CANDIDATES = {
    (dialect, capped): _candidates(dialect, capped=capped)
    for dialect in ("postgresql", "sqlite")
    for capped in (False, True)
}


def candidates(
    connection: Connection,
    versions: Versions,
    capacity: Capacity,
    *,
    per_dag: int,
    holders: Mapping[RunUid, VersionId],
) -> list[Candidate]:
    """Read scheduled task instances that no limit of a whole lane or task keeps waiting."""
    full_tasks = _full_tasks(capacity, versions, holders)
    parameters = {
        "full_pools": as_rows([name] for name in full_pools(capacity)),
        "full_queues": as_rows([name] for name in full_queues(capacity)),
        "per_dag": per_dag,
    }
    if full_tasks:
        parameters["full_tasks"] = as_rows(full_tasks)
    statement = _SELECT_CANDIDATES[connection.dialect.name, bool(full_tasks)]
    return [_candidate(row, versions) for row in connection.execute(statement, parameters)]


def _full_tasks(
    capacity: Capacity, versions: Versions, holders: Mapping[RunUid, VersionId]
) -> list[tuple[str, str, RunUid | None]]:
    """Return the tasks that are at a limit of their own: everywhere (None), or in one run."""
    per_dag: Counter[tuple[str, str]] = Counter()
    per_run: Counter[tuple[RunUid, str]] = Counter()
    for holding in capacity.holdings:
        per_dag[holding.dag_id, holding.task_id] += holding.count
        per_run[holding.run_uid, holding.task_id] += holding.count
    full: set[tuple[str, str, RunUid | None]] = set()
    for holding in capacity.holdings:
        version = versions.version(holders[holding.run_uid])
        if not version.is_capped:
            continue
        task = version.tasks[holding.task_id]
        in_dag, in_run = task.max_active_tis_per_dag, task.max_active_tis_per_dagrun
        if in_dag is not None and per_dag[holding.dag_id, holding.task_id] >= in_dag:
            full.add((holding.dag_id, holding.task_id, None))
        if in_run is not None and per_run[holding.run_uid, holding.task_id] >= in_run:
            full.add((holding.dag_id, holding.task_id, holding.run_uid))
    return sorted(full, key=str)


def _candidate(row: Any, versions: Versions) -> Candidate:
    version = versions.version(row.dag_version_id)
    task = version.tasks[row.task_id] if version.is_capped else None
    return Candidate(
        ti_id=row.id,
        key=TaskKey(row.dag_id, row.run_id, row.task_id, row.map_index),
        run_uid=row.run_uid,
        epoch=row.epoch,
        pool=row.pool,
        pool_slots=row.pool_slots,
        priority=row.priority,
        queue=row.queue,
        run_after=row.run_after,
        max_active_tasks=row.max_active_tasks,
        max_active_tis_per_dag=None if task is None else task.max_active_tis_per_dag,
        max_active_tis_per_dagrun=None if task is None else task.max_active_tis_per_dagrun,
    )


_admitted = rows_from("admitted", {"id": Uuid(), "epoch": BigInteger(), "queue": String()})
_unlocked = task_instance.alias("unlocked")
_CLAIM = (
    update(task_instance)
    .where(
        task_instance.c.id == _admitted.c.id,
        task_instance.c.id.in_(
            select(_unlocked.c.id)
            .where(
                _unlocked.c.id.in_(select(rows_from("admitted", {"id": Uuid()}).c.id)),
                may_have(_unlocked.c.state, TaskEvent.ADMITTED),
            )
            .order_by(_unlocked.c.id)
            .with_for_update(skip_locked=True)
        ),
        task_instance.c.epoch == _admitted.c.epoch,
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
            "admitted": as_rows((c.ti_id, c.epoch, c.queue) for c in admitted),
            "republish_after_s": republish_after_s,
        },
    )
    epochs = {row.id: row.epoch for row in rows}
    return [
        TaskMessage(ti_id=c.ti_id, epoch=epochs[c.ti_id], queue=c.queue)
        for c in admitted
        if c.ti_id in epochs
    ]
