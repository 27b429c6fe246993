"""When must the runs of a DAG be done, and which of them are late?

Deadlines are rows, written when a run is created, renewed when it starts on another version of its
DAG or is sent back to the start, and removed when it succeeds in time. A late one owes a callback,
once; the run goes on.
"""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Integer, String, Uuid, bindparam, delete, insert, select, update

from orchestrator.core.deadlines import RENEWED, due_at
from orchestrator.core.ids import RunUid, VersionId
from orchestrator.core.specs import CallbackKind, DagSpec
from orchestrator.core.states import RunState
from orchestrator.store import callbacks
from orchestrator.store.conditions import is_one_of
from orchestrator.store.engine import Database
from orchestrator.store.tables import dag_run_table as dag_run
from orchestrator.store.tables_callbacks import deadline_table as deadline
from orchestrator.store.types import Instant, as_rows, now, rows_from

_runs = rows_from("deadline_runs", {"uid": Uuid()})
_SELECT_RUNS = (
    select(dag_run.c.id, dag_run.c.dag_id, dag_run.c.logical_date, dag_run.c.queued_at)
    .where(dag_run.c.id.in_(select(_runs.c.uid)))
    .order_by(dag_run.c.id)
)
_SELECT_RUNTIMES = (
    select(dag_run.c.started_at, dag_run.c.ended_at)
    .where(
        dag_run.c.dag_id == bindparam("of_dag", type_=String()),
        is_one_of(dag_run.c.state, RunState.SUCCESS),
        dag_run.c.started_at.is_not(None),
        dag_run.c.ended_at.is_not(None),
    )
    .order_by(dag_run.c.run_after.desc(), dag_run.c.id.desc())
    .limit(bindparam("limit_", type_=Integer()))
)
_of_run = deadline.c.run_uid.in_(select(_runs.c.uid))
_is_open = deadline.c.missed_at.is_(None)
_SELECT_KNOWN = select(deadline.c.run_uid, deadline.c.deadline_index).where(
    _of_run, deadline.c.dag_version_id == bindparam("version_id", type_=Uuid())
)
_DELETE_OF_OTHER_VERSIONS = delete(deadline).where(
    _of_run, _is_open, deadline.c.dag_version_id != bindparam("version_id", type_=Uuid())
)
_indexes = rows_from("deadline_indexes", {"number": Integer()})
_DELETE_RENEWED = delete(deadline).where(
    _of_run, deadline.c.deadline_index.in_(select(_indexes.c.number))
)
_INSERT = insert(deadline).values(
    id=bindparam("new_id", type_=Uuid()),
    run_uid=bindparam("of_run", type_=Uuid()),
    deadline_index=bindparam("index", type_=Integer()),
    dag_version_id=bindparam("version_id", type_=Uuid()),
    due_at=bindparam("must_be_done_at", type_=Instant()),
)

EARLIEST = (
    select(deadline.c.due_at).where(_is_open).order_by(deadline.c.due_at).limit(1).scalar_subquery()
)
"""When the next deadline passes."""
_LOCK_LATE = (
    select(
        deadline.c.id,
        deadline.c.run_uid,
        deadline.c.deadline_index,
        deadline.c.due_at,
        deadline.c.dag_version_id,
        dag_run.c.state,
        dag_run.c.ended_at,
        dag_run.c.dag_version_id.label("run_version_id"),
    )
    .join(dag_run, dag_run.c.id == deadline.c.run_uid)
    .where(_is_open, deadline.c.due_at <= now())
    .order_by(deadline.c.due_at, deadline.c.id)
    .limit(bindparam("limit_", type_=Integer()))
    .with_for_update(skip_locked=True, of=deadline)
)
_named = rows_from("named_deadlines", {"id": Uuid()})
_is_named = deadline.c.id.in_(select(_named.c.id))
_MISS = update(deadline).where(_is_named, _is_open).values(missed_at=now())
_PRUNE = delete(deadline).where(_is_named, _is_open)
_PRUNE_MET = delete(deadline).where(
    deadline.c.run_uid == bindparam("of_run", type_=Uuid()), _is_open, deadline.c.due_at > now()
)


