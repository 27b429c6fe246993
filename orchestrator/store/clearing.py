"""How what a person clears or marks is written, whatever workers and schedulers do meanwhile.

The run's row is locked, its task instances are read, and a pure function says what changes. Those
that change are then locked as they were read: one that a worker has moved in between makes the
whole be done again. Every one that changes gets a new epoch, so that what was handed out before
counts no more, and the run a new revision, so that no scheduler goes on from what it remembers.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Select,
    String,
    Text,
    Uuid,
    and_,
    bindparam,
    null,
    select,
    update,
)

from orchestrator.core.clearing import RunChange, RunPicture
from orchestrator.core.graph import build_graph
from orchestrator.core.ids import RunUid, Slot
from orchestrator.core.lifecycle import TaskEvent
from orchestrator.core.requests import RunsNamed
from orchestrator.core.states import FINISHED_RUN_STATES, RunState
from orchestrator.core.views import TaskInstanceView
from orchestrator.errors import ConflictError, RequestInvalidError
from orchestrator.ports import StartedRun
from orchestrator.store.deadlines import renew_deadlines
from orchestrator.store.deciding import load_instances, wake_dags
from orchestrator.store.instances import adopt_version, insert_instances
from orchestrator.store.moving import write_moves
from orchestrator.store.pasts import nudge_next_runs
from orchestrator.store.planning import RUN_FACTS, run_facts
from orchestrator.store.reads_runs import one_run, require_dag
from orchestrator.store.reads_tasks import TaskInstanceReads, select_task_instances
from orchestrator.store.tables import dag_run_table as dag_run
from orchestrator.store.tables import dag_table as dag
from orchestrator.store.tables import task_instance_table as task_instance
from orchestrator.store.types import as_rows, now, printable, rows_from

__all__ = ["RUNS_MAX", "SqlClearing"]

RUNS_MAX = 1000
"""Runs that one request may reach: each is a transaction of its own."""
_ATTEMPTS = 10
"""How often a change is decided anew because workers moved what it is about."""

Decide = Callable[[RunPicture], RunChange]

_SELECT_RUN = (
    select(
        *RUN_FACTS,
        dag_run.c.state,
        dag_run.c.dag_version_id,
        dag_run.c.revision,
        dag.c.current_version_id,
        dag.c.is_stale,
    )
    .join(dag, dag.c.dag_id == dag_run.c.dag_id)
    .where(dag_run.c.id == bindparam("of_run", type_=Uuid()))
)
_LOCK_RUN = _SELECT_RUN.with_for_update(key_share=True, of=dag_run)
_LOCK_DAG = (
    select(dag.c.dag_id)
    .where(dag.c.dag_id == bindparam("of_dag", type_=String()))
    .with_for_update(key_share=True)
)

_seen = rows_from(
    "seen",
    {
        "run_uid": Uuid(),
        "task_id": String(),
        "map_index": BigInteger(),
        "epoch": BigInteger(),
        "state": String(),
    },
)
_is_seen = and_(
    task_instance.c.run_uid == _seen.c.run_uid,
    task_instance.c.task_id == _seen.c.task_id,
    task_instance.c.map_index == _seen.c.map_index,
)
_LOCK_AS_SEEN = (
    select(task_instance.c.id)
    .join(_seen, _is_seen)
    .where(task_instance.c.epoch == _seen.c.epoch, task_instance.c.state == _seen.c.state)
    .order_by(task_instance.c.id)
    .with_for_update(key_share=True, of=task_instance)
)
_SET_NOTES = update(task_instance).where(_is_seen).values(note=bindparam("note_", type_=Text()))


class _MovedError(Exception):
    """A task instance, or the run, is no longer as it was read."""


class SqlClearing(TaskInstanceReads):
    """control.ClearingStore on SQL."""

    def runs_named(self, dag_id: str, named: RunsNamed) -> tuple[RunUid, ...]:
        """Return the runs that are meant, the earliest first; raise NotFoundError for
        a DAG or run that does not exist and RequestInvalidError for what means nothing."""
        with self._database.reading() as connection:
            if named.run_id is None:
                require_dag(connection, dag_id)
                statement = _in_range(dag_id, named.from_date, named.to_date)
            else:
                run = one_run(connection, dag_id, named.run_id)
                if not (named.includes_past or named.includes_future):
                    return (RunUid(run.id),)
                if run.logical_date is None:
                    raise RequestInvalidError(
                        f"run {named.run_id!r} of DAG {dag_id!r} has no logical date, so none is "
                        "before or after it; leave past and future out"
                    )
                statement = _in_range(
                    dag_id,
                    None if named.includes_past else run.logical_date,
                    None if named.includes_future else run.logical_date,
                ).where(dag_run.c.logical_date.is_not(None))
            found = connection.scalars(statement.limit(RUNS_MAX + 1)).all()
        if len(found) > RUNS_MAX:
            raise RequestInvalidError(
                f"more than {RUNS_MAX} runs of DAG {dag_id!r} are meant; narrow it by dates"
            )
        return tuple(RunUid(uid) for uid in found)

    def foresee(self, uid: RunUid, decide: Decide) -> tuple[RunPicture, RunChange]:
        """Return a run as it stands and what would change in it now, and change nothing."""
        with self._database.reading() as connection:
            run = self._picture(connection, connection.execute(_SELECT_RUN, {"of_run": uid}).one())
        return run, decide(run)

    def change(self, uid: RunUid, decide: Decide) -> tuple[RunPicture, RunChange, frozenset[str]]:
        """Change a run; return it as it was, what changed, and the workers that may be running
        what was taken away. What `decide` raises leaves everything as it is."""
        for _ in range(_ATTEMPTS):
            try:
                return self._database.retrying(lambda: self._change(uid, decide))
            except _MovedError:
                continue
        raise ConflictError(
            f"run {uid} changes faster than it can be looked at; try again in a moment"
        )

    def task_instances_at(self, uid: RunUid, slots: Iterable[Slot]) -> tuple[TaskInstanceView, ...]:
        """Return these task instances of a run, in the order asked for, those that exist."""
        asked = list(slots)
        rows = ((uid, *slot, None, None) for slot in asked)
        with self._database.reading() as connection:
            found = connection.execute(
                select_task_instances().join(_seen, _is_seen), as_rows("seen", rows)
            ).all()
        by_slot = {Slot(row.task_id, row.map_index): row for row in found}
        return tuple(self._task_instance_view(by_slot[slot]) for slot in asked if slot in by_slot)

    def set_notes(self, uid: RunUid, slots: Iterable[Slot], note: str | None) -> None:
        """Set the note of task instances."""
        rows = as_rows("seen", ((uid, *slot, None, None) for slot in slots))
        values = {**rows, "note_": note and printable(note)}
        self._database.retrying(lambda: self._execute(_SET_NOTES, values))

    def set_run_note(self, uid: RunUid, note: str | None) -> None:
        """Set the note of a run."""
        statement = update(dag_run).where(dag_run.c.id == uid).values(note=note)
        self._database.retrying(lambda: self._execute(statement, {}))

    def _execute(self, statement: Any, values: dict[str, Any]) -> None:
        with self._database.writing() as connection:
            connection.execute(statement, values)

    def _change(self, uid: RunUid, decide: Decide) -> tuple[RunPicture, RunChange, frozenset[str]]:
        with self._database.writing() as connection:
            row = self._lock(connection, uid)
            run = self._picture(connection, row)
            change = decide(run)
            if change.is_empty:
                return run, change, frozenset()
            if not run.instances:
                self._insert(connection, row)
                run = self._picture(connection, row)
                change = decide(run)
            cancelled = self._move(connection, uid, run, change)
            if change.adopts_latest:
                latest = StartedRun(facts=run_facts(row), version_id=row.current_version_id)
                added = frozenset(change.added)
                adopt_version(connection, self._database, self._versions, latest, added=added)
            connection.execute(_run_update(row, change))
            nudge_next_runs(connection, [uid])
            if change.run_state is RunState.QUEUED:
                self._renew_deadlines(connection, row, run, change)
            if change.run_state is not None:
                wake_dags(connection, [run.dag_id])
        return run, change, cancelled

    def _lock(self, connection: Connection, uid: RunUid) -> Any:
        """Lock the run; a queued one behind its DAG, as planning does that starts it, any other
        alone, as the decision does that ends it and wakes its DAG then."""
        known = connection.execute(_SELECT_RUN, {"of_run": uid}).one()
        if known.state == RunState.QUEUED:
            connection.execute(_LOCK_DAG, {"of_dag": known.dag_id})
        row = connection.execute(_LOCK_RUN, {"of_run": uid}).one()
        if (row.state == RunState.QUEUED) is not (known.state == RunState.QUEUED):
            raise _MovedError
        return row

    def _picture(self, connection: Connection, row: Any) -> RunPicture:
        spec = self._versions.version(row.dag_version_id).spec
        latest = self._versions.version(row.current_version_id).spec
        graph = build_graph(spec)
        return RunPicture(
            dag_id=row.dag_id,
            run_id=row.run_id,
            state=RunState(row.state),
            started_at=row.started_at,
            version_id=row.dag_version_id,
            graph=graph,
            latest_version_id=row.current_version_id,
            latest=graph if row.current_version_id == row.dag_version_id else build_graph(latest),
            dag_is_stale=row.is_stale,
            now=self._database.now(connection),
            instances=dict(load_instances(connection, row.id)),
        )

    def _insert(self, connection: Connection, row: Any) -> None:
        """A run that never started gets its task instances, to have a past."""
        run = StartedRun(facts=run_facts(row), version_id=row.dag_version_id)
        insert_instances(connection, self._database, self._versions, run)

    def _renew_deadlines(
        self, connection: Connection, row: Any, run: RunPicture, change: RunChange
    ) -> None:
        version_id = row.current_version_id if change.adopts_latest else row.dag_version_id
        spec = (run.latest if change.adopts_latest else run.graph).spec
        renew_deadlines(connection, self._database, spec, version_id, [RunUid(row.id)])

    def _move(
        self, connection: Connection, uid: RunUid, run: RunPicture, change: RunChange
    ) -> frozenset[str]:
        if not change.moves:
            return frozenset()
        if not self._database.is_sqlite:  # there nobody else has written since they were read
            self._lock_as_seen(connection, uid, run, change)
        graph = run.latest if change.adopts_latest else run.graph
        return write_moves(connection, uid, graph.tasks, change.moves)

    def _lock_as_seen(
        self, connection: Connection, uid: RunUid, run: RunPicture, change: RunChange
    ) -> None:
        touched = change.touched
        seen = (
            (uid, *slot, run.instances[slot].epoch, run.instances[slot].state) for slot in touched
        )
        locked = connection.execute(_LOCK_AS_SEEN, as_rows("seen", seen)).all()
        if len(locked) != len(touched):
            raise _MovedError


def _in_range(dag_id: str, first: datetime | None, last: datetime | None) -> Select[Any]:
    statement = (
        select(dag_run.c.id)
        .where(dag_run.c.dag_id == dag_id)
        .order_by(dag_run.c.run_after, dag_run.c.id)
    )
    if first is not None:
        statement = statement.where(dag_run.c.logical_date >= first)
    if last is not None:
        statement = statement.where(dag_run.c.logical_date <= last)
    return statement


def _run_update(row: Any, change: RunChange) -> Any:
    values: dict[str, Any] = {"revision": dag_run.c.revision + 1}
    if change.adopts_latest:
        values["dag_version_id"] = row.current_version_id
    if change.fails_later is not None:
        values["fails_later"] = printable(change.fails_later)
    elif change.run_state is not None or _clears(change):
        values["fails_later"] = null()
    if change.run_state is RunState.QUEUED:
        values |= {
            "state": RunState.QUEUED,
            "queued_at": now(),
            "clear_number": dag_run.c.clear_number + 1,
            **{name: null() for name in ("started_at", "ended_at", "reason", "wake_at")},
        }
    elif change.run_state is not None:
        values |= {"state": change.run_state, "reason": change.reason, "wake_at": null()}
        if row.state not in FINISHED_RUN_STATES:
            values["ended_at"] = now()
    elif row.state == RunState.RUNNING:
        values["wake_at"] = now()
    return update(dag_run).where(dag_run.c.id == row.id).values(values)


def _clears(change: RunChange) -> bool:
    return any(move.event is TaskEvent.CLEARED for move in change.moves)
