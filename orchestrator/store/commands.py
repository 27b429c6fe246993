"""What a person's command writes: a new run, a pause, a pool."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from orchestrator.core.ids import RunUid, VersionId
from orchestrator.core.requests import CurrentDag, NewRun, RequestKey
from orchestrator.core.states import RunState
from orchestrator.core.views import PoolView, RunView
from orchestrator.errors import ConflictError
from orchestrator.store.deadlines import write_deadlines
from orchestrator.store.engine import Database
from orchestrator.store.reads_base import unknown_dag
from orchestrator.store.reads_runs import one_run, run_view
from orchestrator.store.reads_services import one_pool
from orchestrator.store.tables import dag_run_table, dag_table, pool_table
from orchestrator.store.tables_requests import run_request_table
from orchestrator.store.types import now
from orchestrator.store.versions import Versions

__all__ = ["Commands"]

_DAG = dag_table.c
_RUN = dag_run_table.c
_POOL = pool_table.c
_REQUEST = run_request_table.c


class Commands:
    """People's commands, each one transaction. Passing trouble of the database is waited out."""

    def __init__(self, database: Database, versions: Versions) -> None:
        self._database = database
        self._versions = versions

    def current_dag(self, dag_id: str) -> CurrentDag:
        """Return a DAG's current version; raise NotFoundError, naming the most similar id."""
        statement = select(_DAG.current_version_id, _DAG.is_stale).where(_DAG.dag_id == dag_id)
        with self._database.reading() as connection:
            row = connection.execute(statement).one_or_none()
            if row is None:
                raise unknown_dag(connection, dag_id)
            instant = self._database.now(connection)
        return CurrentDag(
            version_id=VersionId(row.current_version_id),
            spec=self._versions.version(row.current_version_id).spec,
            is_stale=row.is_stale,
            now=instant,
        )

    def create_run_if_current(self, run: NewRun) -> RunView | None:
        """Store a queued run and make its DAG due now; None when the DAG has another version by
        now. Raise ConflictError naming the run that has its run id or logical date already."""
        uid = RunUid(self._database.new_id())
        try:
            return self._database.retrying(lambda: self._create_run(uid, run))
        except IntegrityError:
            with self._database.reading() as connection:
                stored = _stored_run(connection, uid, run)
            if stored is not None:  # the answer to our own commit was lost
                return stored
            raise self._taken(run) from None

    def run_asked_for(self, dag_id: str, request: RequestKey) -> RunView | None:
        """Return the run of the first request with this key; None when there was none. Raise
        ConflictError if that one asked for something else."""
        statement = (
            select(_RUN.run_id, _REQUEST.digest)
            .join_from(run_request_table, dag_run_table, _RUN.id == _REQUEST.run_uid)
            .where(_REQUEST.dag_id == dag_id, _REQUEST.key == request.key)
        )
        with self._database.reading() as connection:
            row = connection.execute(statement).one_or_none()
            if row is None:
                return None
            if row.digest != request.digest:
                raise ConflictError(
                    f"the idempotency key {request.key!r} was used for run {row.run_id!r} of DAG "
                    f"{dag_id!r} with another request; use a new key for a new request"
                )
            return run_view(one_run(connection, dag_id, row.run_id))

    def set_paused(self, dag_id: str, *, is_paused: bool) -> None:
        """Pause or unpause a DAG and make it due now; raise NotFoundError."""
        statement = (
            update(dag_table)
            .where(_DAG.dag_id == dag_id)
            .values(is_paused=is_paused, wake_at=now())
        )
        self._database.retrying(lambda: self._update_dag(statement, dag_id))

    def create_pool(
        self,
        name: str,
        *,
        slots: int,
        queue: str | None,
        description: str | None,
        include_deferred: bool,
    ) -> PoolView:
        """Store a new pool; raise ConflictError if it exists."""
        statement = insert(pool_table).values(
            name=name,
            slots=slots,
            queue=queue,
            description=description,
            include_deferred=include_deferred,
        )
        try:
            with self._database.writing() as connection:
                connection.execute(statement)
                return one_pool(connection, name)
        except IntegrityError:
            raise ConflictError(f"pool {name!r} exists already; change it instead") from None

    def update_pool(self, name: str, changes: Mapping[str, int | str | None]) -> PoolView:
        """Change columns of a pool; raise NotFoundError, naming the most similar one."""
        return self._database.retrying(lambda: self._update_pool(name, changes))

    def delete_pool(self, name: str) -> None:
        """Remove a pool; raise NotFoundError, naming the most similar one."""
        self._database.retrying(lambda: self._delete_pool(name))

    def _create_run(self, uid: RunUid, run: NewRun) -> RunView | None:
        """Lock the DAG's row, then insert: a version that is replaced meanwhile is seen here."""
        with self._database.writing() as connection:
            current = connection.execute(
                update(dag_table)
                .where(_DAG.dag_id == run.dag_id, _DAG.current_version_id == run.version_id)
                .values(wake_at=now())
                .returning(_DAG.dag_id)
            ).one_or_none()
            if current is None:
                return None
            connection.execute(insert(dag_run_table).values(_run_values(uid, run)))
            if run.request is not None:
                values = {"dag_id": run.dag_id, "run_uid": uid, **asdict(run.request)}
                connection.execute(insert(run_request_table).values(values))
            spec = self._versions.version(run.version_id).spec
            write_deadlines(connection, self._database, spec, run.version_id, [uid])
            return run_view(one_run(connection, run.dag_id, run.run_id))

    def _taken(self, run: NewRun) -> ConflictError:
        with self._database.reading() as connection:
            by_id = connection.execute(
                select(_RUN.id).where(_RUN.dag_id == run.dag_id, _RUN.run_id == run.run_id)
            ).first()
        if by_id is not None:
            return ConflictError(
                f"DAG {run.dag_id!r} has a run {run.run_id!r} already; choose another run id"
            )
        if run.request is not None and self._is_used(run.dag_id, run.request.key):
            return ConflictError(f"the idempotency key {run.request.key!r} is in use; use another")
        assert run.logical_date is not None, "run ids, logical dates and keys are what is unique"
        return ConflictError(
            f"DAG {run.dag_id!r} has a run with logical date {run.logical_date.isoformat()} "
            "already; choose another date, or none"
        )

    def _is_used(self, dag_id: str, key: str) -> bool:
        statement = select(_REQUEST.key).where(_REQUEST.dag_id == dag_id, _REQUEST.key == key)
        with self._database.reading() as connection:
            return connection.execute(statement).first() is not None

    def _update_dag(self, statement: Any, dag_id: str) -> None:
        with self._database.writing() as connection:
            if not connection.execute(statement).rowcount:
                raise unknown_dag(connection, dag_id)

    def _update_pool(self, name: str, changes: Mapping[str, int | str | None]) -> PoolView:
        with self._database.writing() as connection:
            if changes:
                connection.execute(update(pool_table).where(_POOL.name == name).values(**changes))
            return one_pool(connection, name)

    def _delete_pool(self, name: str) -> None:
        with self._database.writing() as connection:
            one_pool(connection, name)
            connection.execute(delete(pool_table).where(_POOL.name == name))


def _run_values(uid: RunUid, run: NewRun) -> Mapping[str, Any]:
    return {
        "id": uid,
        "dag_id": run.dag_id,
        "run_id": run.run_id,
        "run_type": run.run_type,
        "state": RunState.QUEUED,
        "logical_date": run.logical_date,
        "data_interval_start": run.data_interval_start,
        "data_interval_end": run.data_interval_end,
        "run_after": run.run_after,
        "queued_at": now(),
        "conf": dict(run.conf),
        "note": run.note,
        "triggered_by": run.triggered_by,
        "triggering_user": run.user,
        "dag_version_id": run.version_id,
        "revision": 0,
    }


def _stored_run(connection: Connection, uid: RunUid, run: NewRun) -> RunView | None:
    found = connection.execute(select(_RUN.run_id).where(_RUN.id == uid)).first()
    return None if found is None else run_view(one_run(connection, run.dag_id, run.run_id))