def write_deadlines(
    connection: Connection,
    database: Database,
    dag: DagSpec,
    version_id: VersionId,
    uids: Iterable[RunUid],
) -> None:
    """Write the deadlines that these runs of one version do not have yet; those that they have
    from another version are gone."""
    if not dag.deadlines:
        return
    runs = as_rows("deadline_runs", ([uid] for uid in sorted(uids)))
    connection.execute(_DELETE_OF_OTHER_VERSIONS, {**runs, "version_id": version_id})
    known = {
        (row.run_uid, row.deadline_index)
        for row in connection.execute(_SELECT_KNOWN, {**runs, "version_id": version_id})
    }
    runtimes_s = _runtimes_s(connection, dag)
    rows = []
    for run in connection.execute(_SELECT_RUNS, runs):
        for one in dag.deadlines:
            at = due_at(
                one,
                logical_date=run.logical_date,
                queued_at=run.queued_at,
                runtimes_s=runtimes_s,
            )
            if at is not None and (run.id, one.index) not in known:
                rows.append(_row(database, run.id, one.index, version_id, at))
    if rows:
        connection.execute(_INSERT, rows)


def renew_deadlines(
    connection: Connection,
    database: Database,
    dag: DagSpec,
    version_id: VersionId,
    uids: Collection[RunUid],
) -> None:
    """Count anew for runs that were sent back to the start (their queued_at is new already); a
    date that is fixed, or the logical one, stays what it is, and missed."""
    indexes = [one.index for one in dag.deadlines if one.reference in RENEWED]
    if indexes:
        runs = as_rows("deadline_runs", ([uid] for uid in sorted(uids)))
        numbers = as_rows("deadline_indexes", ([index] for index in indexes))
        connection.execute(_DELETE_RENEWED, {**runs, **numbers})
    write_deadlines(connection, database, dag, version_id, uids)


def prune_met(connection: Connection, uid: RunUid) -> None:
    """A run has succeeded: what it was in time for is settled."""
    connection.execute(_PRUNE_MET, {"of_run": uid})


def miss_deadlines(connection: Connection, *, limit: int) -> int:
    """Turn deadlines that have passed into callbacks that are owed; return how many. A run that
    succeeded in time owes nothing, whoever ended it."""
    rows = connection.execute(_LOCK_LATE, {"limit_": limit}).all()
    late = [row for row in rows if not _is_settled(row)]
    settled = [row for row in rows if _is_settled(row)]
    if settled:
        connection.execute(_PRUNE, as_rows("named_deadlines", ([row.id] for row in settled)))
    if late:
        connection.execute(_MISS, as_rows("named_deadlines", ([row.id] for row in late)))
    for row in late:
        callbacks.owe_of_run(
            connection,
            row.run_uid,
            cause=row.id,
            kind=CallbackKind.DEADLINE,
            reason=f"the run was not done by {row.due_at.isoformat()}",
            deadline_index=row.deadline_index,
        )
    return len(late)


def _is_settled(row: Any) -> bool:
    is_of_another_version = row.dag_version_id != row.run_version_id
    return is_of_another_version or (
        row.state == RunState.SUCCESS and row.ended_at is not None and row.ended_at <= row.due_at
    )


def _runtimes_s(connection: Connection, dag: DagSpec) -> list[float]:
    wanted = max(
        (one.max_runs for one in dag.deadlines if one.reference == "average_runtime"), default=0
    )
    if not wanted:
        return []
    rows = connection.execute(_SELECT_RUNTIMES, {"of_dag": dag.dag_id, "limit_": wanted})
    return [(row.ended_at - row.started_at).total_seconds() for row in rows]


def _row(
    database: Database, uid: RunUid, index: int, version_id: VersionId, at: datetime
) -> dict[str, Any]:
    return {
        "new_id": database.new_id(),
        "of_run": uid,
        "index": index,
        "version_id": version_id,
        "must_be_done_at": at,
    }
