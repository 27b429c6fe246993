"""Which scheduled task instances could get a slot now?

They are found lane by lane (a lane: one run, one pool, one named queue, and a task with limits of
its own has one to itself) with one step in an index for each lane. A lane that is closed by a limit
costs nothing more, and of an open one no more is read than it has room for, so that a flood of ten
thousand costs what its window costs.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    FromClause,
    Integer,
    ScalarSelect,
    Select,
    String,
    Subquery,
    Uuid,
    bindparam,
    false,
    func,
    select,
)
from sqlalchemy.types import TypeEngine

from orchestrator.core.admission import Candidate, Capacity, full_queues, shared_room
from orchestrator.core.ids import RunUid, TaskKey
from orchestrator.core.specs import DEFAULT_QUEUE, TaskSpec
from orchestrator.core.states import TaskState
from orchestrator.store.conditions import is_one_of
from orchestrator.store.tables import dag_table as dag
from orchestrator.store.tables import dag_version_table as dag_version
from orchestrator.store.tables import pool_table as pool
from orchestrator.store.tables import task_instance_table as task_instance
from orchestrator.store.types import as_rows, rows_from
from orchestrator.store.versions import Versions
from orchestrator.store.windows import join_windows

DAG_SHARES_MAX = 4
"""As many DAG shares are read at once, the most urgent first, however many DAGs wait."""

_LANE = ("run_uid", "pool", "named_queue", "capped_by")


def candidates(
    connection: Connection, versions: Versions, capacity: Capacity, *, per_dag: int
) -> list[Candidate]:
    """Read the most urgent scheduled task instances that no limit of their lane keeps waiting: of
    each lane what it has room for, of each DAG at most `per_dag`."""
    lanes = _open_lanes(connection, versions, capacity)
    if not lanes:
        return []
    parameters: dict[str, Any] = {
        **as_rows("lanes", lanes),
        "window": min(per_dag, max(room for *_, room in lanes)),
        "per_dag": per_dag,
        "in_all": per_dag * DAG_SHARES_MAX,
    }
    statement = _SELECT_CANDIDATES[connection.dialect.name]
    read = (_candidate(row, versions) for row in connection.execute(statement, parameters))
    return [candidate for candidate in read if candidate is not None]


def _open_lanes(
    connection: Connection, versions: Versions, capacity: Capacity
) -> Sequence[tuple[RunUid, str, str, str, str, int, int]]:
    """Return the lanes whose run, pool, queue and task have room: (run, pool, named queue, capped
    by, queue, max_active_tasks, room)."""
    held: Counter[RunUid] = Counter()
    taken: Counter[str] = Counter()
    of_task: Counter[tuple[str, str]] = Counter()
    of_task_in_run: Counter[tuple[RunUid, str]] = Counter()
    for holding in capacity.holdings:
        held[holding.run_uid] += holding.count
        taken[holding.pool] += holding.slots
        of_task[holding.dag_id, holding.task_id] += holding.count
        of_task_in_run[holding.run_uid, holding.task_id] += holding.count
    closed_queues = frozenset(full_queues(capacity))
    lanes = []
    for row in connection.execute(_SELECT_LANES):
        queue = row.named_queue or row.pool_queue or DEFAULT_QUEUE
        free = capacity.pools[row.pool] - taken[row.pool] if row.pool in capacity.pools else 0
        room = min(row.max_active_tasks - held[row.run_uid], free)
        task = _task(row, versions) if row.capped_by else None
        if task is not None and task.max_active_tis_per_dag is not None:
            room = min(room, task.max_active_tis_per_dag - of_task[row.dag_id, task.task_id])
        if task is not None and task.max_active_tis_per_dagrun is not None:
            in_run = of_task_in_run[row.run_uid, task.task_id]
            room = min(room, task.max_active_tis_per_dagrun - in_run)
        if task is not None:
            room = min(room, shared_room(task, capacity, row.concurrency_key, row.rate_name))
        if room > 0 and queue not in closed_queues:
            lane = (getattr(row, name) for name in _LANE)
            lanes.append((*lane, queue, row.max_active_tasks, room))
    return lanes


def _task(row: Any, versions: Versions) -> TaskSpec | None:
    version = versions.readable(row.dag_version_id)
    return None if version is None else version.tasks[row.task_id]


def _candidate(row: Any, versions: Versions) -> Candidate | None:
    version = versions.readable(row.dag_version_id)
    if version is None:
        return None
    task = version.tasks[row.task_id] if version.is_capped else None
    return Candidate(
        ti_id=row.id,
        key=TaskKey(row.dag_id, row.run_id, row.task_id, row.map_index),
        run_uid=row.run_uid,
        epoch=row.epoch,
        pool=row.pool,
        pool_slots=row.pool_slots,
        priority=row.priority,
        weight=version.tasks[row.task_id].priority_weight,
        queue=row.queue,
        run_after=row.run_after,
        max_active_tasks=row.max_active_tasks,
        max_active_tis_per_dag=None if task is None else task.max_active_tis_per_dag,
        max_active_tis_per_dagrun=None if task is None else task.max_active_tis_per_dagrun,
        concurrency_key=row.concurrency_key,
        concurrency_limit=1 if task is None else task.concurrency_limit,
        rate_name=row.rate_name,
        rate_limit=None if task is None else task.rate_limit,
    )


def _lanes() -> CTE:
    """Name one task instance of each lane that has scheduled ones: a loose index scan, from each
    lane to the next."""
    first, here = task_instance.alias("first"), task_instance.alias("here")
    lane = select(_first_of(first).label("id")).cte("lane", recursive=True)
    # In four steps, since SQLite compares (a, b, c) > (x, y, z) by the first alone and would read
    # through the whole lane.
    in_queue, in_pool, in_run, beyond = (
        task_instance.alias(name) for name in ("in_queue", "in_pool", "in_run", "beyond")
    )
    following = func.coalesce(
        _first_of(
            in_queue,
            in_queue.c.run_uid == here.c.run_uid,
            in_queue.c.pool == here.c.pool,
            in_queue.c.named_queue == here.c.named_queue,
            in_queue.c.capped_by > here.c.capped_by,
        ),
        _first_of(
            in_pool,
            in_pool.c.run_uid == here.c.run_uid,
            in_pool.c.pool == here.c.pool,
            in_pool.c.named_queue > here.c.named_queue,
        ),
        _first_of(in_run, in_run.c.run_uid == here.c.run_uid, in_run.c.pool > here.c.pool),
        _first_of(beyond, beyond.c.run_uid > here.c.run_uid),
    )
    return lane.union_all(select(following).join_from(lane, here, here.c.id == lane.c.id))


def _first_of(waiting: FromClause, *conditions: ColumnElement[bool]) -> ScalarSelect[Any]:
    """Find the first scheduled task instance in the order of lanes."""
    return (
        select(waiting.c.id)
        .where(is_one_of(waiting.c.state, TaskState.SCHEDULED), *conditions)
        .order_by(*(waiting.c[name] for name in _LANE))
        .limit(1)
        .correlate_except(waiting)
        .scalar_subquery()
    )


def _select_lanes() -> Select[Any]:
    """Read the lanes of unpaused DAGs. What else is known of a lane is looked up for each, not
    joined: SQLite would begin such a join with whatever table it thinks small."""
    lane, one = _lanes(), task_instance.alias("one")
    paused = select(dag.c.is_paused).where(dag.c.dag_id == one.c.dag_id)
    limit = select(dag_version.c.max_active_tasks).where(dag_version.c.id == one.c.dag_version_id)
    pool_queue = select(pool.c.queue).where(pool.c.name == one.c.pool)
    return (
        select(
            *(one.c[name] for name in _LANE),
            *(one.c[name] for name in ("dag_id", "task_id", "dag_version_id")),
            *(one.c[name] for name in ("concurrency_key", "rate_name")),
            pool_queue.scalar_subquery().label("pool_queue"),
            limit.scalar_subquery().label("max_active_tasks"),
        )
        .join_from(lane, one, one.c.id == lane.c.id)
        .where(paused.scalar_subquery() == false())
    )


def _window(lane: Subquery) -> Select[Any]:
    """Select the ids of one lane's most urgent task instances."""
    waiting = task_instance.alias("waiting")
    return (
        select(waiting.c.id)
        .where(
            is_one_of(waiting.c.state, TaskState.SCHEDULED),
            *(waiting.c[name] == lane.c[name] for name in _LANE),
        )
        .order_by(waiting.c.priority.desc(), waiting.c.map_index, waiting.c.id)
        .limit(bindparam("window", type_=Integer()))
        .correlate(lane)
    )


