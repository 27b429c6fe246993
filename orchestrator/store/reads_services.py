"""Which pools, workers and schedulers are there, and how do they stand?"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row, and_, func, select

from orchestrator.core.listings import Page, PageRequest, TextMatch
from orchestrator.core.states import TaskState
from orchestrator.core.views import PoolView, Pulse, SchedulerView, WorkerView
from orchestrator.errors import NotFoundError, did_you_mean
from orchestrator.store.conditions import HOLDING_SLOTS, is_one_of
from orchestrator.store.reads_base import ReadBase
from orchestrator.store.reads_paging import Ordering, SortKey, matches, read_piece
from orchestrator.store.tables import (
    pool_table,
    scheduler_table,
    task_instance_table,
    worker_table,
)
from orchestrator.store.types import now

__all__ = ["ServiceReads", "one_pool"]

WORKERS_MAX = 1000

_POOL = pool_table.c
_TI = task_instance_table.c
_WORKER = worker_table.c
_SCHEDULER = scheduler_table.c

_POOL_ORDER = Ordering(
    keys={
        "name": SortKey(_POOL.name),
        "id": SortKey(_POOL.name),
        "pool": SortKey(_POOL.name),
        "slots": SortKey(_POOL.slots),
    },
    default=("name",),
    tie_breaker="name",
)

_IS_ACTIVE = is_one_of(_TI.state, *HOLDING_SLOTS)
_IS_SCHEDULED = is_one_of(_TI.state, TaskState.SCHEDULED)
_IS_RUNNING = is_one_of(_TI.state, TaskState.RUNNING)
_IS_ALIVE = and_(_WORKER.state != "offline", _WORKER.lease_until > now())


class ServiceReads(ReadBase):
    """Pools, workers and schedulers."""

    def pools(self, request: PageRequest, *, name: TextMatch | None = None) -> Page[PoolView]:
        """List pools with their use."""
        statement = select(pool_table).where(matches(_POOL.name, name or TextMatch()))
        with self._database.reading() as connection:
            piece = read_piece(connection, statement, _POOL_ORDER, request)
            use = _use(connection)
        return Page(items=tuple(_pool_view(row, use) for row in piece.rows), total=piece.total)

    def pool(self, name: str) -> PoolView:
        """Return one pool with its use; raise NotFoundError."""
        with self._database.reading() as connection:
            return one_pool(connection, name)

    def workers(self, *, includes_offline: bool = False) -> tuple[WorkerView, ...]:
        """List workers, the one heard of last first."""
        alive = _IS_ALIVE.label("is_alive")
        statement = select(worker_table, alive).order_by(_WORKER.heartbeat_at.desc(), _WORKER.id)
        if not includes_offline:
            statement = statement.where(_IS_ALIVE)
        running = (
            select(_TI.lease_owner, func.count().label("held"))
            .where(_IS_RUNNING)
            .group_by(_TI.lease_owner)
        )
        with self._database.reading() as connection:
            rows = connection.execute(statement.limit(WORKERS_MAX)).all()
            held = {row.lease_owner: row.held for row in connection.execute(running)}
        return tuple(
            WorkerView(
                worker_id=row.id,
                hostname=row.hostname,
                pid=row.pid,
                queues=tuple(row.queues),
                concurrency=row.concurrency,
                version=row.version,
                state=row.state if row.is_alive else "offline",
                is_alive=row.is_alive,
                running=held.get(row.id, 0),
                started_at=row.started_at,
                last_heartbeat_at=row.heartbeat_at,
            )
            for row in rows
        )

    def schedulers(self) -> tuple[SchedulerView, ...]:
        """List schedulers, those that are gone too, the one heard of last first."""
        alive = (_SCHEDULER.lease_until > now()).label("is_alive")
        statement = select(scheduler_table, alive).order_by(
            _SCHEDULER.heartbeat_at.desc(), _SCHEDULER.id
        )
        with self._database.reading() as connection:
            rows = connection.execute(statement.limit(WORKERS_MAX)).all()
        return tuple(
            SchedulerView(
                scheduler_id=row.id,
                hostname=row.hostname,
                pid=row.pid,
                is_alive=row.is_alive,
                started_at=row.started_at,
                last_heartbeat_at=row.heartbeat_at,
            )
            for row in rows
        )

    def scheduler_pulse(self) -> Pulse:
        """Return how many schedulers are alive and when one was last heard of."""
        statement = select(
            func.count().filter(_SCHEDULER.lease_until > now()).label("alive"),
            func.max(_SCHEDULER.heartbeat_at).label("last"),
        )
        with self._database.reading() as connection:
            row = connection.execute(statement).one()
        return Pulse(alive=row.alive, last_heartbeat_at=row.last)


def one_pool(connection: Connection, name: str) -> PoolView:
    """Read one pool with its use, or name the most similar one."""
    row = connection.execute(select(pool_table).where(_POOL.name == name)).one_or_none()
    if row is None:
        known = connection.execute(select(_POOL.name).limit(1000)).scalars().all()
        raise NotFoundError(f"pool {name!r} does not exist{did_you_mean(name, known)}")
    return _pool_view(row, _use(connection))


def _use(connection: Connection) -> Mapping[tuple[str, str], int]:
    """Count slots by pool and state, of what is ready, queued or running now."""
    use: dict[tuple[str, str], int] = {}
    for condition in (_IS_ACTIVE, _IS_SCHEDULED):
        statement = (
            select(_TI.pool, _TI.state, func.sum(_TI.pool_slots))
            .where(condition)
            .group_by(_TI.pool, _TI.state)
        )
        use |= {(pool, state): int(slots) for pool, state, slots in connection.execute(statement)}
    return use


def _pool_view(row: Row[Any], use: Mapping[tuple[str, str], int]) -> PoolView:
    return PoolView(
        name=row.name,
        slots=row.slots,
        queue=row.queue,
        description=row.description,
        include_deferred=row.include_deferred,
        scheduled=use.get((row.name, "scheduled"), 0),
        queued=use.get((row.name, "queued"), 0),
        running=use.get((row.name, "running"), 0),
    )
