"""What does the store hold now, and which steps led there? In raw SQL, beside the store's own."""

import hashlib
import json
import sqlite3
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from orchestrator.core.callbacks import CallbackId
from orchestrator.core.ids import Slot
from orchestrator.core.states import RunState, TaskState
from orchestrator.store.engine import Database
from tests.simulation.callbacks import CallbackRow
from tests.simulation.checkers import Picture, RunRow, Step, TiRow
from tests.store.guards import install_transition_guards

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_STEPS = "SELECT * FROM transition_log WHERE seq > ? ORDER BY seq"
_TIS = """SELECT id, run_uid, dag_id, task_id, map_index, state, epoch, try_number, max_tries,
        infra_tries, pool, pool_slots, queue, lease_owner, lease_until IS NOT NULL AS has_lease,
        publish_due_at IS NOT NULL AS is_owed, began_at IS NOT NULL AS goes_on, skip
        FROM task_instance
        WHERE run_uid IN (SELECT value FROM json_each(?))"""
_RUNS = """SELECT id, dag_id, run_id, state, logical_date, run_after, started_at,
        coalesce(fails_later, '') || coalesce(reason, '') LIKE '%dagrun_timeout%' AS is_late
    FROM dag_run"""
_POOLS = "SELECT name, slots FROM pool"
_UNACCEPTED = """SELECT x.ti_id, x.epoch, a.state
    FROM xcom x LEFT JOIN attempt a ON a.ti_id = x.ti_id AND a.epoch = x.epoch
    WHERE a.state IS NULL
        OR a.epoch <> (SELECT max(epoch) FROM attempt b WHERE b.ti_id = x.ti_id)"""

_MISCOUNTED = """SELECT t.dag_id, t.run_id, t.task_id, t.map_index, t.try_number,
        count(a.epoch) AS records, count(DISTINCT a.try_number) AS recorded
    FROM task_instance t JOIN dag_run r ON r.id = t.run_uid
        LEFT JOIN attempt a ON a.ti_id = t.id
    WHERE r.state IN ('success', 'failed')
    GROUP BY t.id HAVING records <> t.try_number OR recorded <> t.try_number"""
_CALLBACKS = "SELECT id, run_uid, ti_id, kind, state, attempts, deadline_index FROM callback"
_OPEN_DEADLINES = "SELECT count(*) FROM deadline WHERE missed_at IS NULL"
_MISSED_DEADLINES = """SELECT run_uid, count(*) AS missed FROM deadline
    WHERE missed_at IS NOT NULL GROUP BY run_uid"""


class Observer:
    """Reads one store's rows and its transition log beside the store's own code."""

    def __init__(self, database: Database) -> None:
        # A database in memory has one connection. Reading it directly, and not through SQLAlchemy,
        # makes a look cost microseconds where nothing happened.
        connection = database.engine.raw_connection().driver_connection
        assert isinstance(connection, sqlite3.Connection)
        with database.writing() as writing:
            install_transition_guards(writing)
        self._cursor = connection.cursor()
        self._cursor.row_factory = sqlite3.Row
        self._seq = 0
        self._digest = hashlib.sha256()
        self._tis: dict[str, TiRow] = {}
        self._moving: set[str] = set()

    def new_steps(self) -> list[Step]:
        """Return the transitions since the last call, oldest first."""
        rows = self._cursor.execute(_STEPS, (self._seq,)).fetchall()
        steps = [_step(row) for row in rows]
        if rows:
            self._seq = rows[-1]["seq"]
            self._digest.update(repr(steps).encode())
            self._moving.update(step.run_uid for step in steps)
        return steps

    def picture(self) -> Picture:
        """Return every row a checker looks at. Only the instances of runs that are running, or were
        at the last look, are read again: a finished run does not move, or the log would say so."""
        found = [_run(row) for row in self._cursor.execute(_RUNS)]
        moving = {run.uid for run in found if run.state is RunState.RUNNING}
        names = json.dumps(sorted(self._moving | moving))
        tis = [_ti(row) for row in self._cursor.execute(_TIS, (names,))]
        self._tis.update((ti.ti_id, ti) for ti in tis)
        self._moving = moving
        return Picture(
            tis=self._tis,
            moving=tis,
            runs={run.uid: run for run in found},
            pools={row["name"]: row["slots"] for row in self._cursor.execute(_POOLS)},
        )

    def unaccepted_xcoms(self) -> list[Any]:
        """Return XComs whose epoch is not that of their task instance's last attempt (I13)."""
        return [tuple(row) for row in self._cursor.execute(_UNACCEPTED)]

    def miscounted_tries(self) -> list[Any]:
        """Return task instances of ended runs that do not have one record for each try."""
        return [tuple(row) for row in self._cursor.execute(_MISCOUNTED)]

    def callbacks(self) -> list[CallbackRow]:
        """Return every callback."""
        return [
            CallbackRow(
                callback_id=CallbackId(UUID(hex=row["id"])),
                run_uid=row["run_uid"],
                ti_id=row["ti_id"],
                kind=row["kind"],
                state=row["state"],
                attempts=row["attempts"],
                deadline_index=row["deadline_index"],
            )
            for row in self._cursor.execute(_CALLBACKS)
        ]

    def open_deadlines(self) -> int:
        """Count the deadlines that have not passed, and are not met."""
        count: int = self._cursor.execute(_OPEN_DEADLINES).fetchone()[0]
        return count

    def missed_deadlines(self) -> dict[str, int]:
        """Count the deadlines that each run has missed."""
        return {row["run_uid"]: row["missed"] for row in self._cursor.execute(_MISSED_DEADLINES)}

    def is_in_transaction(self) -> bool:
        """Whether something is written and not committed at this moment."""
        return self._cursor.connection.in_transaction

    def digest(self) -> str:
        """Name everything that happened so far by a hash."""
        return self._digest.hexdigest()


def _step(row: Any) -> Step:
    return Step(
        ti_id=row["ti_id"],
        run_uid=row["run_uid"],
        slot=Slot(row["task_id"], row["map_index"]),
        before=TaskState(row["state_before"]),
        after=TaskState(row["state_after"]),
        epoch_before=row["epoch_before"],
        epoch_after=row["epoch_after"],
    )


def _ti(row: Any) -> TiRow:
    return TiRow(
        ti_id=row["id"],
        run_uid=row["run_uid"],
        dag_id=row["dag_id"],
        slot=Slot(row["task_id"], row["map_index"]),
        state=TaskState(row["state"]),
        epoch=row["epoch"],
        try_number=row["try_number"],
        max_tries=row["max_tries"],
        infra_tries=row["infra_tries"],
        pool=row["pool"],
        pool_slots=row["pool_slots"],
        queue=row["queue"] or "",
        lease_owner=row["lease_owner"],
        has_lease=bool(row["has_lease"]),
        is_owed=bool(row["is_owed"]),
        goes_on=bool(row["goes_on"]),
        skip=tuple(json.loads(row["skip"]) if row["skip"] else ()),
    )


def _run(row: Any) -> RunRow:
    return RunRow(
        uid=row["id"],
        dag_id=row["dag_id"],
        run_id=row["run_id"],
        state=RunState(row["state"]),
        logical_date=_instant(row["logical_date"]),
        run_after=_instant(row["run_after"]) or _EPOCH,
        started_at=_instant(row["started_at"]),
        is_late=bool(row["is_late"]),
    )


def _instant(value: int | None) -> datetime | None:
    return None if value is None else _EPOCH + timedelta(microseconds=value)