def _select_candidates(dialect: str) -> Select[Any]:
    """Read each lane's window, cut to the lane's room and to the DAG's share."""
    lane, one = rows_from("lanes", _LANE_COLUMNS), task_instance.alias("candidate")
    in_lane = func.row_number().over(
        partition_by=[one.c[name] for name in _LANE],
        order_by=[one.c.priority.desc(), one.c.map_index, one.c.id],
    )
    columns = [one.c[name] for name in _CANDIDATE_COLUMNS]
    fitting = (
        select(*columns, lane.c.queue, lane.c.max_active_tasks, lane.c.room, in_lane.label("rank"))
        .select_from(join_windows(dialect, lane, _window(lane), one))
        .subquery("fitting")
    )
    in_dag = func.row_number().over(
        partition_by=fitting.c.dag_id,
        order_by=[
            *(fitting.c.priority.desc(), fitting.c.run_after),
            *(fitting.c.map_index, fitting.c.id),
        ],
    )
    shared = (
        select(fitting, in_dag.label("rank_in_dag"))
        .where(fitting.c.rank <= fitting.c.room)
        .subquery("shared")
    )
    return (
        select(shared)
        .where(shared.c.rank_in_dag <= bindparam("per_dag", type_=Integer()))
        .order_by(shared.c.rank_in_dag, shared.c.priority.desc(), shared.c.run_after, shared.c.id)
        .limit(bindparam("in_all", type_=Integer()))
    )


_LANE_COLUMNS: Mapping[str, TypeEngine[Any]] = {
    "run_uid": Uuid(),
    "pool": String(),
    "named_queue": String(),
    "capped_by": String(),
    "queue": String(),
    "max_active_tasks": Integer(),
    "room": Integer(),
}
_CANDIDATE_COLUMNS = (
    *("id", "dag_id", "run_id", "task_id", "map_index", "run_uid", "epoch"),
    *("pool", "pool_slots", "priority", "named_queue", "run_after", "dag_version_id"),
    *("concurrency_key", "rate_name"),
)
_SELECT_LANES = _select_lanes()
_SELECT_CANDIDATES = {dialect: _select_candidates(dialect) for dialect in ("postgresql", "sqlite")}
