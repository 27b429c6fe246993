"""Which DAGs are due, and how their plans are written: runs created, runs started.

All starts of a DAG's runs happen under the lock of its row, so that two schedulers together never
start more than max_active_runs.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    Integer,
    Select,
    String,
    Uuid,
    bindparam,
    case,
    func,
    literal,
    select,
    update,
)

from orchestrator.core.assignments import RunFacts
from orchestrator.core.ids import RunUid
from orchestrator.core.planning import CreateRun, DagSnapshot, Plan, WaitingRun
from orchestrator.core.specs import DagSpec
from orchestrator.core.states import RunState, RunType, TriggeredBy
from orchestrator.core.timetables import Tick, next_tick
from orchestrator.ports import StartedRun
from orchestrator.store.conditions import UNFINISHED_RUN, for_each_dialect, is_one_of, word
from orchestrator.store.deadlines import write_deadlines
from orchestrator.store.engine import Database
from orchestrator.store.instances import insert_instances
from orchestrator.store.tables import dag_run_table as dag_run
from orchestrator.store.tables import dag_table as dag
from orchestrator.store.types import as_rows, now, now_plus, rows_from
from orchestrator.store.versions import Versions
from orchestrator.store.windows import join_windows

UNREADABLE_WAIT_S = 60.0
"""Until a DAG is looked at again whose version this release cannot read; another release may."""

RUN_FACTS = (
    dag_run.c.id,
    dag_run.c.dag_id,
    dag_run.c.run_id,
    dag_run.c.run_type,
    dag_run.c.logical_date,
    dag_run.c.data_interval_start,
    dag_run.c.data_interval_end,
    dag_run.c.run_after,
    dag_run.c.started_at,
    dag_run.c.conf,
)

_LOCK_DUE_DAGS = (
    select(dag.c.dag_id, dag.c.is_paused, dag.c.is_stale, dag.c.current_version_id)
    .where(dag.c.wake_at <= now())
    .order_by(dag.c.wake_at, dag.c.dag_id)
    .limit(bindparam("limit_", type_=Integer()))
    .with_for_update(key_share=True, skip_locked=True)
)

# What the locks protect is read by statements of their own: their snapshots are younger than the
# locks, so they see what the lock's holder before us has committed.
_named = rows_from("named_dags", {"dag_id": String()})
_SELECT_DAG_FACTS = select(
    _named.c.dag_id,
    select(dag_run.c.run_after)
    .where(dag_run.c.dag_id == _named.c.dag_id, is_one_of(dag_run.c.run_type, RunType.SCHEDULED))
    .order_by(dag_run.c.run_after.desc())
    .limit(1)
    .scalar_subquery()
    .label("last_tick_at"),
    select(func.count())
    .where(
        dag_run.c.dag_id == _named.c.dag_id,
        is_one_of(dag_run.c.state, *UNFINISHED_RUN),
        is_one_of(dag_run.c.state, RunState.RUNNING),
    )
    .scalar_subquery()
    .label("running"),
)


def _select_waiting(dialect: str) -> Select[Any]:
    """Read the queued runs of each DAG that come first."""
    queued, run = dag_run.alias("queued_run"), dag_run.alias("waiting_run")
    window = (
        select(queued.c.id)
        .where(
            queued.c.dag_id == _named.c.dag_id,
            is_one_of(queued.c.state, *UNFINISHED_RUN),
            is_one_of(queued.c.state, RunState.QUEUED),
        )
        .order_by(queued.c.run_after, queued.c.id)
        .limit(bindparam("per_dag", type_=Integer()))
        .correlate(_named)
    )
    return select(run.c.dag_id, run.c.id, run.c.run_type, run.c.run_after).select_from(
        join_windows(dialect, _named, window, run)
    )


_SELECT_WAITING = {dialect: _select_waiting(dialect) for dialect in ("postgresql", "sqlite")}

_INSERT_RUN = for_each_dialect(
    dag_run,
    lambda insert_: insert_.values(queued_at=now()).on_conflict_do_nothing(),
)

_starting = rows_from("starting", {"id": Uuid()})
_START_RUNS = (
    update(dag_run)
    .where(dag_run.c.id.in_(select(_starting.c.id)), is_one_of(dag_run.c.state, RunState.QUEUED))
    .values(
        state=word(RunState.RUNNING),
        started_at=now(),
        wake_at=now(),
        # A run that a person sent back to the start stays on its version.
        dag_version_id=case(
            (dag_run.c.revision == 0, bindparam("version_id", type_=Uuid())),
            else_=dag_run.c.dag_version_id,
        ),
        revision=dag_run.c.revision + 1,
    )
    .returning(*RUN_FACTS, dag_run.c.dag_version_id)
)

_SET_DAG_TIMES = (
    update(dag)
    .where(dag.c.dag_id == bindparam("of_dag"))
    .values(
        wake_at=bindparam("wake_at"),
        next_tick_at=bindparam("next_tick_at"),
        next_logical_date=bindparam("next_logical_date"),
        next_interval_start=bindparam("next_interval_start"),
        next_interval_end=bindparam("next_interval_end"),
    )
)


_unreadable = rows_from("unreadable_dags", {"dag_id": String()})
_PUT_OFF = (
    update(dag)
    .where(dag.c.dag_id.in_(select(_unreadable.c.dag_id)))
    .values(wake_at=now_plus(literal(UNREADABLE_WAIT_S)))
)


def lock_due_dags(connection: Connection, versions: Versions, *, limit: int) -> list[DagSnapshot]:
    """Lock DAG rows whose `wake_at` has come, the longest due first, skipping locked ones. A DAG
    whose version this release cannot read is put off, and costs the others nothing."""
    rows = connection.execute(_LOCK_DUE_DAGS, {"limit_": limit}).all()
    if not rows:
        return []
    known = {row.dag_id: versions.readable(row.current_version_id) for row in rows}
    unreadable = [dag_id for dag_id, version in known.items() if version is None]
    if unreadable:
        connection.execute(_PUT_OFF, as_rows("unreadable_dags", ([name] for name in unreadable)))
        rows = [row for row in rows if row.dag_id not in unreadable]
    specs = {dag_id: version.spec for dag_id, version in known.items() if version is not None}
    if not specs:
        return []
    named = as_rows("named_dags", ([row.dag_id] for row in rows))
    facts = {row.dag_id: row for row in connection.execute(_SELECT_DAG_FACTS, named)}
    # Planning looks at no more waiting runs than may ever start at once, and one to see that
    # there are more.
    per_dag = 1 + max(spec.max_active_runs for spec in specs.values())
    waiting: dict[str, list[WaitingRun]] = {row.dag_id: [] for row in rows}
    select_waiting = _SELECT_WAITING[connection.dialect.name]
    found = connection.execute(select_waiting, {**named, "per_dag": per_dag})
    # Sorted here: asked to, SQLite would read all runs in that order rather than these few.
    for run in sorted(found, key=lambda run: (run.run_after, run.id)):
        waiting[run.dag_id].append(
            WaitingRun(uid=run.id, run_type=RunType(run.run_type), run_after=run.run_after)
        )
    return [
        DagSnapshot(
            spec=specs[row.dag_id],
            version_id=row.current_version_id,
            is_paused=row.is_paused,
            is_stale=row.is_stale,
            last_tick_at=facts[row.dag_id].last_tick_at,
            running=facts[row.dag_id].running,
            waiting=tuple(waiting[row.dag_id]),
        )
        for row in rows
    ]


def carry_out_plan(
    connection: Connection, database: Database, versions: Versions, dag: DagSnapshot, plan: Plan
) -> list[StartedRun]:
    """Write a plan for a DAG whose row this transaction has locked."""
    if plan.create:
        created = [_run_values(dag, run, database) for run in plan.create]
        connection.execute(
            _INSERT_RUN[connection.dialect.name],
            created,
        )
        uids = [RunUid(values["id"]) for values in created]
        write_deadlines(connection, database, dag.spec, dag.version_id, uids)
    started = _start(connection, database, versions, dag, plan.start) if plan.start else []
    last = plan.create[-1].tick.run_after if plan.create else dag.last_tick_at
    tick = _next_tick(dag.spec, last, database.now(connection))
    connection.execute(
        _SET_DAG_TIMES,
        {
            "of_dag": dag.spec.dag_id,
            "wake_at": plan.wake_at,
            "next_tick_at": tick and tick.run_after,
            "next_logical_date": tick and tick.logical_date,
            "next_interval_start": tick and tick.data_interval_start,
            "next_interval_end": tick and tick.data_interval_end,
        },
    )
    return started


def run_facts(row: Any) -> RunFacts:
    """Read a row that has RUN_FACTS."""
    return RunFacts(
        uid=row.id,
        dag_id=row.dag_id,
        run_id=row.run_id,
        run_type=RunType(row.run_type),
        logical_date=row.logical_date,
        data_interval_start=row.data_interval_start,
        data_interval_end=row.data_interval_end,
        run_after=row.run_after,
        started_at=row.started_at,
        conf=row.conf,
    )


def _run_values(dag: DagSnapshot, run: CreateRun, database: Database) -> Mapping[str, Any]:
    return {
        "id": database.new_id(),
        "dag_id": dag.spec.dag_id,
        "run_id": run.run_id,
        "run_type": RunType.SCHEDULED,
        "state": RunState.QUEUED,
        "logical_date": run.tick.logical_date,
        "data_interval_start": run.tick.data_interval_start,
        "data_interval_end": run.tick.data_interval_end,
        "run_after": run.tick.run_after,
        "conf": {},
        "triggered_by": TriggeredBy.TIMETABLE,
        "dag_version_id": dag.version_id,
        "revision": 0,
    }


def _start(
    connection: Connection,
    database: Database,
    versions: Versions,
    dag: DagSnapshot,
    uids: Sequence[RunUid],
) -> list[StartedRun]:
    rows = connection.execute(
        _START_RUNS,
        {**as_rows("starting", ([uid] for uid in uids)), "version_id": dag.version_id},
    )
    by_uid = {
        row.id: StartedRun(facts=run_facts(row), version_id=row.dag_version_id) for row in rows
    }
    started = [by_uid[uid] for uid in uids if uid in by_uid]
    # One that starts on a newer version than it was created with has that one's deadlines.
    current = [run.facts.uid for run in started if run.version_id == dag.version_id]
    write_deadlines(connection, database, dag.spec, dag.version_id, current)
    for run in started:
        insert_instances(connection, database, versions, run)
    return started


def _next_tick(spec: DagSpec, last: datetime | None, at: datetime) -> Tick | None:
    """Return the next tick for people to see. Planning has its own; where that cannot be computed
    it says so, and this must not fail the same DAG's transaction once more."""
    try:
        return next_tick(
            spec.schedule,
            last_tick_at=last,
            start_date=spec.start_date,
            end_date=spec.end_date,
            catchup=spec.catchup,
            now=at,
        )
    except (ArithmeticError, ValueError):
        return None
